//! What the loop, the attempts and the maintenance tasks share.

use std::sync::Arc;

use operations::backoff::Backoff;
use store::Store;
use tasks::Health;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capacity::Capacity;
use crate::held::Held;
use crate::{Registry, Settings, Waker};

/// What the loop, the attempts and the maintenance tasks share.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) waker: Waker,
    /// The leases that this process holds.
    pub(crate) held: Held,
    /// How much more may be started here.
    pub(crate) capacity: Capacity,
    /// What runs here.
    pub(crate) attempts: TaskTracker,
    /// Cancelled when the drain time is over: attempts end and are released.
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
    /// How long attempts of a kind wait for the next one.
    pub(crate) fn backoff(&self, kind: &str) -> Backoff {
        self.registry.limits(kind).backoff.unwrap_or(self.settings.backoff)
    }
}
