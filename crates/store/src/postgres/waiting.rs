//! Which organizations have something to claim, and when more becomes due: loose scans over the queue.

use operations::Timestamp;
use sqlx::AssertSqlSafe;

use super::connections::Connections;
use super::counters::counted;
use super::heads::{Heads, Known};
use super::rows;
use crate::{ClaimRequest, RunningLimits, StoreError};

/// Organizations after $1 and up to $2 that have something to claim of the kinds $3, not paused, ready or due at $4: a
/// loose scan over the queue, a seek for each organization in each of its three parts. The organizations $6 are
/// read whatever the scan finds, so that it does not walk past their dead rows: $7 to $12 say where they begin (see
/// [`super::heads`]). Only those of $13, if that is given; not for the kinds $15 of the organizations $14, which are at
/// their limits. Served by queue_in_order, queue_ready, queue_due and the primary key of pauses.
const WAITING: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT {first}
        UNION ALL
        SELECT {next} FROM organization AS o WHERE o.id IS NOT NULL AND ($2::text IS NULL OR o.id <= $2)
    )
    SELECT id FROM organization AS o WHERE ($2::text IS NULL OR id <= $2)
        AND ($13::text[] IS NULL OR id = ANY ($13)) AND (
        EXISTS (
            SELECT FROM (
                SELECT kind FROM unnest($3::text[]) AS u (kind) WHERE NOT EXISTS (
                    SELECT FROM pauses WHERE organization_id = ANY (ARRAY['', o.id]) AND kind = ANY (ARRAY['', u.kind]))
                    AND NOT EXISTS (SELECT FROM unnest($14::text[], $15::text[]) AS f (id, kind)
                        WHERE f.id = o.id AND f.kind = u.kind)
                OFFSET 0) AS k
            WHERE EXISTS (SELECT FROM queue WHERE organization_id = o.id AND kind = k.kind AND in_order
                    AND seq >= coalesce((SELECT h.floor FROM unnest($7::text[], $8::text[], $9::bigint[])
                        AS h (id, kind, floor) WHERE h.id = o.id AND h.kind = k.kind), 0))
                OR EXISTS (SELECT FROM queue WHERE organization_id = o.id AND kind = k.kind AND due_at IS NULL
                    AND NOT in_order AND (-priority, seq) >= (
                        coalesce((SELECT h.rank FROM unnest($7::text[], $8::text[], $10::smallint[])
                            AS h (id, kind, rank) WHERE h.id = o.id AND h.kind = k.kind), '-32768'::smallint),
                        coalesce((SELECT h.seq FROM unnest($7::text[], $8::text[], $11::bigint[])
                            AS h (id, kind, seq) WHERE h.id = o.id AND h.kind = k.kind), 0))))
        OR EXISTS (SELECT FROM queue WHERE organization_id = o.id AND due_at <= $4 AND due_at IS NOT NULL
                AND due_at > coalesce((SELECT h.due FROM unnest($6::text[], $12::bigint[]) AS h (id, due)
                    WHERE h.id = o.id), '-9223372036854775808'::bigint))
            AND NOT EXISTS (SELECT FROM pauses WHERE organization_id = o.id AND kind = ''))
    LIMIT $5";

/// The next organization after {after} that has anything in the queue, or is one of {known}.
fn next_organization(after: &str, known: &str, parts: &[&str]) -> String {
    let stop = format!("(SELECT min(k) FROM unnest({known}::text[]) AS k WHERE k > {after})");
    let seeks = |until: &str| {
        let seek = |part: &&str| {
            format!(
                "(SELECT organization_id FROM queue WHERE {part} AND organization_id > {after}{until}
                  ORDER BY organization_id LIMIT 1)"
            )
        };
        parts.iter().map(seek).collect::<Vec<_>>().join(", ")
    };
    // Two ways, so that each is one range of an index.
    let (open, bounded) = (seeks(""), seeks(&format!(" AND organization_id < {stop}")));
    format!("CASE WHEN {stop} IS NULL THEN least({open}) ELSE least({bounded}, {stop}) END")
}

/// The parts of the queue, each with its index.
const PARTS: [&str; 3] = ["in_order", "due_at IS NULL AND NOT in_order", "due_at IS NOT NULL"];

