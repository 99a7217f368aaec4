//! Commands for one operation: cancel, retry, delete. And attempts that did not stop in time.
//!
//! A command is a transaction of its own. It looks up where the operation is, locks it there, and reads it again: an
//! operation that has moved or changed meanwhile is looked up anew, so that what the transaction sees was committed by
//! older ones (see [`super::changes`]). A place in the queue is locked before the operation that has it, as
//! claims do it; claims pass over a place that is locked, so that an operation that is cancelled while pending is not
//! started.

use std::time::Duration;

use operations::{Access, Concurrency, Event, Operation, Refusal, State, Status, Timestamp};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::connections::Connections;
use super::counters::{Changes, Counted};
use super::list::projects;
use super::tx::Tx;
use super::{changes as change_log, concurrency, create, details, history, purge, rows, transition};
use crate::batch::CommandRequest;
use crate::command::in_state;
use crate::history::steering_notes;
use crate::{CommandOutcome, LeaseRef, OperationCommand, StoreError};

/// How often an operation is looked up that moves from state to state meanwhile.
const LOOKS: u32 = 10;

/// Where it is, in one snapshot: an operation that exists is found, however it moves. Served by active_by_id and
/// settled_by_id.
pub(super) const LOOK: &str = "
    SELECT o.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT true AS is_active, ctid::text || ' ' || xmin::text AS version, seq, kind, priority, due_at, status FROM active
        WHERE id = w.id AND organization_id = $1 AND ($3::text[] IS NULL OR project_id = ANY ($3)) OFFSET 0) AS o
    UNION ALL
    SELECT o.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT false, ctid::text || ' ' || xmin::text, seq, kind, priority, NULL::bigint, status FROM settled
        WHERE id = w.id AND organization_id = $1 AND ($3::text[] IS NULL OR project_id = ANY ($3)) OFFSET 0) AS o";

/// A place in the queue. Served by queue_in_order, queue_ready or, before its time, queue_due.
pub(super) const LOCK_PLACE: &str = "
    SELECT q.place, w.seq FROM unnest($2::text[], $4::bigint[]) AS w (kind, seq) CROSS JOIN LATERAL (
        SELECT ctid::text AS place FROM queue
        WHERE organization_id = $1 AND kind = w.kind AND seq = w.seq AND in_order FOR UPDATE) AS q
    UNION ALL
    SELECT q.place, w.seq FROM unnest($2::text[], $3::smallint[], $4::bigint[]) AS w (kind, priority, seq) CROSS JOIN LATERAL (
        SELECT ctid::text AS place FROM queue
        WHERE organization_id = $1 AND kind = w.kind AND -priority = -w.priority AND seq = w.seq AND due_at IS NULL
            AND NOT in_order
        FOR UPDATE) AS q";
pub(super) const LOCK_PLACE_DUE: &str = "
    SELECT q.place, w.seq FROM unnest($2::bigint[], $3::bigint[]) AS w (due_at, seq) CROSS JOIN LATERAL (
        SELECT ctid::text AS place FROM queue
        WHERE organization_id = $1 AND due_at = w.due_at AND seq = w.seq AND due_at IS NOT NULL FOR UPDATE) AS q";

/// The operation in the table {from} under the name {alias}, locked. Served by the table's index by id.
const LOCK: &str = "
    SELECT o.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT {alias}.ctid::text AS place, {alias}.ctid::text || ' ' || {alias}.xmin::text AS version, {columns}, priority, attempts, max_attempts, fence,
            concurrency_key, concurrency_limit
        FROM {from} {alias}
        WHERE {alias}.id = w.id AND organization_id = $1 AND ($3::text[] IS NULL OR project_id = ANY ($3))
        FOR UPDATE) AS o";

/// The statements from here on work by places of rows that are locked.
pub(super) const LEAVE_LINE: &str =
    "DELETE FROM queue WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1";

