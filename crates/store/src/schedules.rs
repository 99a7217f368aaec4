//! Schedules: rules that create operations at given times, whichever servers run.
//!
//! **Once.** The row of a schedule says which due time comes next. It is locked, the operations that are due are
//! created, and the row moves on, in one transaction: so each due time is handled once, however many servers read it
//! and whenever they die. An idempotency key would not do: it is forgotten after a day, and servers may be off for a
//! week.
//!
//! **Limits.** A due time for which its organization has no capacity stays the next one, with the reason in
//! `last_error`, and is tried again until it is later than [`GRACE`](operations::schedule::GRACE); from then on it is
//! one that was missed.

use std::time::Duration;

use async_trait::async_trait;
use operations::schedule::{CatchUp, NewSchedule, Overlap, SHOWN_TIMES, Timing};
use operations::{
    Access, Concurrency, Labels, NewOperation, Operation, OperationId, Projects, Resource, Timestamp, cut_message,
};
use serde::{Deserialize, Serialize};

use crate::batch::{Create, Created};
use crate::quota::Admission;
use crate::rows::damaged;
use crate::seal::{Field, Owner};
use crate::{Keyring, OperationCommand, Store, StoreError};

/// A creation for which there was no capacity is tried again after this time.
const RETRY: Duration = Duration::from_secs(10);
/// A schedule that an operator has to repair is tried again after this time.
const REPAIR: Duration = Duration::from_secs(60);
/// How often a trigger is tried whose schedule creates other operations meanwhile.
const TRIES: usize = 10;
/// The most bytes of `last_error`.
const MAX_ERROR: usize = 1_024;

/// A schedule as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Never shown: its texts are sealed for this id, and its delays are derived from it.
    pub id: OperationId,
    /// What its owner requested.
    pub wanted: NewSchedule,
    /// Increases with each change by a caller.
    pub revision: u64,
    /// What `every` is counted from.
    pub anchor: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a caller changed it last.
    pub updated_at: Timestamp,
    /// The first due time that was not handled yet; `None` while the schedule is paused, and when it is never due
    /// again.
    pub next_due: Option<Timestamp>,
    /// The last due time at which an operation was created.
    pub last_time: Option<Timestamp>,
    /// The last operation that it has created, at a due time or when it was triggered.
    pub last_operation: Option<OperationId>,
    /// The last due time that was passed over.
    pub passed_over: Option<Timestamp>,
    /// Why nothing could be created the last time; empty since something could.
    pub last_error: String,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
}

impl Schedule {
    /// The next five times at which it is due, without their delays.
    pub fn next_times(&self) -> Vec<Timestamp> {
        let (Some(next), Ok(timing)) = (self.next_due, self.wanted.timing(self.anchor)) else { return Vec::new() };
        let mut times = timing.upcoming(next, SHOWN_TIMES - 1);
        times.insert(0, next);
        times
    }
}

/// Why nothing was done to a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    /// There is no schedule of this name, or it may not be seen.
    #[error("there is no such schedule")]
    NotFound,
    /// Another one has the name.
    #[error("the organization has a schedule of this name already")]
    NameTaken,
    /// The organization has as many as it may.
    #[error("the organization may have at most {limit} schedules: delete some that are not needed")]
    Full {
        /// Schedules.
        limit: u32,
    },
    /// Another caller has changed it since it was read, or replaced it by another one.
    #[error("the schedule was changed by another caller meanwhile")]
    Changed,
    /// It skips overlapping operations, and its last operation has not ended. Or that is to be cancelled first, which
    /// [`trigger_schedule`] does.
    #[error("the last operation of the schedule, {0}, has not ended, and its overlap is \"skip\": wait, or cancel it")]
    StillRunning(OperationId),
    /// Its operation may no longer be created.
    #[error("the operation of the schedule cannot be created: {0}")]
    Invalid(String),
}

/// A schedule, or why nothing was done.
pub type ScheduleOutcome<T> = Result<T, ScheduleRefusal>;

/// What is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueSchedules {
    /// Organizations with schedules that are due.
    pub organizations: Vec<String>,
    /// When the first of the others is.
    pub next: Option<Timestamp>,
}

/// The result of firing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Operations that were created.
    pub operations: u64,
    /// Schedules that were checked; as many as the limit: there may be more.
    pub schedules: u64,
    /// Operations that are to be cancelled before those schedules can continue.
    pub to_cancel: Vec<OperationId>,
}

