//! Coalescing of concurrent writes: those that queued while the previous commit was in flight are committed together.
//!
//! A batcher is a task with a queue. A lone write does not wait for others: it is a batch of one. Under load a batch
//! waits a moment for as many writes as there were in the one before. When a batch fails, its writes are tried again
//! one by one, so that one bad write makes no other fail.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use meters::{Meters, Queue, QueueLabel};
use operations::{Access, Event, NewOperation, Operation, OperationId, Outcome, Projects, Refusal, Status, Timestamp};
use tasks::{Health, supervise};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::audit::Record;
use crate::commits::{Commits, News};
use crate::deletion::Deletion;
use crate::evidence::{EvidenceReply, EvidenceWrite};
use crate::policies::PolicyWrite;
use crate::quota::Admission;
use crate::schedules::{ScheduleReply, ScheduleWrite};
use crate::seal::Replacement;
use crate::sessions::SessionChange;
use crate::sqlite::StatisticsWrite;
use crate::views::ViewChange;
use crate::waivers::WaiverWrite;
use crate::work::StartTerms;
use crate::{
    AuditCall, BulkBatch, ClaimRequest, Claimed, CommandOutcome, Heartbeat, IdempotencyKey, LeaseRef, LeaseStatus,
    Limits, NewToken, OperationCommand, Pausable, Position, Start, StoreError, Token, TokenReach, ViewOutcome,
    WaiverOutcome,
};

/// Writes that may queue in a batcher. Beyond it callers wait for capacity, which is the back-pressure.
const QUEUE: usize = 1_024;
/// Rows that one transaction takes at most, so that no caller waits for long behind a large batch.
const BATCH_ROWS: usize = 4_096;
/// Bytes of input and output that one transaction takes at most (one more write may exceed it).
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The size of a batch from which on the next one waits for as many writes, at most [`PATIENCE`]: fewer and larger
/// batches carry more. Below it no write waits for others.
const CROWD: usize = 8;
/// How long a batch waits to become as large as the one before it: about as long as a batch takes.
const PATIENCE: Duration = Duration::from_millis(1);

/// Operations to be created for one caller.
pub(crate) struct Create {
    pub(crate) organization: String,
    /// What the caller may see of the existing operations.
    pub(crate) seen_by: Projects,
    pub(crate) operations: Vec<NewOperation>,
    /// Ids that were given to callers before; empty: new ids.
    pub(crate) ids: Vec<OperationId>,
    pub(crate) key: Option<IdempotencyKey>,
    /// The first of them, which is then the only one, starts at once if it can.
    pub(crate) start: Option<StartTerms>,
    /// The call that it is recorded as. The engines record creations themselves, together with the rows.
    pub(crate) call: Option<Arc<AuditCall>>,
}

/// What to record of successful creations.
pub(crate) fn records(creates: &[&Create], results: &[Result<Created, StoreError>]) -> Vec<Record> {
    let record = |(create, result): (&&Create, &Result<Created, StoreError>)| {
        let (call, created) = (create.call.clone()?, result.as_ref().ok()?);
        let operations = created.operations.iter().enumerate();
        let new = operations.filter(|(place, _)| !created.existing.contains(place));
        let made: Vec<_> = new.map(|(_, operation)| format!("operations/{}", operation.id)).collect();
        (!made.is_empty()).then_some(Record { call, made, code: 0 })
    };
    creates.iter().zip(results).filter_map(record).collect()
}

/// The result of a [`Create`].
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) operations: Vec<Operation>,
    /// The places of operations that existed before: all of them if the call is a repetition, or those with the unique
    /// keys of what was to be created.
    pub(crate) existing: Vec<usize>,
    /// The attempt that began with it.
    pub(crate) started: Option<Claimed>,
}

impl Created {
    /// What a repeated call gets.
    pub(crate) fn repeated(operations: Vec<Operation>) -> Created {
        Created { existing: (0..operations.len()).collect(), operations, started: None }
    }
}

/// A command for one operation.
pub(crate) struct CommandRequest {
    pub(crate) access: Access,
    pub(crate) id: OperationId,
    pub(crate) command: OperationCommand,
}

