//! Reads what a bulk operation reports about itself, for pages that show it.

use std::collections::BTreeMap;

use serde::Deserialize;
use store::{BulkProgress, BulkRefusal};

use super::{BulkAction, Input};

/// The progress that a bulk operation reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedProgress {
    /// The number of operations that have been processed.
    pub done: u64,
    /// How many operations matched when it began.
    pub total: u64,
    /// How many of the processed operations were refused.
    pub refused: u64,
}

/// The outcome of a bulk operation that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many operations matched when it began.
    pub matched: u64,
    /// How many were cancelled, retried or deleted.
    pub changed: u64,
    /// How many were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The first hundred refusals.
    pub refusals: Vec<BulkRefusal>,
}

/// The action and the filter in its canonical form. `None` where the input is not that of a bulk operation.
pub fn asked(input: &str) -> Option<(BulkAction, String)> {
    let Input { action, filter, .. } = serde_json::from_str(input).ok()?;
    Some((action, filter))
}

/// Reads the progress of a bulk operation from the text that it reported.
pub fn told(progress: &str) -> Option<ReportedProgress> {
    let numbers = progress.strip_prefix("stopped: ").unwrap_or(progress);
    let (done, rest) = numbers.split_once(" of ")?;
    let (total, rest) = rest.split_once(" done, ")?;
    let refused = rest.strip_suffix(" refused")?;
    Some(ReportedProgress { done: done.parse().ok()?, total: total.parse().ok()?, refused: refused.parse().ok()? })
}

/// Reads the outcome of a bulk operation from its output.
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

/// The progress as a line for people.
pub(super) fn progress_line(progress: &BulkProgress) -> String {
    format!("{} of {} done, {} refused", progress.done(), progress.total, progress.done() - progress.changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_progress_is_read_again() {
        let refused = BTreeMap::from([("gone".to_owned(), 2)]);
        let progress = BulkProgress { total: 9, changed: 3, refused, ..BulkProgress::default() };
        let wanted = Some(ReportedProgress { done: 5, total: 9, refused: 2 });
        assert_eq!(told(&progress_line(&progress)), wanted);
        assert_eq!(told(&format!("stopped: {}", progress_line(&progress))), wanted);
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