/// Schedules of organizations. Reads and writes on behalf of a caller take an [`Access`]: a caller that is limited to
/// projects sees the schedules that create operations of these.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Stores a new schedule. The caller has checked [`NewSchedule::violations`] and its own right to the project.
    async fn create_schedule(
        &self,
        organization: &str,
        wanted: NewSchedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError>;

    /// Up to `limit` schedules after a name, by name. One whose input cannot be opened says so in its `last_error`.
    async fn schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError>;

    /// The schedule of this name. Fails with [`StoreError::Unavailable`] when its input cannot be opened.
    async fn schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError>;

    /// Replaces the definition of a schedule that is still as it was `read`. Its due times continue: where they stay
    /// the same, none is handled twice; where they change, or the schedule was paused, they begin now.
    async fn update_schedule(
        &self,
        access: &Access,
        wanted: NewSchedule,
        read: &Schedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError>;

    /// Removes a schedule; what it has created stays.
    async fn delete_schedule(&self, access: &Access, name: &str) -> Result<ScheduleOutcome<()>, StoreError>;

    /// Creates its operation now, paused or not; its due times stay as they are. It no longer waits for an operation
    /// that was `cancelled`. Called by [`trigger_schedule`].
    async fn trigger(
        &self,
        access: &Access,
        name: &str,
        cancelled: Option<OperationId>,
    ) -> Result<ScheduleOutcome<Operation>, StoreError>;

    /// What is due now.
    async fn due_schedules(&self) -> Result<DueSchedules, StoreError>;

    /// Does what is due, for up to `limit` schedules of an organization that no other server is working on. Schedules
    /// no longer wait for operations that were `cancelled`. Called by [`fire_schedules`].
    async fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Result<Fired, StoreError>;
}

/// Does what is due in an organization, for up to `limit` schedules; returns the result.
///
/// # Errors
/// [`StoreError`].
pub async fn fire_schedules(store: &dyn Store, organization: &str, limit: u32) -> Result<Fired, StoreError> {
    let fired = store.fire(organization, limit, Vec::new()).await?;
    if fired.to_cancel.is_empty() {
        return Ok(fired);
    }
    // Before the due time is handled: a server that dies in between leaves it to others, which cancel again; that
    // changes nothing.
    let access = Access::organization(organization);
    for id in &fired.to_cancel {
        // An operation that has ended meanwhile, or was removed, counts as cancelled.
        let _ = store.command(&access, *id, OperationCommand::Cancel).await?;
    }
    let again = store.fire(organization, limit, fired.to_cancel).await?;
    Ok(Fired { operations: fired.operations + again.operations, ..again })
}

/// Creates the operation of a schedule now. `store` does it on behalf of the caller; an overlapping operation that has
/// to be cancelled is cancelled by `plain`, as part of it.
///
/// # Errors
/// [`StoreError`]; for limits as with every creation.
pub async fn trigger_schedule(
    store: &dyn Store,
    plain: &dyn Store,
    access: &Access,
    name: &str,
) -> Result<ScheduleOutcome<Operation>, StoreError> {
    for _ in 0..TRIES {
        let Some(schedule) = plain.schedule(access, name).await? else { return Ok(Err(ScheduleRefusal::NotFound)) };
        let cancels = schedule.wanted.overlap == Overlap::CancelPrevious;
        let previous = schedule.last_operation.filter(|_| cancels);
        if let Some(previous) = previous {
            let _ = plain.command(access, previous, OperationCommand::Cancel).await?;
        }
        match store.trigger(access, name, previous).await? {
            // It has created another one since it was read.
            Err(ScheduleRefusal::StillRunning(_)) if cancels => {}
            outcome => return Ok(outcome),
        }
    }
    Err(StoreError::Unavailable("the schedule created other operations while it was triggered".to_owned()))
}

/// Something to be written about schedules.
pub(crate) enum ScheduleWrite {
    Create { organization: String, wanted: NewSchedule },
    Update { access: Access, wanted: NewSchedule, id: OperationId, revision: u64 },
    Delete { access: Access, name: String },
    Trigger { access: Access, name: String, cancelled: Option<OperationId> },
    Fire { organization: String, limit: u32, cancelled: Vec<OperationId> },
}

impl ScheduleWrite {
    pub(crate) fn organization(&self) -> &str {
        match self {
            ScheduleWrite::Create { organization, .. } | ScheduleWrite::Fire { organization, .. } => organization,
            ScheduleWrite::Update { access, .. }
            | ScheduleWrite::Delete { access, .. }
            | ScheduleWrite::Trigger { access, .. } => &access.organization,
        }
    }

    /// The most rows that it may write.
    pub(crate) fn rows(&self) -> usize {
        if let ScheduleWrite::Fire { limit, .. } = self { *limit as usize } else { 1 }
    }
}

/// The result of the write.
pub(crate) enum ScheduleReply {
    Kept(Box<Schedule>),
    Deleted,
    Created(Box<Operation>),
    Fired(Fired),
    Refused(ScheduleRefusal),
}

impl ScheduleReply {
    pub(crate) fn schedule(self) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        match self {
            ScheduleReply::Kept(schedule) => Ok(Ok(*schedule)),
            other => other.refusal(),
        }
    }

    pub(crate) fn deleted(self) -> Result<ScheduleOutcome<()>, StoreError> {
        if let ScheduleReply::Deleted = self { Ok(Ok(())) } else { self.refusal() }
    }

    pub(crate) fn created(self) -> Result<ScheduleOutcome<Operation>, StoreError> {
        match self {
            ScheduleReply::Created(operation) => Ok(Ok(*operation)),
            other => other.refusal(),
        }
    }

    pub(crate) fn fired(self) -> Result<Fired, StoreError> {
        if let ScheduleReply::Fired(fired) = self { Ok(fired) } else { Err(unexpected()) }
    }

    fn refusal<T>(self) -> Result<ScheduleOutcome<T>, StoreError> {
        if let ScheduleReply::Refused(refusal) = self { Ok(Err(refusal)) } else { Err(unexpected()) }
    }

    /// What it has created, for the audit log; `None`: nothing was done.
    pub(crate) fn made(&self) -> Option<Vec<String>> {
        match self {
            ScheduleReply::Created(operation) => Some(vec![format!("operations/{}", operation.id)]),
            ScheduleReply::Kept(_) | ScheduleReply::Deleted => Some(Vec::new()),
            ScheduleReply::Fired(_) | ScheduleReply::Refused(_) => None,
        }
    }
}

