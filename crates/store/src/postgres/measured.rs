//! Measurements of the store's contents: see [`crate::measured`].

use async_trait::async_trait;
use meters::Meters;
use operations::Timestamp;
use sqlx::Row;

use super::{PostgresStore, rows};
use crate::Store;
use crate::StoreError;
use crate::measured::{KindStanding, LOOKED_AT_FOR_OLDEST, Measured, Standings, since};

/// Base and deltas from the fold's horizon on, in one snapshot; and of each organization and kind with something
/// pending a few entries of the queue's indexes.
const KINDS: &str = include_str!("sql/standings.sql");

/// A loose scan over the primary key of changes, one seek each; and two for each organization and consumer. Changes
/// that an older transaction keeps consumers from reading count: consumers are behind with them.
const LAGS: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM changes ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM changes WHERE organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT r.reader, min(c.at) AS at
    FROM change_readers r LEFT JOIN organization o ON o.id IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT coalesce(m.xid, r.xid) AS xid, coalesce(m.n, 0) AS n, coalesce(m.seen, 0) AS seen
        FROM (SELECT) AS one LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.id OFFSET 0
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT c.at FROM changes c
        WHERE c.organization_id = o.id AND (c.xid, c.n) >= (p.xid, p.n)
            AND ((c.xid, c.n) > (p.xid, p.n) OR cardinality(c.ids) > p.seen)
        ORDER BY c.xid, c.n LIMIT 1) AS c ON true
    GROUP BY 1 ORDER BY 1";

/// Served by schedules_due.
const DUE: &str = "SELECT count(*) AS due, min(fire_at) AS fire_at FROM schedules WHERE fire_at <= $1";

#[async_trait]
impl Measured for PostgresStore {
    fn meters(&self) -> Meters {
        self.meters.clone()
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        self.read_standings().await.map_err(StoreError::or_unavailable)
    }
}

impl PostgresStore {
    async fn read_standings(&self) -> Result<Standings, StoreError> {
        let now: Timestamp = self.now();
        let found = sqlx::query(KINDS).bind(now.as_millis()).bind(i64::from(LOOKED_AT_FOR_OLDEST));
        let found = found.fetch_all(&self.pool).await?;
        let kinds = found.iter().map(|row| {
            Ok(KindStanding {
                kind: row.try_get("kind")?,
                pending: row.try_get::<i64, _>("pending")?.unsigned_abs(),
                running: row.try_get::<i64, _>("running")?.unsigned_abs(),
                oldest: rows::time(row, "oldest")?,
            })
        });
        let kinds = kinds.collect::<Result<_, StoreError>>()?;
        let lags = sqlx::query(LAGS).fetch_all(&self.pool).await?;
        let lags = lags.iter().map(|row| Ok((row.try_get("reader")?, since(now, rows::time(row, "at")?))));
        let lags = lags.collect::<Result<_, StoreError>>()?;
        let due = sqlx::query(DUE).bind(now.as_millis()).fetch_one(&self.pool).await?;
        Ok(Standings {
            kinds,
            lags,
            schedules_due: due.try_get::<i64, _>("due")?.unsigned_abs(),
            schedules_overdue: since(now, rows::time(&due, "fire_at")?),
        })
    }
}
