//! Reads the limits of organizations that API calls have set, in whichever process.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The time between two reads: after this time a limit that another process has set applies here.
const EVERY: Duration = Duration::from_secs(5);

/// Reads until it is stopped.
pub(crate) async fn refresh(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("limits", EVERY), &stop, || async {
        context.store.refresh_limits().await?;
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}
