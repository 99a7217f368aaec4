//! Keeps the leases of what runs in this process, all in one write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use store::{Heartbeat, LeaseRef, LeaseStatus};
use tokio_util::sync::CancellationToken;

use crate::dispatch::Shared;

/// The leases that this process holds, each with the token that is cancelled when it is lost.
#[derive(Default)]
pub(crate) struct Held {
    leases: Mutex<HashMap<LeaseRef, CancellationToken>>,
}

impl Held {
    /// Adds a lease; the answer is cancelled when the lease is lost.
    pub(crate) fn add(&self, lease: &LeaseRef) -> CancellationToken {
        let lost = CancellationToken::new();
        self.lock().insert(lease.clone(), lost.clone());
        lost
    }

    /// Removes a lease whose attempt has ended.
    pub(crate) fn remove(&self, lease: &LeaseRef) {
        self.lock().remove(lease);
    }

    fn all(&self) -> Vec<LeaseRef> {
        self.lock().keys().cloned().collect()
    }

    fn lose(&self, lease: &LeaseRef) {
        if let Some(lost) = self.lock().remove(lease) {
            lost.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LeaseRef, CancellationToken>> {
        // Nothing that holds the lock can panic between two changes: a poisoned map is still whole.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends heartbeats every third of the lease until told to stop.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.settings.lease / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let leases = shared.held.all();
        if leases.is_empty() {
            continue;
        }
        let beats = leases.iter().map(|lease| Heartbeat { lease: lease.clone() }).collect();
        match shared.store.heartbeat(beats, shared.settings.lease).await {
            Ok(statuses) => {
                for (lease, status) in leases.iter().zip(statuses) {
                    if status == LeaseStatus::Lost {
                        // An attempt that was settled while the heartbeat was under way is no longer in the map.
                        shared.held.lose(lease);
                    }
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "heartbeats failed"),
        }
    }
}
