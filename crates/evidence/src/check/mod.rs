//! Checks a policy file and runs its cases: this is what `longrun policy check` and `longrun policy test` do.
//!
//! A `cases.yaml` next to the policy file lists its cases (`NAME.cases.yaml` for one of several policies in a folder):
//!
//! ```yaml
//! trusted_keys: {release: evidence/release.pub} # optional: whose signatures are trusted, by file
//! trusted_root: evidence/trusted_root.json      # optional: what the signatures of identities rest on
//! identities:                                   # optional: whose signatures are trusted, too
//!   workflow: {issuer: https://token.actions.githubusercontent.com, identity: https://github.com/example/*}
//! cases:
//!   - name: a component without a licence
//!     evidence: evidence/unlicensed.cdx.json   # relative to cases.yaml
//!     kind: SBOM_CYCLONEDX_JSON                # optional: detected
//!     material_name: product                   # optional, as annotations, project_name and project_version_name
//!     with: {allowed: MIT}                     # optional
//!     skip: [sbom-freshness]                   # optional: policies of a group that are left out
//!     http:                                    # optional: the answers to calls of http.send
//!       - {url: https://osv.example.com/v1, method: POST, status_code: 200, body: {vulns: []}}
//!     expect: failed                           # passed, failed, skipped, or error: no verdict
//!     violations: 1                            # optional
//!     message_contains: no licence             # optional: in a violation, a reason for skipping or the error
//!     messages: [left-pad, right-pad]          # optional: several of these
//! ```

mod cases;
mod find;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use attestation::{TrustedIdentities, TrustedIdentity, TrustedKey};
use serde::Serialize;

use crate::digest;
use crate::error::EvaluateError;
use crate::evaluator::{Evaluator, EvaluatorConfig};
use crate::output::{Output, PolicyOutput, Status};
use crate::policy::{Policy, PolicyAttachment, PolicyError, PolicyGroup, Resolver, ScriptText, lint};
use crate::rego::{Coverage, HttpCalls, ScriptCoverage};
use crate::request::{EvaluateRequest, GroupAttachment};
use crate::yaml::Scanned;

use cases::{Case, Cases, Identity};
pub use cases::{Expectation, Outcome};
pub use find::find;

/// The result of checking a policy file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The name of the policy or the group.
    pub policy: String,
    /// Whether every case had the expected outcome.
    pub ok: bool,
    /// Things that are allowed but probably not intended.
    pub notes: Vec<String>,
    /// Each case, in the order of the file.
    pub cases: Vec<CaseReport>,
    /// What the cases evaluated of each script; empty for a group, since its policies have cases of their own.
    pub coverage: Vec<ScriptCoverage>,
}

impl Report {
    /// How many lines of all scripts contain something to evaluate, and how many of them a case evaluated.
    pub fn lines(&self) -> (usize, usize) {
        let sum = |of: fn(&ScriptCoverage) -> usize| self.coverage.iter().map(of).sum();
        (sum(|script| script.lines), sum(|script| script.evaluated))
    }
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The case's name.
    pub name: String,
    /// Whether it had the expected outcome.
    pub ok: bool,
    /// What the file expects.
    pub expected: Expectation,
    /// The verdict; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The messages of the violations.
    pub violations: Vec<String>,
    /// Why it was skipped.
    pub skip_reasons: Vec<String>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the outcome differs from what is expected; empty if it does not.
    pub problems: Vec<String>,
}

/// Checks the file of a policy or a group and runs its cases. The file's folder serves as the policy folder.
///
/// # Errors
/// [`EvaluateError`] when the policy or its cases are not valid; a case that fails is in the report.
pub fn check(file: &Path) -> Result<Report, EvaluateError> {
    check_some(file, |_, _| true)
}

