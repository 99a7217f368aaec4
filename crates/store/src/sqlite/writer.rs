//! The one writer: batches what has queued, commits it as one transaction, then answers.
//!
//! Inside a batch the writes are grouped by what they do, so that fifty creations cost three statements and not 150.
//! The writes of a batch are concurrent (each caller still waits for its answer), so grouping cannot break an order that
//! a caller could know of. When a batch fails, its writes are tried again one by one: one bad write spoils no other.

use std::time::Duration;

use operations::{Event, Operation, Refusal, Status, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::claim::{self, Rotation};
use super::{Clock, admin, create, transition};
use crate::{ClaimRequest, Claimed, EvidenceRecord, Heartbeat, LeaseRef, LeaseStatus, NewToken, StoreError, Token};

/// Writes that may queue. Past it callers wait for room, which is the back-pressure.
const QUEUE: usize = 1_024;
/// Rows that one transaction takes at most, so that no caller waits for long behind a large batch.
const BATCH_ROWS: usize = 4_096;
/// Bytes of input and output that one transaction takes at most (one write more may go over).
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Something to be written.
pub(super) enum Write {
    Create(create::Create),
    Transition(Vec<(LeaseRef, Event)>),
    Heartbeat(Vec<Heartbeat>, Duration),
    Claim(ClaimRequest),
    ForgetIdempotencyKeys(u32),
    CreateToken(NewToken),
    RevokeToken(String),
    TouchTokens(Vec<String>),
    PutEvidence(String, EvidenceRecord),
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
            _ => (1, 0),
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    match event {
        Event::Settle { outcome: operations::Outcome::Completed { output }, .. } => output.len(),
        Event::Settle { outcome: operations::Outcome::Failed { message, .. }, .. } => message.len(),
        _ => 0,
    }
}

/// What a write is answered with.
pub(super) enum Answer {
    Operations(Vec<Operation>),
    Transitions(Vec<Result<Status, Refusal>>),
    Leases(Vec<LeaseStatus>),
    Claimed(Vec<Claimed>),
    Token(Box<Token>),
    Count(u64),
}

impl Answer {
    /// The error for an answer that does not belong to the write: a defect of this module.
    pub(super) fn unexpected(&self) -> StoreError {
        StoreError::Unavailable("the writer gave an answer of the wrong kind".to_owned())
    }
}

struct Queued {
    write: Write,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// A handle to the writer task. The task ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Queued>,
}

impl Writer {
    /// Starts the task on the current runtime. `connection` is a pool of one: it reconnects by itself.
    pub(super) fn start(connection: SqlitePool, clock: Clock) -> Writer {
        let (queue, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(run(connection, clock, incoming));
        Writer { queue }
    }

    /// Hands a write over and waits until it is durable. Once handed over it is carried out, also if this is dropped.
    pub(super) async fn submit(&self, write: Write) -> Result<Answer, StoreError> {
        let stopped = || StoreError::Unavailable("the writer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.queue.send(Queued { write, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn run(connection: SqlitePool, clock: Clock, mut incoming: mpsc::Receiver<Queued>) {
    let mut rotation = Rotation::default();
    while let Some(first) = incoming.recv().await {
        let (mut rows, mut bytes) = first.write.weight();
        let mut batch = vec![first];
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            let Ok(next) = incoming.try_recv() else { break };
            let (more_rows, more_bytes) = next.write.weight();
            rows += more_rows;
            bytes += more_bytes;
            batch.push(next);
        }
        let (writes, replies): (Vec<Write>, Vec<_>) = batch.into_iter().map(|q| (q.write, q.reply)).unzip();
        let answers = match commit(&connection, &clock, &mut rotation, &writes).await {
            Ok(answers) => answers,
            Err(error) if writes.len() == 1 => vec![Err(error)],
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    writes = writes.len(),
                    "a batch failed; its writes are tried one by one"
                );
                let mut answers = Vec::with_capacity(writes.len());
                for write in &writes {
                    match commit(&connection, &clock, &mut rotation, std::slice::from_ref(write)).await {
                        Ok(mut answer) => answers.append(&mut answer),
                        Err(error) => answers.push(Err(error)),
                    }
                }
                answers
            }
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A caller that is gone does not want the answer; the write stands.
            let _ = reply.send(answer);
        }
    }
}

/// Carries out the writes in one transaction; the outer error means that none was.
async fn commit(
    connection: &SqlitePool,
    clock: &Clock,
    rotation: &mut Rotation,
    writes: &[Write],
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(busy)?;
    let answers = perform(&mut transaction, clock(), rotation, writes).await?;
    transaction.commit().await.map_err(busy)?;
    Ok(answers)
}

/// A database that another process keeps locked is a passing trouble, unlike every other error.
fn busy(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if matches!(database.code().as_deref(), Some("5" | "6" | "517")) => {
            StoreError::Unavailable("another process is writing to the database".to_owned())
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            StoreError::Unavailable("no connection to the database".to_owned())
        }
        _ => StoreError::Database(error),
    }
}