fn unexpected() -> StoreError {
    StoreError::Unusable("a write about a schedule was answered as another kind of write".to_owned())
}

/// A row of the table, as both engines have it.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleRow {
    pub(crate) name: String,
    pub(crate) id: OperationId,
    pub(crate) project_id: String,
    pub(crate) definition: String,
    pub(crate) input: String,
    pub(crate) paused: bool,
    pub(crate) revision: i64,
    pub(crate) anchor: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) fire_at: Option<Timestamp>,
    pub(crate) last_time: Option<Timestamp>,
    pub(crate) last_operation: Option<OperationId>,
    pub(crate) passed_over: Option<Timestamp>,
    pub(crate) last_error: String,
    pub(crate) last_error_at: Option<Timestamp>,
    /// Whether its last operation has not ended. Not a column, and false where it was not requested.
    pub(crate) is_running: bool,
}

/// What an engine does in the transaction of a write.
pub(crate) trait ScheduleTable {
    /// The row, if it may be seen, locked.
    async fn load(&mut self, access: &Access, name: &str) -> Result<Option<ScheduleRow>, StoreError>;
    /// Whether there is one of this name, and how many there are; that holds until the end of the transaction.
    async fn count(&mut self, name: &str) -> Result<(bool, u64), StoreError>;
    /// Inserts a row.
    async fn insert(&mut self, row: &ScheduleRow) -> Result<(), StoreError>;
    /// Rewrites a row that a caller has changed.
    async fn write_whole(&mut self, row: &ScheduleRow) -> Result<(), StoreError>;
    /// Writes those columns of loaded or due rows that firing changes.
    async fn write(&mut self, rows: &[ScheduleRow]) -> Result<(), StoreError>;
    async fn remove(&mut self, name: &str) -> Result<(), StoreError>;
    /// Up to this many rows that are due, locked; those that others have locked are passed over.
    async fn due(&mut self, limit: u32) -> Result<Vec<ScheduleRow>, StoreError>;
    /// Creates operations.
    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError>;
}

