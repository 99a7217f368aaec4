//! Ends attempts that were cancelled and did not stop within the grace period of their cancellation.
//!
//! The workers that run them learn from their next heartbeat that the lease is lost, and their results are refused.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The number of attempts that one write ends.
const BATCH: u32 = 500;
/// The time between two checks is a third of the grace period, within these bounds: a check reads one page of an index
/// that is empty most of the time.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Checks for such attempts until it is stopped.
pub(crate) async fn end(context: Arc<Context>, stop: CancellationToken) {
    let grace = context.settings.cancel_grace;
    let schedule = Schedule::every("cancellations", (grace / 3).clamp(BOUNDS.0, BOUNDS.1));
    run_periodic(&context.health, schedule, &stop, || async {
        match context.store.end_overdue_cancels(grace, BATCH).await? {
            0 => {}
            attempts => tracing::warn!(attempts, "attempts did not stop within the grace period and were ended"),
        }
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}
