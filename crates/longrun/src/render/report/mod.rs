//! Verdicts in the formats that build systems read: JUnit, SARIF, GitHub annotations, GitLab code quality.
//!
//! All evaluations of a command go into one report. What could not be evaluated is included: a build system that only
//! reads the report must not treat it as passed. So is what is waived, except where a format cannot tell it from what
//! is not (GitLab).

mod github;
mod gitlab;
mod junit;
mod sarif;

pub use junit::{broken, escape};

use std::borrow::Cow;

use clap::ValueEnum;
use longrun_client::Operation;

use super::verdict::{Policy, Verdict, Violation};

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A JUnit report: one suite per file, one test per policy.
    Junit,
    /// SARIF 2.1.0: one result per violation.
    Sarif,
    /// Annotations for GitHub Actions.
    Github,
    /// A GitLab code quality report.
    Gitlab,
}

/// The results of all files.
#[derive(Debug, Default)]
pub struct Report {
    files: Vec<Evaluated>,
}

/// The result of one file.
#[derive(Debug)]
struct Evaluated {
    /// The name of the file as it was given.
    file: String,
    /// The verdict, or why there is none.
    outcome: Result<Verdict, String>,
}

impl Policy {
    /// What of a failed policy could not be evaluated.
    fn part_not_evaluated(&self) -> Option<String> {
        let reasons = self.not_evaluated.join("; ");
        (!reasons.is_empty()).then(|| format!("a part was not evaluated: {reasons}"))
    }
}

/// The severity of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Note,
}

/// What a report has to say, and the location.
struct Problem<'a> {
    /// The policy, and the policy's own rule if the finding names one: `no-secrets/generic-api-key`.
    rule: String,
    message: Cow<'a, str>,
    level: Level,
    /// The location that the finding names, else the file of the evidence.
    path: &'a str,
    /// Counted from 1.
    line: u64,
}

impl Report {
    /// Adds the result of a file: the operation that evaluated it, and the verdict that it reached.
    pub fn add(&mut self, file: &str, operation: &Operation, verdict: Option<Verdict>) {
        let outcome = if operation.is_failed() {
            Err(operation.error_message.clone())
        } else {
            verdict.ok_or_else(|| "the evaluation has no verdict".to_owned())
        };
        self.files.push(Evaluated { file: file.to_owned(), outcome });
    }

    /// Adds a file that could not be evaluated.
    pub fn add_failed(&mut self, file: &str, reason: String) {
        self.files.push(Evaluated { file: file.to_owned(), outcome: Err(reason) });
    }

    /// Whether a policy, or a whole evaluation, was skipped.
    pub fn has_skipped(&self) -> bool {
        let skipped =
            |verdict: &Verdict| verdict.status == "skipped" || verdict.policies.iter().any(Policy::is_skipped);
        self.files.iter().any(|one| one.outcome.as_ref().is_ok_and(skipped))
    }

    /// The report, with a line break at the end.
    pub fn render(&self, format: ReportFormat) -> String {
        match format {
            ReportFormat::Junit => junit::render(self),
            ReportFormat::Sarif => sarif::render(self),
            ReportFormat::Github => github::render(self),
            ReportFormat::Gitlab => gitlab::render(self),
        }
    }

    /// All problems, file by file; a file without a verdict counts as one problem.
    fn problems(&self) -> Vec<Problem<'_>> {
        let mut problems = Vec::new();
        for Evaluated { file, outcome } in &self.files {
            match outcome {
                Err(message) => problems.push(Problem::about(file, "evaluation", Level::Error, message)),
                Ok(verdict) => {
                    let counted = verdict.violations().filter(|(_, violation)| violation.waived.is_none());
                    problems.extend(counted.map(|(policy, violation)| violation.problem(&policy.name, file)));
                }
            }
        }
        problems
    }

    /// The violations that are waived, file by file, each with the reason.
    fn waived(&self) -> Vec<(Problem<'_>, &str)> {
        let mut waived = Vec::new();
        for Evaluated { file, outcome } in &self.files {
            let violations = outcome.iter().flat_map(Verdict::violations);
            waived.extend(violations.filter_map(|(policy, violation)| {
                Some((violation.problem(&policy.name, file), violation.waived.as_ref()?.reason()))
            }));
        }
        waived
    }

    /// What has no verdict, file by file: policies that were skipped or partly evaluated, and evidence that no policy
    /// evaluated.
    fn unevaluated(&self) -> Vec<Problem<'_>> {
        let mut found = Vec::new();
        for Evaluated { file, outcome } in &self.files {
            let Ok(verdict) = outcome else { continue };
            for policy in &verdict.policies {
                let mut note = |message| found.push(Problem::about(file, &policy.name, Level::Note, message));
                if policy.is_skipped() {
                    note(format!("skipped: {}", policy.skip_reasons.join("; ")));
                }
                if let Some(message) = policy.part_not_evaluated() {
                    note(message);
                }
            }
            if verdict.policies.is_empty() {
                let reasons = verdict.left_out.iter().map(|left| format!("{}: {}", left.name, left.reason));
                let message = format!("no policy evaluated it: {}", reasons.collect::<Vec<String>>().join("; "));
                found.push(Problem::about(file, "longrun", Level::Warning, message));
            }
        }
        found
    }
}

