//! Removes terminal operations whose time is over.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// Between two passes when nothing is left to remove.
const EVERY: Duration = Duration::from_secs(10);
/// Operations of an organisation that one transaction removes: it holds the lock that the organisation's creations wait
/// for, and few milliseconds are enough for so many.
const BATCH: u32 = 500;
/// Between two passes while there is more: what others want to write goes in between.
const BREATH: Duration = Duration::from_millis(20);

/// Removes, organisation by organisation, until told to stop.
pub(crate) async fn purge(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let pause = match shared.store.purge(BATCH).await {
            Ok(0) => EVERY,
            Ok(operations) => {
                tracing::debug!(operations, "operations past their time were removed");
                BREATH
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "could not remove operations past their time"
                );
                EVERY
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
