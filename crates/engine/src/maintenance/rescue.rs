//! Takes up what other workers lost: attempts whose lease has run out. And what this process claimed without being
//! answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{LeaseRef, Lost, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use crate::context::Context;

/// Attempts that one write takes.
const BATCH: u32 = 500;
/// Between two looks for claims that were not answered. Without any, a look costs nothing.
const UNANSWERED_EVERY: Duration = Duration::from_millis(500);

/// The result of one look at the lost leases.
enum Look {
    /// There may be more.
    Full,
    /// There are no more, or the remaining ones cannot be taken up now: the next look would find the same.
    Done,
}

/// Takes up what an earlier run of this process, which is alone on its store, left. To be called before the first
/// claim: after it, the leases belong to attempts that are alive.
pub(crate) async fn own_past(context: &Context) {
    loop {
        match rescue(context, Lost::Local).await {
            Ok(Look::Full) => {}
            Ok(Look::Done) => return,
            Err(error) => {
                // They are taken up once they have run out.
                return tracing::error!(error = &error as &dyn std::error::Error, "could not look for lost leases");
            }
        }
    }
}

/// Looks for leases that have run out every sixth of the lease, until it is stopped.
pub(crate) async fn watch(context: Arc<Context>, stop: CancellationToken) {
    let schedule = Schedule::every("rescue", context.settings.lease / 6);
    let pace = Pace::default();
    run_periodic(&context.health, schedule, &stop, || async {
        if !pace.is_due() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let begin = Instant::now();
        Ok(match rescue(&context, Lost::Expired).await? {
            Look::Full => Next::After(Duration::ZERO),
            Look::Done => {
                pace.took(begin.elapsed());
                Next::AfterPeriod
            }
        })
    })
    .await;
}

/// Releases what claims have taken that were not answered, until it is stopped.
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

async fn rescue(context: &Context, which: Lost) -> Result<Look, StoreError> {
    let lost = context.store.lost_leases(which, BATCH).await?;
    if lost.is_empty() {
        return Ok(Look::Done);
    }
    let found = lost.len();
    let kinds: Vec<String> = lost.iter().map(|lost| lost.kind.clone()).collect();
    let lost = lost.into_iter().map(|lost| {
        let delay = context.backoff(&lost.kind).delay(lost.attempts, rand::random());
        (lost.lease, delay)
    });
    let attempts = context.store.lose(lost.collect()).await?;
    let meters = context.store.meters();
    // When another server took up some of them, it is not known which: only their number is right.
    for kind in kinds.iter().take(usize::try_from(attempts).unwrap_or(usize::MAX)) {
        meters.lost.get_or_create(&meters.kind(kind)).inc();
    }
    if attempts > 0 {
        tracing::warn!(attempts, "attempts were lost with their worker and are taken up again");
        context.waker.wake();
    } else {
        // Another server was faster, or something is wrong with them.
        tracing::debug!(found, "none of the lost leases could be taken up");
    }
    Ok(if found == BATCH as usize && attempts > 0 { Look::Full } else { Look::Done })
}
