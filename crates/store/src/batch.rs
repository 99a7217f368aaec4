//! Coalescing of concurrent writes: what has queued while the previous commit was in flight is committed together.
//!
//! A batcher is a task with a queue. A lone write does not wait for company: it is a batch of one. In a crowd a batch
//! waits a moment for as many as there were in the one before. When a batch fails, its writes are tried again one by
//! one, so that one bad write spoils no other.

use std::borrow::Borrow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use operations::{Access, Event, NewOperation, Operation, OperationId, Outcome, Refusal, Status, Timestamp};
use tasks::{Health, supervise};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::commits::{Commits, News};
use crate::deletion::Deletion;
use crate::work::StartTerms;
use crate::{
    ClaimRequest, Claimed, CommandOutcome, EvidenceRecord, Heartbeat, IdempotencyKey, LeaseRef, LeaseStatus, NewToken,
    OperationCommand, Pausable, Position, StoreError, Token,
};

/// Writes that may queue in a batcher. Past it callers wait for room, which is the back-pressure.
const QUEUE: usize = 1_024;
/// Rows that one transaction takes at most, so that no caller waits for long behind a large batch.
const BATCH_ROWS: usize = 4_096;
/// Bytes of input and output that one transaction takes at most (one write more may go over).
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Writes of a batch from which on the next one waits for as many, at most [`PATIENCE`]: fewer and larger batches carry
/// more. Below it nobody waits for company.
const CROWD: usize = 8;
/// How long a batch waits for what was as large before it: about what a batch takes.
const PATIENCE: Duration = Duration::from_millis(1);

/// Operations to be created for one caller.
pub(crate) struct Create {
    pub(crate) organization: String,
    pub(crate) operations: Vec<NewOperation>,
    /// Ids that callers were told before; empty for new ones.
    pub(crate) ids: Vec<OperationId>,
    pub(crate) key: Option<IdempotencyKey>,
    /// The first of them, which is then the only one, starts at once if it can.
    pub(crate) start: Option<StartTerms>,
}

/// What became of a [`Create`].
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) operations: Vec<Operation>,
    /// The attempt that began with it.
    pub(crate) started: Option<Claimed>,
}

/// Something to be written.
pub(crate) enum Write {
    Create(Create),
    Transition(Vec<(LeaseRef, Event)>),
    Heartbeat(Vec<Heartbeat>, Duration),
    Claim(ClaimRequest),
    Command(Access, OperationId, OperationCommand),
    /// Of one organization, at most so many.
    Purge(String, u32),
    ForgetIdempotencyKeys(u32),
    /// To be paused, or to go on.
    Pause(Pausable, bool),
    /// What concerns the feed of changes; only in the embedded store.
    Feed(Feed),
    /// A part of the deletion of an organization; only in the embedded store.
    Delete(String, Deletion),
    CreateToken(NewToken),
    RevokeToken(String),
    TouchTokens(Vec<String>),
    PutEvidence(String, EvidenceRecord),
    /// Show that something can be written.
    Ping,
    /// The store closes: give up what is kept between batches.
    Disconnect,
}

/// What is written about the feed of changes, and not into it.
pub(crate) enum Feed {
    /// Forget what is older than the first time, and read or older than the second.
    Forget(Timestamp, Timestamp, u32),
    /// A consumer.
    Register(String),
    /// A consumer, whose turn, and until when.
    Lease(String, String, Timestamp),
    /// A consumer, an organization, and up to where.
    CommitOffset(String, String, Position),
}

impl Write {
    /// Rows and bytes that it brings.
    fn weight(&self) -> (usize, usize) {
        match self {
            Write::Create(create) => {
                (create.operations.len(), create.operations.iter().map(|operation| operation.input.len()).sum())
            }
            Write::Transition(events) => (events.len(), events.iter().map(|(_, event)| event_bytes(event)).sum()),
            Write::Heartbeat(beats, _) => (beats.len(), 0),
            Write::Claim(request) => (request.limit as usize, 0),
            Write::Purge(_, limit) | Write::Delete(_, Deletion::Part(limit)) => (*limit as usize, 0),
            _ => (1, 0),
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

/// What a write is answered with.
pub(crate) enum Answer {
    Created(Box<Created>),
    Transitions(Vec<Result<Status, Refusal>>),
    Leases(Vec<LeaseStatus>),
    Claimed(Vec<Claimed>),
    CommandOutcome(Box<CommandOutcome>),
    Token(Box<Token>),
    Count(u64),
}

impl Answer {
    /// The error for an answer that does not belong to the write: a defect of the store.
    pub(crate) fn unexpected(&self) -> StoreError {
        StoreError::Unavailable("the writer gave an answer of the wrong kind".to_owned())
    }
}

/// The answer of one write of a batch.
pub(crate) type Answered = Result<Answer, StoreError>;

/// Carries batches out.
#[async_trait]
pub(crate) trait Commit: Send + 'static {
    /// Carries out the writes, all in one transaction; answers each. The outer error means that none was.
    async fn commit(&mut self, writes: Arc<Vec<Write>>) -> Result<Vec<Answered>, StoreError>;
}

struct Queued {
    write: Write,
    /// Who gets the attempt that begins with a creation.
    started: Option<Box<dyn FnOnce(Claimed) + Send>>,
    reply: oneshot::Sender<Answered>,
}

/// A handle to a batcher. The batcher's task ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct WriteBatcher {
    queue: mpsc::Sender<Queued>,
}

impl WriteBatcher {
    /// Starts the batcher's task on the current runtime.
    pub(crate) fn start(committer: impl Commit, health: &Health, commits: &Commits) -> WriteBatcher {
        let (queue, incoming) = mpsc::channel(QUEUE);
        let (task, commits) = (health.register("writes", None), commits.clone());
        tokio::spawn(async move {
            let (stop, writing) = (CancellationToken::new(), Mutex::new((committer, incoming)));
            // The callers of a batch that panics are told that the writer has stopped; others wait for its restart.
            supervise(&task, &stop, || async {
                let (committer, incoming) = &mut *writing.lock().await;
                run(committer, incoming, &commits).await;
                stop.cancel();
            })
            .await;
        });
        WriteBatcher { queue }
    }

