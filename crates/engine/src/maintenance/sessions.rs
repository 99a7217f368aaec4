//! Deletes the sessions of people that have ended.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// The time between two passes when nothing is left to delete.
const EVERY: Duration = Duration::from_secs(600);
/// The number of sessions that one transaction deletes, so that no other write waits for long.
const BATCH: u32 = 500;

/// Deletes ended sessions until it is stopped.
pub(crate) async fn forget(context: Arc<Context>, stop: CancellationToken) {
    run_periodic(&context.health, Schedule::every("sessions", EVERY), &stop, || async {
        match context.store.forget_sessions(BATCH).await? {
            0 => Ok::<_, StoreError>(Next::AfterPeriod),
            _ => Ok(Next::After(Duration::ZERO)),
        }
    })
    .await;
}
