//! Ends attempts of remote workers that take longer than they may: a worker that hangs may renew its lease forever.
//!
//! Workers learn how long an attempt may take, and end it themselves; this task waits one lease longer. The attempt
//! ends like one that timed out here: the next one starts after the kind's backoff, and the result that the worker
//! sends is refused.

use std::sync::Arc;
use std::time::Instant;

use operations::Outcome;
use store::{AttemptTimeouts, Overrun, Settlement, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use crate::context::Context;

/// The number of attempts that one write ends.
const BATCH: u32 = 500;

/// Checks for such attempts every half lease, until it is stopped.
pub(crate) async fn end(context: Arc<Context>, stop: CancellationToken) {
    let settings = &context.settings;
    let timeouts = AttemptTimeouts {
        kinds: context.registry.timeouts(),
        otherwise: settings.attempt_timeout,
        grace: settings.lease,
    };
    let pace = Pace::default();
    run_periodic(&context.health, Schedule::every("overruns", settings.lease / 2), &stop, || async {
        if !pace.is_due() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let begin = Instant::now();
        match end_some(&context, &timeouts).await? {
            0 => pace.took(begin.elapsed()),
            attempts => {
                tracing::warn!(attempts, "attempts of remote workers took longer than they may and were ended");
            }
        }
        Ok(Next::AfterPeriod)
    })
    .await;
}

async fn end_some(context: &Context, timeouts: &AttemptTimeouts) -> Result<usize, StoreError> {
    let overruns = context.store.overruns(timeouts, BATCH).await?;
    if overruns.is_empty() {
        return Ok(0);
    }
    let settlements = overruns.into_iter().map(|Overrun { lease, kind, attempts, timeout }| {
        let message = format!("timed out after {} s", timeout.as_secs_f64());
        let retry_after = context.backoff(&kind).delay(attempts, rand::random());
        Settlement { lease, outcome: Outcome::Failed { message, retryable: true }, retry_after }
    });
    let results = context.store.settle(settlements.collect()).await?;
    context.waker.wake();
    Ok(results.iter().filter(|result| result.is_ok()).count())
}
