//! How many tokens that nobody knows an address may try.
//!
//! Each costs a query. So an address that tried [`UNKNOWN`] of them within [`WINDOW`] is refused without one until the
//! window is over; tokens that were valid here before are not concerned.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Unknown tokens of one address in a window.
pub(crate) const UNKNOWN: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);
/// Looks of one address that are under way: how far it can come above the limit.
const LOOKS: u32 = 1_000;
/// Addresses remembered at most; past it all are forgotten that have nothing under way.
const REMEMBERED: usize = 10_000;
/// When there are too many looks under way, some will have ended then.
const SOON: Duration = Duration::from_secs(1);

/// Counts by address.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<IpAddr, Count>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    unknown: u32,
    looks: u32,
}

/// A look for a token that this process has not seen.
#[derive(Debug)]
pub(crate) struct Look<'a>(&'a Refusals, IpAddr);

impl Refusals {
    /// Begins a look, or tells when to try again.
    pub(crate) fn begin(&self, address: IpAddr, now: Instant) -> Result<Look<'_>, Duration> {
        let mut counts = self.lock();
        if counts.len() >= REMEMBERED {
            counts.retain(|_, count| count.looks > 0 || count.since + WINDOW > now);
            if counts.len() >= REMEMBERED {
                counts.retain(|_, count| count.looks > 0);
            }
        }
        let count = counts.entry(address).or_insert(Count { since: now, unknown: 0, looks: 0 });
        if count.since + WINDOW <= now {
            (count.since, count.unknown) = (now, 0);
        }
        if count.unknown >= UNKNOWN {
            return Err(count.since + WINDOW - now);
        }
        if count.looks >= LOOKS {
            return Err(SOON);
        }
        count.looks += 1;
        Ok(Look(self, address))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look<'_> {
    /// Takes note that nobody knows the token.
    pub(crate) fn found_nothing(&self) {
        if let Some(count) = self.0.lock().get_mut(&self.1) {
            count.unknown += 1;
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            count.looks -= 1;
            if count.looks == 0 && count.unknown == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_may_try_so_many_in_a_window() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        drop(refusals.begin(address(1), now).unwrap());
        assert!(refusals.lock().is_empty(), "who knew its token leaves nothing");
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

    #[test]
    fn no_more_addresses_are_remembered_than_fit() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..2 * REMEMBERED as u32 {
            refusals.begin(IpAddr::from(number.to_be_bytes()), now).unwrap().found_nothing();
            assert!(refusals.lock().len() <= REMEMBERED);
        }
    }
}
