//! Events that happen to running operations of one organization: settle, release, lost lease.
//!
//! Where a statement writes rows by their place (`ctid`), here and in the files next to this one, it names the
//! organization too, in a form that no index serves (`IS NOT DISTINCT FROM`): offered an index as well, the planner may
//! read everything that the organization has by it.
//!
//! Rows are locked in the order of their ids (so that two transactions cannot wait for each other), [`State::apply`]
//! decides, the outcome is written. Several events for one operation in one batch are decided one after the other
//! against the state in memory, so that the second of two settlements is answered as stale, unless it says the same
//! (see [`crate::repeat`]).

use std::collections::HashMap;

use operations::{Event, OperationId, Progress, Refusal, Resource, State, Status, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::concurrency::Left;
use super::counters::{Changes, Counted};
use super::{changes, history, repeat, rows};
use crate::history::Note;
use crate::repeat::refused;
use crate::transition::{Subject, decide};
use crate::{LeaseRef, StoreError};

/// Where each row lay before it was locked, and the row as it is under the lock. Served by active_by_id.
const FIND: &str = "
    WITH seen AS MATERIALIZED (
        SELECT a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
            SELECT id, ctid::text AS place FROM active WHERE id = w.id AND organization_id = $1 OFFSET 0) AS a
    )
    SELECT a.*, seen.place <> a.place AS is_overtaken FROM seen CROSS JOIN LATERAL (
        SELECT ctid::text AS place, seq, id, kind, project_id, priority, status, started_at, due_at, attempts,
            max_attempts, fence, cancel_requested, resource_type, resource_id, concurrency_key
        FROM active WHERE id = seen.id AND organization_id = $1 FOR UPDATE) AS a";

/// By places of rows that are locked.
const SETTLE: &str = "
    WITH held AS MATERIALIZED (
        SELECT a.*, e.new_status, e.began_at, e.finished_at, e.tries, e.max_tries, e.token, e.error_message, e.output,
            e.worker
        FROM unnest($2::text[]::tid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::bigint[],
            $9::text[], $10::text[], $11::text[])
            AS e (place, new_status, began_at, finished_at, tries, max_tries, token, error_message, output, worker)
            CROSS JOIN LATERAL (SELECT * FROM active WHERE ctid = e.place AND organization_id IS NOT DISTINCT FROM $1
                OFFSET 0) AS a
    ), moved AS (
        DELETE FROM active WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1
    )
    INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, purge_at, error_message, output, input, worker, concurrency_key, concurrency_limit)
    SELECT organization_id, seq, id, kind, new_status, resource_type, resource_id, project_id, project_version_id,
        created_at, began_at, finished_at, priority, tries, max_tries, token, timeout_ms, retain_for_ms,
        finished_at + coalesce(retain_for_ms, $12), error_message, output, input, worker, concurrency_key,
        concurrency_limit
    FROM held";

/// By places of rows that are locked.
const PEND: &str = "
    UPDATE active a SET status = 1, started_at = p.started_at, due_at = p.due_at, attempts = p.attempts,
        max_attempts = p.max_attempts, fence = p.fence
    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::bigint[])
        AS p (seq, started_at, due_at, attempts, max_attempts, fence)
    WHERE a.ctid = ANY ($2::text[]::tid[]) AND a.organization_id IS NOT DISTINCT FROM $1 AND a.seq = p.seq";

/// Back in the queue.
const QUEUE: &str = "
    INSERT INTO queue (organization_id, kind, priority, seq, due_at)
    SELECT $1, * FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[])";

/// When leases of operations that are locked run out; no heartbeat extends them until the transaction has ended.
const LEASES_END: &str = "
    SELECT l.seq, l.expires_at FROM unnest($2::bigint[]) AS s (seq) CROSS JOIN LATERAL (
        SELECT seq, expires_at FROM leases WHERE organization_id = $1 AND seq = s.seq FOR UPDATE) AS l";

/// A lease that moves meanwhile, since a heartbeat came in between, is not found at its new place.
const DROP_LEASES: &str = "
    DELETE FROM leases WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM unnest($2::bigint[]) AS s (seq) CROSS JOIN LATERAL (
        SELECT ctid FROM leases WHERE organization_id = $1 AND seq = s.seq FOR UPDATE) AS l))
        AND organization_id IS NOT DISTINCT FROM $1
    RETURNING seq, worker";

