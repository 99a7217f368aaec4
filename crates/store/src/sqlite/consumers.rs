//! What the change log keeps: for the servers' own consumers, what they have not read; for others, changes of some
//! time.

use operations::Timestamp;
use rusqlite::Connection;
use serde_json::json;

use super::statement::query;
use crate::StoreError;
use crate::batch::ChangeLogWrite;
use crate::changes::Position;

/// Those of the oldest rows that may be forgotten: older than ?1, and read by every consumer or older than ?3. Read by
/// the primary key, which is in the order of age.
const FORGETTABLE: &str = "
    SELECT c.id, c.organization_id, length(c.ids) / 16 AS entries
    FROM (SELECT id, organization_id, at, ids FROM changes ORDER BY id LIMIT ?2 + 0) AS c
    WHERE c.at < ?1 AND (c.at < ?3 OR NOT EXISTS (
        SELECT 1 FROM change_readers r LEFT JOIN change_marks m
            ON m.reader = r.reader AND m.organization_id = c.organization_id
        WHERE c.id > coalesce(m.id, r.id) OR c.id = coalesce(m.id, r.id) AND length(c.ids) / 16 > coalesce(m.seen, 0)))";

const NOTE_FLOORS: &str = "
    INSERT INTO change_floors (organization_id, id, entries)
    SELECT value->>1, max(value->>0), value->>2 FROM json_each(?1) GROUP BY value->>1 HAVING true
    ON CONFLICT DO UPDATE SET id = excluded.id, entries = excluded.entries";

const FORGET: &str = "DELETE FROM changes WHERE id IN (SELECT value->>0 FROM json_each(?1))";

const BEGIN: &str = "
    INSERT INTO change_readers (reader, id)
    VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'changes'))
    ON CONFLICT DO NOTHING";

const END: &str = "DELETE FROM change_readers WHERE reader = ?1";
const FORGET_MARKS: &str = "DELETE FROM change_marks WHERE reader = ?1";

/// A lease that would last for more than twice the requested time, from ?3 until ?4, was taken before the clock
/// was set back: it counts as free.
const LEASE: &str = "
    UPDATE change_readers SET holder = ?2, held_until = ?4
    WHERE reader = ?1 AND (holder = ?2 OR held_until <= ?3 OR held_until > 2 * ?4 - ?3)";

const MARK: &str = "
    INSERT INTO change_marks (reader, organization_id, id, seen) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET id = excluded.id, seen = excluded.seen WHERE (id, seen) < (excluded.id, excluded.seen)";

/// A loose scan over changes_by_organization, one seek each; and two for each organization.
const UNCOMMITTED: &str = "
    WITH RECURSIVE organization (id) AS (
        SELECT min(organization_id) FROM changes WHERE organization_id > ?2
        UNION ALL
        SELECT (SELECT min(organization_id) FROM changes WHERE organization_id > organization.id)
        FROM organization WHERE organization.id IS NOT NULL
    ), place (organization_id, id, seen) AS (
        SELECT o.id, coalesce(m.id, r.id), coalesce(m.seen, 0)
        FROM organization o CROSS JOIN change_readers r
        LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.id
        WHERE o.id IS NOT NULL AND r.reader = ?1
    )
    SELECT organization_id, id, seen FROM place p WHERE EXISTS (
        SELECT 1 FROM changes c INDEXED BY changes_by_organization
        WHERE c.organization_id = p.organization_id AND c.id >= p.id AND (c.id > p.id OR length(c.ids) / 16 > p.seen))
    LIMIT ?3 + 0";

/// Answers how many rows it concerned.
pub(super) fn write(connection: &Connection, now: Timestamp, write: &ChangeLogWrite) -> Result<u64, StoreError> {
    let query = match write {
        ChangeLogWrite::Forget(before, uncommitted_before, limit) => {
            return forget(connection, *before, *uncommitted_before, *limit);
        }
        ChangeLogWrite::Register(consumer) => query(BEGIN).bind(consumer),
        ChangeLogWrite::Unregister(consumer) => {
            query(FORGET_MARKS).bind(consumer).execute(connection)?;
            query(END).bind(consumer)
        }
        ChangeLogWrite::Lease(consumer, process, until) => {
            query(LEASE).bind(consumer).bind(process).bind(now.as_millis()).bind(until.as_millis())
        }
        ChangeLogWrite::CommitOffset(consumer, organization, Position { row, seen, .. }) => {
            query(MARK).bind(consumer).bind(organization).bind(row.cast_signed()).bind(seen)
        }
        ChangeLogWrite::RenewPositionKey => query("UPDATE secrets SET value = randomblob(32) WHERE name = 'feed'"),
    };
    query.execute(connection)
}

fn forget(
    connection: &Connection,
    before: Timestamp,
    uncommitted_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let forgettable = query(FORGETTABLE).bind(before.as_millis()).bind(limit).bind(uncommitted_before.as_millis());
    let found = forgettable.fetch_all(connection)?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        let (id, organization): (i64, String) = (row.try_get("id")?, row.try_get("organization_id")?);
        rows.push(json!([id, organization, row.try_get::<i64>("entries")?]));
    }
    if rows.is_empty() {
        return Ok(0);
    }
    let rows = serde_json::Value::Array(rows).to_string();
    query(NOTE_FLOORS).bind(&rows).execute(connection)?;
    query(FORGET).bind(&rows).execute(connection)
}

/// Organizations with changes that a consumer has not read, and its offset there.
pub(super) fn uncommitted(
    connection: &Connection,
    consumer: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, Position)>, StoreError> {
    let found = query(UNCOMMITTED).bind(consumer).bind(after).bind(limit).fetch_all(connection)?;
    let place = found.iter().map(|row| {
        let at = row.try_get::<i64>("id")?.unsigned_abs();
        let position = Position { row: at, part: Position::SQLITE, seen: row.try_get("seen")? };
        Ok((row.try_get("organization_id")?, position))
    });
    place.collect()
}
