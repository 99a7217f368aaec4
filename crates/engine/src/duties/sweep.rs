//! Forgets what has passed its time: idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// Between two sweeps.
const EVERY: Duration = Duration::from_secs(600);
/// Keys that one write forgets, so that no other write waits for long.
const BATCH: u32 = 1_000;

/// Sweeps until told to stop.
pub(crate) async fn forget(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        loop {
            match shared.store.forget_idempotency_keys(BATCH).await {
                Ok(count) if count == u64::from(BATCH) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "could not forget idempotency keys");
                    break;
                }
            }
        }
    }
}
