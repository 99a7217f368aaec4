//! The building blocks of statistics: steps of time, and the durations of many operations in few bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Timestamp;

/// The steps into which time is divided. They begin at whole minutes, hours and days of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

/// The text is not the name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be minute, hour or day")]
pub struct UnknownStep;

impl Step {
    /// All steps, beginning with the finest.
    pub const ALL: [Step; 3] = [Step::Minute, Step::Hour, Step::Day];

    /// Its name: `minute`, `hour` or `day`.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Minute => "minute",
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }

    /// The number that stores use for it.
    pub const fn number(self) -> i16 {
        match self {
            Step::Minute => 1,
            Step::Hour => 2,
            Step::Day => 3,
        }
    }

    /// The number of milliseconds in one step.
    pub const fn millis(self) -> i64 {
        match self {
            Step::Minute => 60_000,
            Step::Hour => 3_600_000,
            Step::Day => 86_400_000,
        }
    }

    /// How long counts by this step are kept; `None`: forever.
    pub const fn kept(self) -> Option<Duration> {
        const DAY: u64 = 24 * 3600;
        match self {
            Step::Minute => Some(Duration::from_secs(7 * DAY)),
            Step::Hour => Some(Duration::from_secs(366 * DAY)),
            Step::Day => None,
        }
    }

    /// The beginning of the step that contains this time.
    pub fn start(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().div_euclid(self.millis()) * self.millis())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Step, UnknownStep> {
        Step::ALL.into_iter().find(|step| step.name() == text).ok_or(UnknownStep)
    }
}

/// The bits that distinguish a duration from others of its magnitude: the width of a bucket is a 64th of its lower
/// bound.
const PRECISION: u32 = 6;
/// Every duration below this one has a bucket of its own.
const EXACT: u64 = 2 << PRECISION;

/// How long many things took, in milliseconds: their number and their sum, both exact, and quantiles within 1 %.
///
/// It is a histogram whose buckets grow with the durations, so that it holds durations of a millisecond and of a week
/// equally well. Below 128 ms every duration has a bucket of its own; above, the width of a bucket is at most a 64th of
/// its lower bound. A bucket is represented by its middle, which differs by less than 0.8 % from every duration in it.
/// Two histograms are merged without loss, in either order. Each bucket in use takes two or three bytes, and at most a
/// few thousand buckets are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    sum_ms: u64,
    /// The buckets by their numbers, in order, none of them empty.
    buckets: Vec<(u16, u64)>,
}

/// The bytes are not durations that [`Durations::to_bytes`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the durations are damaged")]
pub struct InvalidDurations;

fn bucket(millis: u64) -> u16 {
    if millis < EXACT {
        return u16::try_from(millis).expect("it is below 128");
    }
    let shift = millis.ilog2() - PRECISION;
    // The bits below the highest one, as many as PRECISION says.
    let within = (millis >> shift) - (1 << PRECISION);
    u16::try_from((u64::from(shift + 1) << PRECISION) + within).expect("there are 59 sizes of 64 buckets each")
}

/// The middle of a bucket.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let shift = (bucket >> PRECISION) - 1;
    let first = ((bucket & ((1 << PRECISION) - 1)) + (1 << PRECISION)) << shift;
    first + (((1_u64 << shift) - 1) >> 1)
}

impl Durations {
    /// Adds the time from `from` to `to`; if that ends before it begins, because a clock was set back, it counts as 0.
    pub fn add(&mut self, from: Timestamp, to: Timestamp) {
        let millis = to.as_millis().saturating_sub(from.as_millis()).max(0).unsigned_abs();
        self.sum_ms = self.sum_ms.saturating_add(millis);
        self.add_to(bucket(millis), 1);
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(place) => self.buckets[place].1 = self.buckets[place].1.saturating_add(count),
            Err(place) => self.buckets.insert(place, (bucket, count)),
        }
    }

    /// Adds all durations of `others`.
    pub fn merge(&mut self, others: &Durations) {
        self.sum_ms = self.sum_ms.saturating_add(others.sum_ms);
        if self.buckets.is_empty() {
            self.buckets.clone_from(&others.buckets);
            return;
        }
        others.buckets.iter().for_each(|(bucket, count)| self.add_to(*bucket, *count));
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// The sum of the durations, in milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }

    /// The smallest duration, in milliseconds, that at least `percent` per cent of all durations do not exceed, within
    /// 1 %; `None` if there are no durations.
    pub fn quantile_ms(&self, percent: u64) -> Option<u64> {
        let rank = u128::from(self.count()) * u128::from(percent.min(100));
        let rank = rank.div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += u128::from(*count);
            if seen >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }

    /// The stored form: the sum, and for each bucket its distance from the previous one and its count. Empty if there
    /// are no durations.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3 * self.buckets.len() + 8);
        if self.buckets.is_empty() {
            return bytes;
        }
        write(&mut bytes, self.sum_ms);
        let mut last = 0;
        for (bucket, count) in &self.buckets {
            write(&mut bytes, u64::from(bucket - last));
            write(&mut bytes, *count);
            last = *bucket;
        }
        bytes
    }

    /// Reads what [`Durations::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`InvalidDurations`].
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Durations, InvalidDurations> {
        let mut durations = Durations::default();
        if bytes.is_empty() {
            return Ok(durations);
        }
        durations.sum_ms = read(&mut bytes)?;
        let mut last = None;
        while !bytes.is_empty() {
            let step = u16::try_from(read(&mut bytes)?).map_err(|_| InvalidDurations)?;
            let bucket = last.unwrap_or(0_u16).checked_add(step).ok_or(InvalidDurations)?;
            let count = read(&mut bytes)?;
            let is_valid = count > 0 && bucket <= self::bucket(u64::MAX) && last.is_none_or(|last| last < bucket);
            if !is_valid {
                return Err(InvalidDurations);
            }
            durations.buckets.push((bucket, count));
            last = Some(bucket);
        }
        if durations.buckets.is_empty() { Err(InvalidDurations) } else { Ok(durations) }
    }
}