pub(super) const ASK_TO_STOP: &str = "
    UPDATE active SET cancel_requested = true, cancel_requested_at = coalesce(cancel_requested_at, $3)
    WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1";

const RETRY: &str = "
    WITH moved AS (
        DELETE FROM settled WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1 RETURNING *
    ), queued AS (
        INSERT INTO queue (organization_id, kind, priority, seq, due_at)
        SELECT organization_id, kind, priority, seq, $4 FROM moved
        WHERE concurrency_key IS NULL OR $4::bigint IS NOT NULL
    )
    INSERT INTO active (organization_id, seq, id, kind, status, resource_type, resource_id, project_id,
        project_version_id, created_at, started_at, due_at, priority, attempts, max_attempts, fence, timeout_ms,
        retain_for_ms, input, concurrency_key, concurrency_limit)
    SELECT organization_id, seq, id, kind, 1, resource_type, resource_id, project_id, project_version_id, created_at, $3,
        $4, priority, $5, $6, fence, timeout_ms, retain_for_ms, input, concurrency_key, concurrency_limit
    FROM moved";

pub(super) const REMOVE: &str =
    "DELETE FROM settled WHERE ctid = ANY ($2::text[]::tid[]) AND organization_id IS NOT DISTINCT FROM $1";

/// Carries out a command on one operation as its state allows. Must be alone in its transaction, which it may begin
/// anew.
pub(super) async fn command(
    tx: &mut Tx<'_>,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    request: &CommandRequest,
) -> Result<CommandOutcome, StoreError> {
    let CommandRequest { access, id, command } = request;
    let target = Target { access, ids: [rows::uuid(id)] };
    for _ in 0..LOOKS {
        let Some(seen) = target.look(tx).await? else { return Ok(None) };
        let mut place_in_queue = None;
        if *command == OperationCommand::Cancel && rows::status(&seen)? == Status::Pending {
            place_in_queue = target.lock_place(tx, &seen).await?;
        }
        if let Some(found) = target.lock(tx, seen.try_get("is_active")?).await? {
            let before =
                if found.is_active { rows::active_state(&found.row)? } else { rows::settled_state(&found.row)? };
            let is_unchanged = found.row.try_get::<String, _>("version")? == seen.try_get::<String, _>("version")?;
            let is_in_queue = found.is_active && before.status() == Status::Pending;
            // Without its place in the queue a pending operation may be just about to be claimed.
            let mut may_be_claimed = is_in_queue && *command == OperationCommand::Cancel && place_in_queue.is_none();
            if is_unchanged
                && may_be_claimed
                && let Some(key) = found.row.try_get::<Option<&str>, _>("concurrency_key")?
            {
                let seq = found.row.try_get("seq")?;
                may_be_claimed = !concurrency::waits(tx, &access.organization, key, seq).await?;
            }
            if is_unchanged && !may_be_claimed {
                let target = Locked { connection: tx, now, retain_for_ms, access, found, before, place_in_queue };
                return target.carry_out(*command).await.map(Some);
            }
        }
        // It has moved. The locks are released before the next attempt, so that the order of locks is kept.
        tx.restart().await?;
    }
    Err(StoreError::Unavailable("the operation kept changing while the command was carried out".to_owned()))
}

/// The operation.
struct Target<'t> {
    access: &'t Access,
    ids: [uuid::Uuid; 1],
}

/// An operation, locked.
struct Found {
    is_active: bool,
    row: PgRow,
}

