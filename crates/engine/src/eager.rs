//! Operations that start in the transaction that creates them: one commit instead of two before the handler runs.
//!
//! A creation of a kind that has capacity here takes that capacity along. The store starts the operation with it unless
//! something of its organization and kind waits or is paused; so priority and age decide as they do for claims.
//! Organizations stay in rotation, since there is capacity only when the loop has found nothing to start with it:
//! operations that have come into the queue since then wait for one round of the loop at most, as they do behind every
//! claim. The extra places ([`crate::Settings::extra_concurrency`]) do not belong to the loop, so nobody waits for
//! them.

use std::sync::Arc;
use std::time::Instant;

use store::{Claimed, Start};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::capacity::Reserved;
use crate::context::Context;
use crate::run;

/// Capacity for one operation of this organization and kind that is about to be created, if there is some.
pub(crate) fn reserve(context: &Arc<Context>, organization: &str, kind: &str) -> Option<Start> {
    let starting = context.begin_start()?;
    let reserved = Some(context.capacity.reserve(organization, kind, Instant::now())?);
    let reservation =
        Reservation { context: Arc::clone(context), kind: kind.to_owned(), reserved, _starting: starting };
    let (worker, lease) = (context.worker.clone(), context.settings.lease);
    Some(Start::new(worker, lease, move |claimed| reservation.start(claimed)))
}

/// Capacity that is given back unless it is used.
struct Reservation {
    context: Arc<Context>,
    kind: String,
    reserved: Option<Reserved>,
    /// Given up last, once the attempt is among those that the drain waits for.
    _starting: TaskTrackerToken,
}

impl Reservation {
    fn start(mut self, claimed: Claimed) {
        if let Some(reserved) = self.reserved.take() {
            run::start(&self.context, claimed, Some(reserved));
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.context.capacity.give_back(&self.kind, reserved);
            // Operations that came into the queue meanwhile found no capacity.
            self.context.waker.wake_engine();
        }
    }
}
