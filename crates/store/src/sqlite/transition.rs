//! Events that happen to running operations: settle, release, lost lease. And heartbeats.
//!
//! Rows are read, [`State::apply`] decides, the outcome is written. Several events for one operation in one batch are
//! decided one after the other against the state in memory, so that the second of two settlements is told it is
//! stale, unless it says the same (see [`crate::repeat`]).

use rusqlite::Connection;
use std::collections::HashMap;

use operations::{Event, OperationId, Progress, Refusal, Resource, State, Status, Timestamp};
use serde_json::json;

use super::changes::Told;
use super::counters::{Changes, Counted};
use super::resources::Resources;
use super::script::Script;
use super::statement::query;
use super::{history, repeat, rows};
use crate::history::{Note, bounded};
use crate::repeat::refused;
use crate::transition::{Subject, decide};
use crate::{Heartbeat, LeaseRef, LeaseStatus, StoreError};

/// Served by active_by_id.
const FIND: &str = "
    SELECT a.rowid AS row, a.organization_id, a.seq, a.id, a.kind, a.project_id, a.resource_type, a.resource_id, a.status, a.started_at, a.due_at,
        a.attempts, a.max_attempts, a.fence, a.cancel_requested
    FROM json_each(?1) j CROSS JOIN active a
        ON a.organization_id = j.value->>0 AND a.id = unhex(j.value->>1, '-')";

const SETTLE: &str = "
    INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, purge_at, error_message, output, input, worker)
    SELECT a.organization_id, a.seq, a.id, a.kind, j.value->>1, a.resource_type, a.resource_id, a.project_id,
        a.project_version_id, a.created_at, j.value->>2, j.value->>3, a.priority, j.value->>4, j.value->>5,
        j.value->>6, a.timeout_ms, a.retain_for_ms,
        j.value->>3 + coalesce(a.retain_for_ms, ?), j.value->>7, j.value->>8,
        CASE j.value->>1 WHEN 4 THEN a.input ELSE '' END, j.value->>9
    FROM json_each(?) j CROSS JOIN active a ON a.rowid = j.value->>0";

const REMOVE: &str = "DELETE FROM active WHERE rowid IN (SELECT value->>0 FROM json_each(?))";

const PEND: &str = "
    UPDATE active SET status = 1, started_at = j.value->>1, due_at = j.value->>2, attempts = j.value->>3,
        max_attempts = j.value->>4, fence = j.value->>5
    FROM json_each(?) j WHERE active.rowid = j.value->>0";

const DROP_LEASES: &str = "
    DELETE FROM leases WHERE (organization_id, seq) IN (SELECT value->>0, value->>1 FROM json_each(?1))
    RETURNING organization_id, seq, worker";

const EXTEND: &str = "
    UPDATE leases SET expires_at = ?2
    WHERE (organization_id, seq) IN (SELECT value->>0, value->>1 FROM json_each(?1))";

/// An operation of `active` while events are applied to it.
pub(super) struct Entry {
    pub(super) id: OperationId,
    pub(super) row: i64,
    pub(super) organization: String,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) project_id: String,
    pub(super) resource: Option<Resource>,
    pub(super) before: Status,
    pub(super) state: State,
    /// Of an attempt that ended; its worker is added when it is written.
    pub(super) note: Option<Note>,
}

impl Entry {
    /// As what decides about it takes it.
    fn subject(&mut self) -> Subject<'_> {
        let Entry { project_id, kind, state, note, .. } = self;
        Subject { project_id, kind, state, note }
    }
}

type Entries = HashMap<(String, OperationId), Entry>;

fn find<'l>(connection: &Connection, leases: impl Iterator<Item = &'l LeaseRef>) -> Result<Entries, StoreError> {
    let wanted: std::collections::HashSet<(&str, OperationId)> =
        leases.map(|lease| (lease.organization.as_str(), lease.id)).collect();
    let keys: Vec<_> = wanted.into_iter().map(|(organization, id)| json!([organization, id.to_string()])).collect();
    let found = query(FIND).bind(serde_json::Value::Array(keys).to_string()).fetch_all(connection)?;
    let mut entries = Entries::with_capacity(found.len());
    for row in &found {
        let state = rows::active_state(row)?;
        let organization: String = row.try_get("organization_id")?;
        let id = rows::id(row)?;
        let entry = Entry {
            id,
            row: row.try_get("row")?,
            organization: organization.clone(),
            seq: row.try_get("seq")?,
            kind: row.try_get("kind")?,
            project_id: row.try_get("project_id")?,
            resource: rows::resource(row)?,
            before: state.status(),
            state,
            note: None,
        };
        entries.insert((organization, id), entry);
    }
    Ok(entries)
}