impl Target<'_> {
    async fn look(&self, connection: &mut PgConnection) -> Result<Option<PgRow>, StoreError> {
        let query = sqlx::query(LOOK).bind(&self.access.organization).bind(self.ids.as_slice());
        Ok(query.bind(projects(self.access)).fetch_optional(connection).await?)
    }

    async fn lock_place(&self, connection: &mut PgConnection, seen: &PgRow) -> Result<Option<String>, StoreError> {
        let organization = &self.access.organization;
        let seq: i64 = seen.try_get("seq")?;
        let (kind, priority): (String, i16) = (seen.try_get("kind")?, seen.try_get("priority")?);
        // An operation that has become due keeps its time in `active`, but not in the queue.
        if let Some(due_at) = seen.try_get::<Option<i64>, _>("due_at")? {
            let query = sqlx::query_scalar(LOCK_PLACE_DUE).bind(organization).bind([due_at]).bind([seq]);
            if let Some(place) = query.fetch_optional(&mut *connection).await? {
                return Ok(Some(place));
            }
        }
        let query = sqlx::query_scalar(LOCK_PLACE).bind(organization).bind([kind]).bind([priority]).bind([seq]);
        Ok(query.fetch_optional(connection).await?)
    }

    async fn lock(&self, connection: &mut PgConnection, is_active: bool) -> Result<Option<Found>, StoreError> {
        let query =
            sqlx::query(AssertSqlSafe(lock_sql(is_active))).bind(&self.access.organization).bind(self.ids.as_slice());
        let found = query.bind(projects(self.access)).fetch_optional(connection).await?;
        Ok(found.map(|row| Found { is_active, row }))
    }
}

/// [`LOCK`] for operations in `active`, or in `settled`.
pub(super) fn lock_sql(is_active: bool) -> String {
    let (from, alias, columns) = if is_active {
        ("active", "a", format!("{}, '' AS output, due_at, cancel_requested", rows::ACTIVE_COLUMNS))
    } else {
        (
            "settled",
            "s",
            format!(
                "{}, output, worker, (SELECT unique_key FROM details d \
                 WHERE d.organization_id = s.organization_id AND d.seq = s.seq) AS unique_key",
                rows::SETTLED_COLUMNS
            ),
        )
    };
    LOCK.replace("{from}", from).replace("{alias}", alias).replace("{columns}", &columns)
}

/// A command for an operation that is locked.
struct Locked<'s> {
    connection: &'s mut PgConnection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    access: &'s Access,
    found: Found,
    before: State,
    place_in_queue: Option<String>,
}

