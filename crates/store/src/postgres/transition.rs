//! Events that happen to running operations of one organisation: settle, release, lost lease. And heartbeats.
//!
//! Rows are locked in the order of their ids (so that two transactions cannot wait for each other),
//! [`State::apply`] decides, the outcome is written. Several events for one operation in one batch are decided one after
//! the other against the state in memory, so that the second of two settlements is told it is stale.

use std::collections::{HashMap, HashSet};

use operations::{Event, OperationId, Outcome, Progress, Projects, Refusal, State, Status, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::counters::Changes;
use super::rows;
use crate::{Heartbeat, LeaseRef, LeaseStatus, StoreError};

/// Served by active_by_id.
const FIND: &str = "
    SELECT a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT ctid::text AS place, seq, id, kind, project_id, priority, status, started_at, due_at, attempts,
            max_attempts, fence, cancel_requested
        FROM active WHERE id = w.id AND organization_id = $1 FOR UPDATE) AS a";

/// By places of rows that are locked.
const SETTLE: &str = "
    WITH ended AS MATERIALIZED (
        SELECT * FROM unnest($3::bigint[], $4::smallint[], $5::bigint[], $6::bigint[], $7::int[], $8::int[],
            $9::bigint[], $10::text[], $11::text[])
            AS e (seq, status, started_at, finished_at, attempts, max_attempts, fence, error_message, output)
    ), moved AS (
        DELETE FROM active WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id = $1 RETURNING *
    )
    INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, purge_at, error_message, output, input)
    SELECT m.organization_id, m.seq, m.id, m.kind, e.status, m.resource_type, m.resource_id, m.project_id,
        m.project_version_id, m.created_at, e.started_at, e.finished_at, m.priority, e.attempts, e.max_attempts,
        e.fence, m.timeout_ms, m.retain_for_ms, e.finished_at + coalesce(m.retain_for_ms, $12), e.error_message, e.output,
        CASE e.status WHEN 4 THEN m.input ELSE '' END
    FROM moved m JOIN ended e USING (seq)";

/// By places of rows that are locked.
const PEND: &str = "
    UPDATE active a SET status = 1, started_at = p.started_at, due_at = p.due_at, attempts = p.attempts,
        max_attempts = p.max_attempts, fence = p.fence
    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::int[], $8::bigint[])
        AS p (seq, started_at, due_at, attempts, max_attempts, fence)
    WHERE a.ctid = ANY ($2::text[]::tid[]) AND a.organization_id = $1 AND a.seq = p.seq";

/// Back in line.
const QUEUE: &str = "
    INSERT INTO queue (organization_id, kind, priority, seq, due_at)
    SELECT $1, * FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[])";

const DROP_LEASES: &str = "
    DELETE FROM leases WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM unnest($2::bigint[]) AS s (seq) CROSS JOIN LATERAL (
        SELECT ctid FROM leases WHERE organization_id = $1 AND seq = s.seq FOR UPDATE) AS l))";

const EXTEND: &str = "
    UPDATE leases l SET expires_at = $4 FROM unnest($2::bigint[], $3::bigint[]) AS h (seq, fence)
    WHERE l.organization_id = $1 AND l.seq = h.seq AND l.fence = h.fence
    RETURNING l.seq, l.fence";

/// Served by active_by_id.
const BEATING: &str = "
    SELECT a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT seq, id, kind, project_id, cancel_requested FROM active
        WHERE id = w.id AND organization_id = $1 OFFSET 0) AS a";

/// Ends attempts that completed, all in one statement: those of the ids $2 that run under the fencing tokens $3 and are
/// within what the worker may touch, projects $6 and no kind of $7. It does to each what [`State::apply`] says.
const COMPLETE: &str = "
    WITH ended AS MATERIALIZED (
        SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[]) AS e (id, fence, output, finished_at)
    ), held AS MATERIALIZED (
        SELECT a.ctid AS place FROM ended e CROSS JOIN LATERAL (
            SELECT ctid FROM active WHERE id = e.id AND organization_id = $1 AND fence = e.fence AND status = 2
                AND ($6::text[] IS NULL OR project_id = ANY ($6)) AND kind <> ALL ($7::text[])
            FOR UPDATE) AS a
    ), moved AS (
        DELETE FROM active WHERE ctid = ANY (ARRAY(SELECT place FROM held))
        RETURNING *
    ), released AS (
        DELETE FROM leases WHERE ctid = ANY (ARRAY(SELECT l.ctid FROM moved m CROSS JOIN LATERAL (
            SELECT ctid FROM leases WHERE organization_id = $1 AND seq = m.seq FOR UPDATE) AS l))
    ), counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind, 0, -count(*), count(*), 0 FROM moved GROUP BY 2, 3, 4
    ), kept AS (
        INSERT INTO settled (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
            project_version_id, created_at, started_at, finished_at, priority, attempts, max_attempts, fence, timeout_ms,
            retain_for_ms, purge_at, error_message, output, input)
        SELECT organization_id, seq, id, kind, 3, resource_type, resource_id, project_id, project_version_id, created_at,
            started_at, finished_at, priority, attempts, max_attempts, m.fence, timeout_ms, retain_for_ms,
            finished_at + coalesce(retain_for_ms, $8), '', output, ''
        FROM moved m JOIN ended USING (id)
    )
    SELECT id FROM moved";