/// Heartbeats, and for how long from now the leases are valid.
pub(crate) struct HeartbeatRequest {
    pub(crate) beats: Vec<Heartbeat>,
    pub(crate) lease: Duration,
}

/// A write about the change log that does not append to it.
pub(crate) enum ChangeLogWrite {
    /// Forget changes that are older than the first time, and have been read or are older than the second.
    Forget(Timestamp, Timestamp, u32),
    /// A consumer.
    Register(String),
    /// A consumer that no longer exists.
    Unregister(String),
    /// A consumer, which process holds its lease, and until when.
    Lease(String, String, Timestamp),
    /// A consumer, an organization, and the position up to which it has read.
    CommitOffset(String, String, Position),
    RenewPositionKey,
}

/// Writes whose answer is the number of rows that they affected.
pub(crate) enum Upkeep {
    /// Of one organization, at most this many.
    Purge(String, u32),
    ForgetIdempotencyKeys(u32),
    /// Pause it (true), or resume it.
    Pause(Pausable, bool),
    /// What concerns the change log; only in the embedded store.
    ChangeLog(ChangeLogWrite),
    /// What servers see in their policy folders; only in the embedded store.
    Policies(PolicyWrite),
    /// A part of the deletion of an organization; only in the embedded store.
    Delete(String, Deletion),
    TouchTokens(Vec<String>),
    Session(SessionChange),
    /// Make a new organization; 0: it exists already.
    CreateOrganization(String, Limits),
    /// 0: there is no such organization.
    SetLimits(String, Limits),
    /// The answer to a call, for the audit log alone.
    Record(i32),
    /// Forget rows of the audit log that are older, at most this many; only in the embedded store.
    ForgetAudit(Timestamp, u32),
    /// Note when the operations of full buckets were created, up to this many of each organization; only in the
    /// embedded store.
    NoteTimes(u32),
    /// Texts that are sealed anew; only in the embedded store.
    ReplaceTexts(Vec<Replacement>),
    /// What concerns statistics; only in the embedded store.
    Statistics(StatisticsWrite),
    /// A batch of a bulk operation; only in the embedded store.
    Bulk(Box<BulkBatch>),
    /// A bulk operation begins, if it has not: its organization, itself, and how many match; only in the embedded
    /// store.
    BeginBulk(String, OperationId, u64),
    /// Shows that something can be written.
    Ping,
    /// The store closes: give up what is kept between batches.
    Disconnect,
}

/// A change of a token.
pub(crate) enum TokenChange {
    /// Revoke it, if it is within reach.
    Revoke(TokenReach, String),
    /// Store another one that replaces it, and let it expire after this time.
    Replace(String, NewToken, Duration),
}

/// The results of events, in their order.
pub(crate) type Decisions = Vec<Result<Status, Refusal>>;

/// Something to be written, with its reply.
pub(crate) enum Write {
    Create(Slot<Create, Created>),
    Transition(Slot<Vec<(LeaseRef, Event)>, Decisions>),
    Claim(Slot<ClaimRequest, Vec<Claimed>>),
    Heartbeat(Slot<HeartbeatRequest, Vec<LeaseStatus>>),
    Command(Slot<CommandRequest, CommandOutcome>),
    CreateToken(Slot<NewToken, Token>),
    ChangeToken(Slot<TokenChange, Option<Token>>),
    Schedule(Slot<ScheduleWrite, ScheduleReply>),
    View(Slot<ViewChange, ViewOutcome>),
    Evidence(Slot<EvidenceWrite, EvidenceReply>),
    Waiver(Slot<WaiverWrite, WaiverOutcome>),
    Upkeep(Slot<Upkeep, u64>),
}

/// The caller that waits for a reply.
type Recipient<R> = Box<dyn FnOnce(Result<R, StoreError>) + Send>;

