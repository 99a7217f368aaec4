//! Ranges of times and of numbers.

use crate::Timestamp;

/// From a time (included) to a later time (excluded); `None` means that there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    /// Not earlier than this.
    pub from: Option<Timestamp>,
    /// Earlier than this.
    pub before: Option<Timestamp>,
}

impl Times {
    /// Whether there is no bound.
    pub fn is_any(self) -> bool {
        self == Times::default()
    }

    /// Whether a time is in the range; a time that is not set is only in a range without bounds.
    pub fn contains(self, time: Option<Timestamp>) -> bool {
        match time {
            None => self.is_any(),
            Some(time) => self.from.is_none_or(|from| time >= from) && self.before.is_none_or(|before| time < before),
        }
    }

    /// The times that are in both ranges.
    pub fn and(self, other: Times) -> Times {
        Times {
            from: self.from.max(other.from),
            before: match (self.before, other.before) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}

/// From a number to another one, both included; `None` means that there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Numbers {
    /// Not less than this.
    pub least: Option<i64>,
    /// Not more than this.
    pub most: Option<i64>,
}

impl Numbers {
    /// Whether there is no bound.
    pub fn is_any(self) -> bool {
        self == Numbers::default()
    }

    /// Whether a number is in the range.
    pub fn contains(self, number: i64) -> bool {
        self.least.is_none_or(|least| number >= least) && self.most.is_none_or(|most| number <= most)
    }

    /// The numbers that are in both ranges.
    pub fn and(self, other: Numbers) -> Numbers {
        Numbers {
            least: self.least.max(other.least),
            most: match (self.most, other.most) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
        }
    }
}
