//! How much of each kind may be started now: slots that are free, and starts that the rate has left.
//!
//! A claim names several kinds and one number, so the loop claims kinds that have less capacity than there are free
//! slots one by one, each with its own limit; it claims all others together, and the store determines which is first in
//! the queue. Which kind is claimed first changes from round to round, so that no kind always takes the last free
//! slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// How many seconds of a rate may be saved up as starts; at least one start may be. Small, so that a rate is not
/// exceeded by much after a pause; not zero, so that a high rate does not need a claim for every start.
const SAVED_UP: f64 = 0.1;

/// Kinds that are claimed together, and how many operations of them at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimBudget {
    pub kinds: Vec<String>,
    pub limit: usize,
}

/// The limiter of each kind.
pub(crate) struct KindLimiters {
    limiters: BTreeMap<String, KindLimiter>,
    round: usize,
}

struct KindLimiter {
    slots: Option<Arc<Semaphore>>,
    rate: Option<Bucket>,
}

impl KindLimiters {
    pub fn new(kinds: impl IntoIterator<Item = (String, Limits)>, now: Instant) -> KindLimiters {
        let limiter = |limits: Limits| KindLimiter {
            slots: limits.concurrency.map(|slots| Arc::new(Semaphore::new(slots.max(1)))),
            rate: limits.rate.map(|rate| Bucket::full(rate, now)),
        };
        KindLimiters { limiters: kinds.into_iter().map(|(kind, limits)| (kind, limiter(limits))).collect(), round: 0 }
    }

    /// What to claim when `free` slots are free in total.
    pub fn budgets(&mut self, free: usize, now: Instant) -> Vec<ClaimBudget> {
        let (mut together, mut budgets) = (Vec::new(), Vec::new());
        for (kind, limiter) in &mut self.limiters {
            match limiter.available(now) {
                0 => {}
                available if available < free => {
                    budgets.push(ClaimBudget { kinds: vec![kind.clone()], limit: available })
                }
                _ => together.push(kind.clone()),
            }
        }
        if !together.is_empty() {
            budgets.push(ClaimBudget { kinds: together, limit: free });
        }
        if !budgets.is_empty() {
            self.round = self.round.wrapping_add(1);
            let first = self.round % budgets.len();
            budgets.rotate_left(first);
        }
        budgets
    }

    /// Notes the start of an attempt. The permit that is returned occupies a slot of the kind, if the kind has slots.
    pub fn start(&mut self, kind: &str) -> Option<OwnedSemaphorePermit> {
        let limiter = self.limiters.get_mut(kind)?;
        if let Some(rate) = &mut limiter.rate {
            rate.take();
        }
        // The caller has checked before that there is a free slot, and nobody else has taken it since.
        Arc::clone(limiter.slots.as_ref()?).try_acquire_owned().ok()
    }

    /// Whether one more operation of this kind may be started.
    pub fn has_capacity(&mut self, kind: &str, now: Instant) -> bool {
        self.limiters.get_mut(kind).is_some_and(|limiter| limiter.available(now) > 0)
    }

    /// Whether the kind has limits of its own.
    pub fn is_limited(&self, kind: &str) -> bool {
        self.limiters.get(kind).is_some_and(|limiter| limiter.slots.is_some() || limiter.rate.is_some())
    }

    /// Returns a start that did not happen to the rate. The slot of the kind is freed when its permit is dropped.
    pub fn not_started(&mut self, kind: &str) {
        if let Some(rate) = self.limiters.get_mut(kind).and_then(|limiter| limiter.rate.as_mut()) {
            rate.put_back();
        }
    }

    /// How long until a kind that has used up its rate may start again; `None` when no kind has used it up.
    pub fn next_start(&self) -> Option<Duration> {
        self.limiters.values().filter_map(|limiter| limiter.rate.as_ref()?.next()).min()
    }
}

impl KindLimiter {
    fn available(&mut self, now: Instant) -> usize {
        let slots = self.slots.as_ref().map_or(usize::MAX, |slots| slots.available_permits());
        let starts = self.rate.as_mut().map_or(usize::MAX, |rate| rate.available(now));
        slots.min(starts)
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
        // Rounding must not make a whole token slightly less than one.
        (self.tokens + 1e-9) as usize
    }

    fn take(&mut self) {
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    fn put_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.most());
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

    fn limiters(kinds: &[(&str, Limits)], now: Instant) -> KindLimiters {
        KindLimiters::new(kinds.iter().map(|(kind, limits)| ((*kind).to_owned(), *limits)), now)
    }

    fn slots(concurrency: usize) -> Limits {
        Limits { concurrency: Some(concurrency), ..Limits::default() }
    }

    fn rate(rate: f64) -> Limits {
        Limits { rate: Some(rate), ..Limits::default() }
    }

    fn budget(kinds: &[&str], limit: usize) -> ClaimBudget {
        ClaimBudget { kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(), limit }
    }

    fn sorted(mut budgets: Vec<ClaimBudget>) -> Vec<ClaimBudget> {
        budgets.sort_by(|a, b| a.kinds.cmp(&b.kinds));
        budgets
    }

    #[test]
    fn kinds_with_capacity_are_asked_for_together_and_tight_ones_alone() {
        let now = Instant::now();
        let mut limiters = limiters(&[("a", Limits::default()), ("b", slots(4)), ("c", slots(2))], now);
        assert_eq!(sorted(limiters.budgets(4, now)), [budget(&["a", "b"], 4), budget(&["c"], 2)]);
        assert_eq!(limiters.budgets(2, now), [budget(&["a", "b", "c"], 2)]);
    }

    #[test]
    fn a_kind_without_capacity_is_not_asked_for_until_a_place_is_free() {
        let now = Instant::now();
        let mut limiters = limiters(&[("a", Limits::default()), ("c", slots(1))], now);
        let slot = limiters.start("c").unwrap();
        assert_eq!(limiters.budgets(4, now), [budget(&["a"], 4)]);
        drop(slot);
        assert_eq!(sorted(limiters.budgets(4, now)), [budget(&["a"], 4), budget(&["c"], 1)]);
    }

    #[test]
    fn no_kind_is_always_asked_for_first() {
        let now = Instant::now();
        let mut limiters = limiters(&[("a", slots(1)), ("b", slots(1)), ("c", Limits::default())], now);
        let firsts: std::collections::BTreeSet<String> =
            (0..3).map(|_| limiters.budgets(4, now).remove(0).kinds.remove(0)).collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn a_rate_gives_its_starts_and_says_when_the_next_one_is() {
        let now = Instant::now();
        let mut limiters = limiters(&[("a", rate(4.0))], now);
        assert_eq!(limiters.next_start(), None);
        assert_eq!(limiters.budgets(9, now), [budget(&["a"], 1)]);
        limiters.start("a");
        assert_eq!(limiters.budgets(9, now), []);
        assert_eq!(limiters.next_start(), Some(Duration::from_millis(250)));
        assert_eq!(limiters.budgets(9, now + Duration::from_millis(249)), []);
        assert_eq!(limiters.budgets(9, now + Duration::from_millis(250)), [budget(&["a"], 1)]);
    }

    #[test]
    fn little_is_saved_up_of_a_rate() {
        let now = Instant::now();
        let mut limiters = limiters(&[("slow", rate(0.5)), ("fast", rate(100.0))], now);
        let later = now + Duration::from_secs(3_600);
        assert_eq!(sorted(limiters.budgets(99, later)), [budget(&["fast"], 10), budget(&["slow"], 1)]);
    }
}