/// A request, and its reply: filled in while a batch is carried out, and delivered once the batch is durable.
pub(crate) struct Slot<Q, R> {
    pub(crate) request: Q,
    /// The call that it is recorded as.
    call: Option<Arc<AuditCall>>,
    reply: Option<Result<R, StoreError>>,
    recipient: Option<Recipient<R>>,
}

impl<Q, R> Slot<Q, R> {
    fn new(
        request: Q,
        call: Option<Arc<AuditCall>>,
        recipient: impl FnOnce(Result<R, StoreError>) + Send + 'static,
    ) -> Slot<Q, R> {
        Slot { request, call, reply: None, recipient: Some(Box::new(recipient)) }
    }

    /// What to record of a write that was done: its reply may be that there was nothing to do.
    fn record(&self, done: impl FnOnce(&R) -> Option<Vec<String>>) -> Option<Record> {
        let (call, Some(Ok(reply))) = (self.call.clone()?, &self.reply) else { return None };
        Some(Record { call, made: done(reply)?, code: 0 })
    }

    /// What it was answered.
    pub(crate) fn answered(&self) -> Option<&Result<R, StoreError>> {
        self.reply.as_ref()
    }

    /// What the recipient gets once the batch is durable.
    pub(crate) fn answer(&mut self, reply: Result<R, StoreError>) {
        self.reply = Some(reply);
    }
}

/// What can be done with the reply of any write.
trait Reply {
    fn clear(&mut self);
    fn fail(&mut self, error: StoreError);
    /// Passes the reply to its recipient.
    fn deliver(&mut self);
}

impl<Q, R> Reply for Slot<Q, R> {
    fn clear(&mut self) {
        self.reply = None;
    }

    fn fail(&mut self, error: StoreError) {
        self.reply = Some(Err(error));
    }

    fn deliver(&mut self) {
        let missing = || Err(StoreError::Unusable("a write was not carried out".to_owned()));
        let reply = self.reply.take().unwrap_or_else(missing);
        if let Some(recipient) = self.recipient.take() {
            recipient(reply);
        }
    }
}

impl Write {
    fn reply(&mut self) -> &mut dyn Reply {
        match self {
            Write::Create(slot) => slot,
            Write::Transition(slot) => slot,
            Write::Claim(slot) => slot,
            Write::Heartbeat(slot) => slot,
            Write::Command(slot) => slot,
            Write::CreateToken(slot) => slot,
            Write::ChangeToken(slot) => slot,
            Write::Schedule(slot) => slot,
            Write::View(slot) => slot,
            Write::Evidence(slot) => slot,
            Write::Waiver(slot) => slot,
            Write::Upkeep(slot) => slot,
        }
    }

    /// What to record of it, once it has its reply. Creations are recorded by the engines.
    fn record(&self) -> Option<Record> {
        match self {
            // What workers do is recorded in the histories of the operations.
            Write::Create(_) | Write::Transition(_) | Write::Claim(_) | Write::Heartbeat(_) => None,
            Write::Command(slot) => slot.record(|outcome| {
                let operation = outcome.as_ref()?.as_ref().ok()?;
                Some(vec![format!("operations/{}", operation.id)])
            }),
            Write::CreateToken(slot) => slot.record(|token| Some(vec![format!("tokens/{}", token.id)])),
            Write::ChangeToken(slot) => {
                let replaced = match &slot.request {
                    TokenChange::Revoke(..) => None,
                    TokenChange::Replace(id, ..) => Some(format!("tokens/{id}")),
                };
                slot.record(|token| {
                    let token = format!("tokens/{}", token.as_ref()?.id);
                    Some(replaced.into_iter().chain([token]).collect())
                })
            }
            Write::Schedule(slot) => slot.record(ScheduleReply::made),
            Write::View(slot) => slot.record(|outcome| match outcome {
                ViewOutcome::Kept(view) => Some(vec![format!("views/{}", view.id)]),
                ViewOutcome::NameTaken | ViewOutcome::TooMany(_) | ViewOutcome::Missing => None,
            }),
            Write::Waiver(slot) => slot.record(|outcome| match outcome {
                WaiverOutcome::Kept(waiver) => Some(vec![format!("waivers/{}", waiver.id)]),
                WaiverOutcome::TooMany(_) | WaiverOutcome::TooManyVex(_) | WaiverOutcome::Missing => None,
            }),
            Write::Evidence(slot) => slot.record(|reply| reply.is_change().then(Vec::new)),
            Write::Upkeep(Slot { request: Upkeep::Record(code), call, .. }) => {
                Some(Record { call: call.clone()?, made: Vec::new(), code: *code })
            }
            Write::Upkeep(slot) => slot.record(|count| {
                let is_done = match &slot.request {
                    Upkeep::CreateOrganization(..) | Upkeep::SetLimits(..) | Upkeep::Pause(..) | Upkeep::Session(_) => {
                        *count > 0
                    }
                    // A deletion is one call, and its beginning is what it does.
                    Upkeep::Delete(_, Deletion::Begin(unfinished_too)) => *unfinished_too || *count == 0,
                    Upkeep::Delete(..) | Upkeep::Bulk(_) | Upkeep::BeginBulk(..) => false,
                    _ => true,
                };
                is_done.then(Vec::new)
            }),
        }
    }