/// An operation of `active` whose worker says that it is still at it.
struct Beating {
    seq: i64,
    kind: String,
    project_id: String,
    cancel_requested: bool,
}

/// An operation of `active` while events are applied to it.
pub(super) struct Entry {
    /// Where the row lies, while it is locked.
    pub(super) place: String,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) priority: i16,
    pub(super) project_id: String,
    pub(super) before: Status,
    pub(super) state: State,
}

/// Whether [`complete`] can carry the events out: completions of different operations by workers that may touch the same.
pub(super) fn is_plain(events: &[&(LeaseRef, Event)]) -> bool {
    let mut ids = HashSet::with_capacity(events.len());
    let reach = events.first().and_then(|(lease, _)| lease.reach.as_ref());
    events.iter().all(|(lease, event)| {
        let completed = matches!(event, Event::Settle { outcome: Outcome::Completed { .. }, .. });
        completed && lease.reach.as_ref() == reach && ids.insert(lease.id)
    })
}

/// What [`apply`] does to plain events ([`is_plain`]), by one statement. What changes while the statement waits for it (a
/// caller asks it to stop) is refused as stale: [`apply`] has the last word on a refusal.
pub(super) async fn complete(
    connection: &mut PgConnection,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    // By id, which is by age: two transactions that end the same operations lock them in the same order.
    let mut rows = Vec::with_capacity(events.len());
    for (lease, event) in events {
        let Event::Settle { fence, at, outcome: Outcome::Completed { output }, .. } = event else { continue };
        rows.push((rows::uuid(&lease.id), fence.cast_signed(), rows::text_in(output.clone()), at.as_millis()));
    }
    rows.sort_unstable();
    let (mut ids, mut fences, mut outputs, mut finished_ats) = (vec![], vec![], vec![], vec![]);
    for (id, fence, output, finished_at) in rows {
        ids.push(id);
        fences.push(fence);
        outputs.push(output);
        finished_ats.push(finished_at);
    }
    let reach = events.first().and_then(|(lease, _)| lease.reach.as_deref());
    let projects: Option<Vec<&str>> = reach.and_then(|reach| match &reach.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().map(String::as_str).collect()),
    });
    let except_kinds: &[String] = reach.map_or(&[], |reach| &reach.except_kinds);
    let ended: HashSet<Uuid> = sqlx::query_scalar(COMPLETE)
        .bind(organization)
        .bind(ids)
        .bind(fences)
        .bind(outputs)
        .bind(finished_ats)
        .bind(projects)
        .bind(except_kinds)
        .bind(retain_for_ms)
        .fetch_all(connection)
        .await?
        .into_iter()
        .collect();
    let result = |lease: &LeaseRef| {
        if ended.contains(&rows::uuid(&lease.id)) { Ok(Status::Completed) } else { Err(Refusal::StaleLease) }
    };
    Ok(events.iter().map(|(lease, _)| result(lease)).collect())
}

