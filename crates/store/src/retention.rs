//! How long operations are kept after their end when they do not say so themselves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Means "forever".
const FOR_EVER: i64 = -1;
/// A thousand years: added to a time, more would no longer give a valid time.
const MOST: i64 = 1_000 * 366 * 24 * 3600 * 1000;

/// The default, shared by a store and its writers. It is read when an operation ends.
#[derive(Clone, Debug)]
pub(crate) struct Retention(Arc<AtomicI64>);

impl Default for Retention {
    fn default() -> Retention {
        Retention(Arc::new(AtomicI64::new(FOR_EVER)))
    }
}

impl Retention {
    pub(crate) fn set(&self, retain_for: Option<Duration>) {
        let millis = retain_for.map_or(FOR_EVER, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(MOST));
        self.0.store(millis, Ordering::Relaxed);
    }

    /// In milliseconds; `None`: forever.
    pub(crate) fn millis(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|millis| *millis != FOR_EVER)
    }
}

/// Organizations, given in order, starting with the one after `last`: the one that was served last comes last.
pub(crate) fn in_rotation(mut organizations: Vec<String>, last: &Mutex<String>) -> Vec<String> {
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let next = organizations.partition_point(|organization| *organization <= *last);
    organizations.rotate_left(next);
    organizations
}

/// Notes the organization that was served last.
pub(crate) fn served(last: &Mutex<String>, organization: String) {
    *last.lock().unwrap_or_else(PoisonError::into_inner) = organization;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_organization_that_was_served_last_comes_last() {
        let last = Mutex::default();
        let organizations = || ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(in_rotation(organizations(), &last), ["a", "b", "c"]);
        served(&last, "b".to_owned());
        assert_eq!(in_rotation(organizations(), &last), ["c", "a", "b"]);
        served(&last, "z".to_owned());
        assert_eq!(in_rotation(organizations(), &last), ["a", "b", "c"]);
    }

    #[test]
    fn no_time_is_for_ever() {
        let retention = Retention::default();
        assert_eq!(retention.millis(), None);
        retention.set(Some(Duration::from_secs(1)));
        assert_eq!(retention.millis(), Some(1_000));
        retention.set(None);
        assert_eq!(retention.millis(), None);
    }
}
