//! Waivers of violations, and the difference between the violations of an evaluation and those of the previous one:
//! both work on the violations of a complete output.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::{Output, Status, Totals, ViolationOutput};
use crate::vex::Vex;

/// Members of a finding that identify it: the identifiers of rules, vulnerabilities and checks.
const IDENTIFIERS: [&str; 10] = [
    "id",
    "rule",
    "rule_id",
    "ruleId",
    "check_id",
    "checkId",
    "vulnerability",
    "vulnerability_id",
    "external_id",
    "cve",
];
/// The maximum number of violations of each type that a difference lists.
const LISTED: usize = 100;

/// A waiver, as an evaluation needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// Its id.
    pub id: String,
    /// The name of the policy whose violations it covers.
    pub policy: String,
    /// Which of them.
    pub covered: Covered,
    /// The evidence to which it applies: its digest, or the id of its project; if it belongs to no project, its name or
    /// the name of its project. Empty: any.
    pub subject: String,
    /// The reason.
    pub reason: String,
    /// Who added it.
    pub by: String,
    /// The time from which it has no effect any more, RFC 3339; empty: never.
    pub expires: String,
}

/// Which violations of a policy a waiver covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// All.
    All,
    /// Those with this message, or with this identifier in their finding.
    Finding(String),
    /// Those of a vulnerability that a VEX document answers, and calls open under no name in the finding.
    Vex {
        /// The digest of the document.
        document: String,
        /// Its statements.
        vex: Arc<Vex>,
    },
}

/// The waiver of a violation, or an entry in the waivers of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// The waiver's id.
    pub id: String,
    /// The reason.
    pub reason: String,
    /// Who added it.
    pub by: String,
    /// The time of its end, RFC 3339; omitted if it does not end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expires: String,
    /// Present if the waiver names a VEX document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vex: Option<WaivedByVex>,
}

/// The VEX document by which a violation is waived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaivedByVex {
    /// Its digest.
    pub document: String,
    /// For a violation: the status that the document gives the vulnerability, and the reason; otherwise omitted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

/// The violations that are new and gone since another evaluation of the same evidence by the same policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The other operation.
    pub since: String,
    /// The violations that were not there.
    pub new: Vec<Objection>,
    /// The violations that are gone.
    pub gone: Vec<Objection>,
    /// The violations that were there, too.
    pub still: Vec<Objection>,
    /// The counts of each; at most a hundred of each are listed.
    pub counts: DifferenceCounts,
}

/// The counts of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceCounts {
    /// The violations that were not there.
    pub new: usize,
    /// The violations that are gone.
    pub gone: usize,
    /// The violations that were there, too.
    pub still: usize,
}

/// A violation, identified by its policy and message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Objection {
    /// The policy's name.
    pub policy: String,
    /// Its message.
    pub message: String,
}

/// Which of some items are new, gone, and still there.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared<'a, T> {
    /// Only in the first.
    pub new: Vec<&'a T>,
    /// Only in the second.
    pub gone: Vec<&'a T>,
    /// In both.
    pub still: Vec<&'a T>,
}

/// Compares the present items with the previous ones.
pub fn compare<'a, T: Ord>(now: &'a BTreeSet<T>, before: &'a BTreeSet<T>) -> Compared<'a, T> {
    Compared {
        new: now.difference(before).collect(),
        gone: before.difference(now).collect(),
        still: now.intersection(before).collect(),
    }
}

/// The violations in an output, as JSON, that are not waived, as far as they can be parsed.
pub fn objections(output: &Value) -> BTreeSet<Objection> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let policies = output["policies"].as_array().into_iter().flatten();
    let of = policies.flat_map(|policy| {
        let found = policy["violations"].as_array().into_iter().flatten();
        let counted = found.filter(|violation| violation["waived"].is_null());
        counted.map(move |violation| Objection { policy: text(&policy["name"]), message: text(&violation["message"]) })
    });
    of.collect()
}

