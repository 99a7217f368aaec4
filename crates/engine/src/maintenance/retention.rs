//! Deletes ended operations whose retention is over.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The time between two passes when nothing is left to delete.
const EVERY: Duration = Duration::from_secs(20);
/// The number of operations of an organization that one transaction deletes: it holds the lock that the organization's
/// creations wait for, and deleting this many takes a few milliseconds.
const BATCH: u32 = 500;
/// The time between two passes while there is more to delete: other writes are made in between.
const BREATH: Duration = Duration::from_millis(20);

/// Deletes, organization by organization, until it is stopped.
pub(crate) async fn purge(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("retention", EVERY), &stop, || async {
        match context.store.purge(BATCH).await? {
            0 => Ok::<_, StoreError>(Next::AfterPeriod),
            operations => {
                tracing::debug!(operations, "operations whose retention is over were deleted");
                Ok(Next::After(BREATH))
            }
        }
    })
    .await;
}
