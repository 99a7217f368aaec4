//! Verdicts of evidence evaluations, in a readable form.

use longrun_client::Operation;
use serde::Deserialize;
use serde_json::Value;

use super::{Style, count, printable};
use crate::exit::Exit;

/// The parts of an `evidence_evaluation`'s output that are shown or reported; `-o json` prints all of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    evidence: Evidence,
    /// `passed`, `failed` or `skipped`.
    pub(super) status: String,
    #[serde(default)]
    pub(super) policies: Vec<Policy>,
    #[serde(default)]
    pub(super) left_out: Vec<LeftOut>,
}

/// A policy that does not apply to the evidence.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LeftOut {
    pub(super) name: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Evidence {
    #[serde(default)]
    name: String,
    digest: String,
    #[serde(default)]
    kind: String,
}

/// What a policy found.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Policy {
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) violations: Vec<Violation>,
    #[serde(default)]
    skipped: bool,
    #[serde(default)]
    pub(super) skip_reasons: Vec<String>,
    #[serde(default)]
    pub(super) not_evaluated: Vec<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    pub(super) duration_ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Violation {
    pub(super) message: String,
    #[serde(default)]
    pub(super) finding: Option<Value>,
    #[serde(default)]
    pub(super) waived: Option<Waived>,
}

/// The waiver that covers a violation.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Waived {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    vex: WaivedByVex,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WaivedByVex {
    /// The statement of the VEX document.
    #[serde(default)]
    statement: String,
}

impl Waived {
    /// Why the violation does not count: what the VEX document states, or the reason of the waiver.
    pub(super) fn reason(&self) -> &str {
        if self.vex.statement.is_empty() { &self.reason } else { &self.vex.statement }
    }
}

impl Verdict {
    /// The verdict in the output of an operation, if the operation is an evaluation that reached one.
    pub fn of(operation: &Operation) -> Option<Verdict> {
        serde_json::from_str(&operation.output).ok()
    }

    /// The answer for the caller: only `passed` is a yes, and evidence that no policy evaluated is neither yes nor no.
    pub fn exit(&self) -> Exit {
        match self.status.as_str() {
            "passed" => Exit::Done,
            "skipped" => Exit::Skipped,
            _ => Exit::No,
        }
    }

    /// The verdict, with each policy and each violation on its own line. At most `most` violations of a policy are
    /// shown, followed by the number of the others.
    pub fn render(&self, style: Style, most: usize) -> String {
        let Evidence { name, digest, kind } = &self.evidence;
        let name = if name.is_empty() { digest } else { name };
        let status = match self.status.as_str() {
            "passed" => style.good("passed"),
            "failed" => style.bad("failed"),
            other => style.notable(&printable(other)),
        };
        let mut text = format!("{} {}: {status}\n", style.strong(&printable(name)), style.faint(&printable(kind)));
        for policy in &self.policies {
            text += &policy.render(style, most);
        }
        // The reasons matter if nothing was evaluated; next to a verdict, policies that do not apply are noise.
        if self.policies.is_empty() {
            for LeftOut { name, reason } in &self.left_out {
                text += &format!("  {} {}: {}\n", style.notable("-"), printable(name), printable(reason));
            }
        }
        text
    }
}

impl Policy {
    /// Whether it decided nothing; what it found does not count then.
    pub(super) fn is_skipped(&self) -> bool {
        self.skipped || self.status == "skipped"
    }

