//! Bulk operations: see [`crate::BulkOperations`].
//!
//! A batch consists of commands for many operations in one transaction, carried out as a command for one is
//! (`command.rs`): it looks up where they are, in one snapshot, before it takes a number; locks their places in the
//! queue and then the operations; and is retried when one of them has moved meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use operations::{Concurrency, Operation, OperationId, Refusal, State, Status, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::command::{ASK_TO_STOP, LEAVE_LINE, LOCK_PLACE, LOCK_PLACE_DUE, LOOK, REMOVE, lock_sql};
use super::counters::{Changes, Counted};
use super::list::projects;
use super::tx::{TRIES, Tx};
use super::{PostgresStore, changes as change_log, concurrency, create, details, history, purge, rows, transition};
use crate::bulk::not_begun;
use crate::command::{CommandOutcome, in_state};
use crate::commits::News;
use crate::history::steering_notes;
use crate::{BulkBatch, BulkOperations, BulkProgress, OperationCommand, Store as _, StoreError};

const FIND: &str = "SELECT progress FROM bulk_progress WHERE organization_id = $1 AND id = $2";

const BEGIN: &str = "
    INSERT INTO bulk_progress (organization_id, id, progress)
    SELECT $1, $2, jsonb_set($3::jsonb, '{below}', to_jsonb(seq))::text FROM active WHERE id = $2 AND organization_id = $1
    ON CONFLICT DO NOTHING";

/// Those of bulk operations that have ended: their results are in their outputs.
const FORGET: &str = "
    DELETE FROM bulk_progress WHERE organization_id = $1 AND NOT EXISTS (
        SELECT FROM active a WHERE a.id = bulk_progress.id AND a.organization_id = $1)";

const WRITE: &str = "UPDATE bulk_progress SET progress = $3 WHERE organization_id = $1 AND id = $2";

/// Makes operations that failed pending again: by places of rows that are locked.
const RETRY: &str = "
    WITH held AS MATERIALIZED (
        SELECT s.*, e.began_at, e.tries, e.max_tries
        FROM unnest($2::text[]::tid[], $3::bigint[], $4::int[], $5::int[]) AS e (place, began_at, tries, max_tries)
            CROSS JOIN LATERAL (SELECT * FROM settled WHERE ctid = e.place AND organization_id IS NOT DISTINCT FROM $1
                OFFSET 0) AS s
    ), moved AS (
        DELETE FROM settled WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1
    ), queued AS (
        INSERT INTO queue (organization_id, kind, priority, seq)
        SELECT organization_id, kind, priority, seq FROM held WHERE concurrency_key IS NULL
    )
    INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, due_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, input, concurrency_key, concurrency_limit)
    SELECT organization_id, seq, id, kind, 1, resource_type, resource_id, project_id, project_version_id, created_at,
        began_at, NULL, priority, tries, max_tries, fence, timeout_ms, retain_for_ms, input, concurrency_key,
        concurrency_limit
    FROM held";

/// Served by events_by_operation.
const FORGET_HISTORIES: &str = "
    DELETE FROM events WHERE ctid = ANY (ARRAY(SELECT e.ctid FROM unnest($2::bigint[]) AS g (seq) CROSS JOIN LATERAL (
        SELECT ctid FROM events WHERE organization_id = $1 AND seq = g.seq OFFSET 0) AS e))
        AND organization_id IS NOT DISTINCT FROM $1";

#[async_trait]
impl BulkOperations for PostgresStore {
    async fn begin_bulk(
        &self,
        organization: &str,
        id: OperationId,
        total: u64,
    ) -> Result<Option<BulkProgress>, StoreError> {
        let progress = BulkProgress { total, ..BulkProgress::default() };
        let begin = async {
            sqlx::query(FORGET).bind(organization).execute(&self.pool).await?;
            sqlx::query(BEGIN)
                .bind(organization)
                .bind(rows::uuid(&id))
                .bind(progress.to_json())
                .execute(&self.pool)
                .await?;
            Ok::<_, StoreError>(())
        };
        begin.await.map_err(StoreError::or_unavailable)?;
        self.bulk_progress(organization, id).await
    }

