//! How many calls are processed at a time, in total and for each organization; the others wait a moment and are then
//! refused.
//!
//! A server that accepts more than it can do answers everything late, and in the end answers calls whose clients no
//! longer wait. So a call needs a place while it is processed. If there is none, the call waits for one, in the order
//! of arrival, for a bounded time and among a bounded number of calls; then it is refused and may try again later,
//! which costs little.
//!
//! An organization that uses all the places that it may have waits for its own, and takes none of those that are left
//! for others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The calls that may wait for each place. How long they wait is bounded by time; this bounds the memory that they use,
/// and should not refuse a call that would get a place in time.
const WAITING_PER_PLACE: usize = 16;
/// How many organizations are remembered before those without a call are forgotten.
const REMEMBERED: usize = 1_000;

/// The places. Clones share them.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    /// The places of one organization.
    each: usize,
    patience: Duration,
    organizations: Mutex<HashMap<String, Arc<Organization>>>,
}

#[derive(Debug)]
struct Organization {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The calls of an organization that wait for a place.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    organization: Weak<Organization>,
    most: usize,
}

impl Crowd {
    /// Whether a call that arrived now would be refused at once.
    pub(crate) fn is_full(&self) -> bool {
        self.organization.upgrade().is_some_and(|own| own.waiting.load(Ordering::Relaxed) >= self.most)
    }
}

/// A place, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// There was no place in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

impl Places {
    /// `most` places, of which one organization may have `each`, and for which a call waits no longer than `patience`.
    pub(crate) fn new(most: usize, each: usize, patience: Duration) -> Places {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let each = each.clamp(1, most);
        let all = Arc::new(Semaphore::new(most));
        Places(Arc::new(Inner { all, each, patience, organizations: Mutex::default() }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`NoPlace`] when too many calls wait, or it took too long.
    pub(crate) async fn take(&self, organization: &str) -> Result<Place, NoPlace> {
        self.take_among(organization, self.most_waiting()).await
    }

    /// Takes a place for a call that had one before, however many calls wait: it was admitted, and the work for it
    /// would be lost.
    ///
    /// # Errors
    /// [`NoPlace`] when it took too long.
    pub(crate) async fn take_again(&self, organization: &str) -> Result<Place, NoPlace> {
        self.take_among(organization, usize::MAX).await
    }

    async fn take_among(&self, organization: &str, most_waiting: usize) -> Result<Place, NoPlace> {
        let inner = &*self.0;
        let own = self.of(organization);
        // The usual case. Calls that wait are served first: a semaphore gives free permits to them.
        if let Ok(place) = own.places.clone().try_acquire_owned()
            && let Ok(of_all) = inner.all.clone().try_acquire_owned()
        {
            return Ok(Place { _own: place, _of_all: of_all });
        }
        let _waiting = Waiting::among(&own, most_waiting).ok_or(NoPlace)?;
        let both = async {
            let place = own.places.clone().acquire_owned().await.map_err(|_| NoPlace)?;
            let of_all = inner.all.clone().acquire_owned().await.map_err(|_| NoPlace)?;
            Ok(Place { _own: place, _of_all: of_all })
        };
        timeout(inner.patience, both).await.unwrap_or(Err(NoPlace))
    }

    /// The calls of an organization that wait.
    pub(crate) fn crowd(&self, organization: &str) -> Crowd {
        Crowd { organization: Arc::downgrade(&self.of(organization)), most: self.most_waiting() }
    }

    /// How many of an organization may wait.
    fn most_waiting(&self) -> usize {
        self.0.each.saturating_mul(WAITING_PER_PLACE)
    }

    fn of(&self, organization: &str) -> Arc<Organization> {
        let mut organizations = self.lock();
        if let Some(own) = organizations.get(organization) {
            return Arc::clone(own);
        }
        if organizations.len() >= REMEMBERED {
            // A place holds the semaphore, and a call that waits holds the organization.
            organizations.retain(|_, own| Arc::strong_count(own) > 1 || own.places.available_permits() < self.0.each);
        }
        let places = Arc::new(Semaphore::new(self.0.each));
        let own = Arc::new(Organization { places, waiting: AtomicUsize::new(0) });
        organizations.insert(organization.to_owned(), Arc::clone(&own));
        own
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Organization>>> {
        self.0.organizations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits, until this is dropped.
struct Waiting<'o>(&'o Organization);

impl<'o> Waiting<'o> {
    fn among(organization: &'o Organization, most: usize) -> Option<Waiting<'o>> {
        // Made first, so that the count is taken back whatever happens.
        let before = organization.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(organization);
        (before < most).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn who_finds_no_place_waits_and_is_then_sent_away() {
        let places = Places::new(1, 1, PATIENCE);
        let first = places.take("a").await.unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(places.take("b").await.unwrap_err(), NoPlace);
        assert!(begun.elapsed() >= PATIENCE);
        let patient = Places::new(1, 1, Duration::from_secs(60));
        let first_of_patient = patient.take("a").await.unwrap();
        let mut waits = Box::pin(patient.take("b"));
        assert!(waits.as_mut().now_or_never().is_none());
        drop((first, first_of_patient));
        drop(waits.await.expect("it was given up in time"));
        assert!(places.take("a").now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_organization_leaves_places_to_others_also_while_it_waits() {
        let places = Places::new(4, 3, PATIENCE);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(places.take("greedy").await.unwrap());
        }
        let mut waiting: Vec<_> = (0..3 * WAITING_PER_PLACE).map(|_| Box::pin(places.take("greedy"))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert_eq!(places.take("greedy").now_or_never().unwrap().unwrap_err(), NoPlace, "too many wait: at once");
        assert!(places.crowd("greedy").is_full() && !places.crowd("other").is_full());
        let mut again = Box::pin(places.take_again("greedy"));
        assert!(again.as_mut().now_or_never().is_none(), "who was let in before may wait");
        drop(again);
        let other = places.take("other").now_or_never().unwrap().unwrap();
        assert!(places.take("third").await.is_err(), "there are four");
        drop((other, waiting));
        assert!(places.take("third").now_or_never().unwrap().is_ok());
        assert!(places.take("greedy").await.is_err());
    }

    #[test]
    fn organizations_without_a_call_are_forgotten() {
        let places = Places::new(2, 2, PATIENCE);
        let held = places.take("held").now_or_never().unwrap().unwrap();
        for number in 0..3 * REMEMBERED {
            drop(places.take(&number.to_string()).now_or_never().unwrap().unwrap());
            assert!(places.lock().len() <= REMEMBERED);
        }
        assert_eq!(places.lock()["held"].places.available_permits(), 1, "who holds a place is remembered");
        drop(held);
    }
}
