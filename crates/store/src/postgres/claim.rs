//! Claiming: one organisation after the other, each in a transaction of its own; then priority, then age. And leases
//! that ran out.

use std::time::Duration;

use operations::{Event, Operation, Progress, State, Status, Timestamp};
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::counters::Changes;
use super::rows;
use crate::{ClaimRequest, Claimed, LeaseRef, LostLease, StoreError};

/// Makes claimable what has become due. Rows that another server is at are left to it. Served by active_due.
const PROMOTE: &str = "
    UPDATE active SET due_at = NULL WHERE organization_id = $1 AND seq IN (
        SELECT seq FROM active WHERE organization_id = $1 AND due_at <= $2 ORDER BY seq LIMIT 1000
        FOR UPDATE SKIP LOCKED)";

/// Organisations after $1 that have something to claim of the kinds $2, due now ($3) or ready: a loose scan over the
/// queue, one seek each. Served by active_ready and active_due.
const WAITING: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM active WHERE organization_id > $1 ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM active WHERE organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization
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

const START: &str = "
    UPDATE active a SET status = 2, due_at = NULL, started_at = $2, attempts = s.attempts, fence = s.fence
    FROM unnest($3::bigint[], $4::int[], $5::bigint[]) AS s (seq, attempts, fence)
    WHERE a.organization_id = $1 AND a.seq = s.seq";

const LEASE: &str = "
    INSERT INTO leases (organization_id, seq, fence, worker, expires_at)
    SELECT $1, seq, fence, $4, $5 FROM unnest($2::bigint[], $3::bigint[]) AS s (seq, fence)";

/// Up to `limit` organisations after `last`, then from the start: the one served last comes last.
pub(super) async fn waiting(
    pool: &PgPool,
    now: Timestamp,
    last: &str,
    kinds: &[String],
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let mut organizations: Vec<String> = Vec::new();
    for after in [last, ""] {
        let room = i64::from(limit) - i64::try_from(organizations.len()).unwrap_or(i64::MAX);
        let found: Vec<String> = sqlx::query_scalar(WAITING)
            .bind(after)
            .bind(kinds)
            .bind(now.as_millis())
            .bind(room)
            .fetch_all(pool)
            .await?;
        for organization in found {
            if !organizations.contains(&organization) {
                organizations.push(organization);
            }
        }
        if last.is_empty() || organizations.len() >= limit as usize {
            break;
        }
    }
    Ok(organizations)
}

/// Claims up to `limit` operations of one organisation.
pub(super) async fn claim(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    request: &ClaimRequest,
    limit: u32,
) -> Result<Vec<Claimed>, StoreError> {
    sqlx::query(PROMOTE).bind(organization).bind(now.as_millis()).execute(&mut *connection).await?;
    let mut candidates: Vec<(i16, i64)> = Vec::new();
    for kind in &request.kinds {
        let found = sqlx::query(FIRST_IN_LINE)
            .bind(organization)
            .bind(kind)
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await?;
        for row in &found {
            candidates.push((-row.try_get::<i16, _>("priority")?, row.try_get("seq")?));
        }
    }
    candidates.sort_unstable();
    candidates.truncate(limit as usize);
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    start(connection, now, organization, request, candidates.into_iter().map(|(_, seq)| seq).collect()).await
}

/// Starts an attempt of each of these rows, which are locked.
async fn start(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    request: &ClaimRequest,
    seqs: Vec<i64>,
) -> Result<Vec<Claimed>, StoreError> {
    let expires_at = now.after(request.lease);
    let columns = rows::ACTIVE_COLUMNS;
    let sql = format!(
        "SELECT {columns}, '' AS output, a.due_at, a.attempts, a.max_attempts, a.fence, a.cancel_requested,
             a.timeout_ms, a.input
         FROM active a WHERE a.organization_id = $1 AND a.seq = ANY ($2) ORDER BY array_position($2, a.seq)"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(seqs).fetch_all(&mut *connection).await?;
    let (mut claimed, mut seqs, mut attempts_of, mut fences) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut changes = Changes::default();
    for row in &found {
        // The index has only what may be claimed; the transition function still has the last word.
        let Ok(state) = rows::active_state(row)?.apply(Event::Claim { at: now }) else { continue };
        let Progress { attempts, fence, .. } = state.progress();
        let State::Running { started_at, .. } = state else { continue };
        let operation = Operation { status: Status::Running, started_at: Some(started_at), ..rows::operation(row)? };
        let seq: i64 = row.try_get("seq")?;
        changes.add(seq, &operation.project_id, &operation.kind, Status::Pending, -1);
        changes.add(seq, &operation.project_id, &operation.kind, Status::Running, 1);
        seqs.push(seq);
        attempts_of.push(i32::try_from(attempts).unwrap_or(i32::MAX));
        fences.push(fence.cast_signed());
        claimed.push(Claimed {
            lease: LeaseRef { organization: organization.to_owned(), id: operation.id, fence },
            operation,
            input: row.try_get("input")?,
            attempt: attempts,
            timeout: timeout(row)?,
            lease_expires_at: expires_at,
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
        .bind(&request.worker)
        .bind(expires_at.as_millis())
        .execute(&mut *connection)
        .await?;
    changes.write(connection, organization).await?;
    Ok(claimed)
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
