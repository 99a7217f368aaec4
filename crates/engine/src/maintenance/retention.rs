//! Removes terminal operations whose retention is over.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Between two passes when nothing is left to remove.
const EVERY: Duration = Duration::from_secs(20);
/// Operations of an organization that one transaction removes: it holds the lock that the organization's creations wait
/// for, and a few milliseconds are enough for this many.
const BATCH: u32 = 500;
/// Between two passes while there is more: writes of others go in between.
const BREATH: Duration = Duration::from_millis(20);

/// Removes, organization by organization, until it is stopped.
pub(crate) async fn purge(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("retention", EVERY), &stop, || async {
        match context.store.purge(BATCH).await? {
            0 => Ok::<_, StoreError>(Next::AfterPeriod),
            operations => {
                tracing::debug!(operations, "operations past their time were removed");
                Ok(Next::After(BREATH))
            }
        }
    })
    .await;
}
