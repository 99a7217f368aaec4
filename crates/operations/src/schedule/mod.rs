//! Schedules: operations that are created again and again, at given times.
//!
//! Pure like the rest of this crate: what is due is a function of the schedule and of the time that is given.

mod due;
#[cfg(test)]
mod tests;
mod timing;

use std::time::Duration;

pub use due::{Firing, GRACE, MAX_CATCH_UP, Next, Terms};
pub use timing::Timing;

use crate::{NewOperation, Timestamp, Violation};

/// The number of due times that are shown for a schedule.
pub const SHOWN_TIMES: usize = 5;
/// The most bytes of a schedule's name.
const MAX_NAME_BYTES: usize = 128;

/// What happens at a due time when the operation that the schedule made before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// They run side by side.
    #[default]
    Allow,
    /// The due time is passed over.
    Skip,
    /// The previous one is cancelled, and the new one does not wait for its end.
    CancelPrevious,
}

/// What happens to due times that were missed by more than [`GRACE`], because no server ran or nothing could be
/// created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// They are passed over.
    None,
    /// The latest is made up, unless a later time is due by now.
    #[default]
    Latest,
    /// Each of them is made up, at most the latest [`MAX_CATCH_UP`].
    All,
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:literal),*) => {
        impl $type {
            /// Every one, by name.
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }

            /// The one of this name.
            pub fn from_name(name: &str) -> Option<$type> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }
        }
    };
}

names!(Overlap: Allow = "allow", Skip = "skip", CancelPrevious = "cancel_previous");
names!(CatchUp: None = "none", Latest = "latest", All = "all");

/// A schedule as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSchedule {
    /// Unique in the organization; what it is called by.
    pub name: String,
    /// When it is due, as a cron expression; empty when `every` is given.
    pub cron: String,
    /// The interval at which it is due.
    pub every: Option<Duration>,
    /// The time zone of `cron`, by its name in the IANA database; empty is UTC.
    pub time_zone: String,
    /// What is created; without a `run_after` and a `unique_key`.
    pub operation: NewOperation,
    /// When the previous operation has not ended.
    pub overlap: Overlap,
    /// When due times were missed.
    pub catch_up: CatchUp,
    /// Each due time is delayed by up to this long, so that not everything happens on the hour.
    pub jitter: Duration,
    /// Nothing is created until it is resumed.
    pub paused: bool,
}

impl NewSchedule {
    /// When it is due; `every` is counted from `anchor`.
    ///
    /// # Errors
    /// What is wrong with `cron`, `every` and `time_zone`.
    pub fn timing(&self, anchor: Timestamp) -> Result<Timing, Vec<Violation>> {
        Timing::new(&self.cron, self.every, &self.time_zone, anchor)
    }

    /// How it deals with its due times; `seed` belongs to the schedule.
    pub fn terms(&self, seed: u128) -> Terms {
        Terms { overlap: self.overlap, catch_up: self.catch_up, jitter: self.jitter, seed }
    }

    /// Whether it is due at other times than the other one.
    pub fn has_other_times(&self, other: &NewSchedule) -> bool {
        (&self.cron, self.every, &self.time_zone, self.jitter)
            != (&other.cron, other.every, &other.time_zone, other.jitter)
    }

    /// Everything that is wrong with it at this time; empty when it may be kept.
    pub fn violations(&self, now: Timestamp) -> Vec<Violation> {
        let mut found = Vec::new();
        found.extend(check_schedule_name("name", &self.name).err());
        match self.timing(now) {
            Err(violations) => found.extend(violations),
            Ok(timing) => {
                let times = timing.upcoming(now, SHOWN_TIMES);
                if times.is_empty() {
                    let told = "is never due: there is no such day, as there is no 30th of February";
                    found.push(Violation::new("cron", told));
                }
                let gap = |pair: &[Timestamp]| pair[1].as_millis().abs_diff(pair[0].as_millis());
                let shortest = times.windows(2).map(gap).min();
                if shortest.is_some_and(|shortest| self.jitter.as_millis() > u128::from(shortest)) {
                    let told = "must not be longer than the time between two due times";
                    found.push(Violation::new("jitter", told));
                }
            }
        }
        if self.operation.run_after.is_some() {
            found.push(Violation::new("operation.run_after", "must be left out: the schedule says when"));
        }
        if self.operation.unique_key.is_some() {
            let told = "must be left out: overlap says what happens while the operation before has not ended";
            found.push(Violation::new("operation.unique_key", told));
        }
        let template = self.operation.violations().into_iter();
        found.extend(
            template.map(|violation| Violation { field: format!("operation.{}", violation.field), ..violation }),
        );
        found
    }
}

/// Takes the name of a schedule, which appears in paths: 1 to 128 letters, digits, `_`, `-` and `.`, the first a letter
/// or digit.
///
/// # Errors
/// What is wrong with it.
pub fn check_schedule_name(field: &str, name: &str) -> Result<(), Violation> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let holds_well = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if starts_well && holds_well && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let told = "must be 1 to 128 letters, digits, '_', '-' or '.', starting with a letter or digit, e.g. nightly-scan";
    Err(Violation::new(field, told))
}