/// Up to `limit` organizations after `last`, then from the start: the one served last comes last.
pub(super) async fn waiting(
    pool: &Connections,
    now: Timestamp,
    heads: &Heads,
    limits: &RunningLimits,
    last: &str,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let only = request.among.as_ref().and_then(|among| among.names());
    let only: Option<Vec<String>> = only.map(|names| names.iter().cloned().collect());
    let sql = WAITING
        .replace("{first}", &next_organization("$1", "$6", &PARTS))
        .replace("{next}", &next_organization("o.id", "$6", &PARTS));
    pool.within(heads.look(pool, &request.kinds)).await?;
    let full = still_full(pool, heads, limits).await?;
    let mut found: Vec<String> = Vec::new();
    for (after, until) in [(last, None), ("", Some(last))] {
        let left = i64::from(limit).saturating_sub_unsigned(found.len() as u64);
        if left > 0 && until != Some("") {
            let Known { organizations, of, begin, dues } = heads.known(&request.kinds);
            let part = sqlx::query_scalar(AssertSqlSafe(sql.as_str()))
                .bind(after)
                .bind(until)
                .bind(&request.kinds)
                .bind(now.as_millis())
                .bind(left)
                .bind(organizations)
                .bind(of)
                .bind(begin.kinds)
                .bind(begin.floors)
                .bind(begin.ranks)
                .bind(begin.seqs)
                .bind(dues)
                .bind(&only)
                .bind(&full.0)
                .bind(&full.1);
            found.extend(part.fetch_all(pool).await?);
        }
    }
    Ok(found)
}

/// Those of the organizations $1 and kinds $2 that are at their limits $3 of running operations.
const STILL_FULL: &str = concat!(
    "SELECT f.organization, f.kind FROM unnest($1::text[], $2::text[], $3::bigint[]) AS f (organization, kind, most)
    WHERE ",
    counted!(of "f.organization", "running", "kind = f.kind"),
    " >= f.most"
);

/// Organizations and kinds from which a claim would get nothing, so that they take no share from others.
async fn still_full(
    pool: &Connections,
    heads: &Heads,
    limits: &RunningLimits,
) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let (mut organizations, mut kinds, mut most) = (vec![], vec![], vec![]);
    for (organization, kind) in heads.full() {
        let Some(limit) = limits.of(&organization, &kind) else { continue };
        organizations.push(organization);
        kinds.push(kind);
        most.push(i64::from(limit));
    }
    if kinds.is_empty() {
        return Ok((organizations, kinds));
    }
    let found: Vec<(String, String)> =
        sqlx::query_as(STILL_FULL).bind(organizations).bind(kinds).bind(most).fetch_all(pool).await?;
    Ok(found.into_iter().unzip())
}

/// In an organization that is paused, operations that become due stay as they are: nothing reads them. A loose scan
/// over operations that are due later, one seek for each organization and one for its first after $1; dead rows of the
/// organizations $2 are not walked past. Served by queue_due.
const NEXT_DUE: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT {first}
        UNION ALL
        SELECT {next} FROM organization AS o WHERE o.id IS NOT NULL
    )
    SELECT min(first.due_at) AS due_at FROM organization o CROSS JOIN LATERAL (
        SELECT due_at FROM queue WHERE organization_id = o.id AND due_at > $1 AND due_at IS NOT NULL
        ORDER BY due_at LIMIT 1) AS first
    WHERE NOT EXISTS (SELECT FROM pauses WHERE organization_id = o.id AND kind = '')";

/// The earliest due time after `after` over all organizations.
pub(super) async fn next_due(
    pool: &Connections,
    heads: &Heads,
    after: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let parts = [PARTS[2]];
    let sql = NEXT_DUE
        .replace("{first}", &next_organization("''", "$2", &parts))
        .replace("{next}", &next_organization("o.id", "$2", &parts));
    let known = heads.known(&[]).organizations;
    let row = sqlx::query(AssertSqlSafe(sql)).bind(after.as_millis()).bind(known).fetch_one(pool).await?;
    rows::time(&row, "due_at")
}
