//! The values of the label of a kind.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The maximum number of kinds that have a label of their own.
pub const MOST_KINDS: usize = 100;
/// The label of all other kinds.
pub const OTHER: &str = "other";

/// The kinds that have a label of their own: those that the server knows, and none that a caller made up, since each
/// value costs memory in the server and in Prometheus for as long as both run.
#[derive(Debug)]
pub struct Kinds {
    named: RwLock<BTreeSet<Arc<str>>>,
    other: Arc<str>,
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds { named: RwLock::default(), other: OTHER.into() }
    }
}

impl Kinds {
    /// Gives these kinds labels of their own, up to [`MOST_KINDS`].
    pub fn name<'k>(&self, kinds: impl IntoIterator<Item = &'k str>) {
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds {
            if named.len() >= MOST_KINDS {
                return;
            }
            named.insert(kind.into());
        }
    }

    /// The label of a kind.
    pub fn label(&self, kind: &str) -> Arc<str> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(kind).unwrap_or(&self.other).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_kinds_have_a_label_of_their_own_and_no_more_than_fit() {
        let kinds = Kinds::default();
        kinds.name(["scan", "build"]);
        assert_eq!((&*kinds.label("scan"), &*kinds.label("made-up")), ("scan", OTHER));
        let many: Vec<String> = (0..2 * MOST_KINDS).map(|number| format!("kind-{number}")).collect();
        kinds.name(many.iter().map(String::as_str));
        let labels: BTreeSet<_> = many.iter().map(|kind| kinds.label(kind)).collect();
        assert_eq!(labels.len(), MOST_KINDS - 2 + 1);
        assert_eq!(&*kinds.label("build"), "build");
    }
}
