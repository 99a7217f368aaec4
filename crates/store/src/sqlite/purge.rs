//! Removing terminal operations whose time is over.

use operations::Timestamp;
use rusqlite::Connection;

use super::changes::NewLog;
use super::counters::{Changes, Counted};
use super::resources::Resources;
use super::statement::{Row, query};
use super::{details, history, rows};
use crate::StoreError;

/// Organizations, in order, that have something whose time is over: a loose scan over settled_by_purge, one seek each.
const DUE: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT min(organization_id) FROM settled INDEXED BY settled_by_purge WHERE purge_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(organization_id) FROM settled INDEXED BY settled_by_purge
            WHERE purge_at IS NOT NULL AND organization_id > organization.id)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization
    WHERE id IS NOT NULL AND EXISTS (
        SELECT 1 FROM settled INDEXED BY settled_by_purge WHERE organization_id = organization.id AND purge_at <= ?1)";

/// Those whose time was over first. Served by settled_by_purge.
const PURGE: &str = "
    DELETE FROM settled WHERE rowid IN (
        SELECT rowid FROM settled INDEXED BY settled_by_purge
        WHERE organization_id = ?1 AND purge_at <= ?2 ORDER BY purge_at LIMIT ?3 + 0)
    RETURNING id, seq, kind, status, project_id, resource_type, resource_id";

const NOTE_REMOVED: &str = "UPDATE organizations SET removed = removed + ?2 WHERE organization_id = ?1";

pub(super) fn due(connection: &Connection, now: Timestamp) -> Result<Vec<String>, StoreError> {
    query(DUE).bind(now.as_millis()).fetch_all(connection)?.iter().map(|row| row.try_get(0)).collect()
}

/// Removes up to `limit` operations of one organization; answers how many.
pub(super) fn purge(
    connection: &Connection,
    now: Timestamp,
    resources: &Resources,
    organization: &str,
    limit: u32,
) -> Result<u64, StoreError> {
    let query = query(PURGE).bind(organization).bind(now.as_millis()).bind(limit);
    let removed = query.fetch_all(connection)?;
    if removed.is_empty() {
        return Ok(0);
    }
    let mut log = NewLog::default();
    for row in &removed {
        log.add(organization, None, &rows::id(row)?);
    }
    log.write(connection, now)?;
    forget(connection, resources, organization, &removed)?;
    Ok(removed.len() as u64)
}

/// Takes out of the counts the operations whose rows were removed, and forgets their histories; answers their numbers.
/// The rows have seq, kind, status, project_id and the resource.
pub(super) fn forget(
    connection: &Connection,
    resources: &Resources,
    organization: &str,
    removed: &[Row],
) -> Result<Vec<i64>, StoreError> {
    let (mut changes, mut seqs) = (Changes::new(resources), Vec::with_capacity(removed.len()));
    for row in removed {
        let (seq, project_id, kind): (i64, String, String) =
            (row.try_get("seq")?, row.try_get("project_id")?, row.try_get("kind")?);
        seqs.push(seq);
        let resource = rows::resource(row)?;
        let resource = resource.as_ref();
        let counted = Counted { organization, project_id: &project_id, seq, kind: &kind, resource };
        changes.add(&counted, Some(rows::status(row)?), None);
    }
    changes.write(connection)?;
    history::forget(connection, organization, &seqs)?;
    details::forget(connection, organization, &seqs)?;
    note_removed(connection, organization, removed.len() as u64)?;
    Ok(seqs)
}

/// Counts operations whose numbers are no longer in use.
pub(super) fn note_removed(connection: &Connection, organization: &str, count: u64) -> Result<(), StoreError> {
    query(NOTE_REMOVED).bind(organization).bind(count.cast_signed()).execute(connection)?;
    Ok(())
}