/// As [`check`], but only with the cases that are selected by the policy's name and their own.
///
/// # Errors
/// As [`check`].
pub fn check_some(file: &Path, chosen: impl Fn(&str, &str) -> bool) -> Result<Report, EvaluateError> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let reference = format!("file://{name}");
    let Cases { trusted_keys, trusted_root, identities, cases } = cases::read(&cases::file_of(file))?;
    let makes_calls = cases.iter().any(|case| !case.http.is_empty());
    let mut resolver = Resolver::new(Some(folder))?;
    if makes_calls {
        resolver = resolver.calling();
    }
    let document = resolver.load(&reference)?;
    let trusted_key = |(name, file): (String, String)| {
        let pem = trusted_file(folder, &format!("trusted_keys.{name}"), &file)?;
        Ok::<_, PolicyError>(TrustedKey { name, pem })
    };
    let trusted_keys = trusted_keys.into_iter().map(trusted_key).collect::<Result<_, _>>()?;
    let trusted_identities = match trusted_root {
        Some(file) => {
            let root = trusted_file(folder, "trusted_root", &file)?;
            let identity = |(name, Identity { issuer, identity })| TrustedIdentity { name, issuer, identity };
            Some(TrustedIdentities { root, identities: identities.into_iter().map(identity).collect() })
        }
        None => None,
    };
    let config = EvaluatorConfig {
        policy_dir: Some(folder.to_owned()),
        trusted_keys,
        trusted_identities,
        makes_calls,
        ..EvaluatorConfig::default()
    };
    if is_group(&name, &document.text)? {
        let group = PolicyGroup::parse(&name, &document.text)?;
        let name = group.metadata.name.as_str();
        let evaluator = Evaluator::new(config)?;
        let cases = cases.into_iter().filter(|case| chosen(name, &case.name));
        let cases: Vec<CaseReport> = cases.map(|case| run(&evaluator, Use::Group(&reference), folder, case)).collect();
        let ok = cases.iter().all(|case| case.ok);
        return Ok(Report { policy: name.to_owned(), ok, notes: Vec::new(), cases, coverage: Vec::new() });
    }
    let policy = Policy::parse(&name, &document.text)?;
    let mut notes = lint(&policy);
    for (index, source) in policy.scripts.iter().enumerate() {
        let script = policy.script(&policy.script_text(&document, index, &resolver)?, &resolver)?;
        notes.extend(script.warnings().iter().map(|warning| format!("{}: {warning}", source.field)));
    }
    let coverage = Coverage::default();
    let evaluator = Evaluator::new(config)?.covered(coverage.clone());
    if cases.is_empty() {
        notes.push("cases.yaml: the policy has no cases".to_owned());
    }
    let name = policy.metadata.name.as_str();
    let cases = cases.into_iter().filter(|case| chosen(name, &case.name));
    let cases: Vec<CaseReport> = cases.map(|case| run(&evaluator, Use::Policy(&reference), folder, case)).collect();
    let ok = cases.iter().all(|case| case.ok);
    let coverage = (0..policy.scripts.len()).map(|index| {
        let ScriptText { place, text, .. } = policy.script_text(&document, index, &resolver)?;
        let evaluated = coverage.of(&place, &text);
        evaluated.map_err(|source| PolicyError::Script { policy: name.to_owned(), place, source })
    });
    let coverage = coverage.collect::<Result<Vec<ScriptCoverage>, PolicyError>>()?;
    Ok(Report { policy: name.to_owned(), ok, notes, cases, coverage })
}

/// The text of a file with trusted keys or a trusted root.
fn trusted_file(folder: &Path, field: &str, file: &str) -> Result<String, PolicyError> {
    fs::read_to_string(folder.join(file)).map_err(|error| {
        let reference = format!("cases.yaml: {field}");
        PolicyError::Reference { reference, message: format!("{file}: {error}") }
    })
}

/// The evidence of a case that passes a policy unchanged, without inputs, if there is one.
pub fn passing_example(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|_| file.is_file())?;
    let Cases { trusted_keys, trusted_root, cases, .. } = cases::read(&cases::file_of(file)).ok()?;
    if !trusted_keys.is_empty() || trusted_root.is_some() {
        return None;
    }
    let passes = cases.into_iter().find(|case| case.expected().expect == Outcome::Passed && case.is_plain())?;
    Some(folder.join(passes.evidence)).filter(|evidence| evidence.is_file())
}

