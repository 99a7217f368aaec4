//! Looks what calls have set as limits of organizations, in whichever process.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// Between two looks: after so long a limit that another process has set holds here.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until told to stop.
pub(crate) async fn refresh(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("limits", EVERY), &stop, || async {
        context.store.refresh_limits().await?;
        Ok::<_, StoreError>(Next::AfterPeriod)
    })
    .await;
}
