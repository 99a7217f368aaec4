//! Keeps the leases of what runs in this process, all in one write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{Heartbeat, LeaseRef, LeaseStatus, StoreError};
use tasks::{Next, Schedule, run_periodic};
use tokio_util::sync::CancellationToken;

use crate::Progress;
use crate::dispatch::Shared;

/// A heartbeat that takes as long as the time between two is given up and sent again, before the lease is lost; but not
/// before so long.
const LEAST_LIMIT: Duration = Duration::from_secs(5);

/// Why an attempt is to stop before its end, and how far it is.
#[derive(Clone, Default)]
pub(crate) struct Stops {
    /// The lease was lost: what comes of the attempt is not recorded.
    pub(crate) lost: CancellationToken,
    /// Somebody wants the operation stopped.
    pub(crate) cancel: CancellationToken,
    /// What its handler tells.
    pub(crate) progress: Progress,
}

/// The leases that this process holds, each with the tokens that stop its attempt.
#[derive(Default)]
pub(crate) struct Held {
    leases: Mutex<HashMap<LeaseRef, Stops>>,
}

impl Held {
    /// Adds a lease.
    pub(crate) fn add(&self, lease: &LeaseRef) -> Stops {
        let stops = Stops::default();
        self.lock().insert(lease.clone(), stops.clone());
        stops
    }

    /// Removes a lease whose attempt has ended.
    pub(crate) fn remove(&self, lease: &LeaseRef) {
        self.lock().remove(lease);
    }

    /// A heartbeat for each, with what was told since the last one.
    fn beats(&self) -> Vec<Heartbeat> {
        let beat =
            |(lease, stops): (&LeaseRef, &Stops)| Heartbeat { lease: lease.clone(), progress: stops.progress.take() };
        self.lock().iter().map(beat).collect()
    }

    fn lose(&self, lease: &LeaseRef) {
        if let Some(stops) = self.lock().remove(lease) {
            stops.lost.cancel();
        }
    }

    fn cancel(&self, lease: &LeaseRef) {
        if let Some(stops) = self.lock().get(lease) {
            stops.cancel.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LeaseRef, Stops>> {
        // Nothing that holds the lock can panic between two changes: a poisoned map is still whole.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends heartbeats every third of the lease, and when somebody wants an operation stopped, until told to stop.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let period = shared.settings.lease / 3;
    let schedule = Schedule::every("heartbeats", period).round_limit(period.max(LEAST_LIMIT));
    run_periodic(&shared.health, schedule.woken_by(shared.waker.cancelled_signal()), &stop, || async {
        let beats = shared.held.beats();
        if beats.is_empty() {
            return Ok::<_, StoreError>(Next::AfterPeriod);
        }
        let leases: Vec<LeaseRef> = beats.iter().map(|beat| beat.lease.clone()).collect();
        let statuses = shared.store.heartbeat(beats, shared.settings.lease).await?;
        for (lease, status) in leases.iter().zip(statuses) {
            // An attempt that was settled while the heartbeat was under way is no longer in the map.
            match status {
                LeaseStatus::Lost => shared.held.lose(lease),
                LeaseStatus::Held { cancel_requested: true, .. } => shared.held.cancel(lease),
                LeaseStatus::Held { .. } => {}
            }
        }
        Ok(Next::AfterPeriod)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use operations::{OperationId, Timestamp};

    use super::*;

    #[test]
    fn a_heartbeat_carries_what_was_told_since_the_last_one() {
        let held = Held::default();
        let id = OperationId::new(Timestamp::from_millis(0));
        let lease = LeaseRef { organization: "acme".to_owned(), id, fence: 1, scope: None };
        let stops = held.add(&lease);
        stops.progress.tell("half");
        let told = || held.beats().into_iter().map(|beat| beat.progress).collect::<Vec<_>>();
        assert_eq!(told(), [Some("half".to_owned())]);
        assert_eq!(told(), [None]);
    }
}
