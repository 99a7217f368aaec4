//! Checks a policy file with its examples: what `longrun policy check` does.
//!
//! Beside the policy file a `cases.yaml` lists examples:
//!
//! ```yaml
//! trusted_keys: {release: evidence/release.pub} # optional: whose signatures are trusted, by file
//! cases:
//!   - name: a component without a licence
//!     evidence: evidence/unlicensed.cdx.json   # relative to cases.yaml
//!     kind: SBOM_CYCLONEDX_JSON                # optional: detected
//!     with: {allowed: MIT}                     # optional
//!     expect: failed                           # passed, failed or skipped
//!     violations: 1                            # optional
//!     message_contains: no licence             # optional: at least one violation or skip reason says so
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use attestation::TrustedKey;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::error::EvaluateError;
use crate::evaluator::{Evaluator, EvaluatorConfig};
use crate::output::{Output, Status};
use crate::policy::{Policy, PolicyAttachment, PolicyError, Resolver, Scalar, lint};
use crate::request::EvaluateRequest;
use crate::yaml;

/// What came of checking a policy file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// Whether every case came out as expected.
    pub ok: bool,
    /// What is allowed but unlikely to be meant.
    pub notes: Vec<String>,
    /// Each case, in the order of the file.
    pub cases: Vec<CaseReport>,
}

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// The case's name.
    pub name: String,
    /// Whether it came out as expected.
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
    /// How it differs from what is expected; empty when it does not.
    pub problems: Vec<String>,
}

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The verdict.
    pub expect: Status,
    /// How many violations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violations: Option<usize>,
    /// A text that at least one violation or skip reason contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_contains: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    trusted_keys: BTreeMap<String, String>,
    cases: Vec<Case>,
}

// Spelt out rather than flattened: serde tells unknown keys only so, and a misspelt expectation expects nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    evidence: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    material_name: Option<String>,
    #[serde(default)]
    with: BTreeMap<String, Scalar>,
    expect: Status,
    #[serde(default)]
    violations: Option<usize>,
    #[serde(default)]
    message_contains: Option<String>,
}

impl Case {
    fn expected(&self) -> Expectation {
        Expectation {
            expect: self.expect,
            violations: self.violations,
            message_contains: self.message_contains.clone(),
        }
    }
}

/// Checks a policy file and runs its examples. The file's folder serves as the policy folder.
///
/// # Errors
/// [`EvaluateError`] when the policy or its `cases.yaml` is not in order; a case that fails is in the report.
pub fn check(file: &Path) -> Result<Report, EvaluateError> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let reference = format!("file://{name}");
    let resolver = Resolver::new(Some(folder))?;
    let document = resolver.load(&reference)?;
    let policy = Policy::parse(&name, &document.text)?;
    let mut notes = lint(&policy);
    for index in 0..policy.scripts.len() {
        let script = policy.script(&document, index, &resolver)?;
        notes.extend(script.warnings().iter().map(|warning| format!("spec.policies[{index}]: {warning}")));
    }
    let Cases { trusted_keys, cases } = read_cases(&folder.join("cases.yaml"))?;
    let trusted_keys = trusted_keys.into_iter().map(|(name, file)| trusted_key(folder, name, &file));
    let trusted_keys = trusted_keys.collect::<Result<_, _>>()?;
    let config = EvaluatorConfig { policy_dir: Some(folder.to_owned()), trusted_keys, ..EvaluatorConfig::default() };
    let evaluator = Evaluator::new(config)?;
    if cases.is_empty() {
        notes.push("cases.yaml: no examples beside the policy".to_owned());
    }
    let cases: Vec<CaseReport> = cases.into_iter().map(|case| run(&evaluator, &reference, folder, case)).collect();
    let ok = cases.iter().all(|case| case.ok);
    Ok(Report { policy: policy.metadata.name, ok, notes, cases })
}

fn trusted_key(folder: &Path, name: String, file: &str) -> Result<TrustedKey, PolicyError> {
    match fs::read_to_string(folder.join(file)) {
        Ok(pem) => Ok(TrustedKey { name, pem }),
        Err(error) => {
            let reference = format!("cases.yaml: trusted_keys.{name}");
            Err(PolicyError::Reference { reference, message: format!("{file}: {error}") })
        }
    }
}

/// The evidence of an example that passes a policy as it is, without inputs, if there is one.
pub fn passing_example(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|_| file.is_file())?;
    let is_plain = |case: &Case| case.kind.is_none() && case.material_name.is_none() && case.with.is_empty();
    let Cases { trusted_keys, cases } = read_cases(&folder.join("cases.yaml")).ok()?;
    if !trusted_keys.is_empty() {
        return None;
    }
    let passes = cases.into_iter().find(|case| case.expect == Status::Passed && is_plain(case))?;
    Some(folder.join(passes.evidence)).filter(|evidence| evidence.is_file())
}

fn read_cases(file: &Path) -> Result<Cases, PolicyError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Cases { trusted_keys: BTreeMap::new(), cases: Vec::new() });
        }
        Err(error) => {
            return Err(PolicyError::Reference { reference: "cases.yaml".to_owned(), message: error.to_string() });
        }
    };
    yaml::read(&text).map_err(|error| PolicyError::syntax("cases.yaml", error))
}

fn run(evaluator: &Evaluator, reference: &str, folder: &Path, case: Case) -> CaseReport {
    let outcome = match fs::read(folder.join(&case.evidence)) {
        Err(error) => Err(format!("{}: {error}", case.evidence)),
        Ok(bytes) => {
            let attachment =
                PolicyAttachment { reference: Some(reference.to_owned()), embedded: None, with: case.with.clone() };
            let request = EvaluateRequest {
                digest: digest(&bytes),
                kind: case.kind.clone(),
                name: case.material_name.clone(),
                policies: Some(vec![attachment]),
                ..EvaluateRequest::default()
            };
            evaluator.evaluate(&request, &bytes, &AtomicBool::new(false)).map_err(|error| error.to_string())
        }
    };
    compare(case, outcome)
}

fn compare(case: Case, outcome: Result<Output, String>) -> CaseReport {
    let expected = case.expected();
    let name = case.name;
    let output = match outcome {
        Ok(output) => output,
        Err(error) => {
            let (violations, skip_reasons) = (Vec::new(), Vec::new());
            return CaseReport {
                name,
                ok: false,
                expected,
                status: None,
                violations,
                skip_reasons,
                problems: vec![error],
            };
        }
    };
    let of = |part: fn(&super::output::PolicyOutput) -> Vec<String>| output.policies.iter().flat_map(part).collect();
    let violations: Vec<String> = of(|policy| policy.violations.iter().map(|one| one.message.clone()).collect());
    let mut skip_reasons: Vec<String> = of(|policy| policy.skip_reasons.clone());
    skip_reasons.extend(output.left_out.iter().map(|one| one.reason.clone()));

    let mut problems = Vec::new();
    if output.status != expected.expect {
        problems.push(format!("expected {:?}, came out {:?}", expected.expect, output.status).to_lowercase());
    }
    if let Some(count) = expected.violations.filter(|count| *count != violations.len()) {
        problems.push(format!("expected {count} violations, came out {}", violations.len()));
    }
    if let Some(text) = &expected.message_contains
        && !violations.iter().chain(&skip_reasons).any(|message| message.contains(text.as_str()))
    {
        problems.push(format!("no message contains {text:?}"));
    }
    let ok = problems.is_empty();
    CaseReport { name, ok, expected, status: Some(output.status), violations, skip_reasons, problems }
}
