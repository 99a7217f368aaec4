//! Counts events by key within a window of time, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The length of a window; the next event after it begins a new one.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// The most keys remembered; beyond it, all keys with nothing in progress are forgotten.
pub(crate) const REMEMBERED: usize = 10_000;

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Windows<K>(HashMap<K, Count>);

/// The count of one key.
#[derive(Debug)]
pub(crate) struct Count {
    since: Instant,
    /// The number of events in this window.
    pub(crate) happened: u32,
    /// What is in progress, whenever it began.
    pub(crate) under_way: u32,
}

impl Count {
    /// How long this window still lasts.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        (self.since + WINDOW).saturating_duration_since(now)
    }
}

impl<K> Default for Windows<K> {
    fn default() -> Windows<K> {
        Windows(HashMap::new())
    }
}

impl<K: Eq + Hash> Windows<K> {
    /// The count of a key in the window that `now` is in.
    pub(crate) fn count(&mut self, key: K, now: Instant) -> &mut Count {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&key) {
            self.0.retain(|_, count| count.under_way > 0 || count.since + WINDOW > now);
            if self.0.len() >= REMEMBERED {
                self.0.retain(|_, count| count.under_way > 0);
            }
        }
        let count = self.0.entry(key).or_insert(Count { since: now, happened: 0, under_way: 0 });
        if count.since + WINDOW <= now {
            (count.since, count.happened) = (now, 0);
        }
        count
    }

    /// The count of a key, if it is remembered.
    pub(crate) fn known(&mut self, key: &K) -> Option<&mut Count> {
        self.0.get_mut(key)
    }

    /// Forgets a key that has nothing to remember.
    pub(crate) fn tidy(&mut self, key: &K) {
        if self.0.get(key).is_some_and(|count| count.happened == 0 && count.under_way == 0) {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<K> Windows<K> {
        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn a_window_ends_and_begins_anew() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        windows.count("a", now).happened += 1;
        assert_eq!(windows.count("a", now + WINDOW / 2).happened, 1);
        assert_eq!(windows.count("a", now + WINDOW / 2).left(now + WINDOW / 2), WINDOW / 2);
        assert_eq!(windows.count("a", now + WINDOW).happened, 0);
        assert_eq!(windows.count("b", now).happened, 0, "others have their own");
    }

    #[test]
    fn no_more_keys_are_remembered_than_fit_but_for_what_is_under_way() {
        let (mut windows, now) = (Windows::default(), Instant::now());
        windows.count(0, now).under_way += 1;
        for key in 1..2 * REMEMBERED {
            windows.count(key, now).happened += 1;
            assert!(windows.len() <= REMEMBERED);
        }
        assert_eq!(windows.count(0, now).under_way, 1);
    }
}