/// Carries out a write. An error that refuses only this write is its own reply.
pub(crate) async fn carry_out(
    table: &mut impl ScheduleTable,
    now: Timestamp,
    admission: &Admission,
    write: &ScheduleWrite,
) -> Result<Result<ScheduleReply, StoreError>, StoreError> {
    let keyring = admission.keyring();
    let organization = write.organization();
    let refused = |refusal| Ok(Ok(ScheduleReply::Refused(refusal)));
    match write {
        ScheduleWrite::Create { wanted, .. } => {
            let limit = admission.of(organization).max_schedules;
            match table.count(&wanted.name).await? {
                (true, _) => return refused(ScheduleRefusal::NameTaken),
                (false, count) if count >= u64::from(limit) => return refused(ScheduleRefusal::Full { limit }),
                (false, _) => {}
            }
            let row = ScheduleRow::new(&keyring, organization, wanted, now);
            table.insert(&row).await?;
            Ok(row.open(&keyring, organization).map(|schedule| ScheduleReply::Kept(Box::new(schedule))))
        }
        ScheduleWrite::Update { access, wanted, id, revision } => {
            let Some(mut row) = table.load(access, &wanted.name).await? else {
                return refused(ScheduleRefusal::NotFound);
            };
            // By its id, too: another one may have been made under the same name, with the same revision.
            if (row.id, row.revision.unsigned_abs()) != (*id, *revision) {
                return refused(ScheduleRefusal::Changed);
            }
            let before = match row.clone().open(&keyring, organization) {
                Ok(schedule) => schedule.wanted,
                Err(error) => return Ok(Err(error)),
            };
            row.change(&keyring, organization, &before, wanted, now);
            table.write_whole(&row).await?;
            Ok(row.open(&keyring, organization).map(|schedule| ScheduleReply::Kept(Box::new(schedule))))
        }
        ScheduleWrite::Delete { access, name } => {
            if table.load(access, name).await?.is_none() {
                return refused(ScheduleRefusal::NotFound);
            }
            table.remove(name).await?;
            Ok(Ok(ScheduleReply::Deleted))
        }
        ScheduleWrite::Trigger { access, name, cancelled } => {
            let Some(mut row) = table.load(access, name).await? else {
                return refused(ScheduleRefusal::NotFound);
            };
            let schedule = match row.clone().open(&keyring, organization) {
                Ok(schedule) => schedule,
                Err(error) => return Ok(Err(error)),
            };
            if let Some(last) = row.last_operation.filter(|_| row.is_running) {
                let waits = match schedule.wanted.overlap {
                    Overlap::Allow => false,
                    Overlap::Skip => true,
                    Overlap::CancelPrevious => *cancelled != Some(last),
                };
                if waits {
                    return refused(ScheduleRefusal::StillRunning(last));
                }
            }
            if let Some(why) = not_allowed(admission, organization, &schedule.wanted.operation) {
                return refused(ScheduleRefusal::Invalid(why));
            }
            if let Err(exceeded) = admission.take(organization, 1, now) {
                return Ok(Err(exceeded.into()));
            }
            let create = creation(&keyring, organization, name, &schedule.wanted.operation, now);
            match table.create(&[&create]).await?.pop() {
                Some(Ok(mut created)) if !created.operations.is_empty() => {
                    row.last_operation = Some(create.ids[0]);
                    row.last_error.clear();
                    row.last_error_at = None;
                    table.write(std::slice::from_ref(&row)).await?;
                    Ok(Ok(ScheduleReply::Created(Box::new(created.operations.remove(0)))))
                }
                Some(Err(error)) => {
                    admission.give_back(organization, 1, now);
                    Ok(Err(error))
                }
                _ => Err(StoreError::Unusable("a creation created no operation".to_owned())),
            }
        }
        ScheduleWrite::Fire { limit, cancelled, .. } => {
            let due = table.due(*limit).await?;
            let fired = Firings { keyring: &keyring, admission, organization, now, cancelled };
            fired.carry_out(table, due).await.map(|fired| Ok(ScheduleReply::Fired(fired)))
        }
    }
}