    /// Forgets the reply of a failed attempt to carry it out.
    pub(crate) fn clear(&mut self) {
        self.reply().clear();
    }

    /// It was not carried out.
    pub(crate) fn fail(&mut self, error: StoreError) {
        self.reply().fail(error);
    }

    /// Whether it is the last write of a store.
    pub(crate) fn is_disconnect(&self) -> bool {
        matches!(self, Write::Upkeep(Slot { request: Upkeep::Disconnect, .. }))
    }

    /// Rows and bytes that it brings.
    fn weight(&self) -> (usize, usize) {
        match self {
            Write::Create(Slot { request: create, .. }) => {
                (create.operations.len(), create.operations.iter().map(|operation| operation.input.len()).sum())
            }
            Write::Transition(Slot { request: events, .. }) => {
                (events.len(), events.iter().map(|(_, event)| event_bytes(event)).sum())
            }
            Write::Heartbeat(Slot { request, .. }) => (request.beats.len(), 0),
            Write::Claim(Slot { request, .. }) => (request.limit as usize, 0),
            Write::Schedule(Slot { request, .. }) => (request.rows(), 0),
            Write::Evidence(Slot { request, .. }) => (request.rows(), 0),
            Write::Upkeep(Slot {
                request: Upkeep::Purge(_, limit) | Upkeep::Delete(_, Deletion::Part(limit)), ..
            }) => (*limit as usize, 0),
            Write::Upkeep(Slot { request: Upkeep::Bulk(batch), .. }) => (batch.ids.len(), 0),
            Write::Upkeep(Slot { request: Upkeep::Statistics(StatisticsWrite::Commit(part)), .. }) => {
                (part.counts.len(), 0)
            }
            Write::Upkeep(_)
            | Write::Command(_)
            | Write::CreateToken(_)
            | Write::ChangeToken(_)
            | Write::View(_)
            | Write::Waiver(_) => (1, 0),
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    match event {
        Event::Settle { outcome: Outcome::Completed { output }, .. } => output.len(),
        Event::Settle { outcome: Outcome::Failed { message, .. }, .. } => message.len(),
        _ => 0,
    }
}

/// What an engine does in one transaction: one method for every kind of write. Writes of one kind are carried out
/// together, so that fifty creations cost a few statements and not 150.
pub(crate) trait Transaction {
    /// Carries out events, in their order.
    async fn transition(&mut self, events: &[&(LeaseRef, Event)]) -> Result<Decisions, StoreError>;
    /// Creates, in their order; an error that refuses one creation is only the reply to that one.
    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError>;
    /// Claims, for one request after the other; an error that occurs after something was claimed permanently is the
    /// reply to the requests that got nothing.
    async fn claim(&mut self, requests: &[&ClaimRequest]) -> Result<Vec<Result<Vec<Claimed>, StoreError>>, StoreError>;
    async fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<Vec<LeaseStatus>, StoreError>;
    async fn command(&mut self, request: &CommandRequest) -> Result<CommandOutcome, StoreError>;
    async fn create_token(&mut self, token: &NewToken) -> Result<Token, StoreError>;
    async fn change_token(&mut self, change: &TokenChange) -> Result<Option<Token>, StoreError>;
    /// Carries out a write about schedules; an error that refuses only this write is its own reply.
    async fn schedule(&mut self, write: &ScheduleWrite) -> Result<Result<ScheduleReply, StoreError>, StoreError>;

    async fn change_view(&mut self, change: &ViewChange) -> Result<ViewOutcome, StoreError>;
    async fn change_waiver(&mut self, write: &WaiverWrite) -> Result<WaiverOutcome, StoreError>;
    /// Carries out a write about evidence; an error that refuses only this write is its own reply.
    async fn change_evidence(&mut self, write: &EvidenceWrite)
    -> Result<Result<EvidenceReply, StoreError>, StoreError>;
    async fn upkeep(&mut self, upkeep: &Upkeep) -> Result<u64, StoreError>;
    /// Appends to the audit log.
    async fn record(&mut self, records: &[Record]) -> Result<(), StoreError>;
}

/// Carries out the writes of one transaction and fills in their replies. The writes of a batch are concurrent (each
/// caller still waits for its answer), so grouping cannot break an order that a caller could know of.
pub(crate) async fn perform(transaction: &mut impl Transaction, writes: &mut [&mut Write]) -> Result<(), StoreError> {
    // First, so that a transaction of PostgreSQL has no number yet (see its `changes`).
    let transitions = slots(writes, |write| if let Write::Transition(slot) = write { Some(slot) } else { None });
    if !transitions.is_empty() {
        let events: Vec<&(LeaseRef, Event)> = transitions.iter().flat_map(|slot| &slot.request).collect();
        let mut results = transaction.transition(&events).await?.into_iter();
        for slot in transitions {
            slot.answer(Ok(results.by_ref().take(slot.request.len()).collect()));
        }
    }
    let creates = slots(writes, |write| if let Write::Create(slot) = write { Some(slot) } else { None });
    if !creates.is_empty() {
        let requests: Vec<&Create> = creates.iter().map(|slot| &slot.request).collect();
        let results = transaction.create(&requests).await?;
        creates.into_iter().zip(results).for_each(|(slot, created)| slot.answer(created));
    }
    // After the creations, so that a claim of the same batch can get them.
    let claims = slots(writes, |write| if let Write::Claim(slot) = write { Some(slot) } else { None });
    if !claims.is_empty() {
        let requests: Vec<&ClaimRequest> = claims.iter().map(|slot| &slot.request).collect();
        let results = transaction.claim(&requests).await?;
        claims.into_iter().zip(results).for_each(|(slot, claimed)| slot.answer(claimed));
    }
    for write in &mut *writes {
        match write {
            Write::Transition(_) | Write::Create(_) | Write::Claim(_) => {}
            Write::Heartbeat(slot) => slot.reply = Some(Ok(transaction.heartbeat(&slot.request).await?)),
            Write::Command(slot) => slot.reply = Some(Ok(transaction.command(&slot.request).await?)),
            Write::CreateToken(slot) => slot.reply = Some(Ok(transaction.create_token(&slot.request).await?)),
            Write::View(slot) => slot.reply = Some(Ok(transaction.change_view(&slot.request).await?)),
            Write::Waiver(slot) => slot.reply = Some(Ok(transaction.change_waiver(&slot.request).await?)),
            Write::Evidence(slot) => slot.reply = Some(transaction.change_evidence(&slot.request).await?),
            Write::ChangeToken(slot) => slot.reply = Some(Ok(transaction.change_token(&slot.request).await?)),
            Write::Schedule(slot) => slot.reply = Some(transaction.schedule(&slot.request).await?),
            Write::Upkeep(slot) => slot.reply = Some(Ok(transaction.upkeep(&slot.request).await?)),
        }
    }
    // Last, so that the transaction waits for nothing while the log is locked.
    let records: Vec<Record> = writes.iter().filter_map(|write| write.record()).collect();
    if records.is_empty() { Ok(()) } else { transaction.record(&records).await }
}

/// The writes that `pick` wants.
fn slots<'s, Q, R>(
    writes: &'s mut [&mut Write],
    pick: impl Fn(&'s mut Write) -> Option<&'s mut Slot<Q, R>>,
) -> Vec<&'s mut Slot<Q, R>> {
    writes.iter_mut().filter_map(|write| pick(write)).collect()
}

/// Carries out batches.
#[async_trait]
pub(crate) trait Commit: Send + 'static {
    /// Carries out the writes, each whole or not at all, and fills in their replies. An error means that none was
    /// carried out. Writes that were lost in a panic are removed.
    async fn commit(&mut self, writes: &mut Vec<Write>) -> Result<(), StoreError>;

