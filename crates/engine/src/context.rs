//! State that the loop, the attempts and the maintenance tasks share.

use std::sync::Arc;

use operations::TraceContext;
use operations::backoff::Backoff;
use store::{Claimed, Store};
use tasks::Health;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::capacity::Capacity;
use crate::held::Held;
use crate::{Registry, Settings, Waker};

/// State that the loop, the attempts and the maintenance tasks share.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) waker: Waker,
    /// The leases that this process holds.
    pub(crate) held: Held,
    /// How many more attempts may be started here.
    pub(crate) capacity: Capacity,
    /// The attempts that run here.
    pub(crate) attempts: TaskTracker,
    /// Claims and creations that may start an attempt and that the store has not answered yet (see
    /// [`Context::begin_start`]).
    pub(crate) starting: TaskTracker,
    /// Cancelled when the drain time is over: attempts are stopped and released.
    pub(crate) release: CancellationToken,
    /// Cancelled when draining starts: nothing more is claimed.
    pub(crate) stop_claiming: CancellationToken,
    pub(crate) worker: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Context {
    /// A token that a caller holds from before it asks the store for an attempt until that attempt is among
    /// [`Context::attempts`]: the drain waits for it. `None` once nothing more is to be started.
    pub(crate) fn begin_start(&self) -> Option<TaskTrackerToken> {
        // In this order: the drain stops claiming before it waits, so either it waits for this token or the check below
        // sees that it has begun.
        let token = self.starting.token();
        (!self.stop_claiming.is_cancelled()).then_some(token)
    }

    /// The span of an attempt, when its operation belongs to a trace. If it cannot be read, the attempt runs all the
    /// same.
    pub(crate) async fn trace_of(&self, claimed: &Claimed) -> Option<TraceContext> {
        if !self.registry.traces().is_on() {
            return None;
        }
        let id = claimed.operation.id;
        let found = self.store.trace_contexts(&claimed.lease.organization, &[id]).await;
        let found = found.inspect_err(|error| {
            tracing::warn!(operation = %id, error = error as &dyn std::error::Error, "could not read the trace of an operation");
        });
        let created = *found.ok()?.get(&id)?;
        Some(self.registry.traces().at_attempt(created, &claimed.operation, claimed.attempt))
    }

    /// The backoff of attempts of this kind.
    pub(crate) fn backoff(&self, kind: &str) -> Backoff {
        self.registry.limits(kind).backoff.unwrap_or(self.settings.backoff)
    }
}
