//! Claiming: one organisation after the other, each in a transaction of its own; then priority, then age. And leases
//! that ran out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use operations::{Event, Operation, Progress, Projects, State, Status, Timestamp};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::counters::Changes;
use super::rows;
use crate::{ClaimRequest, Claimed, LeaseRef, LostLease, StoreError};

/// What has become due; what another server is at is left to it. Served by active_due, which holds next to nothing: a
/// look at it costs no more than a page, while the planner, asked to update straight away, walks the queue.
const DUE: &str = "
    SELECT seq FROM active WHERE organization_id = $1 AND due_at <= $2 AND due_at IS NOT NULL
    ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED";

/// Makes it claimable.
const PROMOTE: &str = "UPDATE active SET due_at = NULL WHERE organization_id = $1 AND seq = ANY ($2)";

/// Organisations that have something to claim of the kinds $2, due now ($3) or ready, those after $1 first: a loose scan
/// over the queue, one seek each. Served by active_ready and active_due.
const WAITING: &str = "
    WITH RECURSIVE later (id) AS (
        (SELECT organization_id FROM active WHERE organization_id > $1 ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM active WHERE organization_id > later.id
            ORDER BY organization_id LIMIT 1)
        FROM later WHERE later.id IS NOT NULL
    ), earlier (id) AS (
        (SELECT organization_id FROM active WHERE organization_id <= $1 ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM active WHERE organization_id > earlier.id AND organization_id <= $1
            ORDER BY organization_id LIMIT 1)
        FROM earlier WHERE earlier.id IS NOT NULL
    )
    SELECT id FROM (SELECT id FROM later UNION ALL SELECT id FROM earlier) AS organization
    WHERE id IS NOT NULL AND (EXISTS (
        SELECT FROM active WHERE organization_id = organization.id AND kind = ANY ($2) AND status = 1 AND due_at IS NULL)
        OR EXISTS (SELECT FROM active WHERE organization_id = organization.id AND due_at <= $3))
    LIMIT $4";

/// The first in line of one organisation and kind; what another server is claiming is passed over. Served by
/// active_ready.
const FIRST_IN_LINE: &str = "
    SELECT seq, priority FROM active
    WHERE organization_id = $1 AND kind = $2 AND status = 1 AND due_at IS NULL
    ORDER BY priority DESC, seq LIMIT $3 FOR UPDATE SKIP LOCKED";

/// The same of the projects $4 alone; walks past what other projects have in line, unless these have nothing at all.
/// Served by active_ready and active_by_project.
const FIRST_IN_LINE_OF_PROJECTS: &str = "
    SELECT seq, priority FROM active
    WHERE organization_id = $1 AND kind = $2 AND status = 1 AND due_at IS NULL AND project_id = ANY ($4)
        AND EXISTS (SELECT FROM active WHERE organization_id = $1 AND project_id = ANY ($4) AND project_id <> ''
            AND status = 1 AND kind = $2)
    ORDER BY priority DESC, seq LIMIT $3 FOR UPDATE SKIP LOCKED";

/// The numbers are given twice, so that every plan goes by the primary key and none walks the queue.
const START: &str = "
    UPDATE active a SET status = 2, due_at = NULL, started_at = $2, attempts = s.attempts, fence = s.fence
    FROM unnest($3::bigint[], $4::int[], $5::bigint[]) AS s (seq, attempts, fence)
    WHERE a.organization_id = $1 AND a.seq = ANY ($3) AND a.seq = s.seq";

const LEASE: &str = "
    INSERT INTO leases (organization_id, seq, fence, worker, expires_at)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[])";

/// Up to `limit` organisations after `last`, then from the start: the one served last comes last.
pub(super) async fn waiting(
    pool: &PgPool,
    now: Timestamp,
    last: &str,
    kinds: &[String],
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let found = sqlx::query_scalar(WAITING).bind(last).bind(kinds).bind(now.as_millis()).bind(i64::from(limit));
    Ok(found.fetch_all(pool).await?)
}

/// Claims for several workers of one organisation; answers them in their order. Workers that can run the same are served
/// together, one after the other from the line.
pub(super) async fn claim(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    requests: &[&ClaimRequest],
) -> Result<Vec<Vec<Claimed>>, StoreError> {
    let due: Vec<i64> =
        sqlx::query_scalar(DUE).bind(organization).bind(now.as_millis()).fetch_all(&mut *connection).await?;
    if !due.is_empty() {
        sqlx::query(PROMOTE).bind(organization).bind(due).execute(&mut *connection).await?;
    }
    let mut answers: Vec<Vec<Claimed>> = requests.iter().map(|_| Vec::new()).collect();
    for ((projects, kinds), indexes) in alike(requests) {
        let limit: u32 = indexes.iter().map(|index| requests[*index].limit).fold(0, u32::saturating_add);
        let seqs = line(connection, organization, projects, kinds, limit).await?;
        if seqs.is_empty() {
            continue;
        }
        // Whose each place in line is.
        let places = indexes.iter().flat_map(|index| std::iter::repeat_n(*index, requests[*index].limit as usize));
        let chosen: Vec<(i64, usize)> = seqs.into_iter().zip(places).collect();
        start(connection, now, organization, requests, &chosen, &mut answers).await?;
    }
    Ok(answers)
}

/// The places of the requests that may have the same: of the same projects and kinds.
fn alike<'r>(requests: &[&'r ClaimRequest]) -> BTreeMap<(&'r Projects, &'r [String]), Vec<usize>> {
    let mut groups: BTreeMap<(&Projects, &[String]), Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        groups.entry((request.projects(), &request.kinds)).or_default().push(index);
    }
    groups
}