    /// The effect of the last batch besides its replies: whether something may be claimed now that could not be before.
    fn frees(&mut self) -> bool;
}

/// A handle to a batcher. The batcher's task, or its thread, ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct WriteBatcher {
    queue: mpsc::Sender<Write>,
    /// The call that its writes are recorded as.
    call: Option<Arc<AuditCall>>,
}

impl WriteBatcher {
    /// Starts the batcher's task on the current runtime.
    pub(crate) fn start(
        committer: impl Commit,
        queue: Queue,
        meters: &Meters,
        health: &Health,
        commits: &Commits,
    ) -> WriteBatcher {
        let (batcher, work) = WriteBatcher::new(committer, Measure { meters: meters.clone(), queue }, health, commits);
        tokio::spawn(work);
        batcher
    }

    /// Starts it on a thread of its own, for a committer that blocks: a write reaches it, and its reply comes back,
    /// without passing through another thread.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the system provides no thread.
    pub(crate) fn start_thread(
        committer: impl Commit,
        queue: Queue,
        meters: &Meters,
        health: &Health,
        commits: &Commits,
    ) -> Result<WriteBatcher, StoreError> {
        let (batcher, work) = WriteBatcher::new(committer, Measure { meters: meters.clone(), queue }, health, commits);
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("writes".to_owned()).spawn(move || runtime.block_on(work));
        let refused = |error| StoreError::Unavailable(format!("the system provides no thread for writes: {error}"));
        thread.map(|_| batcher).map_err(refused)
    }

