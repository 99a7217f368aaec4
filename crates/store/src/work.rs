//! The messages between workers and a store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use operations::{Access, Event, NewOperation, Operation, OperationId, Outcome, Progress, Projects, State, Timestamp};

use crate::Organizations;

/// A request of a worker for work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Kinds that the worker can run.
    pub kinds: Vec<String>,
    /// Only operations that this caller may see; `None` for a worker for several organizations.
    pub access: Option<Access>,
    /// Without `access`, only operations of these organizations; `None` for the engine, which works for all.
    pub among: Option<Organizations>,
    /// The most operations to claim.
    pub limit: u32,
    /// The worker that asks; shown in histories.
    pub worker: String,
    /// How long the claim is valid without a heartbeat.
    pub lease: Duration,
}

impl ClaimRequest {
    /// The requested organization, if it is a single one.
    pub(crate) fn organization(&self) -> Option<&str> {
        self.access.as_ref().map(|access| access.organization.as_str())
    }

    /// Whether it may get operations of this organization.
    pub(crate) fn reaches(&self, organization: &str) -> bool {
        self.among.as_ref().is_none_or(|among| among.include(organization))
    }

    /// The projects inside of it.
    pub(crate) fn projects(&self) -> &Projects {
        self.access.as_ref().map_or(&Projects::All, |access| &access.projects)
    }
}

/// What a remote worker may touch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationScope {
    /// Only operations of these organizations.
    pub organizations: Organizations,
    /// Only operations of these projects.
    pub projects: Projects,
    /// No operation of these kinds: servers run them, and no worker may end them instead.
    pub except_kinds: Arc<[String]>,
}

/// One attempt, by its operation and its fencing token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    /// The operation's organization.
    pub organization: String,
    /// The operation.
    pub id: OperationId,
    /// The fencing token that the claim gave.
    pub fence: u64,
    /// When the lease ran out, as it was read, for one that is to be [lost](crate::Store::lose) for this reason. A
    /// heartbeat that has extended the lease since then keeps it. `None` otherwise.
    pub expired_at: Option<Timestamp>,
    /// What the worker that refers to it may touch; operations outside of it count as lost. `None` for the engine,
    /// which may touch everything.
    pub scope: Option<Arc<AuthorizationScope>>,
}

impl LeaseRef {
    /// Whether an operation of this project and kind may be touched.
    pub(crate) fn covers(&self, project_id: &str, kind: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| {
            scope.organizations.include(&self.organization)
                && scope.projects.include(project_id)
                && scope.except_kinds.iter().all(|other| other != kind)
        })
    }

    pub(crate) fn into_release(self) -> (LeaseRef, Event) {
        let fence = self.fence;
        (self, Event::Release { fence, due_at: None })
    }

    pub(crate) fn into_postponement(self, at: Timestamp, delay: Duration) -> (LeaseRef, Event) {
        let event = Event::Release { fence: self.fence, due_at: Some(at.after(delay)) };
        (self, event)
    }

    pub(crate) fn into_loss(self, at: Timestamp, delay: Duration) -> (LeaseRef, Event) {
        let event = Event::LoseLease { fence: self.fence, at, retry_at: at.after(delay) };
        (self, event)
    }
}

/// An operation that was claimed, with what its worker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The lease: organization, operation and fencing token.
    pub lease: LeaseRef,
    /// The operation, running.
    pub operation: Operation,
    /// A JSON text, or empty for none.
    pub input: String,
    /// Which attempt this is; 1 for the first.
    pub attempt: u32,
    /// How long this attempt may take, if the operation says so.
    pub timeout: Option<Duration>,
    /// When the lease runs out without a heartbeat.
    pub lease_expires_at: Timestamp,
    /// A caller has already requested that it stops.
    pub cancel_requested: bool,
}

/// A message of a worker that it is still running the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The attempt.
    pub lease: LeaseRef,
    /// The progress, for people: a part of the history. The last of a call counts, and the first
    /// [`MAX_PROGRESS_NOTES`](crate::MAX_PROGRESS_NOTES) of an operation are kept.
    pub progress: Option<String>,
}