/// Locks the rows that are next, over several kinds.
async fn line(
    connection: &mut PgConnection,
    organization: &str,
    projects: &Projects,
    kinds: &[String],
    limit: u32,
) -> Result<Vec<i64>, StoreError> {
    let mut candidates: Vec<(i16, i64)> = Vec::new();
    for kind in kinds {
        let query = match projects {
            Projects::All => sqlx::query(FIRST_IN_LINE).bind(organization).bind(kind).bind(i64::from(limit)),
            Projects::Only(projects) => sqlx::query(FIRST_IN_LINE_OF_PROJECTS)
                .bind(organization)
                .bind(kind)
                .bind(i64::from(limit))
                .bind(projects.iter().map(String::as_str).collect::<Vec<_>>()),
        };
        let found = query.fetch_all(&mut *connection).await?;
        for row in &found {
            candidates.push((-row.try_get::<i16, _>("priority")?, row.try_get("seq")?));
        }
    }
    candidates.sort_unstable();
    candidates.truncate(limit as usize);
    Ok(candidates.into_iter().map(|(_, seq)| seq).collect())
}

/// Starts an attempt of each of these rows, which are locked, for the request named beside it.
async fn start(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    requests: &[&ClaimRequest],
    chosen: &[(i64, usize)],
    answers: &mut [Vec<Claimed>],
) -> Result<(), StoreError> {
    let columns = rows::ACTIVE_COLUMNS;
    let sql = format!(
        "SELECT {columns}, '' AS output, a.due_at, a.attempts, a.max_attempts, a.fence, a.cancel_requested,
             a.timeout_ms, a.input
         FROM active a WHERE a.organization_id = $1 AND a.seq = ANY ($2)"
    );
    let seqs: Vec<i64> = chosen.iter().map(|(seq, _)| *seq).collect();
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(seqs).fetch_all(&mut *connection).await?;
    let mut found: HashMap<i64, &PgRow> = HashMap::with_capacity(rows.len());
    for row in &rows {
        found.insert(row.try_get("seq")?, row);
    }
    let (mut seqs, mut attempts_of, mut fences) = (Vec::new(), Vec::new(), Vec::new());
    let (mut workers, mut expiries) = (Vec::new(), Vec::new());
    let mut changes = Changes::default();
    for (seq, index) in chosen {
        let Some(row) = found.get(seq).copied() else { continue };
        let (seq, request) = (*seq, requests[*index]);
        // The index has only what may be claimed; the transition function still has the last word.
        let Ok(state) = rows::active_state(row)?.apply(Event::Claim { at: now }) else { continue };
        let Progress { attempts, fence, .. } = state.progress();
        let State::Running { started_at, cancel_requested, .. } = state else { continue };
        let operation = Operation { status: Status::Running, started_at: Some(started_at), ..rows::operation(row)? };
        let expires_at = now.after(request.lease);
        changes.add(seq, &operation.project_id, &operation.kind, Status::Pending, -1);
        changes.add(seq, &operation.project_id, &operation.kind, Status::Running, 1);
        seqs.push(seq);
        attempts_of.push(i32::try_from(attempts).unwrap_or(i32::MAX));
        fences.push(fence.cast_signed());
        workers.push(request.worker.clone());
        expiries.push(expires_at.as_millis());
        answers[*index].push(Claimed {
            lease: LeaseRef { organization: organization.to_owned(), id: operation.id, fence, reach: None },
            operation,
            input: row.try_get("input")?,
            attempt: attempts,
            timeout: timeout(row)?,
            lease_expires_at: expires_at,
            cancel_requested,
        });
    }
    sqlx::query(START)
        .bind(organization)
        .bind(now.as_millis())
        .bind(&seqs)
        .bind(attempts_of)
        .bind(&fences)
        .execute(&mut *connection)
        .await?;
    sqlx::query(LEASE)
        .bind(organization)
        .bind(&seqs)
        .bind(&fences)
        .bind(workers)
        .bind(expiries)
        .execute(&mut *connection)
        .await?;
    changes.write(connection, organization).await
}

fn timeout(row: &PgRow) -> Result<Option<Duration>, StoreError> {
    let millis: Option<i64> = row.try_get("timeout_ms")?;
    Ok(millis.map(|millis| Duration::from_millis(millis.unsigned_abs())))
}

/// The table has only what runs now, so that it is read whole: an index on expiry would make every heartbeat dearer.
const LOST: &str = "
    SELECT l.organization_id, l.fence, a.id, a.attempts FROM leases l
    JOIN active a ON a.organization_id = l.organization_id AND a.seq = l.seq
    WHERE CASE WHEN $1::text IS NULL THEN l.expires_at <= $2 ELSE l.worker = $1 END
    LIMIT $3";

pub(super) async fn lost_leases(
    pool: &PgPool,
    worker: Option<&str>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<LostLease>, StoreError> {
    let found = sqlx::query(LOST).bind(worker).bind(now.as_millis()).bind(i64::from(limit)).fetch_all(pool).await?;
    found
        .iter()
        .map(|row| {
            let lease = LeaseRef {
                organization: row.try_get("organization_id")?,
                id: rows::id(row)?,
                fence: row.try_get::<i64, _>("fence")?.unsigned_abs(),
                reach: None,
            };
            Ok(LostLease { lease, attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs() })
        })
        .collect()
}

/// The earliest due time over all organisations: each one's first, by active_due.
pub(super) async fn next_due(pool: &PgPool) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query("SELECT min(due_at) AS due_at FROM active WHERE due_at IS NOT NULL").fetch_one(pool).await?;
    rows::time(&row, "due_at")
}
