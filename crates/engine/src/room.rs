//! How much of each kind may be started now: places that are free, and starts that the rate has left.
//!
//! A claim asks for several kinds and one number, so kinds that have less room than there are free places are asked for
//! one by one, each with its own room; all others are asked for together, and the store says what is first in line. Who
//! is asked for first changes from round to round, so that no kind takes the last free places for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// What may be saved up of a rate: the starts of so long, and at least one. Small, so that a rate is not exceeded by
/// much after a pause; not nothing, so that a high rate does not need a claim for every start.
const SAVED_UP: f64 = 0.1;

/// Kinds that are asked for together, and how many operations at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub kinds: Vec<String>,
    pub limit: usize,
}

/// The room of every kind. Used by the loop alone.
pub(crate) struct Rooms {
    rooms: BTreeMap<String, Room>,
    round: usize,
}

struct Room {
    places: Option<Arc<Semaphore>>,
    rate: Option<Bucket>,
}

impl Rooms {
    pub fn new(kinds: impl IntoIterator<Item = (String, Limits)>, now: Instant) -> Rooms {
        let room = |limits: Limits| Room {
            places: limits.concurrency.map(|places| Arc::new(Semaphore::new(places.max(1)))),
            rate: limits.rate.map(|rate| Bucket::full(rate, now)),
        };
        Rooms { rooms: kinds.into_iter().map(|(kind, limits)| (kind, room(limits))).collect(), round: 0 }
    }

    /// What to ask for when `free` places are free in all.
    pub fn asks(&mut self, free: usize, now: Instant) -> Vec<Ask> {
        let (mut together, mut asks) = (Vec::new(), Vec::new());
        for (kind, room) in &mut self.rooms {
            match room.available(now) {
                0 => {}
                available if available < free => asks.push(Ask { kinds: vec![kind.clone()], limit: available }),
                _ => together.push(kind.clone()),
            }
        }
        if !together.is_empty() {
            asks.push(Ask { kinds: together, limit: free });
        }
        if !asks.is_empty() {
            self.round = self.round.wrapping_add(1);
            let first = self.round % asks.len();
            asks.rotate_left(first);
        }
        asks
    }

    /// Notes the start of an attempt. What is answered holds its place, if the kind has places.
    pub fn start(&mut self, kind: &str) -> Option<OwnedSemaphorePermit> {
        let room = self.rooms.get_mut(kind)?;
        if let Some(rate) = &mut room.rate {
            rate.take();
        }
        // Only the loop takes places, and it claimed no more than there were.
        Arc::clone(room.places.as_ref()?).try_acquire_owned().ok()
    }

    /// How long until a kind that has used up its rate may start again; `None` when no kind has.
    pub fn next_start(&self) -> Option<Duration> {
        self.rooms.values().filter_map(|room| room.rate.as_ref()?.next()).min()
    }
}

impl Room {
    fn available(&mut self, now: Instant) -> usize {
        let places = self.places.as_ref().map_or(usize::MAX, |places| places.available_permits());
        let starts = self.rate.as_mut().map_or(usize::MAX, |rate| rate.available(now));
        places.min(starts)
    }
}

/// A token bucket.
struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(per_second: f64, now: Instant) -> Bucket {
        let mut bucket = Bucket { per_second, tokens: 0.0, at: now };
        bucket.tokens = bucket.most();
        bucket
    }

    fn most(&self) -> f64 {
        (self.per_second * SAVED_UP).max(1.0)
    }

    fn available(&mut self, now: Instant) -> usize {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.most());
        self.at = now;
        // Rounding must not make a whole token a little less than one.
        (self.tokens + 1e-9) as usize
    }

    fn take(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    fn next(&self) -> Option<Duration> {
        let missing = 1.0 - self.tokens;
        (missing > 1e-9).then(|| Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rooms(kinds: &[(&str, Limits)], now: Instant) -> Rooms {
        Rooms::new(kinds.iter().map(|(kind, limits)| ((*kind).to_owned(), *limits)), now)
    }

    fn places(concurrency: usize) -> Limits {
        Limits { concurrency: Some(concurrency), ..Limits::default() }
    }

    fn rate(rate: f64) -> Limits {
        Limits { rate: Some(rate), ..Limits::default() }
    }

    fn ask(kinds: &[&str], limit: usize) -> Ask {
        Ask { kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(), limit }
    }

    fn sorted(mut asks: Vec<Ask>) -> Vec<Ask> {
        asks.sort_by(|a, b| a.kinds.cmp(&b.kinds));
        asks
    }

    #[test]
    fn kinds_with_room_enough_are_asked_for_together_and_tight_ones_alone() {
        let now = Instant::now();
        let mut rooms = rooms(&[("a", Limits::default()), ("b", places(4)), ("c", places(2))], now);
        assert_eq!(sorted(rooms.asks(4, now)), [ask(&["a", "b"], 4), ask(&["c"], 2)]);
        assert_eq!(rooms.asks(2, now), [ask(&["a", "b", "c"], 2)]);
    }

    #[test]
    fn a_kind_without_room_is_not_asked_for_until_a_place_is_free() {
        let now = Instant::now();
        let mut rooms = rooms(&[("a", Limits::default()), ("c", places(1))], now);
        let place = rooms.start("c").unwrap();
        assert_eq!(rooms.asks(4, now), [ask(&["a"], 4)]);
        drop(place);
        assert_eq!(sorted(rooms.asks(4, now)), [ask(&["a"], 4), ask(&["c"], 1)]);
    }

    #[test]
    fn no_kind_is_always_asked_for_first() {
        let now = Instant::now();
        let mut rooms = rooms(&[("a", places(1)), ("b", places(1)), ("c", Limits::default())], now);
        let firsts: std::collections::BTreeSet<String> =
            (0..3).map(|_| rooms.asks(4, now).remove(0).kinds.remove(0)).collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn a_rate_gives_its_starts_and_says_when_the_next_one_is() {
        let now = Instant::now();
        let mut rooms = rooms(&[("a", rate(4.0))], now);
        assert_eq!(rooms.next_start(), None);
        assert_eq!(rooms.asks(9, now), [ask(&["a"], 1)]);
        rooms.start("a");
        assert_eq!(rooms.asks(9, now), []);
        assert_eq!(rooms.next_start(), Some(Duration::from_millis(250)));
        assert_eq!(rooms.asks(9, now + Duration::from_millis(249)), []);
        assert_eq!(rooms.asks(9, now + Duration::from_millis(250)), [ask(&["a"], 1)]);
    }

    #[test]
    fn little_is_saved_up_of_a_rate() {
        let now = Instant::now();
        let mut rooms = rooms(&[("slow", rate(0.5)), ("fast", rate(100.0))], now);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(sorted(rooms.asks(99, later)), [ask(&["fast"], 10), ask(&["slow"], 1)]);
    }
}
