//! The outcome of an operation of a built-in kind, read from its output: the verdict of an evaluation, the counts of a
//! bulk operation.

use kinds::bulk;
use operations::{Operation, Status};
use serde_json::Value;
use store::OperationDetail;

use super::filter;
use super::format::{number, short};

/// The most violations of a policy that are shown.
const SHOWN_VIOLATIONS: usize = 50;
/// The most characters of a filter that are shown: a filter of picked ids is long.
const SHOWN_FILTER: usize = 400;

/// The result of an evaluation of evidence.
pub(super) struct Verdict {
    pub(super) status: String,
    pub(super) evidence: String,
    pub(super) policies: Vec<Policy>,
    pub(super) left_out: Vec<(String, String)>,
}

pub(super) struct Policy {
    pub(super) name: String,
    pub(super) status: String,
    /// Violations that are not waived.
    pub(super) violations: Vec<String>,
    /// How many more there are.
    pub(super) more: usize,
    /// Violations that are waived, and why.
    pub(super) waived: Vec<(String, String)>,
    /// How many more there are.
    pub(super) more_waived: usize,
    pub(super) reasons: Vec<String>,
}

/// What a bulk operation does, and its progress.
pub(super) struct Bulk {
    /// `Cancel`.
    pub(super) verb: &'static str,
    pub(super) filter: String,
    /// Empty where the filter is longer than an address may be.
    pub(super) url: String,
    /// The progress, for a bar; none before it has begun.
    pub(super) progress: Option<Progress>,
    pub(super) outcome: Option<Outcome>,
}

pub(super) struct Progress {
    pub(super) done: u64,
    pub(super) total: u64,
    /// `1,200 of 3,000 done, 4 refused`.
    pub(super) text: String,
}

pub(super) struct Outcome {
    pub(super) matched: String,
    pub(super) changed: String,
    /// `cancelled`.
    pub(super) changed_name: &'static str,
    /// Reasons, and how many were refused for each.
    pub(super) refused: Vec<(String, String)>,
    /// Ids, and why.
    pub(super) refusals: Vec<(String, String)>,
}

/// The verdict in the output of an evaluation, as far as it can be read.
pub(super) fn verdict(operation: &Operation) -> Option<Verdict> {
    if operation.kind != kinds::evaluation::KIND || operation.status != Status::Completed {
        return None;
    }
    let output: Value = serde_json::from_str(&operation.output).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let why = |waiver: &Value| {
        let statement = text(&waiver["vex"]["statement"]);
        if statement.is_empty() { text(&waiver["reason"]) } else { statement }
    };
    let policies = list(&output["policies"]).into_iter().map(|policy| {
        let violations = list(&policy["violations"]);
        let (open, waived): (Vec<&Value>, Vec<&Value>) = violations.iter().partition(|found| found["waived"].is_null());
        let waiver = |found: &&Value| (text(&found["message"]), why(&found["waived"]));
        let reasons = ["skip_reasons", "not_evaluated", "warnings"].into_iter().flat_map(|name| list(&policy[name]));
        Policy {
            name: text(&policy["name"]),
            status: text(&policy["status"]),
            more: open.len().saturating_sub(SHOWN_VIOLATIONS),
            violations: open.iter().take(SHOWN_VIOLATIONS).map(|found| text(&found["message"])).collect(),
            more_waived: waived.len().saturating_sub(SHOWN_VIOLATIONS),
            waived: waived.iter().take(SHOWN_VIOLATIONS).map(waiver).collect(),
            reasons: reasons.map(|reason| text(&reason)).collect(),
        }
    });
    let evidence = &output["evidence"];
    let name = text(&evidence["name"]);
    let name = if name.is_empty() { text(&evidence["digest"]) } else { name };
    Some(Verdict {
        status: text(&output["status"]),
        evidence: format!("{name} ({})", text(&evidence["kind"])),
        policies: policies.collect(),
        left_out: list(&output["left_out"]).iter().map(|one| (text(&one["name"]), text(&one["reason"]))).collect(),
    })
}

/// The state of a bulk operation.
pub(super) fn bulk(detail: &OperationDetail) -> Option<Bulk> {
    if detail.operation.kind != bulk::KIND {
        return None;
    }
    let (action, filter) = bulk::asked(&detail.input)?;
    let (verb, changed_name) = match action {
        bulk::BulkAction::Cancel => ("Cancel", "cancelled"),
        bulk::BulkAction::Retry => ("Retry", "retried"),
        bulk::BulkAction::Delete => ("Delete", "deleted"),
    };
    let outcome = bulk::outcome(&detail.operation.output).map(|outcome| Outcome {
        matched: number(outcome.matched),
        changed: number(outcome.changed),
        changed_name,
        refused: outcome.refused.into_iter().map(|(reason, count)| (reason, number(count))).collect(),
        refusals: outcome.refusals.into_iter().map(|refusal| (refusal.id, refusal.reason)).collect(),
    });
    let progress = bulk::told(&detail.progress).filter(|_| outcome.is_none()).map(|progress| Progress {
        done: progress.done.min(progress.total),
        total: progress.total.max(1),
        text: format!(
            "{} of {} done, {} refused",
            number(progress.done),
            number(progress.total),
            number(progress.refused)
        ),
    });
    let is_address = filter.len() <= operations::search::MAX_FILTER_BYTES;
    let url = if is_address { filter::url(&filter, &[]) } else { String::new() };
    Some(Bulk { verb, filter: short(&filter, SHOWN_FILTER), url, progress, outcome })
}
