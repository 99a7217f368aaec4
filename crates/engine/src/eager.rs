//! Operations that start in the transaction that creates them: one commit instead of two before the handler runs.
//!
//! A creation of a kind that has capacity here takes this capacity along. The store starts the operation with it unless
//! another operation of its organization and kind waits or is paused; so priority and age decide, as they do for
//! claims. The rotation between organizations remains fair, since there is capacity only when the loop has found
//! nothing to start with it: operations that have entered the queue since then wait for one round of the loop at most,
//! as they do behind every claim. The extra slots ([`crate::Settings::extra_concurrency`]) do not belong to the loop,
//! so nobody waits for them; they are for kinds without limits of their own, and for organizations of which nothing
//! runs here and nothing waits.

use std::sync::Arc;
use std::time::Instant;

use operations::NewOperation;
use store::{Claimed, Start};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::capacity::Reserved;
use crate::context::Context;
use crate::run;

/// Capacity for one operation of this organization that is about to be created. `None` when the engine does not run its
/// kind, has no capacity left for it, or is claiming right now.
pub(crate) fn reserve(context: &Arc<Context>, organization: &str, new: &NewOperation) -> Option<Start> {
    let starting = context.begin_start()?;
    let reserved = context.capacity.reserve(organization, &new.kind, Instant::now())?;
    let is_extra = reserved.is_extra();
    let (kind, reserved) = (new.kind.clone(), Some(reserved));
    let reservation = Reservation { context: Arc::clone(context), kind, reserved, _starting: starting };
    if is_extra && new.run_after.is_some() {
        return None;
    }
    let (worker, lease) = (context.worker.clone(), context.settings.lease);
    let start = Start::new(worker, lease, move |claimed| reservation.start(claimed));
    // Where the loop has left a shared slot free, it has found nothing to start. It does not see to the extra slots, so
    // the store looks whether priority and age let another of the organization's operations go first.
    Some(if is_extra { start.only_if_nothing_is_pending() } else { start })
}

/// Capacity that is released unless it is used.
struct Reservation {
    context: Arc<Context>,
    kind: String,
    reserved: Option<Reserved>,
    /// Dropped last, once the attempt is among those that the drain waits for.
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
            let is_extra = reserved.is_extra();
            self.context.capacity.release(&self.kind, reserved);
            if !is_extra {
                // Operations that entered the queue meanwhile found no capacity.
                self.context.waker.wake_engine();
            }
        }
    }
}
