//! How many claims may wait: of one organization, of one token, and in how many groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The most sets of kinds that one token waits for at a time. Each is a group that queries the store at least once per
/// second.
const GROUPS_OF_TOKEN: usize = 256;

/// Counts the claims that wait. A name without waiting claims is forgotten.
#[derive(Clone)]
pub(super) struct Places {
    /// The most claims of an organization; a token may have half of it.
    most: usize,
    taken: Arc<Mutex<HashMap<Name, usize>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    /// Claims of an organization.
    Organization(String),
    /// Claims of a token.
    Token(String),
    /// Groups of a token.
    Groups(String),
}

/// A place, until this is dropped.
pub(super) struct Place {
    of: Places,
    names: Vec<Name>,
}

impl Places {
    pub fn new(most: usize) -> Places {
        Places { most, taken: Arc::default() }
    }

    /// A place for a claim that waits, if there is one.
    pub fn take(&self, organization: &str, token: &str) -> Option<Place> {
        let organization = (Name::Organization(organization.to_owned()), self.most);
        self.count([organization, (Name::Token(token.to_owned()), self.most.div_ceil(2))])
    }

    /// A place for a group, if there is one.
    pub fn take_group(&self, token: &str) -> Option<Place> {
        self.count([(Name::Groups(token.to_owned()), GROUPS_OF_TOKEN)])
    }

    /// Counts one more under each of these names, unless one has reached its maximum.
    fn count<const N: usize>(&self, names: [(Name, usize); N]) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if names.iter().any(|(name, most)| taken.get(name).is_some_and(|count| count >= most)) {
            return None;
        }
        let names: Vec<Name> = names.into_iter().map(|(name, _)| name).collect();
        for name in &names {
            *taken.entry(name.clone()).or_default() += 1;
        }
        Some(Place { of: self.clone(), names })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            if let Some(count) = taken.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_have_half_of_what_its_organization_may() {
        let places = Places::new(4);
        let first = [places.take("acme", "a"), places.take("acme", "a")];
        assert!(first.iter().all(Option::is_some) && places.take("acme", "a").is_none());
        let second = [places.take("acme", "b"), places.take("acme", "b")];
        assert!(second.iter().all(Option::is_some) && places.take("acme", "c").is_none());
        assert!(places.take("other", "d").is_some());
        let groups: Vec<_> = (0..=GROUPS_OF_TOKEN).map(|_| places.take_group("a")).collect();
        assert!(groups[GROUPS_OF_TOKEN].is_none() && groups[GROUPS_OF_TOKEN - 1].is_some());
        drop((first, second, groups));
        assert_eq!(places.taken.lock().map(|taken| taken.len()).ok(), Some(0));
    }
}