/// Applies events that only the holder of a lease may cause; answers in their order. What ends is kept for
/// `retain_for_ms` unless it says otherwise.
pub(super) async fn apply(
    connection: &mut PgConnection,
    organization: &str,
    retain_for_ms: Option<i64>,
    events: &[&(LeaseRef, Event)],
) -> Result<Vec<Result<Status, Refusal>>, StoreError> {
    // By id, which is by age: two transactions that end the same operations lock them in the same order.
    let mut ids: Vec<Uuid> = events.iter().map(|(lease, _)| rows::uuid(&lease.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let found = sqlx::query(FIND).bind(organization).bind(ids).fetch_all(&mut *connection).await?;
    let mut entries: HashMap<OperationId, Entry> = HashMap::with_capacity(found.len());
    for row in &found {
        let state = rows::active_state(row)?;
        let entry = Entry {
            place: row.try_get("place")?,
            seq: row.try_get("seq")?,
            kind: row.try_get("kind")?,
            priority: row.try_get("priority")?,
            project_id: row.try_get("project_id")?,
            before: state.status(),
            state,
        };
        entries.insert(rows::id(row)?, entry);
    }
    let mut results = Vec::with_capacity(events.len());
    for (lease, event) in events {
        // What is not active has ended or never was: the lease is stale either way.
        results.push(match entries.get_mut(&lease.id) {
            None => Err(Refusal::StaleLease),
            Some(entry) if !lease.reaches(&entry.project_id, &entry.kind) => Err(Refusal::StaleLease),
            Some(entry) => entry.state.clone().apply(event.clone()).map(|after| {
                entry.state = after;
                entry.state.status()
            }),
        });
    }
    let changed = entries.into_values().filter(|entry| entry.before != entry.state.status()).collect();
    write(connection, organization, retain_for_ms, changed).await?;
    Ok(results)
}

/// The columns of the rows that go to `settled`.
#[derive(Default)]
struct Ended {
    places: Vec<String>,
    seqs: Vec<i64>,
    statuses: Vec<i16>,
    started_ats: Vec<Option<i64>>,
    finished_ats: Vec<i64>,
    attempts: Vec<i32>,
    max_attempts: Vec<i32>,
    fences: Vec<i64>,
    errors: Vec<String>,
    outputs: Vec<String>,
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
        seq: i64,
        status: Status,
        progress: Progress,
        times: (Option<Timestamp>, Timestamp),
        texts: (String, String),
    ) {
        self.seqs.push(seq);
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

/// Writes operations whose status has changed; their rows are locked.
pub(super) async fn write(
    connection: &mut PgConnection,
    organization: &str,
    retain_for_ms: Option<i64>,
    changed: Vec<Entry>,
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut changes = Changes::default();
    let (mut ended, mut pending, mut seqs) = (Ended::default(), Pending::default(), Vec::new());
    for entry in changed {
        let Entry { place, seq, kind, priority, project_id, before, state } = entry;
        changes.add(seq, &project_id, &kind, before, -1);
        changes.add(seq, &project_id, &kind, state.status(), 1);
        seqs.push(seq);
        match state {
            State::Completed { progress, started_at, finished_at, output } => {
                let times = (Some(started_at), finished_at);
                ended.places.push(place);
                ended.push(seq, Status::Completed, progress, times, (String::new(), output));
            }
            State::Failed { progress, started_at, finished_at, error_message } => {
                let times = (started_at, finished_at);
                ended.places.push(place);
                ended.push(seq, Status::Failed, progress, times, (error_message, String::new()));
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
    sqlx::query(DROP_LEASES).bind(organization).bind(seqs).execute(&mut *connection).await?;
    if !ended.seqs.is_empty() {
        sqlx::query(SETTLE)
            .bind(organization)
            .bind(ended.places)
            .bind(ended.seqs)
            .bind(ended.statuses)
            .bind(ended.started_ats)
            .bind(ended.finished_ats)
            .bind(ended.attempts)
            .bind(ended.max_attempts)
            .bind(ended.fences)
            .bind(ended.errors)
            .bind(ended.outputs)
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
    changes.write(connection, organization).await
}

/// Extends the leases that are still held. A lease that is there holds its fencing token, so nothing else is looked at.
pub(super) async fn heartbeat(
    connection: &mut PgConnection,
    organization: &str,
    beats: &[&Heartbeat],
    expires_at: Timestamp,
) -> Result<Vec<LeaseStatus>, StoreError> {
    let ids: Vec<Uuid> = beats.iter().map(|beat| rows::uuid(&beat.lease.id)).collect();
    let found = sqlx::query(BEATING).bind(organization).bind(ids).fetch_all(&mut *connection).await?;
    let mut beating: HashMap<OperationId, Beating> = HashMap::with_capacity(found.len());
    for row in &found {
        let entry = Beating {
            seq: row.try_get("seq")?,
            kind: row.try_get("kind")?,
            project_id: row.try_get("project_id")?,
            cancel_requested: row.try_get("cancel_requested")?,
        };
        beating.insert(rows::id(row)?, entry);
    }
    let reached = |beat: &Heartbeat| {
        beating.get(&beat.lease.id).filter(|entry| beat.lease.reaches(&entry.project_id, &entry.kind))
    };
    let mut wanted: Vec<(i64, i64)> = beats
        .iter()
        .filter_map(|beat| reached(beat).map(|entry| (entry.seq, beat.lease.fence.cast_signed())))
        .collect();
    wanted.sort_unstable();
    let (keys, fences): (Vec<i64>, Vec<i64>) = wanted.into_iter().unzip();
    let extended: Vec<(i64, i64)> = sqlx::query_as(EXTEND)
        .bind(organization)
        .bind(keys)
        .bind(fences)
        .bind(expires_at.as_millis())
        .fetch_all(connection)
        .await?;
    let held: HashSet<(i64, i64)> = extended.into_iter().collect();
    let status = |beat: &&Heartbeat| match reached(beat) {
        Some(entry) if held.contains(&(entry.seq, beat.lease.fence.cast_signed())) => {
            LeaseStatus::Held { expires_at, cancel_requested: entry.cancel_requested }
        }
        _ => LeaseStatus::Lost,
    };
    Ok(beats.iter().map(status).collect())
}
