//! Recovers attempts that other workers lost, those whose lease has run out, and releases operations that this process
//! claimed without being answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{LeaseRef, Lost, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use crate::context::Context;

/// The number of attempts that one write recovers.
const BATCH: u32 = 500;
/// The time between two checks for claims that were not answered. A check costs nothing while there are none.
const UNANSWERED_EVERY: Duration = Duration::from_millis(500);

/// The result of one check for lost leases.
enum Check {
    /// There may be more of them.
    Full,
    /// There are no more, or the remaining ones cannot be recovered now: the next check would find the same.
    Done,
}

/// Recovers the attempts that an earlier run of this process, which is alone on its store, left behind. To be called
/// before the first claim: after it, the leases belong to attempts that are alive.
pub(crate) async fn own_past(context: &Context) {
    loop {
        match rescue(context, Lost::Local).await {
            Ok(Check::Full) => {}
            Ok(Check::Done) => return,
            Err(error) => {
                // They are recovered once their leases have run out.
                return tracing::error!(error = &error as &dyn std::error::Error, "could not look for lost leases");
            }
        }
    }
}

/// Checks for leases that have run out every sixth of the lease, until it is stopped.
pub(crate) async fn watch(context: Arc<Context>, stop: CancellationToken) {
    let schedule = Schedule::every("rescue", context.settings.lease / 6);
    let pace = Pace::default();
    run_periodic(&context.health, schedule, &stop, || async {
        if !pace.is_due() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let begin = Instant::now();
        Ok(match rescue(&context, Lost::Expired).await? {
            Check::Full => Next::After(Duration::ZERO),
            Check::Done => {
                pace.took(begin.elapsed());
                Next::AfterPeriod
            }
        })
    })
    .await;
}

/// Releases the operations that unanswered claims have taken, until it is stopped.
pub(crate) async fn release_unanswered(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("unanswered_claims", UNANSWERED_EVERY), &stop, || async {
        let lost = context.store.lost_leases(Lost::Unanswered, BATCH).await?;
        if lost.is_empty() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let leases: Vec<LeaseRef> = lost.into_iter().map(|lost| lost.lease).collect();
        let released = context.store.release(leases).await?.iter().filter(|result| result.is_ok()).count();
        if released > 0 {
            tracing::warn!(operations = released, "claims that were not answered were released");
            context.waker.wake();
        }
        Ok(Next::AfterPeriod)
    })
    .await;
}

async fn rescue(context: &Context, which: Lost) -> Result<Check, StoreError> {
    let lost = context.store.lost_leases(which, BATCH).await?;
    if lost.is_empty() {
        return Ok(Check::Done);
    }
    let found = lost.len();
    let kinds: Vec<String> = lost.iter().map(|lost| lost.kind.clone()).collect();
    let lost = lost.into_iter().map(|lost| {
        let delay = context.backoff(&lost.kind).delay(lost.attempts, rand::random());
        (lost.lease, delay)
    });
    let attempts = context.store.lose(lost.collect()).await?;
    let meters = context.store.meters();
    // When another server recovered some of them, it is not known which: only their number is right.
    for kind in kinds.iter().take(usize::try_from(attempts).unwrap_or(usize::MAX)) {
        meters.lost.get_or_create(&meters.kind(kind)).inc();
    }
    if attempts > 0 {
        tracing::warn!(
            attempts,
            "attempts were lost with their worker; their operations are retried if attempts remain"
        );
        context.waker.wake();
    } else {
        // Another server was faster, or something is wrong with them.
        tracing::debug!(found, "none of the lost attempts could be recovered");
    }
    Ok(if found == BATCH as usize && attempts > 0 { Check::Full } else { Check::Done })
}