    fn new<C: Commit>(
        committer: C,
        measure: Measure,
        health: &Health,
        commits: &Commits,
    ) -> (WriteBatcher, impl Future<Output = ()> + Send + use<C>) {
        let (queue, incoming) = mpsc::channel(QUEUE);
        let (task, commits) = (health.register("writes", None), commits.clone());
        let work = async move {
            let (stop, writing) = (CancellationToken::new(), Mutex::new((committer, incoming)));
            // The callers of a batch that panics get the error that the writer has stopped; others wait for its
            // restart.
            supervise(&task, &stop, || async {
                let (committer, incoming) = &mut *writing.lock().await;
                run(committer, incoming, &measure, &commits).await;
                stop.cancel();
            })
            .await;
        };
        (WriteBatcher { queue, call: None }, work)
    }

    /// A handle whose writes are recorded as this call.
    pub(crate) fn on_behalf_of(&self, call: &Arc<AuditCall>) -> WriteBatcher {
        WriteBatcher { queue: self.queue.clone(), call: Some(Arc::clone(call)) }
    }

    /// Passes on a request and waits until it is durable. Once passed on it is carried out, even if this is dropped.
    pub(crate) async fn submit<Q, R: Send + 'static>(
        &self,
        write: fn(Slot<Q, R>) -> Write,
        request: Q,
    ) -> Result<R, StoreError> {
        let (caller, reply) = oneshot::channel();
        // A caller that is gone does not want the reply; the write stands.
        let slot = Slot::new(request, self.call.clone(), move |replied| drop(caller.send(replied)));
        self.queue.send(write(slot)).await.map_err(|_| stopped())?;
        reply.await.map_err(|_| stopped())?
    }

    /// The same for a creation within the limits of its organization. The attempt that began with it, if one did, is
    /// passed on before the answer, whatever became of the caller.
    pub(crate) async fn create(
        &self,
        admission: &Admission,
        now: impl Fn() -> Timestamp,
        create: Create,
        start: Option<Start>,
    ) -> Result<Vec<Operation>, StoreError> {
        let (organization, count) = (create.organization.clone(), admission.quotas().limited(&create.operations));
        admission.take(&organization, count, now())?;
        let (start, started) = start.map(|start| (start.terms, start.started)).unzip();
        let (caller, reply) = oneshot::channel();
        let create = Create { start, call: self.call.clone(), ..create };
        let slot = Slot::new(create, None, move |replied: Result<Created, StoreError>| {
            let created = replied.map(|created| {
                if let (Some(started), Some(attempt)) = (started, created.started) {
                    started(attempt);
                }
                (created.operations, created.existing)
            });
            drop(caller.send(created));
        });
        let created = async {
            self.queue.send(Write::Create(slot)).await.map_err(|_| stopped())?;
            reply.await.map_err(|_| stopped())?
        };
        let created = created.await;
        let not_made = match &created {
            Ok((operations, existing)) => {
                let quotas = admission.quotas();
                existing.iter().filter(|place| quotas.is_limited(&operations[**place].kind)).count()
            }
            Err(_) => count,
        };
        admission.give_back(&organization, not_made, now());
        created.map(|(operations, _)| operations)
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".to_owned())
}

