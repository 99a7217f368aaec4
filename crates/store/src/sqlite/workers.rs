//! Which worker runs which operations: see [`crate::workers`].

use async_trait::async_trait;
use operations::{Access, OperationId, Timestamp};
use rusqlite::Connection;

use super::{SqliteStore, single};
use crate::workers::{HeldLease, HeldLeases, MAX_HELD_LEASES, Workers};
use crate::{StoreError, rows::damaged};

/// Served by the primary keys of leases and active. Reads one more lease than it returns.
const HELD: &str = "
    SELECT l.worker, a.id, a.kind, a.project_id, a.attempts, a.started_at, l.expires_at,
        ?2 IS NULL OR a.project_id IN (SELECT value FROM json_each(?2))
    FROM leases l CROSS JOIN active a ON a.organization_id = ?1 AND a.seq = l.seq
    WHERE l.organization_id = ?1 ORDER BY l.seq LIMIT ?3 + 1";

#[async_trait]
impl Workers for SqliteStore {
    async fn held_leases(&self, access: &Access) -> Result<HeldLeases, StoreError> {
        let access = access.clone();
        self.readers.read(move |connection| read(connection, &access)).await
    }
}

fn read(connection: &Connection, access: &Access) -> Result<HeldLeases, StoreError> {
    let mut statement = connection.prepare_cached(HELD)?;
    let mut rows = statement.query((&access.organization, single::project_list(access), MAX_HELD_LEASES))?;
    let mut leases = HeldLeases { held: Vec::new(), is_complete: true };
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if seen > MAX_HELD_LEASES {
            leases.is_complete = false;
            break;
        }
        if !row.get::<_, bool>(7)? {
            continue;
        }
        leases.held.push(HeldLease {
            worker: row.get(0)?,
            operation: OperationId::from_bytes(row.get(1)?),
            kind: row.get(2)?,
            project_id: row.get(3)?,
            attempt: row.get(4)?,
            started_at: Timestamp::from_millis(row.get::<_, Option<i64>>(5)?.ok_or_else(|| damaged("started_at"))?),
            expires_at: Timestamp::from_millis(row.get(6)?),
        });
    }
    Ok(leases)
}
