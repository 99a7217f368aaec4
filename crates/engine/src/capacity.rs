//! How much more may be started in this process: places for attempts, and what the limits of each kind leave.
//!
//! Two take from it: the loop, for what it claims, and creations that start at once ([`crate::eager`]). The loop counts
//! what is left before it claims and takes it afterwards, so nobody else takes anything while it is at the queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limiter::{ClaimBudget, KindLimiters};

/// Attempts that are claimed at once at most; one claim is one transaction.
const CLAIM_LIMIT: usize = 100;

/// What may still be started here.
pub(crate) struct Capacity {
    places: Arc<Semaphore>,
    kinds: Mutex<Kinds>,
}

struct Kinds {
    limiters: KindLimiters,
    /// The loop is at the queue, or has not begun.
    is_claiming: bool,
    /// How often the loop went to the queue.
    visits: u64,
}

/// What the loop may ask for when it goes to the queue.
pub(crate) struct Visit {
    pub(crate) budgets: Vec<ClaimBudget>,
    /// How much in all.
    pub(crate) free: usize,
    /// Which visit it is: by this it takes what it needs.
    pub(crate) number: u64,
}

/// The capacity that one attempt takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    _place: OwnedSemaphorePermit,
    /// Of the kind, if it has a limit of its own.
    of_kind: Option<OwnedSemaphorePermit>,
}

impl Reserved {
    /// Whether its end gives its kind capacity, beside a place to whichever kind.
    pub(crate) fn is_of_limited_kind(&self) -> bool {
        self.of_kind.is_some()
    }
}

impl Capacity {
    /// Of so many attempts, and for kinds with these limits.
    pub(crate) fn new(attempts: usize, limiters: KindLimiters) -> Capacity {
        Capacity {
            places: Arc::new(Semaphore::new(attempts.max(1))),
            kinds: Mutex::new(Kinds { limiters, is_claiming: true, visits: 0 }),
        }
    }

    /// Whether there is no place at all.
    pub(crate) fn is_used_up(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Waits until there is a place.
    pub(crate) async fn wait(&self) {
        // Nobody closes the semaphore.
        let _ = self.places.acquire().await;
    }

    /// The loop goes to the queue. Until it [leaves](Capacity::leave) the queue, it alone takes.
    pub(crate) fn enter(&self, now: Instant) -> Visit {
        let mut kinds = self.lock();
        kinds.is_claiming = true;
        kinds.visits += 1;
        let free = self.places.available_permits().min(CLAIM_LIMIT);
        let budgets = if free == 0 { Vec::new() } else { kinds.limiters.budgets(free, now) };
        Visit { budgets, free, number: kinds.visits }
    }

    /// The loop has started what it claimed, or has given the claim up.
    pub(crate) fn leave(&self) {
        self.lock().is_claiming = false;
    }

    /// Takes what an attempt needs that was claimed on this visit: no more than [`Capacity::enter`] said. Nothing once
    /// the loop has left, since others may have what it counted.
    pub(crate) fn take(&self, visit: u64, kind: &str) -> Option<Reserved> {
        let mut kinds = self.lock();
        if !kinds.is_claiming || kinds.visits != visit {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Reserved { _place: place, of_kind: kinds.limiters.start(kind) })
    }

    /// Takes what an attempt of this kind needs, if it is there and the loop is not at the queue.
    pub(crate) fn reserve(&self, kind: &str, now: Instant) -> Option<Reserved> {
        let mut kinds = self.lock();
        if kinds.is_claiming || !kinds.limiters.has_capacity(kind, now) {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Reserved { _place: place, of_kind: kinds.limiters.start(kind) })
    }

    /// Gives back what was reserved for an attempt that was not started.
    pub(crate) fn give_back(&self, kind: &str, reserved: Reserved) {
        self.lock().limiters.not_started(kind);
        drop(reserved);
    }

    /// How long until a kind that has used up its rate may start again; `None` when no kind has.
    pub(crate) fn next_start(&self) -> Option<Duration> {
        self.lock().limiters.next_start()
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        // Nothing that holds the lock can panic between two changes.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
