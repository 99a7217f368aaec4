//! What an organization lives with, and what an evaluation found that the one before had not: both are about the objections
//! of an output that is whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::{Output, Status, Totals, ViolationOutput};
use crate::vex::Vex;

/// Members of a finding that name it: the identifiers of rules, vulnerabilities and checks.
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
/// The most objections of each sort that a difference lists.
const LISTED: usize = 100;

/// An objection that is lived with, as an evaluation needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// Its id.
    pub id: String,
    /// The name of the policy whose objections it covers.
    pub policy: String,
    /// Which of them.
    pub covered: Covered,
    /// Of which evidence: its digest, or the id of its project; where it belongs to none, its name or the name of its
    /// project. Empty: any.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// From when on it has no effect any more, RFC 3339; empty: never.
    pub expires: String,
}

/// Which objections of a policy a waiver covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// All.
    All,
    /// Those with this message, or with this identifier in their finding.
    Finding(String),
    /// Those that name a vulnerability which a VEX document answers, and calls open by no name in the finding.
    Vex {
        /// The digest of the document.
        document: String,
        /// What it says.
        vex: Arc<Vex>,
    },
}

/// A waiver at an objection that it covers, or among those of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waived {
    /// The waiver's id.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// Until when, RFC 3339; left out when it does not end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expires: String,
    /// Where the waiver names a VEX document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vex: Option<WaivedByVex>,
}

/// The VEX document by which an objection is waived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaivedByVex {
    /// Its digest.
    pub document: String,
    /// At an objection: the status that the document gives the vulnerability, and why; else left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub statement: String,
}

/// What objections came and went since another evaluation of the same evidence by the same policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The operation of the other one.
    pub since: String,
    /// Those that were not there.
    pub new: Vec<Objection>,
    /// Those that are not there any more.
    pub gone: Vec<Objection>,
    /// Those that were there too.
    pub still: Vec<Objection>,
    /// How many of each there are; at most a hundred of each are listed.
    pub counts: DifferenceCounts,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceCounts {
    /// Those that were not there.
    pub new: usize,
    /// Those that are not there any more.
    pub gone: usize,
    /// Those that were there too.
    pub still: usize,
}

/// An objection by what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Objection {
    /// The policy's name.
    pub policy: String,
    /// Its message.
    pub message: String,
}

/// Which of some things are new, gone, and still there.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared<'a, T> {
    /// In the first alone.
    pub new: Vec<&'a T>,
    /// In the second alone.
    pub gone: Vec<&'a T>,
    /// In both.
    pub still: Vec<&'a T>,
}

/// Compares what there is now with what there was before.
pub fn compare<'a, T: Ord>(now: &'a BTreeSet<T>, before: &'a BTreeSet<T>) -> Compared<'a, T> {
    Compared {
        new: now.difference(before).collect(),
        gone: before.difference(now).collect(),
        still: now.intersection(before).collect(),
    }
}

/// The objections of an output, as JSON, that are not waived, as far as they can be read.
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
    /// Marks an objection that it covers.
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
    /// The same among the waivers of an output, where it stands once.
    fn without_statement(mut self) -> Waived {
        if let Some(vex) = &mut self.vex {
            vex.statement.clear();
        }
        self
    }
}

impl Output {
    /// Marks the objections that waivers cover: they stay, and no longer count. `project_id` is that of the operation,
    /// in which its caller was allowed to create it; `project_name` is what the request says. A policy that objects to
    /// nothing else has passed. The caller has left out the waivers that have ended.
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
                policy.status = Status::Passed;
            }
        }
        self.totals = Totals::count(&self.policies, &self.left_out);
        self.status = self.totals.status();
    }

    /// What a waiver that concerns the evaluation may have as its subject. Callers choose all names. A caller that may
    /// evaluate only in some projects has to give the id of one, and that is checked: where there is an id, names count
    /// for nothing, so that nobody reaches the waivers of another project by them.
    fn subjects<'a>(&'a self, project_id: &'a str, project_name: &'a str) -> Vec<&'a str> {
        let (digest, name) = (self.evidence.digest.as_str(), self.evidence.name.as_str());
        if project_id.is_empty() { vec![digest, name, project_name] } else { vec![digest, project_id] }
    }

    /// Says what is new and gone since another evaluation of the same evidence by the same policies, whose output this is.
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

    /// Which waiver covers each violation, and the statuses, where the evaluation belongs to no project.
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

    /// The evidence is called `app`, as whoever evaluates it likes.
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
        assert!(is_waived("", "shop", "app") && is_waived("", "shop", "shop"), "where there is none, names count");
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
