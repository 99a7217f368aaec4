//! Takes up what other workers lost: attempts whose lease has run out.

use std::sync::Arc;

use store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// Attempts that one write takes.
const BATCH: u32 = 500;

/// Takes up what this worker's own past life left behind. To be called before the first claim: after it, the leases of
/// this name are those of the living.
pub(crate) async fn own_past(shared: &Shared) {
    report(rescue(shared, Some(&shared.worker)).await);
}

/// Looks for leases that have run out every sixth of the lease, until told to stop.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.settings.lease / 6);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => report(rescue(&shared, None).await),
            () = stop.cancelled() => return,
        }
    }
}

fn report(result: Result<u64, StoreError>) {
    match result {
        Ok(0) => {}
        Ok(attempts) => tracing::warn!(attempts, "attempts were lost with their worker and are taken up again"),
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "could not look for lost leases"),
    }
}

async fn rescue(shared: &Shared, worker: Option<&str>) -> Result<u64, StoreError> {
    let mut rescued = 0;
    loop {
        let lost = shared.store.lost_leases(worker, BATCH).await?;
        if lost.is_empty() {
            return Ok(rescued);
        }
        let full = lost.len() == BATCH as usize;
        let lost = lost.into_iter().map(|lost| {
            let delay = shared.backoff(&lost.kind).delay(lost.attempts, rand::random());
            (lost.lease, delay)
        });
        rescued += shared.store.lose(lost.collect()).await?;
        shared.waker.wake();
        if !full {
            return Ok(rescued);
        }
    }
}