/// Writes seven bits per byte, the lowest first; the highest bit of a byte says that more bytes follow.
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read(bytes: &mut &[u8]) -> Result<u64, InvalidDurations> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(InvalidDurations)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part > u64::MAX >> shift {
            return Err(InvalidDurations);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(InvalidDurations)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn of(all: &[u64]) -> Durations {
        let mut durations = Durations::default();
        for millis in all {
            durations.add(Timestamp::from_millis(0), Timestamp::from_millis(i64::try_from(*millis).unwrap()));
        }
        durations
    }

    #[test]
    fn steps_begin_at_whole_ones_of_utc_before_the_epoch_too() {
        for (step, start) in [
            (Step::Minute, "2026-01-23T04:56:00.000Z"),
            (Step::Hour, "2026-01-23T04:00:00.000Z"),
            (Step::Day, "2026-01-23T00:00:00.000Z"),
        ] {
            assert_eq!(step.start("2026-01-23T04:56:07Z".parse().unwrap()).to_string(), start);
            assert_eq!(step.name().parse(), Ok(step));
        }
        assert_eq!(Step::Hour.start(Timestamp::from_millis(-1)), Timestamp::from_millis(-3_600_000));
        assert_eq!("week".parse::<Step>(), Err(UnknownStep));
    }

    #[test]
    fn what_ends_before_it_begins_took_no_time() {
        let mut durations = Durations::default();
        durations.add(Timestamp::from_millis(5), Timestamp::from_millis(3));
        assert_eq!((durations.count(), durations.sum_ms(), durations.quantile_ms(50)), (1, 0, Some(0)));
    }

    #[test]
    fn without_any_there_is_no_quantile_and_no_byte() {
        assert_eq!(Durations::default().quantile_ms(50), None);
        assert_eq!(Durations::default().to_bytes(), Vec::<u8>::new());
        assert_eq!(Durations::from_bytes(&[]), Ok(Durations::default()));
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut last = bucket(0);
        for millis in 1..200_000_u64 {
            let this = bucket(millis);
            assert!(this == last || this == last + 1, "{millis}");
            last = this;
        }
        assert_eq!(bucket(u64::MAX), 64 * 59 - 1);
        assert!(middle(bucket(u64::MAX)) > u64::MAX / 65 * 64);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        for damaged in [&[5_u8][..], &[5, 1], &[5, 1, 0], &[5, 1, 1, 0, 1], &[5, 0xff, 0xff, 0xff, 1, 1], &[0xff; 11]] {
            assert_eq!(Durations::from_bytes(damaged), Err(InvalidDurations), "{damaged:?}");
        }
    }

    fn millis() -> impl Strategy<Value = u64> {
        (0..40_u32).prop_flat_map(|bits| 0..=(1_u64 << bits))
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(mut all in proptest::collection::vec(millis(), 1..200), percent in 1..=100_u64) {
            let durations = of(&all);
            all.sort_unstable();
            let rank = (all.len() as u64 * percent).div_ceil(100).max(1) as usize;
            let (exact, estimate) = (all[rank - 1], durations.quantile_ms(percent).unwrap());
            prop_assert!(estimate.abs_diff(exact) * 100 <= exact, "the estimate of {exact} is {estimate}");
            prop_assert_eq!((durations.count(), durations.sum_ms()), (all.len() as u64, all.iter().sum()));
        }

        #[test]
        fn parts_merge_into_the_whole(all in proptest::collection::vec(millis(), 0..100), at in 0..100_usize) {
            let at = at.min(all.len());
            for (first, second) in [(&all[..at], &all[at..]), (&all[at..], &all[..at])] {
                let mut merged = of(first);
                merged.merge(&of(second));
                prop_assert_eq!(&merged, &of(&all));
            }
        }

        #[test]
        fn bytes_are_read_as_they_were_written(all in proptest::collection::vec(millis(), 0..100)) {
            let durations = of(&all);
            let bytes = durations.to_bytes();
            prop_assert!(bytes.len() <= 10 + 4 * all.len());
            prop_assert_eq!(Durations::from_bytes(&bytes), Ok(durations));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(durations) = Durations::from_bytes(&bytes) {
                let _ = (durations.count(), durations.quantile_ms(99));
            }
        }
    }
}
