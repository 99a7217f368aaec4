//! Events that happen to running operations: settle, release, lost lease. And heartbeats.
//!
//! Rows are read, [`State::apply`] decides, the outcome is written. Several events for one operation in one batch are
//! decided one after the other against the state in memory, so that the second of two settlements is refused as stale,
//! unless it says the same (see [`crate::repeat`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry::Vacant;

use operations::{Event, OperationId, Progress, Refusal, Resource, State, Status, Timestamp};
use rusqlite::{Connection, params};
use serde_json::json;

use super::changes::NewLog;
use super::concurrency::{Held, Keys};
use super::counters::{Changes, Counted};
use super::resources::Resources;
use super::{history, read, repeat};
use crate::history::{Note, bounded};
use crate::repeat::refused;
use crate::transition::{Subject, decide};
use crate::{Heartbeat, LeaseRef, LeaseStatus, StoreError};

const SETTLE: &str = "
    INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, purge_at, error_message, output, input, worker, concurrency_key, concurrency_limit)
    SELECT organization_id, seq, id, kind, ?2, resource_type, resource_id, project_id, project_version_id, created_at,
        ?3, ?4, priority, ?5, ?6, ?7, timeout_ms, retain_for_ms, ?4 + coalesce(retain_for_ms, ?11), ?8, ?9,
        input, ?10, concurrency_key, concurrency_limit
    FROM active WHERE rowid = ?1";

const REMOVE: &str = "DELETE FROM active WHERE rowid = ?1";

const PEND: &str = "
    UPDATE active SET status = 1, started_at = ?2, due_at = ?3, attempts = ?4, max_attempts = ?5, fence = ?6
    WHERE rowid = ?1";

const DROP_LEASE: &str = "DELETE FROM leases WHERE organization_id = ?1 AND seq = ?2";

const EXTEND: &str = "UPDATE leases SET expires_at = ?3 WHERE organization_id = ?1 AND seq = ?2";

/// An operation of `active` while events are applied to it.
pub(super) struct Entry {
    pub(super) id: OperationId,
    pub(super) row: i64,
    pub(super) organization: String,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) project_id: String,
    pub(super) resource: Option<Resource>,
    /// The worker that holds its lease, or empty.
    pub(super) worker: String,
    pub(super) before: Status,
    /// For an operation with a concurrency key.
    pub(super) held: Option<Held>,
    pub(super) state: State,
    /// When its lease runs out.
    pub(super) lease_ends: Option<Timestamp>,
    /// For an attempt that ended; its worker is added when it is written.
    pub(super) note: Option<Note>,
}

impl Entry {
    /// In the form that [`decide`] takes.
    fn subject(&mut self) -> Subject<'_> {
        let Entry { project_id, kind, state, lease_ends, note, .. } = self;
        Subject { project_id, kind, state, lease_ends: *lease_ends, note }
    }
}

/// Operations by organization and id, in the order in which they were requested.
#[derive(Default)]
struct Entries<'l> {
    all: Vec<Entry>,
    /// `None`: it has ended, or never existed.
    places: HashMap<(&'l str, OperationId), Option<usize>>,
}

impl<'l> Entries<'l> {
    /// Served by active_by_id and the primary key of leases.
    fn find(connection: &Connection, leases: impl Iterator<Item = &'l LeaseRef>) -> Result<Entries<'l>, StoreError> {
        let columns = read::STATE_COLUMNS;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT a.rowid, a.seq, a.kind, a.project_id, a.resource_type, a.resource_id, coalesce(l.worker, ''),
                 a.concurrency_key, l.expires_at, {columns}
             FROM active a INDEXED BY active_by_id
                 LEFT JOIN leases l ON l.organization_id = a.organization_id AND l.seq = a.seq
             WHERE a.organization_id = ?1 AND a.id = ?2"
        ))?;
        let mut entries = Entries::default();
        for LeaseRef { organization, id, .. } in leases {
            let Vacant(place) = entries.places.entry((organization, *id)) else { continue };
            let mut rows = statement.query((organization, id.as_bytes()))?;
            let Some(row) = rows.next()? else {
                place.insert(None);
                continue;
            };
            place.insert(Some(entries.all.len()));
            let state = read::active_state(row, 9)?;
            entries.all.push(Entry {
                id: *id,
                row: row.get(0)?,
                organization: organization.clone(),
                seq: row.get(1)?,
                kind: row.get(2)?,
                project_id: row.get(3)?,
                resource: read::resource(row, 4)?,
                worker: row.get(6)?,
                before: state.status(),
                // Only running operations change here, and these have a place.
                held: row.get::<_, Option<String>>(7)?.map(|key| Held { key, has_place: true }),
                state,
                lease_ends: read::time(row, 8)?,
                note: None,
            });
        }
        Ok(entries)
    }

    fn get(&mut self, lease: &LeaseRef) -> Option<&mut Entry> {
        let place = self.places.get(&(lease.organization.as_str(), lease.id))?;
        self.all.get_mut((*place)?)
    }
}

