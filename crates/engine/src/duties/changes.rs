//! Forgets changes that the store's feed has kept for long enough.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Rows of the feed that one write forgets, so that no other write waits for long.
const BATCH: u32 = 1_000;

/// Forgets until told to stop.
pub(crate) async fn forget(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        loop {
            match shared.store.forget_changes(shared.settings.keep_changes, BATCH).await {
                Ok(count) if count >= u64::from(BATCH) && !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "could not forget old changes");
                    break;
                }
            }
        }
    }
}