impl Locked<'_> {
    async fn carry_out(
        self,
        command: OperationCommand,
    ) -> Result<Result<operations::Operation, operations::Refusal>, StoreError> {
        let Locked { connection, now, retain_for_ms, access, found: Found { is_active, row }, before, place_in_queue } =
            self;
        let after = match command.apply(&before, now) {
            Ok(after) => after,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let organization = access.organization.as_str();
        let operation = rows::operation(&row)?;
        let (seq, place): (i64, String) = (row.try_get("seq")?, row.try_get("place")?);
        if command == OperationCommand::Retry
            && !is_active
            && let Some(key) = row.try_get::<Option<String>, _>("unique_key")?
        {
            // As creations do: the lock on the concurrency key, that on the organization's row, and then the read.
            if let Some(key) = row.try_get::<Option<&str>, _>("concurrency_key")? {
                concurrency::lock_keys(connection, organization, [key].into_iter()).await?;
            }
            create::lock_numbers(connection, now, organization).await?;
            if !details::holders(connection, organization, &[&key]).await?.is_empty() {
                return Ok(Err(Refusal::UniqueKeyInUse));
            }
            details::take_key(connection, organization, &key, seq).await?;
        }
        let mut counts = Changes::default();
        let Operation { project_id, kind, resource, .. } = operation.clone();
        let of = Counted { seq, project_id: &project_id, kind: &kind, resource: resource.as_ref() };
        if !is_active {
            counts.add(&of, before.status(), -1);
        }
        if let Some(after) = &after {
            let worker = if is_active { "" } else { row.try_get("worker")? };
            let notes = steering_notes(now, &before, after, worker);
            history::append(connection, organization, notes.into_iter().map(|note| (seq, note)).collect()).await?;
        }
        match &after {
            Some(State::Running { .. }) => {
                sqlx::query(ASK_TO_STOP)
                    .bind(organization)
                    .bind([place])
                    .bind(now.as_millis())
                    .execute(&mut *connection)
                    .await?;
            }
            Some(state) if is_active => {
                if let Some(place) = place_in_queue {
                    sqlx::query(LEAVE_LINE).bind(organization).bind([place]).execute(&mut *connection).await?;
                }
                let entry = transition::Entry {
                    id: operation.id,
                    place,
                    seq,
                    kind: operation.kind.clone(),
                    priority: row.try_get("priority")?,
                    project_id: operation.project_id.clone(),
                    resource: operation.resource.clone(),
                    before: before.status(),
                    concurrency_key: row.try_get("concurrency_key")?,
                    state: state.clone(),
                    lease_ends: None,
                    note: None,
                };
                transition::write(connection, now, organization, retain_for_ms, vec![entry]).await?;
            }
            Some(State::Pending { progress, started_at, due_at }) => {
                sqlx::query(RETRY)
                    .bind(organization)
                    .bind([place])
                    .bind(started_at.map(Timestamp::as_millis))
                    .bind(due_at.map(Timestamp::as_millis))
                    .bind(transition::small(progress.attempts))
                    .bind(transition::small(progress.max_attempts))
                    .execute(&mut *connection)
                    .await?;
                if let Some(key) = row.try_get::<Option<String>, _>("concurrency_key")? {
                    let limit: i32 = row.try_get("concurrency_limit")?;
                    let came = [(rows::uuid(&operation.id), Concurrency { key, limit: limit.unsigned_abs() })];
                    concurrency::lock_keys(connection, organization, came.iter().map(|(_, of)| of.key.as_str()))
                        .await?;
                    concurrency::enter(connection, organization, &came, true).await?;
                }
                counts.add(&of, Status::Pending, 1);
                change_log::append(
                    connection,
                    organization,
                    now,
                    &[(rows::uuid(&operation.id), Some(Status::Pending))],
                )
                .await?;
            }
            Some(State::Completed { .. } | State::Failed { .. }) => {
                return Err(StoreError::Unusable("an operation that has ended ended again".to_owned()));
            }
            None => {
                sqlx::query(REMOVE).bind(organization).bind([place]).execute(&mut *connection).await?;
                history::forget(connection, organization, seq).await?;
                change_log::append(connection, organization, now, &[(rows::uuid(&operation.id), None)]).await?;
                purge::note_removed(connection, organization, 1).await?;
                details::forget(connection, organization, &[seq]).await?;
            }
        }
        counts.write(connection, organization).await?;
        Ok(Ok(match after {
            Some(state) => in_state(operation, &state),
            None => operation,
        }))
    }
}

/// Attempts that were asked to stop by $1, one of each organization before a second one of any: those of an
/// organization that is locked do not fill every round. Served by active_by_cancel.
const OVERDUE: &str = "
    SELECT organization_id, id, fence FROM active a
    WHERE cancel_requested_at <= $1 AND cancel_requested_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM organizations_elsewhere e WHERE e.organization_id = a.organization_id)
    ORDER BY row_number() OVER (PARTITION BY organization_id ORDER BY cancel_requested_at) LIMIT $2";

/// The events that end attempts that were asked to stop at least `grace` ago.
pub(super) async fn overdue(
    pool: &Connections,
    now: Timestamp,
    grace: Duration,
    limit: u32,
) -> Result<Vec<(LeaseRef, Event)>, StoreError> {
    let asked_by = now.before(grace).as_millis();
    let found = sqlx::query(OVERDUE).bind(asked_by).bind(i64::from(limit)).fetch_all(pool).await?;
    found
        .iter()
        .map(|row| {
            let lease = rows::lease(row)?;
            let event = Event::CancelOverdue { fence: lease.fence, at: now };
            Ok((lease, event))
        })
        .collect()
}