/// Why an operation that was allowed when its schedule was made may not be created now.
fn not_allowed(admission: &Admission, organization: &str, new: &NewOperation) -> Option<String> {
    let quotas = admission.quotas();
    let mut violations = new.violations();
    violations.extend(quotas.of(organization).input_violation(&new.input));
    if quotas.own_kinds.contains(&new.kind) {
        let message = "is reserved: longrun itself makes the operations of this kind";
        violations.push(operations::Violation::new("kind", message));
    }
    let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

/// What a schedule creates now; the operation names the schedule.
fn creation(keyring: &Keyring, organization: &str, name: &str, new: &NewOperation, now: Timestamp) -> Create {
    let id = OperationId::new(now);
    let input = keyring.seal(&Owner { organization, id, field: Field::Input }, &new.input);
    let operations = vec![NewOperation { input, schedule: Some(name.to_owned()), ..new.clone() }];
    let (organization, seen_by) = (organization.to_owned(), Projects::All);
    Create { organization, seen_by, operations, ids: vec![id], key: None, start: None, call: None }
}

/// What is due in one organization.
struct Firings<'f> {
    keyring: &'f Keyring,
    admission: &'f Admission,
    organization: &'f str,
    now: Timestamp,
    cancelled: &'f [OperationId],
}

/// What a schedule is to do.
struct Plan {
    row: ScheduleRow,
    firing: operations::schedule::Firing,
    /// Its creations begin at this place.
    first: usize,
    /// How many of its due times have a creation; the next one has found no capacity, and the reason is noted.
    creations: usize,
    why_not: Option<String>,
}

impl Firings<'_> {
    async fn carry_out(&self, table: &mut impl ScheduleTable, due: Vec<ScheduleRow>) -> Result<Fired, StoreError> {
        let mut fired = Fired { schedules: due.len() as u64, ..Fired::default() };
        let (mut done, mut plans, mut creates) = (Vec::new(), Vec::new(), Vec::<Create>::new());
        for mut row in due {
            match self.plan(&row) {
                Ok(Planned::CancelFirst(id)) => fired.to_cancel.push(id),
                Ok(Planned::Fire(firing, new)) => {
                    let mut plan = Plan { row, firing, first: creates.len(), creations: 0, why_not: None };
                    for _ in 0..plan.firing.create.len() {
                        if let Err(exceeded) = self.admission.take(self.organization, 1, self.now) {
                            plan.why_not = Some(exceeded.to_string());
                            break;
                        }
                        creates.push(creation(self.keyring, self.organization, &plan.row.name, &new, self.now));
                        plan.creations += 1;
                    }
                    plans.push(plan);
                }
                Ok(Planned::PassOver(firing, why)) => {
                    row.passed_over = firing.create.last().copied().max(firing.passed_over).or(row.passed_over);
                    row.moves_on(&firing);
                    row.fails(&why, self.now);
                    done.push(row);
                }
                Err(why) => {
                    row.fails(&why, self.now);
                    row.fire_at = Some(self.now.after(REPAIR));
                    done.push(row);
                }
            }
        }
        let requests: Vec<&Create> = creates.iter().collect();
        let results = if requests.is_empty() { Vec::new() } else { table.create(&requests).await? };
        let mut results: Vec<Option<Result<Created, StoreError>>> = results.into_iter().map(Some).collect();
        for plan in plans {
            done.push(self.finish(plan, &creates, &mut results, &mut fired)?);
        }
        table.write(&done).await?;
        Ok(fired)
    }

    /// What a schedule has to do; or why that cannot be determined.
    fn plan(&self, row: &ScheduleRow) -> Result<Planned, String> {
        let schedule = row.clone().open(self.keyring, self.organization).map_err(|error| error.to_string())?;
        let timing = schedule.wanted.timing(schedule.anchor).map_err(|violations| joined(&violations))?;
        let Some(next_due) = row.next_due else { return Err("it has no next due time".to_owned()) };
        let firing = row.terms(&schedule.wanted).fire(&timing, next_due, row.is_running, self.now);
        if let Some(last) = row.last_operation.filter(|last| row.is_running && !self.cancelled.contains(last))
            && !firing.create.is_empty()
            && schedule.wanted.overlap == Overlap::CancelPrevious
        {
            return Ok(Planned::CancelFirst(last));
        }
        let new = schedule.wanted.operation;
        Ok(match not_allowed(self.admission, self.organization, &new) {
            Some(why) if !firing.create.is_empty() => Planned::PassOver(firing, why),
            _ => Planned::Fire(firing, Box::new(new)),
        })
    }

    /// The row after its creations; those after one that found no capacity wait with it.
    fn finish(
        &self,
        plan: Plan,
        creates: &[Create],
        results: &mut [Option<Result<Created, StoreError>>],
        fired: &mut Fired,
    ) -> Result<ScheduleRow, StoreError> {
        let Plan { mut row, firing, first, creations, mut why_not } = plan;
        let mut made = 0;
        for place in first..first + creations {
            match results[place].take() {
                Some(Ok(_)) if made == place - first => {
                    made += 1;
                    row.last_operation = Some(creates[place].ids[0]);
                }
                Some(Err(StoreError::Exceeded(exceeded))) => {
                    self.admission.give_back(self.organization, 1, self.now);
                    why_not.get_or_insert_with(|| exceeded.to_string());
                }
                Some(Err(error)) => return Err(error),
                // All are of one size: where one finds no capacity, those after it find none.
                Some(Ok(_)) | None => {
                    return Err(StoreError::Unusable(
                        "an operation was created after one for which there was no capacity".to_owned(),
                    ));
                }
            }
        }
        fired.operations += made as u64;
        if made > 0 {
            row.last_time = Some(firing.create[made - 1]);
            row.last_error.clear();
            row.last_error_at = None;
        }
        match why_not {
            None => {
                row.passed_over = firing.passed_over.or(row.passed_over);
                row.moves_on(&firing);
            }
            Some(why) => {
                row.fails(&why, self.now);
                row.passed_over = firing.passed_over.filter(|over| *over < firing.create[made]).or(row.passed_over);
                row.next_due = Some(firing.create[made]);
                row.fire_at = Some(self.now.after(RETRY));
            }
        }
        Ok(row)
    }
}

