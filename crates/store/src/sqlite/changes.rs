//! The change log: appended to in the transaction of the rows that changed. There is one writer, so the order of the
//! keys is that of the commits.

use rusqlite::Connection;
use std::collections::BTreeMap;
use std::iter;

use operations::{OperationId, Status, Timestamp};

use super::rows;
use super::statement::{Row, query};
use crate::StoreError;
use crate::changes::{ChangeRow, Changes, Position, batch_of_changes, bytes_of_ids};

/// Rows of the change log that one read examines, including the one before, which may have been read completely; each
/// has at least one operation.
const ROWS: u32 = 256;

const APPEND: &str = "INSERT INTO changes (organization_id, at, status, is_creation, ids) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Served by changes_by_organization and the primary key. There is always a row, with the columns that concern the
/// whole. Rows are read until those before have ?5 bytes of ids: creations in bulk put thousands into one row.
const READ: &str = "
    SELECT ?2 > (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'changes') OR coalesce((
            SELECT (?2, ?3) < (f.id, f.entries) FROM change_floors f WHERE f.organization_id = ?1), 0) AS is_unknown,
        c.*
    FROM (SELECT 1) AS one LEFT JOIN (
        SELECT id, at, status, is_creation, ids FROM (
            SELECT id, sum(length(ids)) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                AS bytes_before
            FROM changes INDEXED BY changes_by_organization
            WHERE organization_id = ?1 AND id >= ?2 ORDER BY id LIMIT ?4 + 0) AS r
        CROSS JOIN changes USING (id)
        WHERE bytes_before IS NULL OR bytes_before < ?5 + 0
        ORDER BY id) AS c ON 1";

/// New entries of the change log, gathered in memory and written once per statement: by organization, and by the number
/// of the status (0: removed), the ids of operations; those that were created come before the others.
#[derive(Default)]
pub(super) struct NewLog(BTreeMap<String, OrganizationLog>);

#[derive(Default)]
struct OrganizationLog {
    created: Vec<u8>,
    by_status: [Vec<u8>; 5],
}

impl NewLog {
    /// An operation became `status`; `None`: it was removed.
    pub(super) fn add(&mut self, organization: &str, status: Option<Status>, id: &OperationId) {
        let by_status = &mut self.of(organization).by_status;
        by_status[status.map_or(0, |status| usize::from(status.number()))].extend_from_slice(id.as_bytes());
    }

    /// An operation was created as pending.
    pub(super) fn add_creation(&mut self, organization: &str, id: &OperationId) {
        self.of(organization).created.extend_from_slice(id.as_bytes());
    }

    fn of(&mut self, organization: &str) -> &mut OrganizationLog {
        if !self.0.contains_key(organization) {
            self.0.insert(organization.to_owned(), OrganizationLog::default());
        }
        self.0.get_mut(organization).expect("it was inserted if it was not there")
    }

    /// Appends the entries to the change log.
    pub(super) fn write(self, connection: &Connection, at: Timestamp) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(APPEND)?;
        let pending = i64::from(Status::Pending.number());
        for (organization, OrganizationLog { created, by_status }) in &self.0 {
            let others = (0_i64..).zip(by_status).map(|(status, ids)| (status, false, ids));
            for (status, is_creation, ids) in iter::once((pending, true, created)).chain(others) {
                if !ids.is_empty() {
                    statement.execute((organization, at.as_millis(), status, is_creation, ids))?;
                }
            }
        }
        Ok(())
    }
}

/// The end of every organization's change log.
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
        .bind(bytes_of_ids(after, limit))
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
        let (status, is_creation) = (became(row)?, row.try_get("is_creation")?);
        rows_found.push(ChangeRow { row: id.unsigned_abs(), part: Position::SQLITE, at, status, is_creation, ids });
    }
    Ok(batch_of_changes(after, limit, rows_found))
}

/// What the operations of a row became.
fn became(row: &Row) -> Result<Option<Status>, StoreError> {
    if row.try_get::<i64>("status")? == 0 { Ok(None) } else { rows::status(row).map(Some) }
}
