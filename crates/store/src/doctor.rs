//! What `longrun doctor` finds.

use std::fmt;

/// The result of a check of the whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Organizations looked at.
    pub organizations: u64,
    /// Operations counted.
    pub operations: u64,
    /// What is wrong; empty when the store is sound.
    pub findings: Vec<Finding>,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which invariant, in a few words.
    pub invariant: &'static str,
    /// What breaks it: organization, key and the numbers that differ.
    pub detail: String,
}

impl fmt::Display for Finding {
    /// What was found, and then what must hold: the invariant alone would read as if it did.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (must hold: {})", self.detail, self.invariant)
    }
}
