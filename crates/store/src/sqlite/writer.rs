//! The one writer: carries out a batch as one transaction, with one fsync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use operations::{Event, Timestamp};
use rusqlite::{Connection, TransactionBehavior};

use super::clock::{self, Clocks};
use super::disk::Disk;
use super::resources::Resources;
use super::{
    admin, audit, bulk, claim, command, connections, consumers, create, deletion, evidence, limits, pause, policies,
    purge, schedules, search, sessions, statistics, texts, transition, views, waivers,
};
use crate::audit::Record;
use crate::batch::{
    CommandRequest, Commit, Create, Created, Decisions, HeartbeatRequest, TokenChange, Transaction, Upkeep, Write,
    perform, records,
};
use crate::evidence::{EvidenceReply, EvidenceWrite};
use crate::quota::Admission;
use crate::retention::Retention;
use crate::rotation::Rotations;
use crate::schedules::{ScheduleReply, ScheduleWrite, carry_out};
use crate::views::ViewChange;
use crate::waivers::WaiverWrite;
use crate::{
    ClaimRequest, Claimed, CommandOutcome, LeaseRef, LeaseStatus, NewToken, StoreError, Token, ViewOutcome,
    WaiverOutcome,
};

/// What a writer works with, shared with the store.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) disk: Disk,
    pub(super) clocks: Arc<Clocks>,
    pub(super) retention: Retention,
    pub(super) admission: Admission,
    /// How many batches of claims have left something that may be due to the next one.
    pub(super) left_due: Arc<AtomicU64>,
}

/// The writer. A batch that panics takes the state with it.
pub(super) struct Writer {
    shared: Shared,
    /// `None` when a batch that panicked took it along.
    state: Option<State>,
}

struct State {
    shared: Shared,
    /// `None` before the first batch, and after one that failed.
    connection: Option<Connection>,
    /// The store is closed.
    is_closed: bool,
    /// Whether the leases of an earlier run were bounded.
    has_bounded_leases: bool,
    rotations: Rotations,
    /// As the connection's last transaction left them.
    resources: Resources,
    /// Something may be claimed in the place of operations that ended in the last batch.
    frees: bool,
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
            rotations: Rotations::default(),
            resources: Resources::default(),
            frees: false,
        }
    }
}

#[async_trait]
impl Commit for Writer {
    /// Waits for the disk, so it runs on a thread of its own, unless configured otherwise.
    async fn commit(&mut self, writes: &mut Vec<Write>) -> Result<(), StoreError> {
        self.shared.disk.pause().await;
        let mut state = self.state.take().unwrap_or_else(|| State::new(self.shared.clone()));
        let Ok(written) = catch_unwind(AssertUnwindSafe(|| state.commit(writes))) else {
            // Their callers get the error that the writer has stopped.
            writes.clear();
            return Err(StoreError::Unusable("work on the database failed unexpectedly".to_owned()));
        };
        self.state = Some(state);
        self.shared.disk.pause().await;
        written
    }

    fn frees(&mut self) -> bool {
        self.state.as_mut().is_some_and(|state| std::mem::take(&mut state.frees))
    }
}

impl State {
    fn commit(&mut self, writes: &mut [Write]) -> Result<(), StoreError> {
        if self.is_closed {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // What a failed transaction has learnt is not valid.
                self.resources = Resources::default();
                connections::writing(&self.shared.path)?
            }
        };
        // A connection whose transaction failed is not used again: when the disk is full or fails, SQLite ends the
        // transaction itself.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        self.transact(transaction, writes)?;
        self.is_closed = writes.iter().any(Write::is_disconnect);
        if !self.is_closed {
            self.connection = Some(connection);
        }
        Ok(())
    }

    fn transact(&mut self, transaction: rusqlite::Transaction<'_>, writes: &mut [Write]) -> Result<(), StoreError> {
        let Shared { clocks, retention, admission, left_due, .. } = &self.shared;
        let (now, set_by) = (clocks.now(), clocks.set_by());
        if set_by != 0 {
            clock::move_leases(&transaction, set_by)?;
        }
        // The process that claims owns the store, and is not a command next to it.
        let lease = writes.iter().filter_map(|write| match write {
            Write::Claim(slot) => Some(slot.request.lease),
            Write::Create(slot) => slot.request.start.as_ref().map(|start| start.lease),
            _ => None,
        });
        let lease = lease.max().filter(|_| !self.has_bounded_leases);
        if let Some(lease) = lease {
            clock::bound_leases(&transaction, now.after(lease))?;
        }
        self.resources.refresh(&transaction)?;
        let mut whole = Whole {
            connection: &transaction,
            now,
            retain_for_ms: retention.millis(),
            admission,
            rotations: &mut self.rotations,
            resources: &mut self.resources,
            frees: &mut self.frees,
            left_due,
        };
        let mut all: Vec<&mut Write> = writes.iter_mut().collect();
        perform(&mut whole, &mut all).now_or_never().expect("nothing here waits for anything")?;
        transaction.commit()?;
        clocks.moved(set_by);
        self.has_bounded_leases |= lease.is_some();
        Ok(())
    }
}