impl Verdict {
    /// The violations of policies that did not skip.
    fn violations(&self) -> impl Iterator<Item = (&Policy, &Violation)> {
        let decided = self.policies.iter().filter(|policy| !policy.is_skipped());
        decided.flat_map(|policy| policy.violations.iter().map(move |violation| (policy, violation)))
    }
}

impl<'a> Problem<'a> {
    /// Something about a whole file.
    fn about(file: &'a str, rule: &str, level: Level, message: impl Into<Cow<'a, str>>) -> Problem<'a> {
        Problem { rule: rule.to_owned(), message: message.into(), level, path: file, line: 1 }
    }
}

impl Violation {
    fn text(&self, name: &str) -> Option<&str> {
        self.finding.as_ref()?.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn problem<'a>(&'a self, policy: &str, file: &'a str) -> Problem<'a> {
        let own = ["rule_id", "external_id", "license_id"].into_iter().find_map(|name| self.text(name));
        let level = match self.text("severity").map(str::to_ascii_uppercase).as_deref() {
            Some("MEDIUM" | "WARNING") => Level::Warning,
            Some("LOW" | "INFO" | "NOTE") => Level::Note,
            // Every violation that a policy reports is an error, whatever severity the policy gives it.
            _ => Level::Error,
        };
        let location = self.text("location");
        let line = self.finding.as_ref().and_then(|finding| finding.get("line_number")?.as_u64());
        Problem {
            rule: own.map_or_else(|| policy.to_owned(), |own| format!("{policy}/{own}")),
            message: self.message.as_str().into(),
            level,
            path: location.unwrap_or(file),
            line: line.filter(|line| *line > 0 && location.is_some()).unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn report() -> Report {
        let output = json!({
            "evidence": {"digest": "sha256:00"},
            "status": "failed",
            "policies": [
                {"name": "licences", "status": "passed", "duration_ms": 12, "violations": [
                    {"message": "GPL", "waived": {"id": "w", "reason": "we <publish> it"}}]},
                {"name": "secrets", "status": "failed", "duration_ms": 3, "violations": [
                    {"message": "a key in <config>\nof 'a' & \"b\", 100%", "finding": {
                        "message": "m", "rule_id": "generic-key", "severity": "MEDIUM", "location": "src/a.env", "line_number": 7}},
                    {"message": "plain"},
                ]},
                {"name": "age", "status": "skipped", "skip_reasons": ["no timestamp"], "violations": [{"message": "kept"}]},
            ],
            "left_out": [{"name": "other", "reason": "it is for SARIF"}],
        });
        let mut report = Report::default();
        let verdict = serde_json::from_value(output).expect("is a verdict");
        report.files.push(Evaluated { file: "sbom.json".to_owned(), outcome: Ok(verdict) });
        report.add_failed("broken.json", "not JSON: line 1".to_owned());
        report
    }

    #[test]
    fn rules_places_and_levels_are_those_of_the_findings() {
        let report = report();
        let problems = report.problems();
        let told: Vec<(&str, &str, u64, Level)> =
            problems.iter().map(|one| (one.rule.as_str(), one.path, one.line, one.level)).collect();
        assert_eq!(
            told,
            [
                ("secrets/generic-key", "src/a.env", 7, Level::Warning),
                ("secrets", "sbom.json", 1, Level::Error),
                ("evaluation", "broken.json", 1, Level::Error),
            ]
        );
        assert!(report.has_skipped());
    }

    #[test]
    fn what_is_waived_and_what_was_not_evaluated_is_no_problem_and_not_forgotten() {
        let output = json!({
            "evidence": {"digest": "sha256:01"},
            "status": "failed",
            "policies": [{"name": "p", "status": "failed", "not_evaluated": ["it needs a server"], "violations": [
                {"message": "one"}, {"message": "two", "waived": {"reason": "r", "vex": {"statement": "fixed"}}}]}],
        });
        let mut report = report();
        let skipped = json!({"evidence": {"digest": "sha256:02"}, "status": "skipped"});
        for (file, output) in [("a", output), ("b", skipped)] {
            let verdict = serde_json::from_value(output).expect("is a verdict");
            report.files.push(Evaluated { file: file.to_owned(), outcome: Ok(verdict) });
        }
        let waived = report.waived();
        let told: Vec<(&str, &str, &str)> =
            waived.iter().map(|(one, reason)| (one.rule.as_str(), &*one.message, *reason)).collect();
        assert_eq!(told, [("licences", "GPL", "we <publish> it"), ("p", "two", "fixed")]);
        let unevaluated = report.unevaluated();
        let told: Vec<(&str, &str, &str)> =
            unevaluated.iter().map(|one| (one.path, one.rule.as_str(), &*one.message)).collect();
        assert_eq!(
            told,
            [
                ("sbom.json", "age", "skipped: no timestamp"),
                ("a", "p", "a part was not evaluated: it needs a server"),
                ("b", "longrun", "no policy evaluated it: "),
            ]
        );
    }
}
