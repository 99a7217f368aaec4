//! Rows as Rust values.

use operations::{Operation, OperationId, Progress, Resource, State, Status, Timestamp};

use super::statement::Row;
use crate::rows::{Columns, damaged};
use crate::{LeaseRef, StoreError};

/// The columns of [`operation`], for a row of `active` (named `a`) and of `settled` (named `s`), alike.
pub(super) const ACTIVE_COLUMNS: &str = "a.seq, a.id, a.kind, a.status, a.resource_type, a.resource_id, a.project_id, \
    a.project_version_id, a.created_at, a.started_at, NULL AS finished_at, '' AS error_message";
pub(super) const SETTLED_COLUMNS: &str = "s.seq, s.id, s.kind, s.status, s.resource_type, s.resource_id, s.project_id, \
    s.project_version_id, s.created_at, s.started_at, s.finished_at, s.error_message";

pub(super) fn id(row: &Row) -> Result<OperationId, StoreError> {
    Ok(OperationId::from_bytes(row.try_get("id")?))
}

/// The lease of a row that names its organization and its fencing token.
pub(super) fn lease(row: &Row) -> Result<LeaseRef, StoreError> {
    let fence = row.try_get::<i64>("fence")?.unsigned_abs();
    Ok(LeaseRef { organization: row.try_get("organization_id")?, id: id(row)?, fence, expired_at: None, scope: None })
}

pub(super) fn time(row: &Row, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(super) fn status(row: &Row) -> Result<Status, StoreError> {
    Status::from_number(row.try_get("status")?).ok_or_else(|| damaged("status"))
}

/// The resource of a row with its columns.
pub(super) fn resource(row: &Row) -> Result<Option<Resource>, StoreError> {
    let resource_type: String = row.try_get("resource_type")?;
    if resource_type.is_empty() {
        return Ok(None);
    }
    Ok(Some(Resource { resource_type, resource_id: row.try_get("resource_id")? }))
}

/// The operation of a row with [`ACTIVE_COLUMNS`] or [`SETTLED_COLUMNS`] and a column `output`.
pub(super) fn operation(row: &Row) -> Result<Operation, StoreError> {
    Ok(Operation {
        id: id(row)?,
        kind: row.try_get("kind")?,
        status: status(row)?,
        resource: resource(row)?,
        project_id: row.try_get("project_id")?,
        project_version_id: row.try_get("project_version_id")?,
        created_at: time(row, "created_at")?.ok_or_else(|| damaged("created_at"))?,
        started_at: time(row, "started_at")?,
        finished_at: time(row, "finished_at")?,
        output: row.try_get("output")?,
        error_message: row.try_get("error_message")?,
    })
}

fn unsigned<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    T::try_from(row.try_get::<i64>(column)?).map_err(|_| damaged(column))
}

fn progress(row: &Row) -> Result<Progress, StoreError> {
    Ok(Progress {
        attempts: unsigned(row, "attempts")?,
        max_attempts: unsigned(row, "max_attempts")?,
        fence: unsigned(row, "fence")?,
    })
}

fn columns(row: &Row) -> Result<Columns, StoreError> {
    Ok(Columns { status: status(row)?, progress: progress(row)?, started_at: time(row, "started_at")? })
}

/// The state of a row of `settled`.
pub(super) fn settled_state(row: &Row) -> Result<State, StoreError> {
    columns(row)?.settled(time(row, "finished_at")?, |column| row.try_get(column))
}

/// The state of a row of `active`.
pub(super) fn active_state(row: &Row) -> Result<State, StoreError> {
    columns(row)?.active(|| time(row, "due_at"), || Ok(row.try_get::<i64>("cancel_requested")? != 0))
}
