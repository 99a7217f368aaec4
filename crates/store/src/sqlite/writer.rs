//! The one writer: carries a batch out as one transaction, with one fsync.
//!
//! Inside a batch the writes are grouped by what they do, so that fifty creations cost three statements and not 150.
//! The writes of a batch are concurrent (each caller still waits for its answer), so grouping cannot break an order
//! that a caller could know of.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use operations::{Event, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::clock::{self, Clocks};
use super::resources::Resources;
use super::{admin, claim, command, connections, consumers, create, deletion, pause, purge, transition};
use crate::batch::{Answer, Answered, Commit, Create, Write, indexed};
use crate::quota::Admission;
use crate::retention::Retention;
use crate::rotation::Rotation;
use crate::{ClaimRequest, LeaseRef, StoreError};

/// What a writer works with, shared with the store.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) clocks: Arc<Clocks>,
    pub(super) retention: Retention,
    pub(super) admission: Admission,
}

/// The writer. Batches are carried out on a thread that may wait for the disk, which has the state meanwhile.
pub(super) struct Writer {
    shared: Shared,
    /// `None` when a batch took it with it in a panic.
    state: Option<State>,
}

struct State {
    shared: Shared,
    /// `None` before the first batch, and after one that failed.
    connection: Option<Connection>,
    /// The store is closed.
    is_closed: bool,
    /// Whether the leases of a former life were bounded.
    has_bounded_leases: bool,
    rotation: Rotation,
    /// As the connection's last transaction left them.
    resources: Resources,
}

impl Writer {
    pub(super) fn new(shared: Shared) -> Writer {
        Writer { shared, state: None }
    }
}

impl State {
    fn new(shared: Shared) -> State {
        State {
            shared,
            connection: None,
            is_closed: false,
            has_bounded_leases: false,
            rotation: Rotation::default(),
            resources: Resources::default(),
        }
    }
}

#[async_trait]
impl Commit for Writer {
    async fn commit(&mut self, writes: Arc<Vec<Write>>) -> Result<Vec<Answered>, StoreError> {
        let mut state = self.state.take().unwrap_or_else(|| State::new(self.shared.clone()));
        let written = tokio::task::spawn_blocking(move || {
            let answers = state.commit(&writes);
            (state, answers)
        });
        let (state, answers) = written.await.map_err(|error| connections::broke_off(&error))?;
        self.state = Some(state);
        answers
    }
}

impl State {
    fn commit(&mut self, writes: &[Write]) -> Result<Vec<Answered>, StoreError> {
        if self.is_closed {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // What a transaction that failed has learnt is not so.
                self.resources = Resources::default();
                connections::writing(&self.shared.path)?
            }
        };
        // One whose transaction failed is not used again: when the disk is full or fails, SQLite ends the transaction
        // by itself.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let answers = self.transact(transaction, writes)?;
        self.is_closed = writes.iter().any(|write| matches!(write, Write::Disconnect));
        if !self.is_closed {
            self.connection = Some(connection);
        }
        Ok(answers)
    }

    fn transact(&mut self, transaction: Transaction<'_>, writes: &[Write]) -> Result<Vec<Answered>, StoreError> {
        let Shared { clocks, retention, admission, .. } = &self.shared;
        let (now, set_by) = (clocks.now(), clocks.set_by());
        if set_by != 0 {
            clock::move_leases(&transaction, set_by)?;
        }
        // Who claims is the process that owns the store, and not a command beside it.
        let lease = writes.iter().filter_map(|write| match write {
            Write::Claim(request) => Some(request.lease),
            _ => None,
        });
        let lease = lease.max().filter(|_| !self.has_bounded_leases);
        if let Some(lease) = lease {
            clock::bound_leases(&transaction, now.after(lease))?;
        }
        self.resources.refresh(&transaction)?;
        let work = Work { now, retain_for_ms: retention.millis(), admission };
        let answers = perform(&transaction, &work, &mut self.rotation, &mut self.resources, writes)?;
        transaction.commit()?;
        clocks.moved(set_by);
        self.has_bounded_leases |= lease.is_some();
        Ok(answers)
    }
}

