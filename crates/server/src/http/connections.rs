//! Slots for connections, and what happens when there are none left.
//!
//! A client whose connection waits in the kernel's queue considers itself connected and gets no answer: it cannot
//! switch to another server, and to a load balancer the server seems slow and not full. So idle connections are closed
//! to free their slots, first those on which no caller was authenticated. A new connection waits a moment for that; if
//! there is no slot then, new connections are closed at once until there is one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::link::Link;

/// How long new connections wait for a slot before they are closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection may be closed for a new one when it has been without a request for this long; other connections may be
/// in use.
const QUIET: Duration = Duration::from_millis(100);
/// The time between two rounds in which connections are asked to end, and the fraction that is asked in a round.
const PAUSE: Duration = Duration::from_millis(100);
const PART: usize = 64;

/// Connections of this process that were closed because there were too many.
static CLOSED: AtomicU64 = AtomicU64::new(0);

/// How many connections were closed because there were too many, of one address or in total, since the process started.
pub(super) fn closed() -> u64 {
    CLOSED.load(Ordering::Relaxed)
}

/// Counts a connection that was closed because there were too many.
pub(super) fn count_closed() {
    CLOSED.fetch_add(1, Ordering::Relaxed);
}

/// The slots of a listener.
pub(super) struct Connections {
    most: usize,
    places: Arc<Semaphore>,
    open: Arc<Mutex<HashMap<u64, Link>>>,
    next: u64,
    full_since: Option<Instant>,
    freed_at: Option<Instant>,
}

/// A slot for a connection.
pub(super) struct Slot {
    _place: OwnedSemaphorePermit,
}

/// A connection that has a slot, until this is dropped.
pub(super) struct Open {
    _slot: Slot,
    open: Arc<Mutex<HashMap<u64, Link>>>,
    key: u64,
}

impl Connections {
    pub fn new(most: usize) -> Connections {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let (places, open) = (Arc::new(Semaphore::new(most)), Arc::default());
        Connections { most, places, open, next: 0, full_since: None, freed_at: None }
    }

    /// A slot for the next connection; `None` when there was none for so long that the connection must be closed.
    pub async fn slot(&mut self) -> Option<Slot> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.full_since = None;
            return Some(Slot { _place: place });
        }
        let until = *self.full_since.get_or_insert_with(Instant::now) + PATIENCE;
        loop {
            self.free_slots();
            // Connections that have been idle for too short a time now will have been idle long enough then.
            let soon = until.min(Instant::now() + PAUSE);
            match timeout_at(soon, self.places.clone().acquire_owned()).await {
                Ok(place) => {
                    self.full_since = None;
                    return Some(Slot { _place: place.ok()? });
                }
                Err(_) if soon == until => return None,
                Err(_) => {}
            }
        }
    }

    /// Registers a connection.
    pub fn enter(&mut self, slot: Slot, link: Link) -> Open {
        self.next += 1;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.next, link);
        Open { _slot: slot, open: Arc::clone(&self.open), key: self.next }
    }

    /// Asks the connections that have been idle the longest to end.
    fn free_slots(&mut self) {
        let now = Instant::now();
        if self.freed_at.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        self.freed_at = Some(now);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = open.values().filter_map(|link| Some((link.quiet()?, link)));
        let mut quiet: Vec<_> = quiet.filter(|((_, since), _)| *since + QUIET <= now).collect();
        quiet.sort_unstable_by_key(|(order, _)| *order);
        quiet.iter().take((self.most / PART).max(1)).for_each(|(_, link)| link.want());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
