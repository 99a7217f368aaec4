//! What is paused, and the organizations that can be paused.

use operations::Timestamp;
use rusqlite::Connection;

use super::rows;
use super::statement::query;
use crate::{Organization, Pausable, Paused, StoreError};

/// Pauses an organization that exists, or anything that concerns every organization; what is paused already keeps the
/// time of its pause.
const PAUSE: &str = "
    INSERT INTO pauses (organization_id, kind, paused_at)
    SELECT ?1, ?2, ?3 WHERE ?1 = '' OR EXISTS (SELECT 1 FROM organizations WHERE organization_id = ?1 AND deleted = 0)
    ON CONFLICT DO UPDATE SET paused_at = paused_at";

const RESUME: &str = "DELETE FROM pauses WHERE organization_id = ?1 AND kind = ?2";

/// Answers 1 when that was done, or 0: there is no such organization, or what should be resumed was not paused.
pub(super) fn set(connection: &Connection, now: Timestamp, what: &Pausable, pause: bool) -> Result<u64, StoreError> {
    let (organization, kind) = what.key();
    let query = query(if pause { PAUSE } else { RESUME }).bind(organization).bind(kind);
    let query = if pause { query.bind(now.as_millis()) } else { query };
    query.execute(connection)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Paused>, StoreError> {
    let sql = "SELECT organization_id, kind, paused_at FROM pauses ORDER BY organization_id, kind";
    let found = query(sql).fetch_all(connection)?;
    let paused = found.iter().map(|row| {
        let what = Pausable::of_key(row.try_get("organization_id")?, row.try_get("kind")?);
        Ok(Paused { what, since: Timestamp::from_millis(row.try_get("paused_at")?) })
    });
    paused.collect()
}

const ORGANIZATIONS: &str = "
    SELECT o.organization_id, o.created_at, o.deleted = 1 AS is_being_deleted, coalesce(sum(pending), 0) AS pending, coalesce(sum(running), 0) AS running
    FROM organizations o LEFT JOIN counters c ON c.organization_id = o.organization_id AND c.level = 20
    WHERE o.deleted < 2 GROUP BY 1, 2, 3 ORDER BY 1";

pub(super) fn organizations(connection: &Connection) -> Result<Vec<Organization>, StoreError> {
    let damaged = || StoreError::Unusable("a row of the table of organizations is damaged".to_owned());
    let found = query(ORGANIZATIONS).fetch_all(connection)?;
    let organizations = found.iter().map(|row| {
        Ok(Organization {
            name: row.try_get("organization_id")?,
            created_at: rows::time(row, "created_at")?.ok_or_else(damaged)?,
            pending: row.try_get::<i64>("pending")?.unsigned_abs(),
            running: row.try_get::<i64>("running")?.unsigned_abs(),
            is_being_deleted: row.try_get("is_being_deleted")?,
        })
    });
    organizations.collect()
}
