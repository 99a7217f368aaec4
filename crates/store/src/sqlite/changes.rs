//! The feed of changes: appended in the transaction of the rows that changed. There is one writer, so that the order of
//! the keys is that of the commits.

use rusqlite::Connection;
use std::collections::BTreeMap;

use operations::{OperationId, Status, Timestamp};
use serde_json::json;

use super::rows;
use super::script::Script;
use super::statement::{Row, query};
use crate::StoreError;
use crate::changes::{Changes, Position, batch_of_changes};

/// Rows of the feed that one read looks at, the one before included, which may have been seen whole; each has one
/// operation at least.
const ROWS: u32 = 256;

const APPEND: &str = "
    INSERT INTO changes (organization_id, at, status, ids)
    SELECT value->>0, ?, value->>1, unhex(value->>2) FROM json_each(?)";

/// Served by changes_by_organization. There is always a row, with what concerns the whole.
const READ: &str = "
    SELECT ?2 > (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'changes') OR coalesce((
            SELECT (?2, ?3) < (f.id, f.entries) FROM change_floors f WHERE f.organization_id = ?1), 0) AS is_unknown,
        c.*
    FROM (SELECT 1) AS one LEFT JOIN (
        SELECT id, at, status, ids FROM changes INDEXED BY changes_by_organization
        WHERE organization_id = ?1 AND id >= ?2 ORDER BY id LIMIT ?4 + 0) AS c ON 1";

/// What operations became, gathered in memory and written once per statement.
#[derive(Default)]
pub(super) struct Told(BTreeMap<(String, i64), String>);

impl Told {
    /// An operation became `status`; `None`: it was removed.
    pub(super) fn add(&mut self, organization: &str, status: Option<Status>, id: &OperationId) {
        let status = status.map_or(0, |status| status.number().into());
        let ids = self.0.entry((organization.to_owned(), status)).or_default();
        ids.push_str(&format!("{:032x}", u128::from_be_bytes(*id.as_bytes())));
    }

    /// Has it appended to the feed.
    pub(super) fn add_to(self, script: &mut Script, at: Timestamp) {
        if self.0.is_empty() {
            return;
        }
        let rows: Vec<_> =
            self.0.into_iter().map(|((organization, status), ids)| json!([organization, status, ids])).collect();
        script.add(APPEND).bind(at.as_millis()).bind(serde_json::Value::Array(rows).to_string());
    }
}

/// The end of every feed.
pub(super) fn end(connection: &Connection) -> Result<Position, StoreError> {
    let last: i64 = query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'")
        .fetch_one(connection)?
        .try_get(0)?;
    Ok(Position { row: last.unsigned_abs() + 1, part: Position::SQLITE, seen: 0 })
}

pub(super) fn read(
    connection: &Connection,
    organization: &str,
    after: Position,
    limit: u32,
) -> Result<Changes, StoreError> {
    let Ok(row) = i64::try_from(after.row) else { return Err(StoreError::PositionUnknown) };
    if after.part != Position::SQLITE {
        return Err(StoreError::PositionUnknown);
    }
    let found = query(READ)
        .bind(organization)
        .bind(row)
        .bind(after.seen)
        .bind(limit.saturating_add(1).min(ROWS))
        .fetch_all(connection)?;
    let mut rows_found = Vec::with_capacity(found.len());
    for row in &found {
        if row.try_get("is_unknown")? {
            return Err(StoreError::PositionUnknown);
        }
        let Some(id) = row.try_get::<Option<i64>>("id")? else { continue };
        let ids: Vec<u8> = row.try_get("ids")?;
        let ids = ids.as_chunks::<16>().0.iter().map(|id| OperationId::from_bytes(*id)).collect();
        let at = Timestamp::from_millis(row.try_get("at")?);
        rows_found.push((id.unsigned_abs(), Position::SQLITE, at, became(row)?, ids));
    }
    Ok(batch_of_changes(after, limit, rows_found))
}

/// What the operations of a row became.
fn became(row: &Row) -> Result<Option<Status>, StoreError> {
    if row.try_get::<i64>("status")? == 0 { Ok(None) } else { rows::status(row).map(Some) }
}
