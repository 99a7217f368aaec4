//! The values of a field that match.

use std::borrow::Borrow;
use std::collections::BTreeSet;

/// Some values, or all but some. The default is any value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Set<T: Ord> {
    /// One of these; when it is empty, no value matches.
    Among(BTreeSet<T>),
    /// Anything but these.
    Except(BTreeSet<T>),
}

impl<T: Ord> Default for Set<T> {
    fn default() -> Set<T> {
        Set::Except(BTreeSet::new())
    }
}

impl<T: Ord + Clone> Set<T> {
    /// Only these.
    pub fn among(values: impl IntoIterator<Item = T>) -> Set<T> {
        Set::Among(values.into_iter().collect())
    }

    /// All but these.
    pub fn except(values: impl IntoIterator<Item = T>) -> Set<T> {
        Set::Except(values.into_iter().collect())
    }

    /// Whether every value matches.
    pub fn is_any(&self) -> bool {
        matches!(self, Set::Except(values) if values.is_empty())
    }

    /// Whether no value matches.
    pub fn is_none(&self) -> bool {
        matches!(self, Set::Among(values) if values.is_empty())
    }

    /// The value that matches, if it is the only one.
    pub fn one(&self) -> Option<&T> {
        match self {
            Set::Among(values) if values.len() == 1 => values.first(),
            _ => None,
        }
    }

    /// Whether this value matches.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        match self {
            Set::Among(values) => values.contains(value),
            Set::Except(values) => !values.contains(value),
        }
    }

    /// The values that match both.
    pub fn and(self, other: Set<T>) -> Set<T> {
        match (self, other) {
            (Set::Among(one), Set::Among(other)) => Set::Among(one.intersection(&other).cloned().collect()),
            (Set::Among(among), Set::Except(except)) | (Set::Except(except), Set::Among(among)) => {
                Set::Among(among.difference(&except).cloned().collect())
            }
            (Set::Except(mut one), Set::Except(other)) => {
                one.extend(other);
                Set::Except(one)
            }
        }
    }

    /// All values that do not match.
    pub fn negated(self) -> Set<T> {
        match self {
            Set::Among(values) => Set::Except(values),
            Set::Except(values) => Set::Among(values),
        }
    }
}
