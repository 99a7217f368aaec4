//! Places for work that callers cause, shared so that one organisation cannot take them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places. One organisation has all of them but one at most, so that another one finds a place at once,
/// whatever the first one does. Who finds none waits, each organisation in a line of its own.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    /// The most places of one organisation.
    most: usize,
    each: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Turns {
    pub fn new(places: usize) -> Turns {
        let most = places.saturating_sub(1).max(1);
        Turns { all: Arc::new(Semaphore::new(places.max(1))), most, each: Mutex::default() }
    }

    /// Waits for a place.
    pub async fn take(&self, organization: &str) -> Turn {
        let own = self.line(organization).acquire_owned().await.expect("the semaphore is never closed");
        let all = self.all.clone().acquire_owned().await.expect("the semaphore is never closed");
        Turn { _own: own, _all: all }
    }

    fn line(&self, organization: &str) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for.
        each.retain(|_, line| Arc::strong_count(line) > 1);
        each.entry(organization.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.most))).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_organization_leaves_a_place_to_others() {
        let turns = Turns::new(3);
        let held = [turns.take("acme").await, turns.take("acme").await];
        assert!(turns.take("acme").now_or_never().is_none());
        let other = turns.take("globex").now_or_never();
        assert!(other.is_some());
        assert!(turns.take("initech").now_or_never().is_none(), "all places are taken");
        drop(held);
        assert!(turns.take("acme").now_or_never().is_some());
        drop(other);
        drop(turns.line("nobody"));
        assert_eq!(turns.each.lock().map(|each| each.len()).ok(), Some(1));
    }
}
