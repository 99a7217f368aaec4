//! Schedules: operations that are created again and again, at given times.
//!
//! Pure like the rest of this crate: what is due depends only on the schedule and on the time that is passed in.

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
/// The maximum length of a schedule's name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// What happens at a due time when the operation that the schedule created before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Both run at the same time.
    #[default]
    Allow,
    /// The due time is skipped.
    Skip,
    /// The previous operation is cancelled, and the new one does not wait for its end.
    CancelPrevious,
}

/// What happens to due times that were missed by more than [`GRACE`], because no server was running or no operation
/// could be created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// They are skipped.
    None,
    /// The latest of them is made up, unless a later due time has been reached by now.
    #[default]
    Latest,
    /// Each of them is made up, at most the latest [`MAX_CATCH_UP`].
    All,
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:literal),*) => {
        impl $type {
            /// All variants, by name.
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }

            /// The variant with this name.
            pub fn from_name(name: &str) -> Option<$type> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }
        }
    };
}

names!(Overlap: Allow = "allow", Skip = "skip", CancelPrevious = "cancel_previous");
names!(CatchUp: None = "none", Latest = "latest", All = "all");

/// A schedule as its owner defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSchedule {
    /// Its name, which is unique in the organization.
    pub name: String,
    /// When it is due, as a cron expression; empty when `every` is given.
    pub cron: String,
    /// The interval at which it is due.
    pub every: Option<Duration>,
    /// The time zone of `cron`, by its name in the IANA database; empty is UTC.
    pub time_zone: String,
    /// The operation that it creates; without a `run_after` and a `unique_key`.
    pub operation: NewOperation,
    /// What happens when the previous operation has not ended.
    pub overlap: Overlap,
    /// What happens when due times were missed.
    pub catch_up: CatchUp,
    /// Each due time is delayed by up to this long, so that not everything happens on the hour.
    pub jitter: Duration,
    /// Whether it is paused: it creates nothing until it is resumed.
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

    /// How it handles its due times; `seed` belongs to the schedule.
    pub fn terms(&self, seed: u128) -> Terms {
        Terms { overlap: self.overlap, catch_up: self.catch_up, jitter: self.jitter, seed }
    }

    /// Whether its due times differ from those of another schedule.
    pub fn has_other_times(&self, other: &NewSchedule) -> bool {
        (&self.cron, self.every, &self.time_zone, self.jitter)
            != (&other.cron, other.every, &other.time_zone, other.jitter)
    }

    /// Everything that is wrong with it at this time; empty when it may be stored.
    pub fn violations(&self, now: Timestamp) -> Vec<Violation> {
        let mut found = Vec::new();
        found.extend(check_schedule_name("name", &self.name).err());
        match self.timing(now) {
            Err(violations) => found.extend(violations),
            Ok(timing) => {
                let times = timing.upcoming(now, SHOWN_TIMES);
                if times.is_empty() {
                    let problem = "is never due: there is no such day, as there is no 30th of February";
                    found.push(Violation::new("cron", problem));
                }
                let gap = |pair: &[Timestamp]| pair[1].as_millis().abs_diff(pair[0].as_millis());
                let shortest = times.windows(2).map(gap).min();
                if shortest.is_some_and(|shortest| self.jitter.as_millis() > u128::from(shortest)) {
                    let problem = "must not be longer than the time between two due times";
                    found.push(Violation::new("jitter", problem));
                }
            }
        }
        if self.operation.run_after.is_some() {
            found.push(Violation::new(
                "operation.run_after",
                "must be left out: the schedule determines when the operation runs",
            ));
        }
        if self.operation.unique_key.is_some() {
            let problem =
                "must be left out: overlap determines what happens while the previous operation has not ended";
            found.push(Violation::new("operation.unique_key", problem));
        }
        let template = self.operation.violations().into_iter();
        found.extend(
            template.map(|violation| Violation { field: format!("operation.{}", violation.field), ..violation }),
        );
        found
    }
}

/// Checks the name of a schedule, which appears in paths: 1 to 128 letters, digits, `_`, `-` and `.`, beginning with a
/// letter or digit.
///
/// # Errors
/// What is wrong with it.
pub fn check_schedule_name(field: &str, name: &str) -> Result<(), Violation> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let holds_well = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if starts_well && holds_well && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    let problem =
        "must be 1 to 128 letters, digits, '_', '-' or '.', starting with a letter or digit, e.g. nightly-scan";
    Err(Violation::new(field, problem))
}