impl Waiver {
    /// Returns the mark for a violation that it covers.
    fn waived(&self, policy: &str, violation: &ViolationOutput) -> Option<Waived> {
        if self.policy != policy {
            return None;
        }
        let finding = violation.finding.as_ref();
        let mut names = IDENTIFIERS.iter().filter_map(|name| finding?[*name].as_str());
        match &self.covered {
            Covered::All => Some(self.as_used()),
            Covered::Finding(wanted) => {
                (violation.message == *wanted || names.any(|name| name == wanted)).then(|| self.as_used())
            }
            Covered::Vex { document, vex } => {
                let statement = vex.answer(names)?.to_owned();
                let vex = Some(WaivedByVex { document: document.clone(), statement });
                Some(Waived { vex, ..self.as_used() })
            }
        }
    }

    fn as_used(&self) -> Waived {
        let Waiver { id, reason, by, expires, .. } = self.clone();
        Waived { id, reason, by, expires, vex: None }
    }
}

impl Waived {
    /// The same as an entry in the waivers of an output, where it occurs once.
    fn without_statement(mut self) -> Waived {
        if let Some(vex) = &mut self.vex {
            vex.statement.clear();
        }
        self
    }
}

impl Output {
    /// Marks the violations that waivers cover: they stay, but no longer count. `project_id` is that of the operation,
    /// in which its caller was allowed to create it; `project_name` is the name in the request. A policy without other
    /// violations has passed or, if a part of it could not be evaluated, is skipped. The caller has removed the waivers
    /// that have ended.
    pub fn waive(&mut self, project_id: &str, project_name: &str, waivers: &[Waiver]) {
        let subjects = self.subjects(project_id, project_name);
        let is_about = |waiver: &&Waiver| waiver.subject.is_empty() || subjects.contains(&waiver.subject.as_str());
        let about: Vec<&Waiver> = waivers.iter().filter(is_about).collect();
        for policy in &mut self.policies {
            for violation in &mut policy.violations {
                violation.waived = about.iter().find_map(|waiver| waiver.waived(&policy.name, violation));
                let used = violation.waived.clone().map(Waived::without_statement);
                self.waivers.extend(used.filter(|used| !self.waivers.contains(used)));
            }
            let is_answered = !policy.violations.is_empty();
            if policy.status == Status::Failed
                && is_answered
                && policy.violations.iter().all(|violation| violation.waived.is_some())
            {
                policy.skip_reasons = mem::take(&mut policy.not_evaluated);
                policy.skipped = !policy.skip_reasons.is_empty();
                policy.status = if policy.skipped { Status::Skipped } else { Status::Passed };
            }
        }
        self.totals = Totals::count(&self.policies, &self.left_out);
        self.status = self.totals.status();
    }

