//! How many unknown tokens an address may try.
//!
//! Each costs a query. So an address that tried [`UNKNOWN`] of them within [`WINDOW`](crate::windows::WINDOW) is
//! refused without one until the window is over; tokens that were valid here before are not affected.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::windows::Windows;

/// Unknown tokens of one address in a window.
pub(crate) const UNKNOWN: u32 = 100;
/// The most simultaneous look-ups of one address: how far it can exceed the limit.
const LOOKS: u32 = 1_000;
/// When too many look-ups are under way, some will have ended after this time.
const SOON: Duration = Duration::from_secs(1);

/// Counts by address: unknown tokens have happened, look-ups are under way.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Windows<IpAddr>>);

/// A look-up of a token that this process has not seen.
#[derive(Debug)]
pub(crate) struct Look<'a>(&'a Refusals, IpAddr);

impl Refusals {
    /// Begins a look-up, or returns when to try again.
    pub(crate) fn begin(&self, address: IpAddr, now: Instant) -> Result<Look<'_>, Duration> {
        let mut counts = self.lock();
        let count = counts.count(address, now);
        if count.happened >= UNKNOWN {
            return Err(count.left(now));
        }
        if count.under_way >= LOOKS {
            return Err(SOON);
        }
        count.under_way += 1;
        Ok(Look(self, address))
    }

    fn lock(&self) -> MutexGuard<'_, Windows<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look<'_> {
    /// Records that the token is unknown.
    pub(crate) fn found_nothing(&self) {
        if let Some(count) = self.0.lock().known(&self.1) {
            count.happened += 1;
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.known(&self.1) {
            count.under_way -= 1;
        }
        counts.tidy(&self.1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::windows::WINDOW;

    #[test]
    fn an_address_may_try_so_many_in_a_window() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        drop(refusals.begin(address(1), now).unwrap());
        assert_eq!(refusals.lock().len(), 0, "a valid token leaves no count");
        for _ in 0..UNKNOWN {
            refusals.begin(address(1), now).unwrap().found_nothing();
        }
        assert_eq!(refusals.begin(address(1), now).unwrap_err(), WINDOW);
        assert!(refusals.begin(address(2), now).is_ok());
        assert!(refusals.begin(address(1), now + WINDOW).is_ok());
        let looks: Vec<_> = (0..LOOKS).map(|_| refusals.begin(address(3), now).unwrap()).collect();
        assert_eq!(refusals.begin(address(3), now).unwrap_err(), SOON);
        drop(looks);
        assert!(refusals.begin(address(3), now).is_ok());
    }
}
