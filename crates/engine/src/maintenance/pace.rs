//! The pace of checks that read a whole table, and may occasionally take long.
//!
//! There are few leases, but dead rows stay in their table for as long as somebody holds a snapshot open, and every
//! reader of the table has to skip them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The next check is made after this many times the duration of the last one, so that checks take a thirtieth of the
/// time at most.
const SHARE: u32 = 30;

/// When the next check may be made.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Whether a check may be made now.
    pub(crate) fn is_due(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|next| Instant::now() >= next)
    }

    /// Notes how long a check that ends now took.
    pub(crate) fn took(&self, cost: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + cost * SHARE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_done_less_often() {
        let pace = Pace::default();
        assert!(pace.is_due(), "no check has been made yet");
        pace.took(Duration::ZERO);
        assert!(pace.is_due(), "the check took no time");
        pace.took(Duration::from_secs(60));
        assert!(!pace.is_due(), "the next check is half an hour later");
    }
}
