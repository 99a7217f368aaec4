//! Rows as Rust values.

use operations::{Operation, OperationId, Progress, Resource, State, Status, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::rows::{Columns, damaged};
use crate::{LeaseRef, LostLease, StoreError};

/// The columns of [`operation`], for a row of `active` (named `a`) and of `settled` (named `s`), alike.
pub(super) const ACTIVE_COLUMNS: &str = "a.seq, a.id, a.kind, a.status, a.resource_type, a.resource_id, a.project_id, \
    a.project_version_id, a.created_at, a.started_at, NULL::bigint AS finished_at, '' AS error_message";
pub(super) const SETTLED_COLUMNS: &str = "s.seq, s.id, s.kind, s.status, s.resource_type, s.resource_id, s.project_id, \
    s.project_version_id, s.created_at, s.started_at, s.finished_at, s.error_message";

pub(super) fn uuid(id: &OperationId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn id(row: &PgRow) -> Result<OperationId, StoreError> {
    Ok(OperationId::from_bytes(*row.try_get::<Uuid, _>("id")?.as_bytes()))
}

/// The lease of a row that names its organization and its fencing token.
pub(super) fn lease(row: &PgRow) -> Result<LeaseRef, StoreError> {
    let fence = row.try_get::<i64, _>("fence")?.unsigned_abs();
    Ok(LeaseRef { organization: row.try_get("organization_id")?, id: id(row)?, fence, expired_at: None, scope: None })
}

pub(super) fn lost_lease(row: &PgRow) -> Result<LostLease, StoreError> {
    let attempts = row.try_get::<i32, _>("attempts")?.unsigned_abs();
    Ok(LostLease { lease: lease(row)?, kind: row.try_get("kind")?, attempts })
}

pub(super) fn time(row: &PgRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

pub(super) fn status(row: &PgRow) -> Result<Status, StoreError> {
    Status::from_number(row.try_get::<i16, _>("status")?.into()).ok_or_else(|| damaged("status"))
}

/// The resource that the operation of a row is about.
pub(super) fn resource(row: &PgRow) -> Result<Option<Resource>, StoreError> {
    let resource_type: String = row.try_get("resource_type")?;
    if resource_type.is_empty() {
        return Ok(None);
    }
    Ok(Some(Resource { resource_type, resource_id: row.try_get("resource_id")? }))
}

/// The operation of a row with [`ACTIVE_COLUMNS`] or [`SETTLED_COLUMNS`] and a column `output`.
pub(super) fn operation(row: &PgRow) -> Result<Operation, StoreError> {
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
        output: text_out(row.try_get("output")?),
        error_message: text_out(row.try_get("error_message")?),
    })
}

fn progress(row: &PgRow) -> Result<Progress, StoreError> {
    let unsigned = |column: &'static str| u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| damaged(column));
    Ok(Progress {
        attempts: unsigned("attempts")?,
        max_attempts: unsigned("max_attempts")?,
        fence: row.try_get::<i64, _>("fence")?.unsigned_abs(),
    })
}

fn columns(row: &PgRow) -> Result<Columns, StoreError> {
    Ok(Columns { status: status(row)?, progress: progress(row)?, started_at: time(row, "started_at")? })
}

/// The state of a row of `settled`.
pub(super) fn settled_state(row: &PgRow) -> Result<State, StoreError> {
    columns(row)?.settled(time(row, "finished_at")?, |column| Ok(text_out(row.try_get(column)?)))
}

/// The state of a row of `active`.
pub(super) fn active_state(row: &PgRow) -> Result<State, StoreError> {
    columns(row)?.active(|| time(row, "due_at"), || Ok(row.try_get("cancel_requested")?))
}

/// Stands for U+0000, which PostgreSQL's text cannot hold: a private-use character, doubled where it occurs itself.
const NUL: char = '\u{f8f0}';

/// A text as it is stored: without U+0000, and such that [`text_out`] brings it back.
pub(super) fn text_in(text: String) -> String {
    if !text.contains(['\0', NUL]) {
        return text;
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => stored.extend([NUL, '0']),
            NUL => stored.extend([NUL, NUL]),
            c => stored.push(c),
        }
    }
    stored
}

/// The text that [`text_in`] stored.
pub(super) fn text_out(stored: String) -> String {
    if !stored.contains(NUL) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut chars = stored.chars();
    while let Some(c) = chars.next() {
        match c {
            NUL => text.push(if chars.next() == Some('0') { '\0' } else { NUL }),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_nul_come_back() {
        for text in ["", "plain", "a\0b", "\u{f8f0}", "\u{f8f0}0\0\u{f8f0}\u{f8f0}"] {
            let stored = text_in(text.to_owned());
            assert!(!stored.contains('\0'));
            assert_eq!(text_out(stored), text);
        }
    }
}
