//! Records when the operations of buckets that have become full were created, so that searches by time find them
//! without reading the operations.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The time between two passes when nothing is left to record. A bucket of 4,096 operations that is not recorded yet
/// costs a search a few milliseconds, once per process.
const EVERY: Duration = Duration::from_secs(10);
/// The number of buckets of each organization that one transaction records, so that no other write waits for long.
const BATCH: u32 = 16;

/// Records until it is stopped.
pub(crate) async fn note(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("times", EVERY), &stop, || async {
        match context.store.note_times(BATCH).await? {
            0 => Ok::<_, StoreError>(Next::AfterPeriod),
            _ => Ok(Next::After(Duration::ZERO)),
        }
    })
    .await;
}
