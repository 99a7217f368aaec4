//! What a bulk operation reports of itself, read back for pages that show it.

use std::collections::BTreeMap;

use serde::Deserialize;
use store::{BulkProgress, BulkRefusal};

use super::{BulkAction, Input};

/// The progress that a bulk operation reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Operations that are dealt with.
    pub done: u64,
    /// How many matched when it began.
    pub total: u64,
    /// How many of those that are done were refused.
    pub refused: u64,
}

/// The outcome of a bulk operation that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many matched when it began.
    pub matched: u64,
    /// How many were cancelled, retried or deleted.
    pub changed: u64,
    /// How many were refused, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// The first hundred of those.
    pub refusals: Vec<BulkRefusal>,
}

/// What it does to which operations: the filter in its canonical form. `None` where the input is not that of a bulk
/// operation.
pub fn asked(input: &str) -> Option<(BulkAction, String)> {
    let Input { action, filter, .. } = serde_json::from_str(input).ok()?;
    Some((action, filter))
}

/// How far it is, as its progress says it.
pub fn told(progress: &str) -> Option<Told> {
    let numbers = progress.strip_prefix("stopped: ").unwrap_or(progress);
    let (done, rest) = numbers.split_once(" of ")?;
    let (total, rest) = rest.split_once(" done, ")?;
    let refused = rest.strip_suffix(" refused")?;
    Some(Told { done: done.parse().ok()?, total: total.parse().ok()?, refused: refused.parse().ok()? })
}

/// Its outcome, as its output says it.
pub fn outcome(output: &str) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Output {
        matched: u64,
        #[serde(default)]
        cancelled: u64,
        #[serde(default)]
        retried: u64,
        #[serde(default)]
        deleted: u64,
        refused: BTreeMap<String, u64>,
        refusals: Vec<BulkRefusal>,
    }
    let Output { matched, cancelled, retried, deleted, refused, refusals } = serde_json::from_str(output).ok()?;
    Some(Outcome { matched, changed: cancelled + retried + deleted, refused, refusals })
}

/// How far it is, for people.
pub(super) fn tell(progress: &BulkProgress) -> String {
    format!("{} of {} done, {} refused", progress.done(), progress.total, progress.done() - progress.changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let refused = BTreeMap::from([("gone".to_owned(), 2)]);
        let progress = BulkProgress { total: 9, changed: 3, refused, ..BulkProgress::default() };
        let wanted = Some(Told { done: 5, total: 9, refused: 2 });
        assert_eq!(told(&tell(&progress)), wanted);
        assert_eq!(told(&format!("stopped: {}", tell(&progress))), wanted);
        for other in ["", "5 of 9", "many of 9 done, 2 refused"] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn an_output_is_read_whatever_was_done() {
        let output = r#"{"action":"retry","matched":9,"retried":3,"refused":{"gone":2},"refusals":[]}"#;
        let refused = BTreeMap::from([("gone".to_owned(), 2)]);
        assert_eq!(outcome(output), Some(Outcome { matched: 9, changed: 3, refused, refusals: Vec::new() }));
        assert_eq!(outcome("{}"), None);
    }
}
