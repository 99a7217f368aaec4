//! The operations that a worker holds, and the heartbeats that prolong their leases, all in one call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handler::Progress;
use crate::client::Client;
use crate::work::{ClaimedOperation, Heartbeat, LeaseState};

/// Maximum number of operations per call.
const MAX_BEATS: usize = 1_000;
/// How long progress reports are collected after a heartbeat.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Identifies an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub organization: String,
    pub id: String,
    pub token: String,
}

impl Lease {
    fn of(beat: &Heartbeat) -> Lease {
        let Heartbeat { id, lease_token, organization, .. } = beat;
        Lease { organization: organization.clone(), id: id.clone(), token: lease_token.clone() }
    }
}

/// The reasons for stopping an attempt early.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops {
    /// The lease was lost: the outcome of the attempt cannot be recorded.
    pub lost: CancellationToken,
    /// A cancellation was requested.
    pub cancel: CancellationToken,
}

struct Entry {
    stops: Stops,
    progress: Progress,
    duration: Duration,
    /// When the lease was last known to be held, by the clock of this machine.
    kept_at: Instant,
    beat_at: Instant,
}

/// The operations that a worker holds.
#[derive(Default)]
pub(super) struct Held {
    entries: Mutex<HashMap<Lease, Entry>>,
    /// Notified when there is a new operation, or new progress.
    changed: Arc<Notify>,
}

impl Held {
    /// Adds an operation that has just been claimed.
    pub fn add(&self, claimed: &ClaimedOperation, duration: Duration) -> (Lease, Stops, Progress) {
        let (organization, id) = (claimed.organization.clone(), claimed.operation.id.clone());
        let lease = Lease { organization, id, token: claimed.lease_token.clone() };
        let (stops, progress) = (Stops::default(), Progress::new(self.changed.clone()));
        if claimed.cancel_requested {
            stops.cancel.cancel();
        }
        // The answer took a moment to arrive: this worker expects the lease to expire that much later than the server
        // does.
        let now = Instant::now();
        let entry = Entry {
            stops: stops.clone(),
            progress: progress.clone(),
            duration,
            kept_at: now,
            beat_at: now + duration / 3,
        };
        self.lock().insert(lease.clone(), entry);
        self.changed.notify_one();
        (lease, stops, progress)
    }

    /// Removes an operation whose attempt has ended.
    pub fn remove(&self, lease: &Lease) {
        self.lock().remove(lease);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Lease, Entry>> {
        // Nothing that holds the lock can panic between two changes: a poisoned map is still consistent.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self) -> Option<Instant> {
        self.lock().values().map(|entry| entry.beat_at).min()
    }

    /// One heartbeat for each, and the time that a call with them may take.
    fn beats(&self) -> (Vec<Heartbeat>, Duration) {
        let entries = self.lock();
        let patience = entries.values().map(|entry| entry.duration / 3).min().unwrap_or_default();
        let beat = |(lease, entry): (&Lease, &Entry)| Heartbeat {
            id: lease.id.clone(),
            lease_token: lease.token.clone(),
            organization: lease.organization.clone(),
            progress: entry.progress.take(),
        };
        (entries.iter().map(beat).collect(), patience)
    }

    fn answered(&self, beats: &[Heartbeat], states: &[LeaseState], sent_at: Instant) {
        let mut entries = self.lock();
        for (beat, state) in beats.iter().zip(states) {
            let lease = Lease::of(beat);
            // An operation that was settled while the heartbeat was sent is no longer held.
            let Some(entry) = entries.get_mut(&lease) else { continue };
            if state.error.is_some() {
                tracing::warn!(operation = lease.id, "the lease was lost; stopping the attempt");
                entry.stops.lost.cancel();
                entries.remove(&lease);
                continue;
            }
            entry.kept_at = sent_at;
            entry.beat_at = sent_at + entry.duration / 3;
            if state.cancel_requested {
                entry.stops.cancel.cancel();
            }
        }
    }

    /// The heartbeats did not reach the server: they are sent again soon, and expired leases are given up, because
    /// another worker may have them.
    fn failed(&self, beats: Vec<Heartbeat>) {
        let now = Instant::now();
        let mut entries = self.lock();
        for beat in beats {
            let lease = Lease::of(&beat);
            let Some(entry) = entries.get_mut(&lease) else { continue };
            if entry.kept_at + entry.duration <= now {
                tracing::warn!(operation = lease.id, "the lease has expired; stopping the attempt");
                entry.stops.lost.cancel();
                entries.remove(&lease);
                continue;
            }
            entry.beat_at = now + entry.duration / 9;
            if let Some(progress) = beat.progress {
                entry.progress.put_back(progress);
            }
        }
    }

    /// Sends heartbeats every third of the lease, and sooner if there is progress, until `stop` is cancelled.
    pub async fn keep(&self, client: &Client, stop: &CancellationToken) {
        let mut last: Option<Instant> = None;
        loop {
            let due = self.due();
            tokio::select! {
                () = until(due) => {}
                () = self.changed.notified() => {
                    if !self.lock().values().any(|entry| entry.progress.is_told()) {
                        continue;
                    }
                    // Unless a heartbeat is due before that.
                    let soon = last.map_or_else(Instant::now, |last| last + PROGRESS_EVERY);
                    tokio::time::sleep_until(due.map_or(soon, |due| due.min(soon))).await;
                }
                () = stop.cancelled() => return,
            }
            last = Some(Instant::now());
            let (beats, patience) = self.beats();
            for beats in beats.chunks(MAX_BEATS) {
                let sent_at = Instant::now();
                match tokio::time::timeout(patience, client.heartbeat(beats)).await {
                    Ok(Ok(answer)) => self.answered(beats, &answer.value.operations, sent_at),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, operations = beats.len(), "heartbeats failed");
                        self.failed(beats.to_vec());
                    }
                    Err(_) => {
                        tracing::warn!(operations = beats.len(), "heartbeats were not answered in time");
                        self.failed(beats.to_vec());
                    }
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
