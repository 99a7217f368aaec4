//! Deleting an organization: see [`crate::deletion`].

use operations::Timestamp;
use rusqlite::Connection;

use super::resources::Resources;
use super::statement::query;
use super::{audit, purge, sessions};
use crate::deletion::Deletion;
use crate::evidence::REMOVAL_LASTS;
use crate::{Contents, StoreError};

const CONTENTS: &str = "
    SELECT o.deleted = 1 AS is_being_deleted,
        (SELECT coalesce(sum(pending + running), 0) FROM counters c WHERE c.organization_id = ?1 AND level = 20) AS unfinished,
        (SELECT coalesce(sum(completed + failed), 0) FROM counters c WHERE c.organization_id = ?1 AND level = 20) AS ended,
        (SELECT count(*) FROM tokens t WHERE t.organization_id = ?1) AS tokens,
        (SELECT count(*) FROM evidence e WHERE e.organization_id = ?1) AS evidence,
        (SELECT coalesce(sum(size), 0) FROM evidence e WHERE e.organization_id = ?1) AS evidence_bytes
    FROM organizations o WHERE o.organization_id = ?1 AND o.deleted < 2";

const KINDS: &str = "SELECT DISTINCT kind FROM counters
    WHERE level = 20 AND (?1 IS NULL OR organization_id = ?1) ORDER BY kind";

/// Operations of either table, with what they are counted under. Served by active_by_seq and settled_by_status.
const REMOVE_OPERATIONS: [&str; 2] = [
    "DELETE FROM active WHERE rowid IN (SELECT rowid FROM active WHERE organization_id = ?1 LIMIT ?2 + 0)
        RETURNING seq, kind, status, project_id, resource_type, resource_id",
    "DELETE FROM settled WHERE rowid IN (SELECT rowid FROM settled WHERE organization_id = ?1 LIMIT ?2 + 0)
        RETURNING seq, kind, status, project_id, resource_type, resource_id",
];

const REMOVE_LEASES: &str =
    "DELETE FROM leases WHERE organization_id = ?1 AND seq IN (SELECT value FROM json_each(?2))";

/// The rest, one table after the other. Counters that are all zero are not needed.
const REMOVE: &[&str] = &[
    "DELETE FROM schedules WHERE organization_id = ?1 AND name IN (
        SELECT name FROM schedules WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM concurrency_keys WHERE organization_id = ?1 AND key IN (
        SELECT key FROM concurrency_keys WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE organization_id = ?1 ORDER BY id LIMIT ?2 + 0)",
    "DELETE FROM idempotency_keys WHERE organization_id = ?1 AND key IN (
        SELECT key FROM idempotency_keys WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM evidence WHERE organization_id = ?1 AND digest IN (
        SELECT digest FROM evidence WHERE organization_id = ?1 AND state <> 3 LIMIT ?2 + 0)",
    "DELETE FROM project_counters WHERE organization_id = ?1 AND (project_id, level, bucket, kind) IN (
        SELECT project_id, level, bucket, kind FROM project_counters
        WHERE organization_id = ?1 AND pending = 0 AND running = 0 AND completed = 0 AND failed = 0 LIMIT ?2 + 0)",
    "DELETE FROM counters WHERE organization_id = ?1 AND (level, bucket, kind) IN (
        SELECT level, bucket, kind FROM counters
        WHERE organization_id = ?1 AND pending = 0 AND running = 0 AND completed = 0 AND failed = 0 LIMIT ?2 + 0)",
    "DELETE FROM resource_counters WHERE (resource, level, bucket, kind, project_id) IN (
        SELECT resource, level, bucket, kind, project_id FROM resource_counters
        WHERE resource IN (SELECT resource FROM counted_resources WHERE organization_id = ?1)
            AND pending = 0 AND running = 0 AND completed = 0 AND failed = 0 LIMIT ?2 + 0)",
    "DELETE FROM counted_resources WHERE resource IN (
        SELECT resource FROM counted_resources WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM views WHERE organization_id = ?1 AND id IN (
        SELECT id FROM views WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM statistics WHERE organization_id = ?1 AND (step, project_id, start, kind) IN (
        SELECT step, project_id, start, kind FROM statistics WHERE organization_id = ?1 LIMIT ?2 + 0)",
    "DELETE FROM bucket_times WHERE organization_id = ?1 AND (level, bucket) IN (
        SELECT level, bucket FROM bucket_times WHERE organization_id = ?1 LIMIT ?2 + 0)",
];

/// Tables with few rows, and rows that were written while the parts were removed.
const END: &[&str] = &[
    "DELETE FROM schedules WHERE organization_id = ?1",
    sessions::REMOVE,
    "DELETE FROM bulk_progress WHERE organization_id = ?1",
    "DELETE FROM concurrency_keys WHERE organization_id = ?1",
    "DELETE FROM organization_limits WHERE organization_id = ?1",
    "DELETE FROM tokens WHERE organization_id = ?1",
    "DELETE FROM pauses WHERE organization_id = ?1",
    "DELETE FROM evidence WHERE organization_id = ?1",
    "DELETE FROM evidence_totals WHERE organization_id = ?1",
    "DELETE FROM views WHERE organization_id = ?1",
    "DELETE FROM waivers WHERE organization_id = ?1",
    "DELETE FROM statistics WHERE organization_id = ?1",
    "DELETE FROM statistics_origins WHERE organization_id = ?1",
    "DELETE FROM change_marks WHERE organization_id = ?1",
    "DELETE FROM changes WHERE organization_id = ?1",
];

