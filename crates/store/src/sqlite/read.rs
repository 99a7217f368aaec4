//! Rows as Rust values.

use operations::{Operation, OperationId, Progress, Resource, State, Status, Timestamp};
use rusqlite::Row;

use crate::StoreError;
use crate::rows::Columns;
pub(super) use crate::rows::damaged;

/// The columns of [`operation`], for a row of `active` (named `a`) and of `settled` (named `s`), alike; the output
/// follows.
pub(super) const ACTIVE_COLUMNS: &str = "a.id, a.kind, a.status, a.resource_type, a.resource_id, a.project_id, \
    a.project_version_id, a.created_at, a.started_at, NULL, ''";
pub(super) const SETTLED_COLUMNS: &str = "s.id, s.kind, s.status, s.resource_type, s.resource_id, s.project_id, \
    s.project_version_id, s.created_at, s.started_at, s.finished_at, s.error_message";
/// The place of the first column behind those of [`operation`].
pub(super) const AFTER_OPERATION: usize = 12;

/// The columns of [`active_state`], for a row of `active` (named `a`).
pub(super) const STATE_COLUMNS: &str =
    "a.status, a.started_at, a.due_at, a.attempts, a.max_attempts, a.fence, a.cancel_requested";

/// The operation of a row that begins with [`ACTIVE_COLUMNS`] or [`SETTLED_COLUMNS`] and the output. By position: names
/// would be looked up in each row.
pub(super) fn operation(row: &Row<'_>) -> Result<Operation, StoreError> {
    operation_at(row, 0)
}

/// The same where these columns begin at `first`.
pub(super) fn operation_at(row: &Row<'_>, first: usize) -> Result<Operation, StoreError> {
    Ok(Operation {
        id: OperationId::from_bytes(row.get(first)?),
        kind: row.get(first + 1)?,
        status: Status::from_number(row.get(first + 2)?).ok_or_else(|| damaged("status"))?,
        resource: resource(row, first + 3)?,
        project_id: row.get(first + 5)?,
        project_version_id: row.get(first + 6)?,
        created_at: time(row, first + 7)?.ok_or_else(|| damaged("created_at"))?,
        started_at: time(row, first + 8)?,
        finished_at: time(row, first + 9)?,
        error_message: row.get(first + 10)?,
        output: row.get(first + 11)?,
    })
}

/// The time in a column.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// The resource whose type and id are in the columns from `first` on.
pub(super) fn resource(row: &Row<'_>, first: usize) -> Result<Option<Resource>, StoreError> {
    let resource_type: String = row.get(first)?;
    if resource_type.is_empty() {
        return Ok(None);
    }
    Ok(Some(Resource { resource_type, resource_id: row.get(first + 1)? }))
}

/// The state of a row whose columns from `first` on are [`STATE_COLUMNS`].
pub(super) fn active_state(row: &Row<'_>, first: usize) -> Result<State, StoreError> {
    let status = Status::from_number(row.get(first)?).ok_or_else(|| damaged("status"))?;
    let fence: i64 = row.get(first + 5)?;
    let progress = Progress {
        attempts: row.get(first + 3)?,
        max_attempts: row.get(first + 4)?,
        fence: u64::try_from(fence).map_err(|_| damaged("fence"))?,
    };
    let columns = Columns { status, progress, started_at: time(row, first + 1)? };
    columns.active(|| time(row, first + 2), || Ok(row.get(first + 6)?))
}