    fn render(&self, style: Style, most: usize) -> String {
        let (name, is_skipped) = (printable(&self.name), self.is_skipped());
        let (objections, waived): (Vec<_>, Vec<_>) = self.violations.iter().partition(|found| found.waived.is_none());
        let joined = |reasons: &[String]| reasons.iter().map(|reason| printable(reason)).collect::<Vec<_>>().join("; ");
        let (reasons, not_evaluated) = (joined(&self.skip_reasons), joined(&self.not_evaluated));
        let mut text = match objections.len() {
            _ if is_skipped && reasons.is_empty() => format!("  {} {name}: skipped\n", style.notable("-")),
            _ if is_skipped => format!("  {} {name}: skipped: {reasons}\n", style.notable("-")),
            0 => format!("  {} {name}\n", style.good("✓")),
            found => format!("  {} {name}: {}\n", style.bad("✗"), count(found as u64, "violation")),
        };
        if !not_evaluated.is_empty() {
            text += &format!("      {} {not_evaluated}\n", style.notable("not evaluated:"));
        }
        for Violation { message, .. } in objections.iter().take(most) {
            let message = printable(message);
            text += &if is_skipped {
                style.faint(&format!("      not counted: {message}\n"))
            } else {
                format!("      {message}\n")
            };
        }
        if objections.len() > most {
            let left = objections.len() - most;
            text += &style.faint(&format!("      … and {left} more (-o json shows all)\n"));
        }
        for (found, waiver) in waived.iter().filter_map(|found| Some((found, found.waived.as_ref()?))).take(most) {
            let (message, reason) = (printable(&found.message), printable(waiver.reason()));
            text += &style.faint(&format!("      waived: {message} ({reason})\n"));
        }
        for warning in &self.warnings {
            text += &format!("      {} {}\n", style.notable("warning:"), printable(warning));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policies: &str, status: &str) -> Verdict {
        let output = format!(
            r#"{{"evidence":{{"digest":"sha256:00","kind":"SARIF","name":"a.sarif","size":2}},
                "status":"{status}","policies":{policies}}}"#
        );
        Verdict::of(&Operation { output, ..Operation::default() }).expect("a verdict")
    }

    #[test]
    fn violations_are_listed_and_cut_with_notice() {
        let policies = r#"[{"name":"ceiling","violations":[
            {"subject":"ceiling","message":"one"},{"message":"two\u001b[2J"},{"message":"three"}]}]"#;
        let verdict = verdict(policies, "failed");
        assert_eq!(verdict.exit(), Exit::No);
        assert_eq!(
            verdict.render(Style::PLAIN, 2),
            "a.sarif SARIF: failed\n  ✗ ceiling: 3 violations\n      one\n      two\\u{1b}[2J\n      … and 1 more (-o json shows all)\n"
        );
    }

    #[test]
    fn skipped_policies_say_why() {
        let policies =
            r#"[{"name":"p","skipped":true,"skip_reasons":["not recognised"]},{"name":"q","violations":[]}]"#;
        let text = verdict(policies, "passed").render(Style::PLAIN, 9);
        assert_eq!(text, "a.sarif SARIF: passed\n  - p: skipped: not recognised\n  ✓ q\n");
    }

    #[test]
    fn what_a_skipped_policy_found_is_shown_and_does_not_count() {
        let policies =
            r#"[{"name":"p","skipped":true,"skip_reasons":["not recognised"],"violations":[{"message":"one"}]}]"#;
        let text = verdict(policies, "skipped").render(Style::PLAIN, 9);
        assert_eq!(text, "a.sarif SARIF: skipped\n  - p: skipped: not recognised\n      not counted: one\n");
        let policies = r#"[{"name":"p","not_evaluated":["it needs a server"],"violations":[{"message":"one"}]}]"#;
        let text = verdict(policies, "failed").render(Style::PLAIN, 9);
        assert_eq!(
            text,
            "a.sarif SARIF: failed\n  ✗ p: 1 violation\n      not evaluated: it needs a server\n      one\n"
        );
    }

    #[test]
    fn what_is_waived_is_shown_with_its_reason_and_is_no_violation() {
        let policies = r#"[{"name":"p","violations":[{"message":"one","waived":{"id":"w","reason":"known"}}]}]"#;
        let text = verdict(policies, "passed").render(Style::PLAIN, 9);
        assert_eq!(text, "a.sarif SARIF: passed\n  ✓ p\n      waived: one (known)\n");
        let by_vex = policies.replace(r#""reason":"known""#, r#""reason":"known","vex":{"statement":"fixed"}"#);
        assert!(verdict(&by_vex, "passed").render(Style::PLAIN, 9).contains("waived: one (fixed)"));
    }

    #[test]
    fn only_passed_is_a_yes() {
        let exit = |status| verdict("[]", status).exit();
        assert_eq!([exit("passed"), exit("skipped"), exit("new")], [Exit::Done, Exit::Skipped, Exit::No]);
    }

    #[test]
    fn other_outputs_are_no_verdicts() {
        for output in ["", "done", "{}", "[]"] {
            assert!(
                Verdict::of(&Operation { output: output.to_owned(), ..Operation::default() }).is_none(),
                "{output}"
            );
        }
    }
}
