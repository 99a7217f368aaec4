//! Commands for one operation: cancel, retry, delete. And attempts that did not stop in time.
//!
//! There is one writer: rows that are read stay as they are until they are written.

use rusqlite::Connection;
use std::time::Duration;

use operations::{Access, Event, OperationId, Refusal, State, Status, Timestamp};

use super::changes::NewLog;
use super::concurrency;
use super::counters::{Changes, Counted};
use super::resources::Resources;
use super::single::project_list;
use super::statement::{Row, query};
use super::{details, history, purge, rows, transition};
use crate::command::in_state;
use crate::history::steering_notes;
use crate::{CommandOutcome, LeaseRef, OperationCommand, StoreError};

const ASK_TO_STOP: &str = "
    UPDATE active SET cancel_requested = 1, cancel_requested_at = coalesce(cancel_requested_at, ?2) WHERE rowid = ?1";

const RETRY: &str = "
    INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, due_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, input, concurrency_key, concurrency_limit, waits)
    SELECT organization_id, seq, id, kind, 1, resource_type, resource_id, project_id, project_version_id, created_at, ?2,
        ?3, priority, ?4, ?5, fence, timeout_ms, retain_for_ms, input, concurrency_key, concurrency_limit,
        concurrency_key IS NOT NULL AND ?3 IS NULL
    FROM settled WHERE rowid = ?1";

const UNSETTLE: &str = "DELETE FROM settled WHERE rowid = ?1";

/// Carries out a command on one operation as its state allows.
pub(super) fn command(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    access: &Access,
    id: OperationId,
    command: OperationCommand,
) -> Result<CommandOutcome, StoreError> {
    let (found, is_active) = match find(connection, access, id, true)? {
        Some(found) => (found, true),
        None => match find(connection, access, id, false)? {
            Some(found) => (found, false),
            None => return Ok(None),
        },
    };
    let before = if is_active { rows::active_state(&found)? } else { rows::settled_state(&found)? };
    let operation = rows::operation(&found)?;
    let after = match command.apply(&before, now) {
        Ok(after) => after,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    let (row, seq): (i64, i64) = (found.try_get("row")?, found.try_get("seq")?);
    let counted = Counted::of(&access.organization, seq, &operation);
    let organization = &access.organization;
    if command == OperationCommand::Retry
        && let Some(key) = details::unique_key(connection, organization, seq)?
    {
        if details::holder(connection, organization, &key)?.is_some() {
            return Ok(Some(Err(Refusal::UniqueKeyInUse)));
        }
        details::take_key(connection, organization, &key, seq)?;
    }
    if let Some(after) = &after {
        let worker: String = if is_active { String::new() } else { found.try_get("worker")? };
        let notes = steering_notes(now, &before, after, &worker);
        let notes = notes.into_iter().map(|note| (organization.clone(), seq, note));
        history::append(connection, notes.collect())?;
    }
    let mut log = NewLog::default();
    match &after {
        Some(State::Running { .. }) => {
            query(ASK_TO_STOP).bind(row).bind(now.as_millis()).execute(connection)?;
        }
        Some(state) if is_active => {
            let entry = transition::Entry {
                id,
                row,
                organization: organization.clone(),
                seq,
                kind: operation.kind.clone(),
                project_id: operation.project_id.clone(),
                resource: operation.resource.clone(),
                worker: String::new(),
                before: before.status(),
                held: concurrency::held(&found)?,
                state: state.clone(),
                lease_ends: None,
                note: None,
            };
            transition::write(connection, now, retain_for_ms, resources, vec![entry])?;
        }
        Some(State::Pending { progress, started_at, due_at }) => {
            query(RETRY)
                .bind(row)
                .bind(started_at.map(Timestamp::as_millis))
                .bind(due_at.map(Timestamp::as_millis))
                .bind(progress.attempts)
                .bind(progress.max_attempts)
                .execute(connection)?;
            query(UNSETTLE).bind(row).execute(connection)?;
            concurrency::enter_again(connection, organization, &found)?;
            let mut changes = Changes::new(resources);
            changes.add(&counted, Some(before.status()), Some(Status::Pending));
            changes.write(connection)?;
            log.add(organization, Some(Status::Pending), &id);
        }
        Some(State::Completed { .. } | State::Failed { .. }) => {
            return Err(StoreError::Unusable("an operation that has ended ended again".to_owned()));
        }
        None => {
            query(UNSETTLE).bind(row).execute(connection)?;
            let mut changes = Changes::new(resources);
            changes.add(&counted, Some(before.status()), None);
            changes.write(connection)?;
            history::forget(connection, organization, &[seq])?;
            details::forget(connection, organization, &[seq])?;
            log.add(organization, None, &id);
            purge::note_removed(connection, organization, 1)?;
        }
    }
    log.write(connection, now)?;
    Ok(Some(Ok(match after {
        Some(state) => in_state(operation, &state),
        None => operation,
    })))
}

/// The row of an operation that may be seen, in `active` or in `settled`. Served by active_by_id and settled_by_id.
fn find(connection: &Connection, access: &Access, id: OperationId, is_active: bool) -> Result<Option<Row>, StoreError> {
    let (columns, more, from) = if is_active {
        (
            rows::ACTIVE_COLUMNS,
            "'' AS output, due_at, cancel_requested, concurrency_key, waits",
            "active a INDEXED BY active_by_id",
        )
    } else {
        (
            rows::SETTLED_COLUMNS,
            "output, worker, concurrency_key, concurrency_limit",
            "settled s INDEXED BY settled_by_id",
        )
    };
    let sql = format!(
        "SELECT rowid AS row, {columns}, {more}, attempts, max_attempts, fence FROM {from}
         WHERE organization_id = ?1 AND id = ?2
             AND (?3 IS NULL OR project_id IN (SELECT value FROM json_each(?3)))"
    );
    let found = query(sql).bind(&access.organization).bind(id.as_bytes().as_slice()).bind(project_list(access));
    found.fetch_optional(connection)
}

/// Attempts that were asked to stop at least `grace` ago. Served by active_by_cancel.
const OVERDUE: &str = "
    SELECT organization_id, id, fence FROM active INDEXED BY active_by_cancel
    WHERE cancel_requested_at <= ?1 ORDER BY cancel_requested_at LIMIT ?2 + 0";

/// The events that end such attempts.
pub(super) fn overdue(
    connection: &Connection,
    now: Timestamp,
    grace: Duration,
    limit: u32,
) -> Result<Vec<(LeaseRef, Event)>, StoreError> {
    let found = query(OVERDUE).bind(now.before(grace).as_millis()).bind(limit).fetch_all(connection)?;
    found
        .iter()
        .map(|row| {
            let lease = rows::lease(row)?;
            let event = Event::CancelOverdue { fence: lease.fence, at: now };
            Ok((lease, event))
        })
        .collect()
}
