//! Which worker runs which operations: see [`crate::workers`].

use async_trait::async_trait;
use operations::{Access, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{PostgresStore, list, rows};
use crate::workers::{HeldLease, HeldLeases, MAX_HELD_LEASES, Workers};
use crate::{StoreError, rows::damaged};

/// Served by the primary keys of leases and active. Reads one lease more than it returns.
const HELD: &str = "
    SELECT l.worker, l.expires_at, a.*
    FROM (SELECT seq, worker, expires_at FROM leases WHERE organization_id = $1 ORDER BY seq LIMIT $3::bigint + 1) AS l
        CROSS JOIN LATERAL (
            SELECT id, kind, project_id, attempts, started_at, $2::text[] IS NULL OR project_id = ANY ($2) AS may_be_seen
            FROM active WHERE organization_id = $1 AND seq = l.seq OFFSET 0) AS a
    ORDER BY l.seq";

#[async_trait]
impl Workers for PostgresStore {
    async fn held_leases(&self, access: &Access) -> Result<HeldLeases, StoreError> {
        let held = sqlx::query(HELD).bind(&access.organization).bind(list::projects(access));
        let held = held.bind(i64::from(MAX_HELD_LEASES)).fetch_all(&self.pool).await;
        let held = held.map_err(|error| StoreError::from(error).or_unavailable())?;
        let most = MAX_HELD_LEASES as usize;
        let mut leases = HeldLeases { held: Vec::new(), is_complete: held.len() <= most };
        for row in held.iter().take(most) {
            if row.try_get("may_be_seen")? {
                leases.held.push(lease(row)?);
            }
        }
        Ok(leases)
    }
}

fn lease(row: &PgRow) -> Result<HeldLease, StoreError> {
    let attempt: i32 = row.try_get("attempts")?;
    Ok(HeldLease {
        worker: row.try_get("worker")?,
        operation: rows::id(row)?,
        kind: row.try_get("kind")?,
        project_id: row.try_get("project_id")?,
        attempt: u32::try_from(attempt).map_err(|_| damaged("attempts"))?,
        started_at: rows::time(row, "started_at")?.ok_or_else(|| damaged("started_at"))?,
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
    })
}
