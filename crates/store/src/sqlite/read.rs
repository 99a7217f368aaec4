//! Rows as Rust values.

use operations::{Operation, OperationId, Resource, Status, Timestamp};
use rusqlite::Row;

use crate::StoreError;
pub(super) use crate::rows::damaged;

/// The columns of [`operation`], for a row of `active` (named `a`) and of `settled` (named `s`), alike; the output
/// follows.
pub(super) const ACTIVE_COLUMNS: &str = "a.id, a.kind, a.status, a.resource_type, a.resource_id, a.project_id, \
    a.project_version_id, a.created_at, a.started_at, NULL, ''";
pub(super) const SETTLED_COLUMNS: &str = "s.id, s.kind, s.status, s.resource_type, s.resource_id, s.project_id, \
    s.project_version_id, s.created_at, s.started_at, s.finished_at, s.error_message";
/// The place of the first column behind those of [`operation`].
pub(super) const AFTER_OPERATION: usize = 12;

/// The operation of a row that begins with [`ACTIVE_COLUMNS`] or [`SETTLED_COLUMNS`] and the output. By position: names
/// would be looked up in each row.
pub(super) fn operation(row: &Row<'_>) -> Result<Operation, StoreError> {
    let time = |column| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
    };
    let resource_type: String = row.get(3)?;
    let resource =
        if resource_type.is_empty() { None } else { Some(Resource { resource_type, resource_id: row.get(4)? }) };
    Ok(Operation {
        id: OperationId::from_bytes(row.get(0)?),
        kind: row.get(1)?,
        status: Status::from_number(row.get(2)?).ok_or_else(|| damaged("status"))?,
        resource,
        project_id: row.get(5)?,
        project_version_id: row.get(6)?,
        created_at: time(7)?.ok_or_else(|| damaged("created_at"))?,
        started_at: time(8)?,
        finished_at: time(9)?,
        error_message: row.get(10)?,
        output: row.get(11)?,
    })
}