/// What every write of a batch goes by.
struct Work<'a> {
    now: Timestamp,
    retain_for_ms: Option<i64>,
    admission: &'a Admission,
}

fn perform(
    connection: &Connection,
    work: &Work<'_>,
    rotation: &mut Rotation,
    resources: &mut Resources,
    writes: &[Write],
) -> Result<Vec<Answered>, StoreError> {
    let Work { now, retain_for_ms, admission } = *work;
    let mut answers: Vec<Option<Answered>> = writes.iter().map(|_| None).collect();

    let creates: Vec<(usize, &Create)> = indexed(writes, |write| match write {
        Write::Create(create) => Some(create),
        _ => None,
    });
    if !creates.is_empty() {
        let requests: Vec<&Create> = creates.iter().map(|(_, create)| *create).collect();
        let results = create::create(connection, now, admission, resources, &requests)?;
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
        let mut results = transition::apply(connection, now, retain_for_ms, resources, &events)?.into_iter();
        for (index, events) in &transitions {
            answers[*index] = Some(Ok(Answer::Transitions(results.by_ref().take(events.len()).collect())));
        }
    }

    // After the creations, so that a claim of the same batch can have them.
    let claims: Vec<(usize, &ClaimRequest)> = indexed(writes, |write| match write {
        Write::Claim(request) => Some(request),
        _ => None,
    });
    if !claims.is_empty() {
        let requests: Vec<&ClaimRequest> = claims.iter().map(|(_, request)| *request).collect();
        let results = claim::claim(connection, now, &admission.quotas(), rotation, resources, &requests)?;
        for ((index, _), claimed) in claims.iter().zip(results) {
            answers[*index] = Some(Ok(Answer::Claimed(claimed)));
        }
    }

    for (index, write) in writes.iter().enumerate() {
        let answer = match write {
            Write::Create(_) | Write::Transition(_) | Write::Claim(_) => continue,
            Write::Heartbeat(beats, lease) => {
                Answer::Leases(transition::heartbeat(connection, now, beats, now.after(*lease))?)
            }
            Write::Command(access, id, command) => Answer::CommandOutcome(Box::new(command::command(
                connection,
                now,
                retain_for_ms,
                resources,
                access,
                *id,
                *command,
            )?)),
            Write::Purge(organization, limit) => {
                Answer::Count(purge::purge(connection, now, resources, organization, *limit)?)
            }
            Write::ForgetIdempotencyKeys(limit) => Answer::Count(create::forget_keys(connection, now, *limit)?),
            Write::Pause(what, pause) => Answer::Count(pause::set(connection, now, what, *pause)?),
            Write::Delete(organization, step) => {
                Answer::Count(deletion::step(connection, now, resources, organization, *step)?)
            }
            Write::Feed(write) => Answer::Count(consumers::write(connection, now, write)?),
            Write::CreateToken(token) => Answer::Token(Box::new(admin::create_token(connection, now, token)?)),
            Write::RevokeToken(id) => Answer::Count(admin::revoke_token(connection, now, id)?),
            Write::TouchTokens(ids) => Answer::Count(admin::touch_tokens(connection, now, ids)?),
            Write::PutEvidence(organization, record) => {
                Answer::Count(admin::put_evidence(connection, now, organization, record)?)
            }
            Write::Ping => {
                // The smallest write: a field of the file's header that nothing else uses.
                connection.pragma_update(None, "user_version", 1)?;
                Answer::Count(0)
            }
            Write::Disconnect => Answer::Count(0),
        };
        answers[index] = Some(Ok(answer));
    }
    Ok(answers.into_iter().map(|answer| answer.expect("every write was carried out")).collect())
}
