//! Places for connections, and what happens when there are none left.
//!
//! A client whose connection waits in the kernel's queue believes that it is connected and hears nothing: it cannot go
//! to another server, and a balancer sees a server that is slow and not one that is full. So connections without a
//! request under way are closed to free their places, first those on which nobody was authenticated; for a moment a new
//! one waits for that; and when there is no place then, new ones are closed at once until there is one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::link::Link;

/// How long new connections wait for a place before they are closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection may be closed for a new one once it has been without a request for this long: other connections are in
/// the middle of something.
const QUIET: Duration = Duration::from_millis(100);
/// The time between two rounds in which connections are asked to end, and which fraction of them is asked.
const PAUSE: Duration = Duration::from_millis(100);
const PART: usize = 64;

/// Connections of this process that were closed because there were too many.
static CLOSED: AtomicU64 = AtomicU64::new(0);

/// How many connections were closed because there were too many, of one address or in all, since the process began.
pub(super) fn closed() -> u64 {
    CLOSED.load(Ordering::Relaxed)
}

/// Counts a connection that was closed because there were too many.
pub(super) fn count_closed() {
    CLOSED.fetch_add(1, Ordering::Relaxed);
}

/// The places of a listener.
pub(super) struct Connections {
    most: usize,
    places: Arc<Semaphore>,
    open: Arc<Mutex<HashMap<u64, Link>>>,
    next: u64,
    full_since: Option<Instant>,
    made_room: Option<Instant>,
}

/// A place for a connection.
pub(super) struct Room {
    _place: OwnedSemaphorePermit,
}

/// A connection that has a place, until this is dropped.
pub(super) struct Open {
    _room: Room,
    open: Arc<Mutex<HashMap<u64, Link>>>,
    key: u64,
}

impl Connections {
    pub fn new(most: usize) -> Connections {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let (places, open) = (Arc::new(Semaphore::new(most)), Arc::default());
        Connections { most, places, open, next: 0, full_since: None, made_room: None }
    }

    /// A place for the next connection; `None` when there was none for so long that the connection is to be closed.
    pub async fn room(&mut self) -> Option<Room> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.full_since = None;
            return Some(Room { _place: place });
        }
        let until = *self.full_since.get_or_insert_with(Instant::now) + PATIENCE;
        loop {
            self.make_room();
            // Connections that are quiet for too short a time now will be quiet for long enough then.
            let soon = until.min(Instant::now() + PAUSE);
            match timeout_at(soon, self.places.clone().acquire_owned()).await {
                Ok(place) => {
                    self.full_since = None;
                    return Some(Room { _place: place.ok()? });
                }
                Err(_) if soon == until => return None,
                Err(_) => {}
            }
        }
    }

    /// Registers a connection.
    pub fn enter(&mut self, room: Room, link: Link) -> Open {
        self.next += 1;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(self.next, link);
        Open { _room: room, open: Arc::clone(&self.open), key: self.next }
    }

    /// Asks the connections that have been quiet the longest to end.
    fn make_room(&mut self) {
        let now = Instant::now();
        if self.made_room.is_some_and(|at| now < at + PAUSE) {
            return;
        }
        self.made_room = Some(now);
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