/// What a worker learns about one of its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Extended.
    Held {
        /// When it runs out without a further heartbeat.
        expires_at: Timestamp,
        /// A caller has requested that the operation stops: end the attempt.
        cancel_requested: bool,
    },
    /// Lost: another attempt was started or the operation ended. Stop working on it.
    Lost,
}

/// How long attempts of remote workers may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptTimeouts {
    /// By kind, where an operation does not say so itself.
    pub kinds: BTreeMap<String, Duration>,
    /// Where neither the operation nor its kind says so.
    pub otherwise: Duration,
    /// The additional time, so that the server does not interfere with workers that keep the time themselves.
    pub grace: Duration,
}

impl AttemptTimeouts {
    /// The kinds and their times in milliseconds.
    pub(crate) fn by_kind(&self) -> (Vec<&str>, Vec<i64>) {
        self.kinds.iter().map(|(kind, timeout)| (kind.as_str(), millis(*timeout))).unzip()
    }

    /// In milliseconds.
    pub(crate) fn otherwise_millis(&self) -> i64 {
        millis(self.otherwise)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// An attempt of a remote worker that has taken longer than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The attempt.
    pub lease: LeaseRef,
    /// The kind of its operation.
    pub kind: String,
    /// Attempts charged, this one included.
    pub attempts: u32,
    /// How long it may have taken, without the grace.
    pub timeout: Duration,
}

/// A request of a worker to end an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The attempt.
    pub lease: LeaseRef,
    /// How it ended.
    pub outcome: Outcome,
    /// How long to wait before the next attempt, if there is one.
    pub retry_after: Duration,
}

impl Settlement {
    pub(crate) fn into_event(self, at: Timestamp) -> (LeaseRef, Event) {
        let event =
            Event::Settle { fence: self.lease.fence, at, outcome: self.outcome, retry_at: at.after(self.retry_after) };
        (self.lease, event)
    }
}

/// An operation starts in the transaction that creates it: for which worker, and where the attempt is passed.
pub struct Start {
    pub(crate) terms: StartTerms,
    pub(crate) started: Box<dyn FnOnce(Claimed) + Send>,
}

/// The worker that runs an attempt that starts with its operation's creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartTerms {
    /// The worker that runs it; shown in histories.
    pub(crate) worker: String,
    /// How long its lease is valid without a heartbeat.
    pub(crate) lease: Duration,
    /// Whether it starts only if its organization has nothing pending, of any kind.
    pub(crate) only_if_nothing_is_pending: bool,
}

impl Start {
    /// `started` gets the attempt once it is durable, even if the caller of the creation has gone; it must not wait. It
    /// is dropped without being called when the operation does not start at once.
    pub fn new(worker: impl Into<String>, lease: Duration, started: impl FnOnce(Claimed) + Send + 'static) -> Start {
        let terms = StartTerms { worker: worker.into(), lease, only_if_nothing_is_pending: false };
        Start { terms, started: Box::new(started) }
    }

    /// Starts the operation only if its organization has nothing pending, of any kind, now or later.
    #[must_use]
    pub fn only_if_nothing_is_pending(mut self) -> Start {
        self.terms.only_if_nothing_is_pending = true;
        self
    }
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl StartTerms {
    /// The attempt of an operation that was created at `now` and starts at once, as the transition function says.
    pub(crate) fn claimed(
        &self,
        organization: &str,
        created: &Operation,
        new: &NewOperation,
        now: Timestamp,
    ) -> Claimed {
        let progress = Progress { attempts: 0, max_attempts: new.max_attempts, fence: 0 };
        let pending = State::Pending { progress, started_at: None, due_at: None };
        let state = pending.apply(Event::Claim { at: now }).expect("what is pending and due can be claimed");
        let Progress { attempts, fence, .. } = state.progress();
        Claimed {
            lease: LeaseRef {
                organization: organization.to_owned(),
                id: created.id,
                fence,
                expired_at: None,
                scope: None,
            },
            operation: Operation { status: state.status(), started_at: Some(now), ..created.clone() },
            input: new.input.clone(),
            attempt: attempts,
            timeout: new.timeout,
            lease_expires_at: now.after(self.lease),
            cancel_requested: false,
        }
    }
}
