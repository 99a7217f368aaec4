//! A limited amount that all organizations share, and that none of them can use up.
//!
//! An organization may hold as much as it leaves free: half if it is alone, a third next to another one that holds its
//! maximum, and so on. So there is always something left for the next one, without reserving an idle part for each. In
//! addition, an organization that holds nothing gets a minimum amount, as long as there is any capacity.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An amount of which organizations hold shares. Clones share it.
#[derive(Clone)]
pub(crate) struct Shares(Arc<Inner>);

struct Inner {
    total: u64,
    least: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    sum: u64,
    by_organization: HashMap<String, u64>,
}

/// The share that an organization holds until this is dropped.
pub(crate) struct Share {
    of: Shares,
    organization: String,
    amount: u64,
}

impl Shares {
    /// `total` for all, of which each organization may hold `least` while there is capacity.
    pub(crate) fn new(total: u64, least: u64) -> Shares {
        Shares(Arc::new(Inner { total, least, held: Mutex::default() }))
    }

    /// Takes an amount, if that much is left for this organization.
    pub(crate) fn take(&self, organization: &str, amount: u64) -> Option<Share> {
        let mut share = Share { of: self.clone(), organization: organization.to_owned(), amount: 0 };
        share.grow(amount).then_some(share)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Takes more; returns whether that much was left.
    pub(crate) fn grow(&mut self, by: u64) -> bool {
        // An amount of zero is always there, also when others have taken what was left for this organization.
        if by == 0 {
            return true;
        }
        let mut held = self.of.lock();
        let sum = held.sum.saturating_add(by);
        let own = held.by_organization.get(&self.organization).copied().unwrap_or(0).saturating_add(by);
        let Some(free) = self.of.0.total.checked_sub(sum) else { return false };
        if own > free.max(self.of.0.least) {
            return false;
        }
        held.sum = sum;
        held.by_organization.insert(self.organization.clone(), own);
        self.amount += by;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.lock();
        held.sum -= self.amount;
        if let Some(own) = held.by_organization.get_mut(&self.organization) {
            *own -= self.amount;
            if *own == 0 {
                held.by_organization.remove(&self.organization);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nobody_can_take_all() {
        let shares = Shares::new(100, 1);
        let mut evil = shares.take("evil", 50).unwrap();
        assert!(!evil.grow(1), "half of it is the most of one");
        let other = shares.take("other", 25).unwrap();
        assert!(shares.take("evil", 1).is_none() && shares.take("evil", 0).is_some());
        assert!(shares.take("other", 1).is_none());
        assert!(shares.take("third", 13).is_none() && shares.take("third", 12).is_some());
        drop(other);
        drop(evil);
        assert!(shares.take("other", 50).is_some(), "what is dropped is free");
        let held = shares.lock();
        assert_eq!((held.sum, held.by_organization.len()), (0, 0));
    }

    #[test]
    fn who_has_nothing_gets_the_last() {
        let shares = Shares::new(4, 1);
        let take = |organization| shares.take(organization, 1);
        let mut held = vec![take("a").unwrap(), take("a").unwrap()];
        assert!(take("a").is_none());
        held.extend([take("b").unwrap(), take("c").unwrap()]);
        assert!(take("d").is_none() && take("a").is_none(), "there is no more");
        held.pop();
        assert!(take("a").is_none() && take("d").is_some());
        assert!(Shares::new(1, 1).take("a", 1).is_some());
    }
}