    async fn bulk_progress(&self, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError> {
        let find = sqlx::query_scalar(FIND).bind(organization).bind(rows::uuid(&id));
        let found: Option<String> =
            find.fetch_optional(&self.pool).await.map_err(|error| StoreError::from(error).or_unavailable())?;
        found.map(|text| BulkProgress::of_json(&text)).transpose()
    }

    async fn bulk_batch(&self, batch: BulkBatch) -> Result<BulkProgress, StoreError> {
        let carry_out = async {
            let mut connection = self.pool.acquire().await?;
            let mut tx = Tx::begun(&mut connection).await?;
            let mut tries = 1;
            let progress = loop {
                let carried_out = carry_out(&mut tx, self.now(), self.retention.millis(), &batch).await;
                match carried_out {
                    Err(error) if tries < TRIES && error.lost_against_another() => tx.restart().await?,
                    carried_out => break carried_out?,
                }
                tries += 1;
            };
            tx.commit().await?;
            connection.release();
            Ok::<_, StoreError>(progress)
        };
        let progress = self.pool.within(carry_out).await.map_err(StoreError::or_unavailable)?;
        self.folds.note(&batch.access.organization);
        self.commits.note(News { queue: batch.command != OperationCommand::Delete, ..News::CHANGED });
        Ok(progress)
    }
}

/// An operation of the batch, locked.
struct Held {
    is_active: bool,
    row: PgRow,
}

async fn carry_out(
    tx: &mut Tx<'_>,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    batch: &BulkBatch,
) -> Result<BulkProgress, StoreError> {
    let organization = batch.access.organization.as_str();
    let ids: Vec<Uuid> = {
        // By id, which is by age: two transactions that concern the same operations lock them in the same order.
        let mut ids: Vec<Uuid> = batch.ids.iter().map(rows::uuid).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    // The first that the transaction does, so that what it sees was committed by older ones (see `changes`).
    let seen =
        sqlx::query(LOOK).bind(organization).bind(&ids).bind(projects(&batch.access)).fetch_all(&mut **tx).await?;
    let find = format!("{FIND} FOR UPDATE");
    let found: Option<String> = sqlx::query_scalar(AssertSqlSafe(find))
        .bind(organization)
        .bind(rows::uuid(&batch.id))
        .fetch_optional(&mut **tx)
        .await?;
    let mut progress = BulkProgress::of_json(&found.ok_or_else(not_begun)?)?;
    if progress.below != batch.from {
        return Ok(progress);
    }
    let places = match batch.command {
        OperationCommand::Cancel => lock_places(tx, organization, &seen).await?,
        _ => HashMap::new(),
    };
    let mut held = Vec::with_capacity(ids.len());
    for is_active in [true, false] {
        let sql = AssertSqlSafe(lock_sql(is_active));
        let query = sqlx::query(sql).bind(organization).bind(&ids).bind(projects(&batch.access));
        held.extend(query.fetch_all(&mut **tx).await?.into_iter().map(|row| Held { is_active, row }));
    }
    check_unmoved(&seen, &held)?;
    let mut plan = Plan { places, ..Plan::default() };
    if batch.command == OperationCommand::Retry {
        plan.unique_keys = taken_keys(tx, now, organization, &held).await?;
    }
    let mut outcomes: HashMap<OperationId, CommandOutcome> = HashMap::with_capacity(held.len());
    for held in held {
        let (id, outcome) = plan.decide(held, batch.command, now)?;
        outcomes.insert(id, Some(outcome));
    }
    for id in &batch.ids {
        progress.count(*id, outcomes.get(id).unwrap_or(&None));
    }
    progress.below = batch.below;
    plan.write(tx, now, organization, retain_for_ms).await?;
    sqlx::query(WRITE)
        .bind(organization)
        .bind(rows::uuid(&batch.id))
        .bind(progress.to_json())
        .execute(&mut **tx)
        .await?;
    Ok(progress)
}

/// The unique keys of operations that are to be retried which other operations have. The organization's row is locked
/// if there are any such keys, and the concurrency keys before it, as creations do.
async fn taken_keys(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    held: &[Held],
) -> Result<HashSet<String>, StoreError> {
    let (mut unique, mut concurrency_keys) = (Vec::new(), BTreeSet::new());
    for Held { row, .. } in held.iter().filter(|held| !held.is_active) {
        unique.extend(row.try_get::<Option<&str>, _>("unique_key")?);
        concurrency_keys.extend(row.try_get::<Option<&str>, _>("concurrency_key")?);
    }
    if unique.is_empty() {
        return Ok(HashSet::new());
    }
    concurrency::lock_keys(connection, organization, concurrency_keys.into_iter()).await?;
    create::lock_numbers(connection, now, organization).await?;
    Ok(details::holders(connection, organization, &unique).await?.into_keys().collect())
}

/// Locks the places in the queue of the pending operations; answers them by the number of the operation.
async fn lock_places(
    connection: &mut PgConnection,
    organization: &str,
    seen: &[PgRow],
) -> Result<HashMap<i64, String>, StoreError> {
    let (mut kinds, mut priorities, mut seqs, mut due_ats, mut due_seqs) = (vec![], vec![], vec![], vec![], vec![]);
    for row in seen {
        if rows::status(row)? != Status::Pending {
            continue;
        }
        kinds.push(row.try_get::<String, _>("kind")?);
        priorities.push(row.try_get::<i16, _>("priority")?);
        seqs.push(row.try_get::<i64, _>("seq")?);
        // An operation that has become due keeps its time in `active`, but not in the queue.
        if let Some(due_at) = row.try_get::<Option<i64>, _>("due_at")? {
            due_ats.push(due_at);
            due_seqs.push(row.try_get::<i64, _>("seq")?);
        }
    }
    let mut places = HashMap::new();
    if seqs.is_empty() {
        return Ok(places);
    }
    let due = sqlx::query_as(LOCK_PLACE_DUE).bind(organization).bind(due_ats).bind(due_seqs);
    let due: Vec<(String, i64)> = due.fetch_all(&mut *connection).await?;
    let ready = sqlx::query_as(LOCK_PLACE).bind(organization).bind(kinds).bind(priorities).bind(seqs);
    let ready: Vec<(String, i64)> = ready.fetch_all(&mut *connection).await?;
    places.extend(due.into_iter().chain(ready).map(|(place, seq)| (seq, place)));
    Ok(places)
}

/// Fails, to be tried again, unless every operation that was seen is unchanged.
fn check_unmoved(seen: &[PgRow], held: &[Held]) -> Result<(), StoreError> {
    let mut versions: HashSet<(i64, &str)> = HashSet::with_capacity(held.len());
    for held in held {
        versions.insert((held.row.try_get("seq")?, held.row.try_get("version")?));
    }
    for row in seen {
        if !versions.contains(&(row.try_get("seq")?, row.try_get("version")?)) {
            return Err(change_log::overtaken());
        }
    }
    if versions.len() == seen.len() { Ok(()) } else { Err(change_log::overtaken()) }
}

/// What is to be written.
#[derive(Default)]
struct Plan {
    /// Places in the queue, by the number of the operation.
    places: HashMap<i64, String>,
    counts: Changes,
    notes: Vec<(i64, crate::history::Note)>,
    logged: Vec<(Uuid, Option<Status>)>,
    /// Places in the queue that operations leave.
    left: Vec<String>,
    /// Operations with a key that are cancelled without a place in the queue: they must be waiting for a place of that
    /// key.
    unplaced: Vec<(String, i64)>,
    ended: Vec<transition::Entry>,
    stopping: Vec<String>,
    retried: Retried,
    /// Unique keys that are taken, by others or by operations that are retried here.
    unique_keys: HashSet<String>,
    /// Unique keys that are taken here, each with its operation's number.
    taken: Vec<(String, i64)>,
    /// Places in `settled`, and numbers.
    removed: (Vec<String>, Vec<i64>),
}

/// The columns of the operations that are pending again.
#[derive(Default)]
struct Retried {
    places: Vec<String>,
    started_ats: Vec<Option<i64>>,
    attempts: Vec<i32>,
    max_attempts: Vec<i32>,
    keyed: Vec<(Uuid, Concurrency)>,
}

impl Plan {
    /// Decides about one operation.
    fn decide(
        &mut self,
        held: Held,
        command: OperationCommand,
        now: Timestamp,
    ) -> Result<(OperationId, Result<Operation, Refusal>), StoreError> {
        let Held { is_active, row } = held;
        let before = if is_active { rows::active_state(&row)? } else { rows::settled_state(&row)? };
        let operation = rows::operation(&row)?;
        let after = match command.apply(&before, now) {
            Ok(after) => after,
            Err(refusal) => return Ok((operation.id, Err(refusal))),
        };
        let (seq, place): (i64, String) = (row.try_get("seq")?, row.try_get("place")?);
        let key: Option<String> = row.try_get("concurrency_key")?;
        if command == OperationCommand::Retry
            && !is_active
            && let Some(unique_key) = row.try_get::<Option<String>, _>("unique_key")?
        {
            if !self.unique_keys.insert(unique_key.clone()) {
                return Ok((operation.id, Err(Refusal::UniqueKeyInUse)));
            }
            self.taken.push((unique_key, seq));
        }
        let id = rows::uuid(&operation.id);
        let Operation { project_id, kind, resource, .. } = operation.clone();
        let of = Counted { seq, project_id: &project_id, kind: &kind, resource: resource.as_ref() };
        if !is_active {
            self.counts.add(&of, before.status(), -1);
        }
        if let Some(after) = &after {
            let worker = if is_active { "" } else { row.try_get("worker")? };
            let notes = steering_notes(now, &before, after, worker);
            self.notes.extend(notes.into_iter().map(|note| (seq, note)));
        }
        match &after {
            Some(State::Running { .. }) => self.stopping.push(place),
            Some(state) if is_active => {
                match (self.places.remove(&seq), &key) {
                    (Some(place), _) => self.left.push(place),
                    (None, Some(key)) => self.unplaced.push((key.clone(), seq)),
                    // It may be just about to be claimed.
                    (None, None) => return Err(change_log::overtaken()),
                }
                self.ended.push(transition::Entry {
                    id: operation.id,
                    place,
                    seq,
                    kind,
                    priority: row.try_get("priority")?,
                    project_id,
                    resource,
                    before: before.status(),
                    concurrency_key: key,
                    state: state.clone(),
                    lease_ends: None,
                    note: None,
                });
            }
            Some(State::Pending { progress, started_at, .. }) => {
                self.retried.places.push(place);
                self.retried.started_ats.push(started_at.map(Timestamp::as_millis));
                self.retried.attempts.push(transition::small(progress.attempts));
                self.retried.max_attempts.push(transition::small(progress.max_attempts));
                if let Some(key) = key {
                    let limit: i32 = row.try_get("concurrency_limit")?;
                    self.retried.keyed.push((id, Concurrency { key, limit: limit.unsigned_abs() }));
                }
                self.counts.add(&of, Status::Pending, 1);
                self.logged.push((id, Some(Status::Pending)));
            }
            Some(State::Completed { .. } | State::Failed { .. }) => {
                return Err(StoreError::Unusable("an operation that has ended ended again".to_owned()));
            }
            None => {
                self.removed.0.push(place);
                self.removed.1.push(seq);
                self.logged.push((id, None));
            }
        }
        let id = operation.id;
        Ok((
            id,
            Ok(match &after {
                Some(state) => in_state(operation, state),
                None => operation,
            }),
        ))
    }

    async fn write(
        self,
        connection: &mut PgConnection,
        now: Timestamp,
        organization: &str,
        retain_for_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let Plan { counts, notes, logged, left, unplaced, ended, stopping, retried, taken, removed, .. } = self;
        let retried_keys = retried.keyed.iter().map(|(_, of)| of.key.as_str());
        let ended_keys = ended.iter().filter_map(|entry| entry.concurrency_key.as_deref());
        let keys: BTreeSet<&str> = retried_keys.chain(ended_keys).collect();
        concurrency::lock_keys(connection, organization, keys.into_iter()).await?;
        if !concurrency::all_wait(connection, organization, unplaced.iter().map(|(_, seq)| *seq).collect()).await? {
            return Err(change_log::overtaken());
        }
        history::append(connection, organization, notes).await?;
        if !stopping.is_empty() {
            let query = sqlx::query(ASK_TO_STOP).bind(organization).bind(stopping).bind(now.as_millis());
            query.execute(&mut *connection).await?;
        }
        if !left.is_empty() {
            sqlx::query(LEAVE_LINE).bind(organization).bind(left).execute(&mut *connection).await?;
        }
        transition::write(connection, now, organization, retain_for_ms, ended).await?;
        for (key, seq) in taken {
            details::take_key(connection, organization, &key, seq).await?;
        }
        if !retried.places.is_empty() {
            sqlx::query(RETRY)
                .bind(organization)
                .bind(retried.places)
                .bind(retried.started_ats)
                .bind(retried.attempts)
                .bind(retried.max_attempts)
                .execute(&mut *connection)
                .await?;
            if !retried.keyed.is_empty() {
                concurrency::enter(connection, organization, &retried.keyed, true).await?;
            }
        }
        if !removed.0.is_empty() {
            let count = i64::try_from(removed.0.len()).unwrap_or(i64::MAX);
            sqlx::query(REMOVE).bind(organization).bind(removed.0).execute(&mut *connection).await?;
            sqlx::query(FORGET_HISTORIES).bind(organization).bind(&removed.1).execute(&mut *connection).await?;
            change_log::append(connection, organization, now, &logged).await?;
            counts.write(connection, organization).await?;
            // The organization's row, which creations wait for, is locked last.
            purge::note_removed(connection, organization, count).await?;
            return details::forget(connection, organization, &removed.1).await;
        }
        change_log::append(connection, organization, now, &logged).await?;
        counts.write(connection, organization).await
    }
}