/// What has to be done about a schedule that is due.
enum Planned {
    /// Create such operations.
    Fire(operations::schedule::Firing, Box<NewOperation>),
    /// Create nothing, since its operation may not be created, and continue.
    PassOver(operations::schedule::Firing, String),
    /// Do nothing before this is cancelled.
    CancelFirst(OperationId),
}

fn joined(violations: &[operations::Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ScheduleRow {
    fn new(keyring: &Keyring, organization: &str, wanted: &NewSchedule, now: Timestamp) -> ScheduleRow {
        let mut row = ScheduleRow {
            name: wanted.name.clone(),
            id: OperationId::new(now),
            project_id: String::new(),
            definition: String::new(),
            input: String::new(),
            paused: false,
            revision: 1,
            anchor: now,
            created_at: now,
            updated_at: now,
            next_due: None,
            fire_at: None,
            last_time: None,
            last_operation: None,
            passed_over: None,
            last_error: String::new(),
            last_error_at: None,
            is_running: false,
        };
        row.put(keyring, organization, wanted);
        row.begins(wanted, now);
        row
    }

    fn change(
        &mut self,
        keyring: &Keyring,
        organization: &str,
        before: &NewSchedule,
        wanted: &NewSchedule,
        now: Timestamp,
    ) {
        self.revision += 1;
        self.updated_at = now;
        if before.every != wanted.every {
            self.anchor = now;
        }
        let begins = before.has_other_times(wanted) || before.paused != wanted.paused;
        self.put(keyring, organization, wanted);
        if begins {
            // Times that were handled are not handled again, even when the clock was set back.
            let had = self.last_time.filter(|_| !before.has_other_times(wanted));
            self.begins(wanted, had.map_or(now, |had| had.max(now)));
        }
    }

    /// Takes over the wanted definition.
    fn put(&mut self, keyring: &Keyring, organization: &str, wanted: &NewSchedule) {
        self.project_id.clone_from(&wanted.operation.project_id);
        self.definition = Kept::of(wanted).text();
        self.input = keyring.seal(&Owner { organization, id: self.id, field: Field::Input }, &wanted.operation.input);
        self.paused = wanted.paused;
    }

    /// Its next due time is the first after this time.
    fn begins(&mut self, wanted: &NewSchedule, after: Timestamp) {
        let timing = wanted.timing(self.anchor).ok().filter(|_| !wanted.paused);
        let next = timing.and_then(|timing: Timing| self.terms(wanted).next_after(&timing, after));
        self.next_due = next.map(|next| next.due);
        self.fire_at = next.map(|next| next.fire_at);
    }

    fn moves_on(&mut self, firing: &operations::schedule::Firing) {
        self.next_due = firing.next.map(|next| next.due);
        self.fire_at = firing.next.map(|next| next.fire_at);
    }

    fn fails(&mut self, why: &str, now: Timestamp) {
        self.last_error = cut_message(why.to_owned(), MAX_ERROR);
        self.last_error_at = Some(now);
    }

    fn terms(&self, wanted: &NewSchedule) -> operations::schedule::Terms {
        wanted.terms(u128::from_be_bytes(*self.id.as_bytes()))
    }

    /// The schedule, as its owner has written it.
    pub(crate) fn open(mut self, keyring: &Keyring, organization: &str) -> Result<Schedule, StoreError> {
        let owner = Owner { organization, id: self.id, field: Field::Input };
        let input = keyring.open(&owner, std::mem::take(&mut self.input))?;
        self.read(input)
    }

    /// The same; where its input cannot be opened, it is left out and the error says so.
    pub(crate) fn open_or_tell(mut self, keyring: &Keyring, organization: &str) -> Result<Schedule, StoreError> {
        let owner = Owner { organization, id: self.id, field: Field::Input };
        match keyring.open(&owner, std::mem::take(&mut self.input)) {
            Ok(input) => self.read(input),
            Err(error) => {
                self.last_error = format!("the input cannot be opened: {error}");
                self.read(String::new())
            }
        }
    }

    fn read(self, input: String) -> Result<Schedule, StoreError> {
        let kept: Kept = serde_json::from_str(&self.definition).map_err(|_| damaged("definition"))?;
        Ok(Schedule {
            id: self.id,
            wanted: kept.schedule(self.name, self.project_id, input, self.paused)?,
            revision: self.revision.unsigned_abs(),
            anchor: self.anchor,
            created_at: self.created_at,
            updated_at: self.updated_at,
            next_due: self.next_due,
            last_time: self.last_time,
            last_operation: self.last_operation,
            passed_over: self.passed_over,
            last_error: self.last_error,
            last_error_at: self.last_error_at,
        })
    }
}

/// The content of the column `definition`: a schedule without the fields that have a column of their own.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cron: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    time_zone: String,
    overlap: String,
    catch_up: String,
    #[serde(default)]
    jitter_ms: u64,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    project_version_id: String,
    #[serde(default)]
    priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    max_attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retain_for_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    /// The concurrency key, and its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<(String, u32)>,
}

impl Kept {
    fn of(wanted: &NewSchedule) -> Kept {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let new = &wanted.operation;
        Kept {
            cron: wanted.cron.clone(),
            every_ms: wanted.every.map(millis),
            time_zone: wanted.time_zone.clone(),
            overlap: wanted.overlap.name().to_owned(),
            catch_up: wanted.catch_up.name().to_owned(),
            jitter_ms: millis(wanted.jitter),
            kind: new.kind.clone(),
            resource: new.resource.clone().map(|resource| (resource.resource_type, resource.resource_id)),
            project_version_id: new.project_version_id.clone(),
            priority: new.priority,
            timeout_ms: new.timeout.map(millis),
            max_attempts: new.max_attempts,
            retain_for_ms: new.retain_for.map(millis),
            labels: new.labels.clone(),
            concurrency: new.concurrency.clone().map(|concurrency| (concurrency.key, concurrency.limit)),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    fn schedule(
        self,
        name: String,
        project_id: String,
        input: String,
        paused: bool,
    ) -> Result<NewSchedule, StoreError> {
        let concurrency = self.concurrency.map(|(key, limit)| Concurrency { key, limit });
        let resource = self.resource.map(|(resource_type, resource_id)| Resource { resource_type, resource_id });
        Ok(NewSchedule {
            name,
            cron: self.cron,
            every: self.every_ms.map(Duration::from_millis),
            time_zone: self.time_zone,
            operation: NewOperation {
                resource,
                project_id,
                project_version_id: self.project_version_id,
                input,
                priority: self.priority,
                timeout: self.timeout_ms.map(Duration::from_millis),
                max_attempts: self.max_attempts,
                retain_for: self.retain_for_ms.map(Duration::from_millis),
                labels: self.labels,
                concurrency,
                ..NewOperation::of_kind(self.kind)
            },
            overlap: Overlap::from_name(&self.overlap).ok_or_else(|| damaged("definition"))?,
            catch_up: CatchUp::from_name(&self.catch_up).ok_or_else(|| damaged("definition"))?,
            jitter: Duration::from_millis(self.jitter_ms),
            paused,
        })
    }
}
