//! What a schedule does at a given time: which of its due times create an operation, and when to check it again.

use std::time::Duration;

use super::{CatchUp, Overlap, Timing};
use crate::Timestamp;

/// A due time that is processed within this time counts as on time, even if missed due times are not made up: the
/// schedule omits nothing because servers stop, start or take over from each other.
pub const GRACE: Duration = Duration::from_secs(60);
/// At most this many missed due times are made up at once: the latest ones.
pub const MAX_CATCH_UP: usize = 100;

/// How a schedule handles its due times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What happens when the previous operation has not ended.
    pub overlap: Overlap,
    /// What happens when due times were missed.
    pub catch_up: CatchUp,
    /// Each due time is delayed by up to this long.
    pub jitter: Duration,
    /// The seed of this schedule's delays, which makes them differ from those of other schedules. It is the same on all
    /// servers.
    pub seed: u128,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firing {
    /// The due times that create one operation each, in order.
    pub create: Vec<Timestamp>,
    /// The latest due time that was skipped.
    pub passed_over: Option<Timestamp>,
    /// The next due time; `None` when the schedule is never due again.
    pub next: Option<Next>,
}

/// The next due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The time that the schedule names.
    pub due: Timestamp,
    /// The same time with its delay.
    pub fire_at: Timestamp,
}

impl Terms {
    /// The delay of a due time: delays are evenly distributed, and every server computes the same one.
    pub fn delay(&self, due: Timestamp) -> Duration {
        let most = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        // The finalizer of SplitMix64, applied to what identifies the schedule and the time.
        let mix = |mut bits: u64| {
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^ (bits >> 31)
        };
        let halves = [self.seed as u64, (self.seed >> 64) as u64, due.as_millis().cast_unsigned()];
        let mixed = halves.into_iter().fold(0x9e37_79b9_7f4a_7c15, |mixed, half| mix(mixed ^ half));
        Duration::from_millis(mixed % most.saturating_add(1))
    }

    /// The first due time after this one.
    pub fn next_after(&self, timing: &Timing, after: Timestamp) -> Option<Next> {
        timing.next_after(after).map(|due| self.next(due))
    }

    fn next(&self, due: Timestamp) -> Next {
        Next { due, fire_at: due.after(self.delay(due)) }
    }

    /// What is to be done at `now` with the due times from `next_due` on. `next_due` is the first due time that has not
    /// been processed. `is_running`: the previous operation has not ended.
    pub fn fire(&self, timing: &Timing, next_due: Timestamp, is_running: bool, now: Timestamp) -> Firing {
        let before = Timestamp::from_millis(next_due.as_millis() - 1);
        let mut due = timing.between(before, now, MAX_CATCH_UP + 1);
        let too_old = (due.len() > MAX_CATCH_UP).then(|| due.remove(0));
        let ready = due.iter().take_while(|due| due.after(self.delay(**due)) <= now).count();
        let waiting = due.split_off(ready);
        let next = match waiting.first() {
            Some(due) => Some(self.next(*due)),
            None => self.next_after(timing, now.max(before)),
        };
        let Some(last) = due.last().copied() else {
            return Firing { passed_over: too_old, next, ..Firing::default() };
        };
        // The first due time that may still be on time.
        let missed_before = due.partition_point(|due| due.after(self.delay(*due)).after(GRACE) < now);
        let mut create = match self.catch_up {
            CatchUp::All => due.clone(),
            CatchUp::Latest if missed_before == due.len() => vec![last],
            CatchUp::Latest | CatchUp::None => due[missed_before..].to_vec(),
        };
        // Operations that are created together would overlap at once: only the one for the latest due time is created.
        match self.overlap {
            Overlap::Allow => {}
            Overlap::Skip if is_running => create.clear(),
            Overlap::Skip | Overlap::CancelPrevious => drop(create.drain(..create.len().saturating_sub(1))),
        }
        let passed_over = due.iter().rev().find(|due| !create.contains(due)).copied().or(too_old);
        Firing { create, passed_over, next }
    }
}