/// Applies events that only the holder of a lease may cause; answers in their order. What ends is kept for
/// `retain_for_ms` unless it says otherwise.
pub(super) fn apply(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    events: &[&(LeaseRef, Event)],
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    let mut entries = find(connection, events.iter().map(|(lease, _)| lease))?;
    let decided = events.iter().map(|(lease, event)| {
        let entry = entries.get_mut(&(lease.organization.clone(), lease.id));
        decide(entry.map(Entry::subject), now, lease, event)
    });
    let mut results: Vec<_> = decided.collect();
    let changed = entries.into_values().filter(|entry| entry.before != entry.state.status()).collect();
    write(connection, now, retain_for_ms, resources, changed)?;
    repeat::tell(connection, &refused(events, &results), &mut results)?;
    Ok(results)
}

/// Writes operations whose status has changed.
pub(super) fn write(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    changed: Vec<Entry>,
) -> Result<(), StoreError> {
    let mut counts = Changes::new(resources);
    let mut told = Told::default();
    if changed.is_empty() {
        return Ok(());
    }
    let leases: Vec<_> = changed.iter().map(|entry| json!([entry.organization, entry.seq])).collect();
    let mut workers: HashMap<(String, i64), String> = HashMap::new();
    for row in query(DROP_LEASES).bind(serde_json::Value::Array(leases).to_string()).fetch_all(connection)? {
        workers.insert((row.try_get("organization_id")?, row.try_get("seq")?), row.try_get("worker")?);
    }
    let (mut settled, mut pending, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for mut entry in changed {
        let worker = workers.remove(&(entry.organization.clone(), entry.seq)).unwrap_or_default();
        if let Some(note) = entry.note.take() {
            notes.push((entry.organization.clone(), entry.seq, Note { worker: worker.clone(), ..note }));
        }
        let counted = Counted {
            organization: &entry.organization,
            project_id: &entry.project_id,
            seq: entry.seq,
            kind: &entry.kind,
            resource: entry.resource.as_ref(),
        };
        counts.add(&counted, entry.before, -1);
        counts.add(&counted, entry.state.status(), 1);
        told.add(&entry.organization, Some(entry.state.status()), &entry.id);
        let settle = |progress: Progress, status: Status, started_at, finished_at: Timestamp, error, output| {
            let Progress { attempts, max_attempts, fence } = progress;
            json!([
                entry.row,
                status.number(),
                millis(started_at),
                finished_at.as_millis(),
                attempts,
                max_attempts,
                fence,
                error,
                output,
                worker
            ])
        };
        match entry.state {
            State::Completed { progress, started_at, finished_at, output } => {
                let row = settle(progress, Status::Completed, Some(started_at), finished_at, String::new(), output);
                settled.push(row);
            }
            State::Failed { progress, started_at, finished_at, error_message } => {
                let row = settle(progress, Status::Failed, started_at, finished_at, error_message, String::new());
                settled.push(row);
            }
            State::Pending { progress, started_at, due_at } => {
                let Progress { attempts, max_attempts, fence } = progress;
                let row = json!([entry.row, millis(started_at), millis(due_at), attempts, max_attempts, fence]);
                pending.push(row);
            }
            State::Running { .. } => {}
        }
    }
    let mut script = Script::default();
    history::append(&mut script, notes);
    if !settled.is_empty() {
        let settled = serde_json::Value::Array(settled).to_string();
        script.add(SETTLE).bind(retain_for_ms).bind(settled.clone());
        script.add(REMOVE).bind(settled);
    }
    if !pending.is_empty() {
        script.add(PEND).bind(serde_json::Value::Array(pending).to_string());
    }
    counts.add_to(&mut script);
    told.add_to(&mut script, now);
    script.run(connection)
}

fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millis)
}

/// Extends the leases that are still held.
pub(super) fn heartbeat(
    connection: &Connection,
    now: Timestamp,
    beats: &[Heartbeat],
    expires_at: Timestamp,
) -> Result<Vec<LeaseStatus>, StoreError> {
    let entries = find(connection, beats.iter().map(|beat| &beat.lease))?;
    let mut held = Vec::new();
    // The last of each counts.
    let mut said: HashMap<(&str, i64), serde_json::Value> = HashMap::new();
    let statuses = beats
        .iter()
        .map(|beat| match entries.get(&(beat.lease.organization.clone(), beat.lease.id)) {
            Some(Entry {
                state: State::Running { progress, cancel_requested, .. },
                organization,
                seq,
                project_id,
                kind,
                ..
            }) if progress.fence == beat.lease.fence && beat.lease.covers(project_id, kind) => {
                held.push(json!([organization, seq]));
                if let Some(text) = &beat.progress {
                    let row = json!([organization, seq, progress.attempts, bounded(text)]);
                    said.insert((organization.as_str(), *seq), row);
                }
                LeaseStatus::Held { expires_at, cancel_requested: *cancel_requested }
            }
            _ => LeaseStatus::Lost,
        })
        .collect();
    if !held.is_empty() {
        query(EXTEND)
            .bind(serde_json::Value::Array(held).to_string())
            .bind(expires_at.as_millis())
            .execute(connection)?;
    }
    history::append_progress(connection, now, said.into_values().collect())?;
    Ok(statuses)
}