/// An operation of `active` while events are applied to it.
pub(super) struct Entry {
    pub(super) id: OperationId,
    /// Where the row lies, while it is locked.
    pub(super) place: String,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) priority: i16,
    pub(super) project_id: String,
    pub(super) resource: Option<Resource>,
    pub(super) before: Status,
    pub(super) concurrency_key: Option<String>,
    pub(super) state: State,
    /// When its lease runs out, if that matters.
    pub(super) lease_ends: Option<Timestamp>,
    /// The note of an attempt that ended; its worker is added when it is written.
    pub(super) note: Option<Note>,
}

impl Entry {
    /// The entry in the form that `decide` takes.
    fn subject(&mut self) -> Subject<'_> {
        let Entry { project_id, kind, state, lease_ends, note, .. } = self;
        Subject { project_id, kind, state, lease_ends: *lease_ends, note }
    }
}

/// Applies events that only the holder of a lease may cause; answers in their order, and whether something may be
/// claimed in the place of operations that ended. Operations that end are kept for `retain_for_ms` unless they say
/// otherwise. Must come first in its transaction, so that what it sees was committed by older ones (see [`changes`]).
pub(super) async fn apply(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
) -> Result<(Vec<Result<Status, Refusal>>, bool), StoreError> {
    // By id, which is by age: two transactions that end the same operations lock them in the same order.
    let mut ids: Vec<Uuid> = events.iter().map(|(lease, _)| rows::uuid(&lease.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = sqlx::query(FIND).bind(organization).bind(ids).fetch_all(&mut *connection).await?;
    let mut entries: HashMap<OperationId, Entry> = HashMap::with_capacity(found.len());
    for row in &found {
        if row.try_get("is_overtaken")? {
            return Err(changes::overtaken());
        }
        let state = rows::active_state(row)?;
        let entry = Entry {
            id: rows::id(row)?,
            place: row.try_get("place")?,
            seq: row.try_get("seq")?,
            kind: row.try_get("kind")?,
            priority: row.try_get("priority")?,
            project_id: row.try_get("project_id")?,
            resource: rows::resource(row)?,
            before: state.status(),
            concurrency_key: row.try_get("concurrency_key")?,
            state,
            lease_ends: None,
            note: None,
        };
        entries.insert(entry.id, entry);
    }
    let expired = events.iter().filter(|(lease, _)| lease.expired_at.is_some());
    let expired = expired.filter_map(|(lease, _)| entries.get(&lease.id).map(|entry| entry.seq)).collect();
    let ends = ends_of_leases(connection, organization, expired).await?;
    entries.values_mut().for_each(|entry| entry.lease_ends = ends.get(&entry.seq).copied());
    let decided = events.iter().map(|(lease, event)| {
        let entry = entries.get_mut(&lease.id);
        decide(entry.map(Entry::subject), now, lease, event)
    });
    let mut results: Vec<_> = decided.collect();
    let changed = entries.into_values().filter(|entry| entry.before != entry.state.status()).collect();
    let frees = write(connection, now, organization, retain_for_ms, changed).await?;
    repeat::tell(connection, organization, &refused(events, &results), &mut results).await?;
    Ok((results, frees))
}

/// See [`LEASES_END`].
async fn ends_of_leases(
    connection: &mut PgConnection,
    organization: &str,
    seqs: Vec<i64>,
) -> Result<HashMap<i64, Timestamp>, StoreError> {
    if seqs.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<(i64, i64)> = sqlx::query_as(LEASES_END).bind(organization).bind(seqs).fetch_all(connection).await?;
    Ok(found.into_iter().map(|(seq, expires_at)| (seq, Timestamp::from_millis(expires_at))).collect())
}

/// The columns of the rows that go to `settled`.
#[derive(Default)]
struct Ended {
    places: Vec<String>,
    statuses: Vec<i16>,
    started_ats: Vec<Option<i64>>,
    finished_ats: Vec<i64>,
    attempts: Vec<i32>,
    max_attempts: Vec<i32>,
    fences: Vec<i64>,
    errors: Vec<String>,
    outputs: Vec<String>,
    workers: Vec<String>,
}

/// The columns of the rows that go back to pending.
#[derive(Default)]
struct Pending {
    places: Vec<String>,
    kinds: Vec<String>,
    priorities: Vec<i16>,
    seqs: Vec<i64>,
    started_ats: Vec<Option<i64>>,
    due_ats: Vec<Option<i64>>,
    attempts: Vec<i32>,
    max_attempts: Vec<i32>,
    fences: Vec<i64>,
}

pub(super) fn small(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

impl Ended {
    fn push(
        &mut self,
        status: Status,
        progress: Progress,
        times: (Option<Timestamp>, Timestamp),
        texts: (String, String),
    ) {
        self.statuses.push(status.number().into());
        self.started_ats.push(times.0.map(Timestamp::as_millis));
        self.finished_ats.push(times.1.as_millis());
        self.attempts.push(small(progress.attempts));
        self.max_attempts.push(small(progress.max_attempts));
        self.fences.push(progress.fence.cast_signed());
        self.errors.push(rows::text_in(texts.0));
        self.outputs.push(rows::text_in(texts.1));
    }
}

/// Writes operations whose status has changed; their rows are locked. Answers whether another operation now has the
/// place of a concurrency key.
pub(super) async fn write(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    retain_for_ms: Option<i64>,
    changed: Vec<Entry>,
) -> Result<bool, StoreError> {
    if changed.is_empty() {
        return Ok(false);
    }
    let logged: Vec<_> = changed.iter().map(|entry| (rows::uuid(&entry.id), Some(entry.state.status()))).collect();
    changes::append(connection, organization, now, &logged).await?;
    let mut counts = Changes::default();
    let seqs: Vec<i64> = changed.iter().map(|entry| entry.seq).collect();
    let released: Vec<(i64, String)> =
        sqlx::query_as(DROP_LEASES).bind(organization).bind(seqs).fetch_all(&mut *connection).await?;
    if released.len() < changed.iter().filter(|entry| entry.before == Status::Running).count() {
        return Err(changes::overtaken());
    }
    let mut workers: HashMap<i64, String> = released.into_iter().collect();
    let (mut ended, mut pending, mut notes) = (Ended::default(), Pending::default(), Vec::new());
    let mut left = Left::default();
    for entry in changed {
        let Entry { place, seq, kind, priority, project_id, resource, before, concurrency_key, state, note, .. } =
            entry;
        let worker = workers.remove(&seq).unwrap_or_default();
        let of = Counted { seq, project_id: &project_id, kind: &kind, resource: resource.as_ref() };
        counts.add(&of, before, -1);
        counts.add(&of, state.status(), 1);
        if let Some(note) = note {
            notes.push((seq, Note { worker: worker.clone(), ..note }));
        }
        if let Some(key) = concurrency_key {
            match &state {
                State::Completed { .. } | State::Failed { .. } => left.ended.push(seq),
                State::Pending { due_at: Some(_), .. } => left.delayed.push(seq),
                State::Pending { .. } | State::Running { .. } => {}
            }
            left.keys.insert(key);
        }
        match state {
            State::Completed { progress, started_at, finished_at, output } => {
                let times = (Some(started_at), finished_at);
                ended.places.push(place);
                ended.workers.push(worker);
                ended.push(Status::Completed, progress, times, (String::new(), output));
            }
            State::Failed { progress, started_at, finished_at, error_message } => {
                let times = (started_at, finished_at);
                ended.places.push(place);
                ended.workers.push(worker);
                ended.push(Status::Failed, progress, times, (error_message, String::new()));
            }
            State::Pending { progress, started_at, due_at } => {
                pending.places.push(place);
                pending.kinds.push(kind);
                pending.priorities.push(priority);
                pending.seqs.push(seq);
                pending.started_ats.push(started_at.map(Timestamp::as_millis));
                pending.due_ats.push(due_at.map(Timestamp::as_millis));
                pending.attempts.push(small(progress.attempts));
                pending.max_attempts.push(small(progress.max_attempts));
                pending.fences.push(progress.fence.cast_signed());
            }
            State::Running { .. } => {}
        }
    }
    history::append(connection, organization, notes).await?;
    if !ended.places.is_empty() {
        sqlx::query(SETTLE)
            .bind(organization)
            .bind(ended.places)
            .bind(ended.statuses)
            .bind(ended.started_ats)
            .bind(ended.finished_ats)
            .bind(ended.attempts)
            .bind(ended.max_attempts)
            .bind(ended.fences)
            .bind(ended.errors)
            .bind(ended.outputs)
            .bind(ended.workers)
            .bind(retain_for_ms)
            .execute(&mut *connection)
            .await?;
    }
    if !pending.seqs.is_empty() {
        sqlx::query(PEND)
            .bind(organization)
            .bind(pending.places)
            .bind(&pending.seqs)
            .bind(pending.started_ats)
            .bind(&pending.due_ats)
            .bind(pending.attempts)
            .bind(pending.max_attempts)
            .bind(pending.fences)
            .execute(&mut *connection)
            .await?;
        sqlx::query(QUEUE)
            .bind(organization)
            .bind(pending.kinds)
            .bind(pending.priorities)
            .bind(pending.seqs)
            .bind(pending.due_ats)
            .execute(&mut *connection)
            .await?;
    }
    let frees = left.write(connection, organization).await?;
    counts.write(connection, organization).await?;
    Ok(frees)
}
