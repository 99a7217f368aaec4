//! Renews the leases of all attempts that run in this process, in one write.

use std::sync::Arc;
use std::time::Duration;

use store::{LeaseRef, LeaseStatus, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::context::Context;

/// A heartbeat that takes as long as the time between two of them is given up and sent again, before the lease is lost;
/// but not earlier than after this time.
const LEAST_LIMIT: Duration = Duration::from_secs(5);

/// Sends heartbeats every third of the lease, and when somebody cancels an operation, until it is stopped.
pub(crate) async fn keep(context: Arc<Context>, stop: CancellationToken) {
    let period = context.settings.lease / 3;
    let schedule = Schedule::every("heartbeats", period).round_limit(period.max(LEAST_LIMIT));
    run_periodic(&context.health, schedule.woken_by(context.waker.cancelled_signal()), &stop, || async {
        let beats = context.held.beats();
        if beats.is_empty() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let leases: Vec<LeaseRef> = beats.iter().map(|beat| beat.lease.clone()).collect();
        let statuses = context.store.heartbeat(beats, context.settings.lease).await?;
        for (lease, status) in leases.iter().zip(statuses) {
            // An attempt that was settled while the heartbeat was being sent is no longer in the map.
            match status {
                LeaseStatus::Lost => context.held.lose(lease),
                LeaseStatus::Held { cancel_requested: true, .. } => context.held.cancel(lease),
                LeaseStatus::Held { .. } => {}
            }
        }
        Ok(Next::AfterPeriod)
    })
    .await;
}
