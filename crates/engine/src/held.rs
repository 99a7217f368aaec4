//! The leases that this process holds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use store::{Heartbeat, LeaseRef};
use tokio_util::sync::CancellationToken;

use crate::Progress;

/// The tokens that stop an attempt before its end, and its progress.
#[derive(Clone, Default)]
pub(crate) struct Stops {
    /// The lease was lost: the outcome of the attempt is not recorded.
    pub(crate) lost: CancellationToken,
    /// Somebody wants the operation stopped.
    pub(crate) cancel: CancellationToken,
    /// The progress that its handler reports.
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

    /// A heartbeat for each lease, with the progress that was reported since the last one.
    pub(crate) fn beats(&self) -> Vec<Heartbeat> {
        let beat =
            |(lease, stops): (&LeaseRef, &Stops)| Heartbeat { lease: lease.clone(), progress: stops.progress.take() };
        self.lock().iter().map(beat).collect()
    }

    /// Stops an attempt whose lease was lost.
    pub(crate) fn lose(&self, lease: &LeaseRef) {
        if let Some(stops) = self.lock().remove(lease) {
            stops.lost.cancel();
        }
    }

    /// Stops an attempt whose operation somebody wants stopped.
    pub(crate) fn cancel(&self, lease: &LeaseRef) {
        if let Some(stops) = self.lock().get(lease) {
            stops.cancel.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LeaseRef, Stops>> {
        // Nothing that holds the lock can panic between two changes, so the map of a poisoned lock is still consistent.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use operations::{OperationId, Timestamp};

    use super::*;

    #[test]
    fn a_heartbeat_carries_what_was_told_since_the_last_one() {
        let held = Held::default();
        let id = OperationId::new(Timestamp::from_millis(0));
        let lease = LeaseRef { organization: "acme".to_owned(), id, fence: 1, expired_at: None, scope: None };
        let stops = held.add(&lease);
        stops.progress.tell("half");
        let reported = || held.beats().into_iter().map(|beat| beat.progress).collect::<Vec<_>>();
        assert_eq!(reported(), [Some("half".to_owned())]);
        assert_eq!(reported(), [None]);
    }
}
