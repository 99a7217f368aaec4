//! The requests to the store and its answers, in the order of one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use operations::{NewOperation, Operation, OperationId, Status, Timestamp};
use store::{OperationDetail, Schedule};

/// The time from the beginning to the end of a call, by the record's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub from: u64,
    pub until: u64,
}

impl Span {
    /// Whether it had ended when the other began.
    pub fn is_before(self, other: Span) -> bool {
        self.until < other.from
    }
}

/// The outcome of a call; `Unknown` when the server died during it, so that it happened as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An operation was created, or had been by an earlier call with the same idempotency key.
    Created,
    /// A creation was answered with it, since it has the unique key and had not ended.
    Found,
    /// An attempt was started, with its fencing token.
    Claimed(u64),
    /// The holder of this token was answered that it still holds the lease.
    Held(u64),
    /// The holder of this token was answered that its lease is lost.
    Lost(u64),
    /// The holder of this token released the operation.
    Released { fence: u64, answer: Answer<()> },
    /// The holder of this token said how the attempt ended, and was answered what the operation is now; the text is the
    /// output or the message.
    Settled { fence: u64, text: String, answer: Answer<Status> },
    /// A failed operation was to be retried.
    Retried(Answer<()>),
    /// An operation was to be cancelled.
    Cancelled(Answer<Status>),
    /// An operation was to be removed.
    Deleted(Answer<()>),
}

/// How a call that changes something was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    Accepted(T),
    Refused,
    Unknown,
}

/// A call about one operation.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: OperationId,
    pub span: Span,
    pub seen: Seen,
}

/// A transition as the change log has it; without a status: it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: OperationId,
    pub status: Option<Status>,
    pub at: Timestamp,
}

/// What a creation requested.
#[derive(Clone, Debug)]
pub struct Asked {
    pub new: NewOperation,
    /// Its idempotency key, and which of the calls with that key it was.
    pub call: Option<(String, u32)>,
}

/// The record of a run. Fields without a lock are filled when nothing happens any more.
#[derive(Debug, Default)]
pub struct Record {
    pub clock: AtomicU64,
    pub calls: Mutex<Vec<Call>>,
    /// What was requested, by the id that it has if it was created; noted before the call.
    pub asked: Mutex<BTreeMap<OperationId, Asked>>,
    /// How calls with an idempotency key were answered.
    pub keyed: Mutex<Vec<(String, Vec<OperationId>)>>,
    /// The change log as one actor read it all along, bit by bit; `None` when no actor did.
    pub followed: Mutex<Option<Vec<Told>>>,
    /// The change log, from before the first operation.
    pub feed: Vec<Told>,
    /// All operations that there are.
    pub operations: Vec<Operation>,
    /// How many claims of an operation reached no worker, and may have been released by the server that had made them.
    pub unheard: BTreeMap<OperationId, usize>,
    /// Everything that is known of them.
    pub details: Vec<OperationDetail>,
    /// What a search finds by each label, all of which have the key `n`.
    pub labelled: BTreeMap<String, Vec<OperationId>>,
    /// The schedule, and when it was read.
    pub schedule: Option<(Schedule, Timestamp)>,
    /// Totals in the list's answers: of all, and by status in the order of their numbers.
    pub totals: [u64; 5],
}

impl Record {
    /// The time at which a call begins.
    pub fn begin(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes the outcome of a call that began at `from`.
    pub fn note(&self, from: u64, id: OperationId, seen: Seen) {
        let span = Span { from, until: self.begin() };
        self.calls.lock().unwrap().push(Call { id, span, seen });
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Operations whose creation was answered.
    pub fn created(&self) -> Vec<OperationId> {
        let calls = self.calls.lock().unwrap();
        let created = calls.iter().filter(|call| call.seen == Seen::Created).map(|call| call.id);
        created.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
