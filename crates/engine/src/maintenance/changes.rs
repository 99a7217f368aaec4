//! Deletes changes that the store's change log has kept for long enough.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The time between two checks. Changes are kept for an hour or so: half a minute more makes no difference.
const EVERY: Duration = Duration::from_secs(30);
/// The number of rows of the change log that one write deletes, so that no other write waits for long.
const BATCH: u32 = 1_000;

/// Deletes expired changes until it is stopped.
pub(crate) async fn forget(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("old_changes", EVERY), &stop, || async {
        let count = context.store.forget_changes(context.settings.keep_changes, BATCH).await?;
        let is_full = count >= u64::from(BATCH);
        Ok::<_, StoreError>(if is_full { Next::After(Duration::ZERO) } else { Next::AfterPeriod })
    })
    .await;
}