async fn perform(
    connection: &mut SqliteConnection,
    now: Timestamp,
    rotation: &mut Rotation,
    writes: &[Write],
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    let mut answers: Vec<Option<Result<Answer, StoreError>>> = writes.iter().map(|_| None).collect();

    let creates: Vec<(usize, &create::Create)> = indexed(writes, |write| match write {
        Write::Create(create) => Some(create),
        _ => None,
    });
    if !creates.is_empty() {
        let requests: Vec<&create::Create> = creates.iter().map(|(_, create)| *create).collect();
        let results = create::create(connection, now, &requests).await?;
        for ((index, _), result) in creates.iter().zip(results) {
            answers[*index] = Some(result.map(Answer::Operations));
        }
    }

    let transitions: Vec<(usize, &Vec<(LeaseRef, Event)>)> = indexed(writes, |write| match write {
        Write::Transition(events) => Some(events),
        _ => None,
    });
    if !transitions.is_empty() {
        let events: Vec<&(LeaseRef, Event)> = transitions.iter().flat_map(|(_, events)| events.iter()).collect();
        let mut results = transition::apply(connection, &events).await?.into_iter();
        for (index, events) in &transitions {
            answers[*index] = Some(Ok(Answer::Transitions(results.by_ref().take(events.len()).collect())));
        }
    }

    for (index, write) in writes.iter().enumerate() {
        let answer = match write {
            Write::Create(_) | Write::Transition(_) => continue,
            Write::Heartbeat(beats, lease) => {
                Answer::Leases(transition::heartbeat(connection, beats, now.after(*lease)).await?)
            }
            Write::Claim(request) => Answer::Claimed(claim::claim(connection, now, rotation, request).await?),
            Write::ForgetIdempotencyKeys(limit) => Answer::Count(create::forget_keys(connection, now, *limit).await?),
            Write::CreateToken(token) => Answer::Token(Box::new(admin::create_token(connection, now, token).await?)),
            Write::RevokeToken(id) => Answer::Count(admin::revoke_token(connection, now, id).await?),
            Write::TouchTokens(ids) => Answer::Count(admin::touch_tokens(connection, now, ids).await?),
            Write::PutEvidence(organization, record) => {
                Answer::Count(admin::put_evidence(connection, now, organization, record).await?)
            }
        };
        answers[index] = Some(Ok(answer));
    }
    Ok(answers.into_iter().map(|answer| answer.expect("every write was carried out")).collect())
}

fn indexed<'w, T>(writes: &'w [Write], pick: impl Fn(&'w Write) -> Option<T>) -> Vec<(usize, T)> {
    writes.iter().enumerate().filter_map(|(index, write)| pick(write).map(|picked| (index, picked))).collect()
}
