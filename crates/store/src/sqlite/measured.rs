//! The state of the store: see [`crate::measured`].

use async_trait::async_trait;
use meters::Meters;
use operations::Timestamp;
use rusqlite::Connection;

use super::SqliteStore;
use crate::StoreError;
use crate::measured::{KindStanding, LOOKED_AT_FOR_OLDEST, Measured, Standings, since};

/// Sums over the coarsest counters, by their primary key; and, for each organization and kind with something pending, a
/// few entries of active_by_kind, which has the status.
const KINDS: &str = "
    SELECT n.kind, sum(n.pending), sum(n.running), min(CASE WHEN n.pending > 0 THEN (
        SELECT created_at FROM (
            SELECT a.created_at, a.due_at FROM active a INDEXED BY active_by_kind
            WHERE a.organization_id = n.organization_id AND a.kind = n.kind AND a.status = 1
            ORDER BY a.seq LIMIT ?2 + 0)
        WHERE due_at IS NULL OR due_at <= ?1 LIMIT 1) END)
    FROM (
        SELECT c.organization_id, c.kind, sum(c.pending) AS pending, sum(c.running) AS running
        FROM organizations o CROSS JOIN counters c ON c.organization_id = o.organization_id AND c.level = 20
        GROUP BY 1, 2 HAVING sum(c.pending) + sum(c.running) > 0) AS n
    GROUP BY 1 ORDER BY 1";

/// A loose scan over changes_by_organization, one seek each; and two for each organization and consumer.
const LAGS: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT min(organization_id) FROM changes
        UNION ALL
        SELECT (SELECT min(organization_id) FROM changes WHERE organization_id > organization.id)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT r.reader, min((
        SELECT c.at FROM changes c INDEXED BY changes_by_organization
        WHERE c.organization_id = o.id AND c.id >= coalesce(m.id, r.id)
            AND (c.id > coalesce(m.id, r.id) OR length(c.ids) / 16 > coalesce(m.seen, 0))
        ORDER BY c.id LIMIT 1))
    FROM organization o CROSS JOIN change_readers r
    LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.id
    GROUP BY 1 ORDER BY 1";

/// Served by schedules_due.
const DUE: &str = "SELECT count(*), min(fire_at) FROM schedules WHERE fire_at <= ?1";

#[async_trait]
impl Measured for SqliteStore {
    fn meters(&self) -> Meters {
        self.meters.clone()
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        let now = self.clocks.now();
        self.readers.read(move |connection| read(connection, now)).await
    }
}

fn read(connection: &Connection, now: Timestamp) -> Result<Standings, StoreError> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    let mut kinds = connection.prepare_cached(KINDS)?;
    let kinds = kinds.query_map((now.as_millis(), LOOKED_AT_FOR_OLDEST), |row| {
        Ok(KindStanding {
            kind: row.get(0)?,
            pending: row.get::<_, i64>(1)?.unsigned_abs(),
            running: row.get::<_, i64>(2)?.unsigned_abs(),
            oldest: time(row.get(3)?),
        })
    })?;
    let kinds = kinds.collect::<Result<_, _>>()?;
    let mut lags = connection.prepare_cached(LAGS)?;
    let lags = lags.query_map((), |row| Ok((row.get(0)?, since(now, time(row.get(1)?)))))?;
    let lags = lags.collect::<Result<_, _>>()?;
    let (due, first): (i64, Option<i64>) =
        connection.prepare_cached(DUE)?.query_row((now.as_millis(),), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Standings { kinds, lags, schedules_due: due.unsigned_abs(), schedules_overdue: since(now, time(first)) })
}