/// The transaction of a batch. Its futures are ready at once.
struct Whole<'w> {
    connection: &'w Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    admission: &'w Admission,
    rotations: &'w mut Rotations,
    resources: &'w mut Resources,
    frees: &'w mut bool,
    left_due: &'w AtomicU64,
}

impl Transaction for Whole<'_> {
    async fn transition(&mut self, events: &[&(LeaseRef, Event)]) -> Result<Decisions, StoreError> {
        let (results, frees) =
            transition::apply(self.connection, self.now, self.retain_for_ms, self.resources, events)?;
        *self.frees |= frees || self.admission.frees(&results);
        Ok(results)
    }

    async fn create(&mut self, creates: &[&Create]) -> Result<Vec<Result<Created, StoreError>>, StoreError> {
        let created = create::create(self.connection, self.now, self.admission, self.resources, creates)?;
        audit::append(self.connection, self.now, &records(creates, &created))?;
        Ok(created)
    }

    async fn claim(&mut self, requests: &[&ClaimRequest]) -> Result<Vec<Result<Vec<Claimed>, StoreError>>, StoreError> {
        let quotas = self.admission.quotas();
        let (claimed, is_more_due) =
            claim::claim(self.connection, self.now, &quotas, self.rotations, self.resources, requests)?;
        if is_more_due {
            self.left_due.fetch_add(1, Ordering::Relaxed);
        }
        Ok(claimed.into_iter().map(Ok).collect())
    }

    async fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<Vec<LeaseStatus>, StoreError> {
        transition::heartbeat(self.connection, self.now, &request.beats, self.now.after(request.lease))
    }

    async fn command(&mut self, request: &CommandRequest) -> Result<CommandOutcome, StoreError> {
        let CommandRequest { access, id, command } = request;
        command::command(self.connection, self.now, self.retain_for_ms, self.resources, access, *id, *command)
    }

    async fn create_token(&mut self, token: &NewToken) -> Result<Token, StoreError> {
        admin::create_token(self.connection, self.now, token)
    }

    async fn change_token(&mut self, change: &TokenChange) -> Result<Option<Token>, StoreError> {
        admin::change_token(self.connection, self.now, change)
    }

    async fn change_view(&mut self, change: &ViewChange) -> Result<ViewOutcome, StoreError> {
        views::change(self.connection, self.now, change)
    }

    async fn change_waiver(&mut self, write: &WaiverWrite) -> Result<WaiverOutcome, StoreError> {
        waivers::write(self.connection, self.now, write)
    }

    async fn change_evidence(
        &mut self,
        write: &EvidenceWrite,
    ) -> Result<Result<EvidenceReply, StoreError>, StoreError> {
        evidence::write(self.connection, self.now, self.admission, write).await
    }

    async fn schedule(&mut self, write: &ScheduleWrite) -> Result<Result<ScheduleReply, StoreError>, StoreError> {
        let Whole { connection, now, admission, .. } = *self;
        let (resources, organization) = (&mut *self.resources, write.organization());
        let mut table = schedules::Table { connection, now, admission, resources, organization };
        carry_out(&mut table, now, admission, write).await
    }

    async fn record(&mut self, records: &[Record]) -> Result<(), StoreError> {
        audit::append(self.connection, self.now, records)
    }

    async fn upkeep(&mut self, upkeep: &Upkeep) -> Result<u64, StoreError> {
        let Whole { connection, now, .. } = *self;
        match upkeep {
            Upkeep::Purge(organization, limit) => purge::purge(connection, now, self.resources, organization, *limit),
            Upkeep::ForgetIdempotencyKeys(limit) => create::forget_keys(connection, now, *limit),
            Upkeep::Pause(what, pause) => pause::set(connection, now, what, *pause),
            Upkeep::Delete(organization, step) => deletion::step(connection, now, self.resources, organization, *step),
            Upkeep::ChangeLog(write) => consumers::write(connection, now, write),
            Upkeep::Policies(write) => policies::write(connection, now, write),
            Upkeep::CreateOrganization(organization, wanted) => limits::create(connection, now, organization, wanted),
            Upkeep::SetLimits(organization, wanted) => limits::set(connection, now, organization, wanted),
            Upkeep::ForgetAudit(before, limit) => audit::forget(connection, *before, *limit),
            Upkeep::NoteTimes(limit) => search::note_times(connection, *limit),
            Upkeep::Session(change) => sessions::change(connection, now, change),
            Upkeep::TouchTokens(ids) => admin::touch_tokens(connection, now, ids),
            Upkeep::ReplaceTexts(replacements) => texts::replace(connection, replacements),
            Upkeep::Statistics(write) => statistics::write(connection, now, write),
            Upkeep::Bulk(batch) => bulk::batch(connection, now, self.retain_for_ms, self.resources, batch),
            Upkeep::BeginBulk(organization, id, total) => bulk::begin(connection, organization, *id, *total),
            Upkeep::Ping => {
                // The smallest write: a field of the file's header that nothing else uses.
                connection.pragma_update(None, "user_version", 1)?;
                Ok(0)
            }
            // Records are written at the end of the batch.
            Upkeep::Record(_) | Upkeep::Disconnect => Ok(0),
        }
    }
}