/// The reference to what the cases test.
#[derive(Clone, Copy)]
enum Use<'a> {
    Policy(&'a str),
    Group(&'a str),
}

fn is_group(file: &str, text: &str) -> Result<bool, PolicyError> {
    let document = Scanned::new(text).map_err(|error| PolicyError::syntax(file, error))?;
    Ok(document.text_of("kind") == Some("PolicyGroup"))
}

fn run(evaluator: &Evaluator, of: Use<'_>, folder: &Path, case: Case) -> CaseReport {
    let outcome = match fs::read(folder.join(&case.evidence)) {
        // Whatever is expected, it is not this.
        Err(error) => {
            let mut report = compare(&case, Err(format!("cannot read the evidence {}: {error}", case.evidence)));
            report.ok = false;
            report.problems = report.error.iter().cloned().collect();
            return report;
        }
        Ok(bytes) => {
            let (policies, policy_groups) = match of {
                Use::Policy(reference) => {
                    let reference = Some(reference.to_owned());
                    let with = case.with.clone();
                    (Some(vec![PolicyAttachment { reference, with, ..PolicyAttachment::default() }]), None)
                }
                Use::Group(reference) => {
                    let (with, skip) = (case.with.clone(), case.skip.clone());
                    (None, Some(vec![GroupAttachment { reference: reference.to_owned(), with, skip }]))
                }
            };
            let annotations = case.annotations.iter().map(|(name, value)| (name.clone(), value.0.clone()));
            let request = EvaluateRequest {
                digest: digest(&bytes),
                kind: case.kind.clone(),
                name: case.material_name.clone(),
                policies,
                policy_groups,
                annotations: annotations.collect(),
                project_name: case.project_name.clone(),
                project_version_name: case.project_version_name.clone(),
                ..EvaluateRequest::default()
            };
            let calls = HttpCalls::default();
            loop {
                let outcome = evaluator.evaluate_calling(&request, &bytes, Some(&calls));
                let asked = calls.take_asked();
                if asked.is_empty() {
                    break outcome.map_err(|error| error.to_string());
                }
                calls.tell(asked.into_iter().map(|request| {
                    let answer = case.answer(&request);
                    (request, answer)
                }));
            }
        }
    };
    compare(&case, outcome)
}

fn compare(case: &Case, outcome: Result<Output, String>) -> CaseReport {
    let expected = case.expected();
    let mut report = CaseReport {
        name: case.name.clone(),
        ok: true,
        expected: expected.clone(),
        status: None,
        violations: Vec::new(),
        skip_reasons: Vec::new(),
        error: None,
        problems: Vec::new(),
    };
    let came_out = match outcome {
        Ok(output) => {
            let of = |part: fn(&PolicyOutput) -> Vec<String>| output.policies.iter().flat_map(part).collect();
            report.violations = of(|policy| policy.violations.iter().map(|one| one.message.clone()).collect());
            report.skip_reasons = of(|policy| policy.skip_reasons.clone());
            report.skip_reasons.extend(output.left_out.iter().map(|one| one.reason.clone()));
            report.status = Some(output.status);
            match output.status {
                Status::Passed => Outcome::Passed,
                Status::Failed => Outcome::Failed,
                Status::Skipped => Outcome::Skipped,
            }
        }
        Err(error) => {
            report.error = Some(error);
            Outcome::Error
        }
    };
    let problems = &mut report.problems;
    if came_out != expected.expect {
        let error = report.error.iter().map(|error| format!(": {error}")).collect::<String>();
        problems.push(format!("expected {:?}, got {came_out:?}", expected.expect).to_lowercase() + &error);
    }
    let count = report.violations.len();
    if let Some(wanted) = expected.violations.filter(|wanted| *wanted != count && report.error.is_none()) {
        problems.push(format!("expected {wanted} violations, found {count}"));
    }
    for text in &expected.messages {
        let mut said = report.violations.iter().chain(&report.skip_reasons).chain(&report.error);
        if !said.any(|message| message.contains(text.as_str())) {
            problems.push(format!("no message contains {text:?}"));
        }
    }
    report.ok = report.problems.is_empty();
    report
}
