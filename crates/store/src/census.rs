//! What a store holds, in numbers; backups and moves are checked by them.

use std::collections::BTreeMap;
use std::fmt;

use operations::Status;

use crate::Digest;

/// The numbers of a store, from one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The number that each organization's next operation gets.
    pub organizations: BTreeMap<String, i64>,
    /// Operations by organization, kind and status.
    pub operations: BTreeMap<(String, String, Status), u64>,
    /// API tokens, revoked and expired ones included.
    pub tokens: u64,
    /// Records of evidence.
    pub evidence: u64,
    /// Idempotency keys that are remembered.
    pub idempotency_keys: u64,
}

/// A piece of evidence that a copy of a store refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvidence {
    /// The organization that has it.
    pub organization: String,
    /// The SHA-256 of its content.
    pub digest: Digest,
    /// Bytes of the content.
    pub size: u64,
}

impl Census {
    /// All operations.
    pub fn total(&self) -> u64 {
        self.operations.values().sum()
    }

    /// Whether the store holds nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Census::default()
    }

    /// Where the two differ, one line each; empty when they agree.
    pub fn differences(&self, other: &Census) -> Vec<String> {
        let mut found = Vec::new();
        compare(&mut found, "next number of", &self.organizations, &other.organizations, ToString::to_string);
        compare(&mut found, "operations of", &self.operations, &other.operations, |(organization, kind, status)| {
            format!("{organization} {kind} {status}")
        });
        for (what, one, two) in [
            ("tokens", self.tokens, other.tokens),
            ("records of evidence", self.evidence, other.evidence),
            ("idempotency keys", self.idempotency_keys, other.idempotency_keys),
        ] {
            if one != two {
                found.push(format!("{what}: {one} and {two}"));
            }
        }
        found
    }
}

fn compare<K: Ord, N: Copy + Default + PartialEq + fmt::Display>(
    found: &mut Vec<String>,
    what: &str,
    one: &BTreeMap<K, N>,
    two: &BTreeMap<K, N>,
    name: impl Fn(&K) -> String,
) {
    let keys: std::collections::BTreeSet<&K> = one.keys().chain(two.keys()).collect();
    for key in keys {
        let [one, two] = [one, two].map(|counts| counts.get(key).copied().unwrap_or_default());
        if one != two {
            found.push(format!("{what} {}: {one} and {two}", name(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_told() {
        let key = |kind: &str| ("acme".to_owned(), kind.to_owned(), Status::Failed);
        let one = Census {
            organizations: BTreeMap::from([("acme".to_owned(), 4)]),
            operations: BTreeMap::from([(key("a"), 1), (key("b"), 2)]),
            tokens: 1,
            ..Census::default()
        };
        assert_eq!(one.differences(&one), [""; 0]);
        let two = Census { operations: BTreeMap::from([(key("b"), 3)]), evidence: 7, ..one.clone() };
        assert_eq!(
            one.differences(&two),
            [
                "operations of acme a FAILED: 1 and 0",
                "operations of acme b FAILED: 2 and 3",
                "records of evidence: 0 and 7"
            ]
        );
        assert!(!one.is_empty() && Census::default().is_empty());
        assert_eq!((one.total(), two.total()), (3, 3));
    }
}