/// The reply to a part of a deletion that has not begun, in place of the number of rows.
pub(super) const NOT_BEGUN: u64 = u64::MAX;

/// Removals of evidence that others have begun. Whoever ends the deletion waits for them.
const IS_REMOVING: &str =
    "SELECT count(*) FROM evidence WHERE organization_id = ?1 AND state = 3 AND removing_since >= ?2";

/// A reader that continues from a cursor has missed something.
const FLOOR: &str = "
    INSERT INTO change_floors (organization_id, id, entries)
    SELECT ?1, coalesce(max(seq), 0) + 1, 0 FROM sqlite_sequence WHERE name = 'changes'
    ON CONFLICT DO UPDATE SET id = excluded.id, entries = 0";

pub(super) fn contents(connection: &Connection, organization: &str) -> Result<Option<Contents>, StoreError> {
    let Some(row) = query(CONTENTS).bind(organization).fetch_optional(connection)? else { return Ok(None) };
    let number = |column: &str| row.try_get::<i64>(column).map(i64::unsigned_abs);
    Ok(Some(Contents {
        is_being_deleted: row.try_get("is_being_deleted")?,
        unfinished: number("unfinished")?,
        ended: number("ended")?,
        tokens: number("tokens")?,
        evidence: number("evidence")?,
        evidence_bytes: number("evidence_bytes")?,
    }))
}

pub(super) fn kinds(connection: &Connection, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
    query(KINDS).bind(organization).fetch_all(connection)?.iter().map(|row| row.try_get(0)).collect()
}

/// Does one step; answers what [`crate::Store`] says of it.
pub(super) fn step(
    connection: &Connection,
    now: Timestamp,
    resources: &mut Resources,
    organization: &str,
    step: Deletion,
) -> Result<u64, StoreError> {
    match step {
        Deletion::Begin(unfinished_too) => begin(connection, now, organization, unfinished_too),
        Deletion::Part(limit) => Ok(part(connection, resources, organization, limit)?.unwrap_or(NOT_BEGUN)),
        Deletion::End => {
            let is_ended = end(connection, now, organization)?;
            if is_ended {
                resources.forget(organization);
            }
            Ok(is_ended.into())
        }
    }
}

fn begin(connection: &Connection, now: Timestamp, organization: &str, unfinished_too: bool) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(sum(pending + running), 0) FROM counters WHERE organization_id = ?1 AND level = 20";
    let unfinished: i64 = query(sql).bind(organization).fetch_one(connection)?.try_get(0)?;
    if unfinished > 0 && !unfinished_too {
        return Ok(unfinished.unsigned_abs());
    }
    let sql = "UPDATE organizations SET deleted = 1 WHERE organization_id = ?1 AND deleted < 2";
    if query(sql).bind(organization).execute(connection)? > 0 {
        for sql in [
            "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?2) WHERE organization_id = ?1",
            "UPDATE sessions SET revoked_at = coalesce(revoked_at, ?2) WHERE organization_id = ?1",
            "INSERT INTO pauses (organization_id, kind, paused_at) VALUES (?1, '', ?2) ON CONFLICT DO NOTHING",
        ] {
            query(sql).bind(organization).bind(now.as_millis()).execute(connection)?;
        }
    }
    Ok(unfinished.unsigned_abs())
}

fn is_begun(connection: &Connection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM organizations WHERE organization_id = ?1 AND deleted = 1";
    Ok(query(sql).bind(organization).fetch_one(connection)?.try_get::<i64>(0)? > 0)
}

fn part(
    connection: &Connection,
    resources: &Resources,
    organization: &str,
    limit: u32,
) -> Result<Option<u64>, StoreError> {
    if !is_begun(connection, organization)? {
        return Ok(None);
    }
    for sql in REMOVE_OPERATIONS {
        let removed = query(sql).bind(organization).bind(limit).fetch_all(connection)?;
        if removed.is_empty() {
            continue;
        }
        let seqs = purge::forget(connection, resources, organization, &removed)?;
        let listed = serde_json::json!(seqs).to_string();
        query(REMOVE_LEASES).bind(organization).bind(listed).execute(connection)?;
        return Ok(Some(removed.len() as u64));
    }
    for sql in REMOVE {
        let removed = query(*sql).bind(organization).bind(limit).execute(connection)?;
        if removed > 0 {
            return Ok(Some(removed));
        }
    }
    Ok(Some(0))
}

fn end(connection: &Connection, now: Timestamp, organization: &str) -> Result<bool, StoreError> {
    if !is_begun(connection, organization)? {
        return Ok(true);
    }
    let resumable = now.before(REMOVAL_LASTS).as_millis();
    if query(IS_REMOVING).bind(organization).bind(resumable).fetch_one(connection)?.try_get::<i64>(0)? > 0 {
        return Ok(false);
    }
    let sql = "SELECT (SELECT count(*) FROM active WHERE organization_id = ?1)
        + (SELECT count(*) FROM settled WHERE organization_id = ?1)";
    if query(sql).bind(organization).fetch_one(connection)?.try_get::<i64>(0)? > 0 {
        return Err(StoreError::Unavailable("the organization still has operations".to_owned()));
    }
    for sql in END
        .iter()
        .copied()
        .chain(audit::REMOVE)
        .chain([FLOOR, "UPDATE organizations SET deleted = 2 WHERE organization_id = ?1"])
    {
        query(sql).bind(organization).execute(connection)?;
    }
    Ok(true)
}
