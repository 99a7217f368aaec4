//! Deletes idempotency keys that have expired.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Between two sweeps.
const EVERY: Duration = Duration::from_secs(600);
/// The number of keys that one write deletes, so that no other write waits for long.
const BATCH: u32 = 1_000;

/// Deletes expired keys until it is stopped.
pub(crate) async fn forget(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("idempotency_keys", EVERY), &stop, || async {
        let is_full = context.store.forget_idempotency_keys(BATCH).await? >= u64::from(BATCH);
        Ok::<_, StoreError>(if is_full { Next::After(Duration::ZERO) } else { Next::AfterPeriod })
    })
    .await;
}
