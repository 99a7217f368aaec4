//! How much more may be started in this process: places for attempts, and what the limits of each kind leave.
//!
//! Two users take from it: the loop, for what it claims, and creations that start at once ([`crate::eager`]). The loop
//! counts what is left before it claims and takes it afterwards, so nobody else takes any of that while it is at the
//! queue.
//!
//! Beside the places that everybody shares there are a few extra ones. Only creations take them, and only for
//! organizations that have nothing running here: so the first operation of an organization need not wait for the
//! attempts of others to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limiter::{ClaimBudget, KindLimiters};

/// The most attempts that are claimed at once; one claim is one transaction.
const CLAIM_LIMIT: usize = 100;

/// What may still be started here.
pub(crate) struct Capacity {
    places: Arc<Semaphore>,
    extra: Arc<Semaphore>,
    running: Running,
    kinds: Mutex<Kinds>,
}

struct Kinds {
    limiters: KindLimiters,
    /// The loop is at the queue, or has not begun.
    is_claiming: bool,
    /// How often the loop went to the queue; 0: it has not begun.
    visits: u64,
}

/// What the loop may ask for when it goes to the queue.
pub(crate) struct Visit {
    pub(crate) budgets: Vec<ClaimBudget>,
    /// How many attempts in all.
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
    is_extra: bool,
    _counted: Counted,
}

/// How many attempts of each organization run here; those that have none are not in it.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<HashMap<String, usize>>>);

/// One attempt of an organization, counted until this is dropped.
#[derive(Debug)]
struct Counted {
    running: Running,
    organization: String,
}

impl Running {
    fn count(&self, organization: &str) -> Counted {
        *self.lock().entry(organization.to_owned()).or_default() += 1;
        Counted { running: self.clone(), organization: organization.to_owned() }
    }

    fn has_none(&self, organization: &str) -> bool {
        !self.lock().contains_key(organization)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Nothing that holds the lock can panic between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(count) = running.get_mut(&self.organization) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.organization);
            }
        }
    }
}

impl Reserved {
    /// Whether its end frees capacity of its own kind, beside a place for any kind.
    pub(crate) fn is_of_limited_kind(&self) -> bool {
        self.of_kind.is_some()
    }

    /// Whether it is one of the extra places.
    pub(crate) fn is_extra(&self) -> bool {
        self.is_extra
    }
}

impl Capacity {
    /// Capacity for this number of attempts, with this number of extra ones, and for kinds with these limits.
    pub(crate) fn new(attempts: usize, extra: usize, limiters: KindLimiters) -> Capacity {
        Capacity {
            places: Arc::new(Semaphore::new(attempts.clamp(1, Semaphore::MAX_PERMITS))),
            extra: Arc::new(Semaphore::new(extra.min(Semaphore::MAX_PERMITS))),
            running: Running::default(),
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

    /// The loop goes to the queue. Until it [leaves](Capacity::leave) the queue, only the loop takes capacity.
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

    /// Takes what an attempt that was claimed on this visit needs: no more than [`Capacity::enter`] said. Takes nothing
    /// once the loop has left, since others may have what it counted.
    pub(crate) fn take(&self, visit: u64, organization: &str, kind: &str) -> Option<Reserved> {
        let mut kinds = self.lock();
        if !kinds.is_claiming || kinds.visits != visit {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.reserved(&mut kinds, (place, false), organization, kind))
    }

    /// Takes what an attempt of this organization and kind needs, if it is there and the loop has not counted on it.
    pub(crate) fn reserve(&self, organization: &str, kind: &str, now: Instant) -> Option<Reserved> {
        let mut kinds = self.lock();
        if !kinds.limiters.has_capacity(kind, now) {
            return None;
        }
        let place = if kinds.is_claiming { None } else { Arc::clone(&self.places).try_acquire_owned().ok() };
        let place = match place {
            Some(place) => (place, false),
            None => {
                // What the limits of a kind leave is for operations of that kind that wait for a place of everybody.
                let is_for_others = kinds.visits == 0 || kinds.limiters.is_limited(kind);
                if is_for_others || !self.running.has_none(organization) {
                    return None;
                }
                (Arc::clone(&self.extra).try_acquire_owned().ok()?, true)
            }
        };
        Some(self.reserved(&mut kinds, place, organization, kind))
    }

    fn reserved(
        &self,
        kinds: &mut Kinds,
        (place, is_extra): (OwnedSemaphorePermit, bool),
        organization: &str,
        kind: &str,
    ) -> Reserved {
        let (of_kind, counted) = (kinds.limiters.start(kind), self.running.count(organization));
        Reserved { _place: place, of_kind, is_extra, _counted: counted }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn extra_places_are_for_organizations_of_which_nothing_runs() {
        let tight = Limits { concurrency: Some(1), ..Limits::default() };
        let kinds = [("scan".to_owned(), Limits::default()), ("tight".to_owned(), tight)];
        let now = Instant::now();
        let capacity = Capacity::new(1, 1, KindLimiters::new(kinds, now));
        let reserve = |organization, kind| capacity.reserve(organization, kind, now);
        assert!(reserve("acme", "scan").is_none(), "the loop has not begun");
        let visit = capacity.enter(now);
        let claimed = capacity.take(visit.number, "acme", "scan").expect("it is there");
        assert!(reserve("acme", "scan").is_none(), "it has the place of everybody");
        assert!(reserve("other", "unknown").is_none());
        let first = reserve("other", "scan").expect("nothing of it runs");
        assert!(reserve("third", "scan").is_none(), "there is one extra place");
        drop(first);
        assert!(reserve("third", "scan").is_some(), "it is there again");
        capacity.leave();
        assert!(reserve("other", "tight").is_none(), "what its limit leaves is for those that wait");
        let extra = reserve("other", "scan").expect("nothing of it runs");
        drop(claimed);
        let regular = reserve("other", "tight").expect("the place of everybody is free");
        assert_eq!((extra.is_extra(), regular.is_extra()), (true, false));
        assert!(reserve("other", "scan").is_none() && reserve("acme", "scan").is_none());
    }
}
