//! Operations that start in the transaction that creates them: one commit before the handler runs, and not two.
//!
//! A creation of a kind that has capacity here brings a claim of that kind with it. It is a claim like every other: it
//! takes what is first in the queue of the organization, so an older operation that waits is started in the place of
//! the new one, and priorities, pauses, limits and fencing tokens are what they are for all claims. Organizations stay
//! in rotation, since there is capacity only when the loop has found nothing to start with it; what has come into the
//! queue since then waits for one round of the loop at most, as it does behind every claim.

use std::sync::Arc;
use std::time::Instant;

use store::{ClaimRequest, Claimed, Start};

use crate::capacity::Reserved;
use crate::context::Context;
use crate::run;

/// Capacity for one operation of this kind that is about to be created, if there is some.
pub(crate) fn reserve(context: &Arc<Context>, kind: &str) -> Option<Start> {
    if context.stop_claiming.is_cancelled() {
        return None;
    }
    let reserved = context.capacity.reserve(kind, Instant::now())?;
    let request = ClaimRequest {
        kinds: vec![kind.to_owned()],
        access: None,
        limit: 1,
        worker: context.worker.clone(),
        lease: context.settings.lease,
    };
    let reservation = Reservation { context: Arc::clone(context), kind: kind.to_owned(), reserved: Some(reserved) };
    Some(Start::new(request, move |claimed| reservation.start(claimed)))
}

/// Capacity that is given back unless it is used.
struct Reservation {
    context: Arc<Context>,
    kind: String,
    reserved: Option<Reserved>,
}

impl Reservation {
    fn start(mut self, claimed: Vec<Claimed>) {
        for claimed in claimed {
            match self.reserved.take() {
                Some(reserved) => run::start(&self.context, claimed, reserved),
                None => tracing::error!("a claim gave more than was asked; it is left to run out"),
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.context.capacity.give_back(&self.kind, reserved);
            // What came into the queue meanwhile found no capacity.
            self.context.waker.wake_engine();
        }
    }
}
