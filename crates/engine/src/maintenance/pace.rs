//! Looks that read a whole table, and may occasionally take long.
//!
//! There are few leases, but dead rows stay in their table for as long as somebody holds a snapshot open, and every
//! reader of the table walks past them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The next look comes after this many times what the last one took, so that it costs a thirtieth of the time at most.
const SHARE: u32 = 30;

/// When the next look may be made.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Whether a look may be made now.
    pub(crate) fn is_due(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|next| Instant::now() >= next)
    }

    /// Notes how long a look that ends now took.
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
        assert!(pace.is_due(), "nothing is known yet");
        pace.took(Duration::ZERO);
        assert!(pace.is_due(), "it cost nothing");
        pace.took(Duration::from_secs(60));
        assert!(!pace.is_due(), "the next is half an hour later");
    }
}