/// Applies events that only the holder of a lease may cause; answers in their order, and whether something may be
/// claimed in the place of operations that ended. An operation that ends is kept for `retain_for_ms` unless it says
/// otherwise.
pub(super) fn apply(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    events: &[&(LeaseRef, Event)],
) -> Result<(Vec<Result<Status, Refusal>>, bool), StoreError> {
    let mut entries = Entries::find(connection, events.iter().map(|(lease, _)| lease))?;
    let decided = events.iter().map(|(lease, event)| decide(entries.get(lease).map(Entry::subject), now, lease, event));
    let mut results: Vec<_> = decided.collect();
    let changed = entries.all.into_iter().filter(|entry| entry.before != entry.state.status()).collect();
    let frees = write(connection, now, retain_for_ms, resources, changed)?;
    repeat::tell(connection, &refused(events, &results), &mut results)?;
    Ok((results, frees))
}

/// Writes operations whose status has changed; answers whether another one got the place of a concurrency key.
pub(super) fn write(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    changed: Vec<Entry>,
) -> Result<bool, StoreError> {
    let mut counts = Changes::new(resources);
    let mut log = NewLog::default();
    let mut notes = Vec::new();
    let mut keys = Keys::default();
    let mut drop_lease = connection.prepare_cached(DROP_LEASE)?;
    let mut settle = connection.prepare_cached(SETTLE)?;
    let mut remove = connection.prepare_cached(REMOVE)?;
    for Entry { id, row, organization, seq, kind, project_id, resource, worker, before, held, state, note, .. } in
        changed
    {
        let counted = Counted {
            organization: &organization,
            project_id: &project_id,
            seq,
            kind: &kind,
            resource: resource.as_ref(),
        };
        counts.add(&counted, Some(before), Some(state.status()));
        log.add(&organization, Some(state.status()), &id);
        drop_lease.execute((&organization, seq))?;
        if let Some(held) = &held {
            keys.change(connection, &organization, held, &state)?;
        }
        let Progress { attempts, max_attempts, fence } = state.progress();
        let (fence, status) = (fence.cast_signed(), state.status().number());
        let mut end = |started_at: Option<Timestamp>, finished_at: Timestamp, error: &str, output: &str| {
            let started_at = millis(started_at);
            settle.execute(params![
                row,
                status,
                started_at,
                finished_at.as_millis(),
                attempts,
                max_attempts,
                fence,
                error,
                output,
                worker,
                retain_for_ms
            ])?;
            remove.execute([row])
        };
        match state {
            State::Completed { started_at, finished_at, output, .. } => {
                end(Some(started_at), finished_at, "", &output)?;
            }
            State::Failed { started_at, finished_at, error_message, .. } => {
                end(started_at, finished_at, &error_message, "")?;
            }
            State::Pending { started_at, due_at, .. } => {
                let values = (row, millis(started_at), millis(due_at), attempts, max_attempts, fence);
                connection.prepare_cached(PEND)?.execute(values)?;
            }
            State::Running { .. } => {}
        }
        if let Some(note) = note {
            notes.push((organization, seq, Note { worker, ..note }));
        }
    }
    let frees = keys.admit(connection)?;
    history::append(connection, notes)?;
    counts.write(connection)?;
    log.write(connection, now)?;
    Ok(frees)
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
    let mut entries = Entries::find(connection, beats.iter().map(|beat| &beat.lease))?;
    let mut extend = connection.prepare_cached(EXTEND)?;
    // The last one of each operation counts.
    let mut said: HashMap<(&str, i64), serde_json::Value> = HashMap::new();
    let mut statuses = Vec::with_capacity(beats.len());
    for Heartbeat { lease, progress: text } in beats {
        let held = entries.get(lease).and_then(|entry| match entry.state {
            State::Running { progress, cancel_requested, .. }
                if progress.fence == lease.fence && lease.covers(&entry.project_id, &entry.kind) =>
            {
                Some((entry.seq, progress.attempts, cancel_requested))
            }
            _ => None,
        });
        let Some((seq, attempt, cancel_requested)) = held else {
            statuses.push(LeaseStatus::Lost);
            continue;
        };
        extend.execute((&lease.organization, seq, expires_at.as_millis()))?;
        if let Some(text) = text {
            let row = json!([lease.organization, seq, attempt, bounded(text)]);
            said.insert((lease.organization.as_str(), seq), row);
        }
        statuses.push(LeaseStatus::Held { expires_at, cancel_requested });
    }
    history::append_progress(connection, now, said.into_values().collect())?;
    Ok(statuses)
}