    /// The possible subjects of a waiver that applies to the evaluation. Callers choose all names. A caller that may
    /// evaluate only in some projects has to give the id of one, and that is checked: if there is an id, names are
    /// ignored, so that nobody can use them to reach the waivers of another project.
    fn subjects<'a>(&'a self, project_id: &'a str, project_name: &'a str) -> Vec<&'a str> {
        let (digest, name) = (self.evidence.digest.as_str(), self.evidence.name.as_str());
        if project_id.is_empty() { vec![digest, name, project_name] } else { vec![digest, project_id] }
    }

    /// Adds what is new and gone since another evaluation of the same evidence by the same policies, whose output this
    /// is.
    pub fn compare(&mut self, since: String, before: &Value) {
        let of = |policy: &crate::output::PolicyOutput| {
            let counted = policy.violations.iter().filter(|violation| violation.waived.is_none());
            let objection = |violation: &ViolationOutput| Objection {
                policy: policy.name.clone(),
                message: violation.message.clone(),
            };
            counted.map(objection).collect::<Vec<_>>()
        };
        let (now, before) = (self.policies.iter().flat_map(of).collect(), objections(before));
        let Compared { new, gone, still } = compare(&now, &before);
        let counts = DifferenceCounts { new: new.len(), gone: gone.len(), still: still.len() };
        let listed = |all: Vec<&Objection>| all.into_iter().take(LISTED).cloned().collect();
        let (new, gone, still) = (listed(new), listed(gone), listed(still));
        self.difference = Some(Difference { since, new, gone, still, counts });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::vex::tests::{openvex, read, statement};

    fn output() -> Output {
        let policy = |name: &str, violations: Value| {
            json!({"name": name, "reference": name, "digest": "sha256:0", "violations": violations, "status": "failed",
                "skipped": false, "skip_reasons": [], "ignored": false, "with": {}, "duration_ms": 1})
        };
        let value = json!({
            "evidence": {"digest": "sha256:1", "kind": "SARIF", "name": "app", "size": 1}, "status": "failed",
            "policies": [
                policy("vulnerabilities", json!([
                    {"subject": "vulnerabilities", "message": "CVE-1 in a", "finding": {"external_id": "CVE-1"}},
                    {"subject": "vulnerabilities", "message": "CVE-2 in b"},
                ])),
                policy("licences", json!([{"subject": "licences", "message": "GPL"}])),
            ],
            "left_out": [],
            "totals": {"policies": 2, "passed": 0, "failed": 2, "skipped": 0, "left_out": 0, "violations": 3},
        });
        serde_json::from_value(value).unwrap()
    }

    fn waiver(id: &str, policy: &str, finding: &str, subject: &str) -> Waiver {
        let text = str::to_owned;
        let (id, policy, subject) = (text(id), text(policy), text(subject));
        let covered = if finding.is_empty() { Covered::All } else { Covered::Finding(text(finding)) };
        Waiver { id, policy, covered, subject, reason: text("known"), by: text("ci"), expires: String::new() }
    }

    /// The waiver that covers each violation, and the statuses, if the evaluation belongs to no project.
    fn waived(waivers: &[Waiver]) -> (Vec<String>, Vec<Status>) {
        waived_in("", "shop", waivers)
    }

    fn waived_in(project_id: &str, project_name: &str, waivers: &[Waiver]) -> (Vec<String>, Vec<Status>) {
        let mut output = output();
        output.waive(project_id, project_name, waivers);
        let violations = output.policies.iter().flat_map(|policy| &policy.violations);
        let by =
            violations.map(|violation| violation.waived.as_ref().map_or(String::new(), |waived| waived.id.clone()));
        let by = by.collect();
        let statuses = output.policies.iter().map(|policy| policy.status).chain([output.status]).collect();
        (by, statuses)
    }

    #[test]
    fn what_a_waiver_covers_counts_no_more_and_stays_visible() {
        use Status::{Failed, Passed};
        let all = |text: [&str; 3]| text.map(str::to_owned).to_vec();
        let of = |policy, finding, subject| waived(&[waiver("w", policy, finding, subject)]);
        assert_eq!(of("licences", "", ""), (all(["", "", "w"]), vec![Failed, Passed, Failed]));
        assert_eq!(of("vulnerabilities", "CVE-1", ""), (all(["w", "", ""]), vec![Failed, Failed, Failed]), "by its id");
        assert_eq!(of("vulnerabilities", "CVE-2 in b", "").0, all(["", "w", ""]), "by its message");
        for subject in ["sha256:1", "app", "shop"] {
            assert_eq!(of("vulnerabilities", "", subject).0, all(["w", "w", ""]), "{subject}");
        }
        assert_eq!(of("vulnerabilities", "", "other").0, all(["", "", ""]));
        assert_eq!(of("vulnerabilities", "CVE", "").0, all(["", "", ""]), "a part is not enough");
        let both = [waiver("a", "vulnerabilities", "", ""), waiver("b", "licences", "GPL", "")];
        assert_eq!(waived(&both), (all(["a", "a", "b"]), vec![Passed, Passed, Passed]));
        let mut output = output();
        output.waive("", "", &both);
        assert_eq!(output.waivers.iter().map(|used| &*used.id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((output.totals.violations, output.totals.waived), (0, 3));
    }

    /// The evidence is named `app`; any caller that evaluates it can choose this name.
    #[test]
    fn an_evaluation_in_a_project_is_found_by_the_id_of_the_project_and_by_no_name() {
        let is_waived = |project_id, project_name, subject| {
            waived_in(project_id, project_name, &[waiver("w", "licences", "", subject)]).0[2] == "w"
        };
        for subject in ["", "sha256:1", "proj-b"] {
            assert!(is_waived("proj-b", "shop", subject), "{subject}");
        }
        for subject in ["app", "shop", "proj-a"] {
            assert!(!is_waived("proj-b", "shop", subject), "{subject}");
        }
        assert!(!is_waived("proj-b", "proj-a", "proj-a"), "the id decides");
        assert!(is_waived("", "shop", "app") && is_waived("", "shop", "shop"), "without an id, names count");
    }

    #[test]
    fn a_vex_document_covers_no_finding_that_it_calls_open_by_another_name() {
        let waived_by = |statements: Value| {
            let covered = Covered::Vex { document: "sha256:2".to_owned(), vex: Arc::new(read(&openvex(&statements))) };
            let mut output = output();
            output.policies[0].violations[0].finding = Some(json!({"id": "GHSA-1", "cve": "CVE-1"}));
            output.waive("", "", &[Waiver { covered, ..waiver("w", "vulnerabilities", "", "") }]);
            output.totals.waived
        };
        let not_affected = statement("GHSA-1", &[], "not_affected");
        assert_eq!(waived_by(json!([not_affected])), 1);
        for status in ["affected", "under_investigation"] {
            assert_eq!(waived_by(json!([not_affected, statement("CVE-1", &[], status)])), 0, "{status}");
        }
    }

    #[test]
    fn a_vex_document_covers_the_vulnerabilities_that_it_answers() {
        let statements = ["cve-1", "CVE-2"].map(|id| statement(id, &[], "not_affected"));
        let vex = Arc::new(read(&openvex(&json!(statements))));
        let waiver = Waiver {
            covered: Covered::Vex { document: "sha256:2".to_owned(), vex },
            ..waiver("w", "vulnerabilities", "", "")
        };
        assert_eq!(waived(std::slice::from_ref(&waiver)).0, ["w", "", ""], "a message without a finding names nothing");
        let mut output = output();
        output.waive("", "", &[waiver]);
        let waived = serde_json::to_value(&output.policies[0].violations[0].waived).unwrap();
        let vex = json!({"document": "sha256:2", "statement": "not_affected: vulnerable_code_not_present"});
        assert_eq!(waived["vex"], vex);
        let used = json!([{"id": "w", "reason": "known", "by": "ci", "vex": {"document": "sha256:2"}}]);
        assert_eq!(serde_json::to_value(&output.waivers).unwrap(), used);
    }

    #[test]
    fn a_difference_tells_what_came_and_went_and_leaves_out_what_is_waived() {
        let before = json!({"policies": [{"name": "vulnerabilities", "violations": [
            {"message": "CVE-2 in b"}, {"message": "CVE-0 in z"}, {"message": "CVE-9", "waived": {"id": "w"}}]}]});
        let mut output = output();
        output.waive("", "", &[waiver("w", "licences", "", "")]);
        output.compare("op".to_owned(), &before);
        let difference = output.difference.unwrap();
        let messages = |all: &[Objection]| all.iter().map(|one| one.message.clone()).collect::<Vec<_>>();
        assert_eq!(messages(&difference.new), ["CVE-1 in a"]);
        assert_eq!(messages(&difference.gone), ["CVE-0 in z"]);
        assert_eq!(messages(&difference.still), ["CVE-2 in b"]);
        assert_eq!(difference.counts, DifferenceCounts { new: 1, gone: 1, still: 1 });
        assert_eq!(objections(&json!("nonsense")), BTreeSet::new());
    }
}
