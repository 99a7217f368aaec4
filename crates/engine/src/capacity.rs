//! How many more attempts may be started in this process: free slots for attempts, and what the limits of each kind
//! leave.
//!
//! Two users take this capacity: the claim loop, for what it claims, and creations that start at once
//! ([`crate::eager`]). The loop counts the free capacity before it claims and takes it afterwards, so nobody else takes
//! any of it while the loop is claiming.
//!
//! In addition to the slots that everybody shares there are a few extra ones. Only creations take them, and only for
//! organizations of which nothing runs here: so the first operation of an organization need not wait until the attempts
//! of others end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limiter::{ClaimBudget, KindLimiters};

/// The maximum number of attempts that are claimed at once; one claim is one transaction.
const CLAIM_LIMIT: usize = 100;

/// What may still be started in this process.
pub(crate) struct Capacity {
    slots: Arc<Semaphore>,
    extra: Arc<Semaphore>,
    running: Running,
    kinds: Mutex<Kinds>,
}

struct Kinds {
    limiters: KindLimiters,
    /// Whether the loop is claiming, or has not begun yet.
    is_claiming: bool,
    /// How often the loop has begun to claim; 0: it has not begun yet.
    rounds: u64,
}

/// What the loop may claim in one round.
pub(crate) struct ClaimRound {
    pub(crate) budgets: Vec<ClaimBudget>,
    /// The number of attempts in total.
    pub(crate) free: usize,
    /// The number of the round: the loop passes it when it takes the capacity of what it claimed.
    pub(crate) number: u64,
}

/// The capacity that one attempt occupies, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    _slot: OwnedSemaphorePermit,
    /// A slot of the kind, if the kind has a limit of its own.
    of_kind: Option<OwnedSemaphorePermit>,
    is_extra: bool,
    _counted: Counted,
}

/// How many attempts of each organization run here; organizations without attempts are not in the map.
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
    /// Whether the end of the attempt frees capacity of its own kind, in addition to a slot for any kind.
    pub(crate) fn is_of_limited_kind(&self) -> bool {
        self.of_kind.is_some()
    }

    /// Whether it occupies one of the extra slots.
    pub(crate) fn is_extra(&self) -> bool {
        self.is_extra
    }
}

impl Capacity {
    /// Capacity for this number of attempts, with this number of extra slots, and for kinds with these limits.
    pub(crate) fn new(attempts: usize, extra: usize, limiters: KindLimiters) -> Capacity {
        Capacity {
            slots: Arc::new(Semaphore::new(attempts.clamp(1, Semaphore::MAX_PERMITS))),
            extra: Arc::new(Semaphore::new(extra.min(Semaphore::MAX_PERMITS))),
            running: Running::default(),
            kinds: Mutex::new(Kinds { limiters, is_claiming: true, rounds: 0 }),
        }
    }

    /// Whether no slot is free.
    pub(crate) fn is_used_up(&self) -> bool {
        self.slots.available_permits() == 0
    }

    /// Waits until a slot is free.
    pub(crate) async fn wait(&self) {
        // Nobody closes the semaphore.
        let _ = self.slots.acquire().await;
    }

    /// The loop begins to claim. Until it [ends the claim](Capacity::end_claim), only the loop takes capacity.
    pub(crate) fn begin_claim(&self, now: Instant) -> ClaimRound {
        let mut kinds = self.lock();
        kinds.is_claiming = true;
        kinds.rounds += 1;
        let free = self.slots.available_permits().min(CLAIM_LIMIT);
        let budgets = if free == 0 { Vec::new() } else { kinds.limiters.budgets(free, now) };
        ClaimRound { budgets, free, number: kinds.rounds }
    }

    /// The loop has started what it claimed, or has given the claim up.
    pub(crate) fn end_claim(&self) {
        self.lock().is_claiming = false;
    }

    /// Takes what an attempt that was claimed in this round needs: in total no more than [`Capacity::begin_claim`] has
    /// granted. Takes nothing once the claim has ended, since others may have taken what the loop had counted.
    pub(crate) fn take(&self, round: u64, organization: &str, kind: &str) -> Option<Reserved> {
        let mut kinds = self.lock();
        if !kinds.is_claiming || kinds.rounds != round {
            return None;
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(self.reserved(&mut kinds, (slot, false), organization, kind))
    }

    /// Takes what an attempt of this organization and kind needs, if it is free and the loop has not counted on it.
    pub(crate) fn reserve(&self, organization: &str, kind: &str, now: Instant) -> Option<Reserved> {
        let mut kinds = self.lock();
        if !kinds.limiters.has_capacity(kind, now) {
            return None;
        }
        let slot = if kinds.is_claiming { None } else { Arc::clone(&self.slots).try_acquire_owned().ok() };
        let slot = match slot {
            Some(slot) => (slot, false),
            None => {
                // Capacity that the limits of a kind leave belongs to operations of that kind that wait for a shared
                // slot.
                let is_for_others = kinds.rounds == 0 || kinds.limiters.is_limited(kind);
                if is_for_others || !self.running.has_none(organization) {
                    return None;
                }
                (Arc::clone(&self.extra).try_acquire_owned().ok()?, true)
            }
        };
        Some(self.reserved(&mut kinds, slot, organization, kind))
    }

    fn reserved(
        &self,
        kinds: &mut Kinds,
        (slot, is_extra): (OwnedSemaphorePermit, bool),
        organization: &str,
        kind: &str,
    ) -> Reserved {
        let (of_kind, counted) = (kinds.limiters.start(kind), self.running.count(organization));
        Reserved { _slot: slot, of_kind, is_extra, _counted: counted }
    }

    /// Releases what was reserved for an attempt that was not started.
    pub(crate) fn release(&self, kind: &str, reserved: Reserved) {
        self.lock().limiters.not_started(kind);
        drop(reserved);
    }

    /// How long until a kind that has used up its rate may start again; `None` when no kind has used it up.
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
        assert!(reserve("acme", "scan").is_none(), "the loop has not begun to claim");
        let round = capacity.begin_claim(now);
        let claimed = capacity.take(round.number, "acme", "scan").expect("the loop reserved it");
        assert!(reserve("acme", "scan").is_none(), "the loop has taken the shared slot");
        assert!(reserve("other", "unknown").is_none());
        let first = reserve("other", "scan").expect("nothing of this organization runs");
        assert!(reserve("third", "scan").is_none(), "there is one extra slot");
        drop(first);
        assert!(reserve("third", "scan").is_some(), "the extra slot is free again");
        capacity.end_claim();
        assert!(reserve("other", "tight").is_none(), "what the limit leaves belongs to waiting operations");
        let extra = reserve("other", "scan").expect("nothing of this organization runs");
        drop(claimed);
        let regular = reserve("other", "tight").expect("the shared slot is free");
        assert_eq!((extra.is_extra(), regular.is_extra()), (true, false));
        assert!(reserve("other", "scan").is_none() && reserve("acme", "scan").is_none());
    }
}