    /// Hands a write over and waits until it is durable. Once handed over it is carried out, also if this is dropped.
    pub(crate) async fn submit(&self, write: Write) -> Answered {
        self.submit_with(write, None).await
    }

    /// The same for a creation, whose attempt, if one began with it, is handed over before the answer.
    pub(crate) async fn submit_with(&self, write: Write, started: Option<Box<dyn FnOnce(Claimed) + Send>>) -> Answered {
        let stopped = || StoreError::Unavailable("the writer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.queue.send(Queued { write, started, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn run(committer: &mut impl Commit, incoming: &mut mpsc::Receiver<Queued>, commits: &Commits) {
    let mut last = 0;
    while let Some(first) = incoming.recv().await {
        let (mut rows, mut bytes) = first.write.weight();
        let mut batch = vec![first];
        let mut patience = pin!(tokio::time::sleep(PATIENCE));
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            let next = match incoming.try_recv() {
                Ok(next) => next,
                // In a crowd the others are about to call: those of the last batch were answered a moment ago.
                Err(_) if last >= CROWD && batch.len() < last => {
                    tokio::select! {
                        biased;
                        Some(next) = incoming.recv() => next,
                        () = &mut patience => break,
                    }
                }
                Err(_) => break,
            };
            let (more_rows, more_bytes) = next.write.weight();
            rows += more_rows;
            bytes += more_bytes;
            batch.push(next);
        }
        last = batch.len();
        let (writes, replies): (Vec<Write>, Vec<_>) =
            batch.into_iter().map(|q| (q.write, (q.started, q.reply))).unzip();
        let mut writes = Arc::new(writes);
        let answers = match committer.commit(Arc::clone(&writes)).await {
            Ok(answers) => answers,
            Err(error) if writes.len() == 1 => vec![Err(error)],
            // To try one by one would make everybody wait once a write for what is away, locked or full.
            Err(StoreError::Unavailable(why)) => {
                writes.iter().map(|_| Err(StoreError::Unavailable(why.clone()))).collect()
            }
            Err(error) => {
                let (writes_in_batch, mut done) = (writes.len(), Vec::with_capacity(writes.len()));
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    writes_in_batch,
                    "a batch failed; its writes are tried one by one"
                );
                let mut answers = Vec::with_capacity(writes.len());
                // The committer has let go of them, unless it panicked.
                for write in Arc::try_unwrap(writes).unwrap_or_default() {
                    let write = Arc::new(vec![write]);
                    match committer.commit(Arc::clone(&write)).await {
                        Ok(mut answer) => answers.append(&mut answer),
                        Err(error) => answers.push(Err(error)),
                    }
                    done.extend(Arc::try_unwrap(write).unwrap_or_default());
                }
                writes = Arc::new(done);
                answers
            }
        };
        let mut news = News::default();
        writes.iter().zip(&answers).for_each(|(write, answer)| news |= News::of(write, answer));
        commits.note(news);
        for ((started, reply), mut answer) in replies.into_iter().zip(answers) {
            if let (Some(started), Ok(Answer::Created(created))) = (started, &mut answer)
                && let Some(attempt) = created.started.take()
            {
                started(attempt);
            }
            // A caller that is gone does not want the answer; the write stands.
            let _ = reply.send(answer);
        }
    }
}

/// The writes that `pick` wants, each with its place in the batch.
pub(crate) fn indexed<'w, W: Borrow<Write>, T>(
    writes: &'w [W],
    pick: impl Fn(&'w Write) -> Option<T>,
) -> Vec<(usize, T)> {
    writes
        .iter()
        .map(Borrow::borrow)
        .enumerate()
        .filter_map(|(index, write)| pick(write).map(|picked| (index, picked)))
        .collect()
}