/// Where batches are counted.
struct Measure {
    meters: Meters,
    queue: Queue,
}

async fn run(committer: &mut impl Commit, incoming: &mut mpsc::Receiver<Write>, measure: &Measure, commits: &Commits) {
    let mut last = 0;
    while let Some(first) = incoming.recv().await {
        let (mut rows, mut bytes) = first.weight();
        let mut batch = vec![first];
        let mut patience = pin!(tokio::time::sleep(PATIENCE));
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            let next = match incoming.try_recv() {
                Ok(next) => next,
                // Under load the others are about to call: those of the last batch were answered a moment ago.
                Err(_) if last >= CROWD && batch.len() < last => {
                    tokio::select! {
                        biased;
                        Some(next) = incoming.recv() => next,
                        () = &mut patience => break,
                    }
                }
                Err(_) => break,
            };
            let (more_rows, more_bytes) = next.weight();
            rows += more_rows;
            bytes += more_bytes;
            batch.push(next);
        }
        last = batch.len();
        let begin = Instant::now();
        carry_out(committer, measure, &mut batch).await;
        measure.meters.batch(measure.queue, last, begin.elapsed());
        let mut news = News::default();
        batch.iter().for_each(|write| news |= News::of(write));
        if committer.frees() {
            news |= News { queue: true, ..News::default() };
        }
        commits.note(news);
        batch.iter_mut().for_each(|write| write.reply().deliver());
    }
}

/// Carries out a batch; write by write if it fails as a whole.
async fn carry_out(committer: &mut impl Commit, measure: &Measure, batch: &mut Vec<Write>) {
    let committed = committer.commit(batch).await;
    if committed.is_err() {
        measure.meters.batch_failures.get_or_create(&QueueLabel { queue: measure.queue }).inc();
    }
    match committed {
        Ok(()) => {}
        // Trying one by one would make every caller wait once per write for a database that is unavailable, locked or
        // full.
        Err(StoreError::Unavailable(why)) => {
            batch.iter_mut().for_each(|write| write.fail(StoreError::Unavailable(why.clone())));
        }
        Err(error) if batch.len() == 1 => batch[0].fail(error),
        Err(error) => {
            let writes_in_batch = batch.len();
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                writes_in_batch,
                "a batch failed; its writes are tried one by one"
            );
            for write in std::mem::take(batch) {
                let mut alone = vec![write];
                if let Err(error) = committer.commit(&mut alone).await
                    && let Some(write) = alone.first_mut()
                {
                    write.fail(error);
                }
                batch.append(&mut alone);
            }
        }
    }
}
