//! The cases of a policy: the contents of `cases.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::policy::{PolicyError, Scalar};
use crate::rego::{HttpAnswer, HttpFailure, HttpRequest, HttpResponse};
use crate::yaml;

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// The outcome of the evaluation.
    pub expect: Outcome,
    /// The number of violations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violations: Option<usize>,
    /// Texts, each of which must occur in a violation, a skip reason or the error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
}

/// The outcome of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There are no violations.
    Passed,
    /// There are violations.
    Failed,
    /// The policy does not apply to this evidence.
    Skipped,
    /// There is no verdict: an input is missing, or the evidence is not valid for its kind.
    Error,
}

/// The contents of a file of cases.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with cases")]
pub(super) struct Cases {
    /// The trusted keys: files with public keys, by name.
    #[serde(default)]
    pub trusted_keys: BTreeMap<String, String>,
    /// The file of the trusted root with which the signatures of identities are verified.
    #[serde(default)]
    pub trusted_root: Option<String>,
    /// The trusted identities, by name.
    #[serde(default)]
    pub identities: BTreeMap<String, Identity>,
    pub cases: Vec<Case>,
}

/// An identity in a certificate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with issuer and identity")]
pub(super) struct Identity {
    pub issuer: String,
    pub identity: String,
}

// Spelled out rather than flattened: only then does serde report unknown keys, and a misspelled expectation would
// expect nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with name, evidence and expect")]
pub(super) struct Case {
    pub name: String,
    pub evidence: String,
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub material_name: Option<String>,
    #[serde(default, deserialize_with = "Scalar::written")]
    pub annotations: BTreeMap<String, Scalar>,
    #[serde(default)]
    pub project_name: Option<String>,
    #[serde(default)]
    pub project_version_name: Option<String>,
    #[serde(default, deserialize_with = "Scalar::written")]
    pub with: BTreeMap<String, Scalar>,
    /// Policies of a group that are skipped.
    #[serde(default)]
    pub skip: Vec<String>,
    /// The answers to calls of `http.send`.
    #[serde(default)]
    pub http: Vec<Answered>,
    expect: Outcome,
    #[serde(default)]
    violations: Option<usize>,
    #[serde(default)]
    message_contains: Option<String>,
    #[serde(default)]
    messages: Vec<String>,
}

/// A call and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with the url of a call and its answer")]
pub(super) struct Answered {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "ok")]
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text is used unchanged; anything else as JSON.
    #[serde(default)]
    body: serde_json::Value,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> u16 {
    200
}

impl Case {
    /// The answer to a call; an error if the case has none.
    pub fn answer(&self, request: &HttpRequest) -> HttpAnswer {
        let is_meant = |of: &&Answered| of.url == request.url && of.method.eq_ignore_ascii_case(&request.method);
        let HttpRequest { method, url, .. } = request;
        let found = self.http.iter().find(is_meant).ok_or_else(|| HttpFailure {
            message: format!("the case has no answer to {method} {url} under http"),
            is_transient: false,
        })?;
        let mut headers: BTreeMap<String, Vec<String>> =
            found.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), vec![value.clone()])).collect();
        let body = match &found.body {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            json => {
                headers.entry("content-type".to_owned()).or_insert_with(|| vec!["application/json".to_owned()]);
                json.to_string()
            }
        };
        Ok(HttpResponse { status_code: found.status_code, status: found.status_code.to_string(), headers, body })
    }

    pub fn expected(&self) -> Expectation {
        Expectation {
            expect: self.expect,
            violations: self.violations,
            messages: self.message_contains.iter().chain(&self.messages).cloned().collect(),
        }
    }

    /// Whether it needs nothing but its evidence.
    pub fn is_plain(&self) -> bool {
        self.kind.is_none()
            && self.material_name.is_none()
            && self.annotations.is_empty()
            && self.with.is_empty()
            && self.http.is_empty()
    }
}

/// The file with the cases of a policy file: `NAME.cases.yaml` next to `NAME.yaml`, otherwise `cases.yaml`.
pub(super) fn file_of(policy: &Path) -> PathBuf {
    let stem = policy.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let own = policy.with_file_name(format!("{stem}{OWN_CASES}"));
    if own.is_file() { own } else { policy.with_file_name(CASES) }
}

/// The cases of the only policy of a folder.
pub(super) const CASES: &str = "cases.yaml";
/// The suffix of a file with the cases of one of several policies.
pub(super) const OWN_CASES: &str = ".cases.yaml";

/// Reads cases; a file that does not exist has none.
pub(super) fn read(file: &Path) -> Result<Cases, PolicyError> {
    let shown = file.file_name().map_or_else(|| CASES.to_owned(), |name| name.to_string_lossy().into_owned());
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Cases::default()),
        Err(error) => {
            return Err(PolicyError::Reference { reference: shown, message: error.to_string() });
        }
    };
    let read: Cases = yaml::read(&text).map_err(|error| PolicyError::syntax(&shown, error))?;
    if read.trusted_root.is_none() != read.identities.is_empty() {
        let field = if read.trusted_root.is_none() { "trusted_root" } else { "identities" };
        let message = "trusted_root and identities must be given together".to_owned();
        return Err(PolicyError::Field { file: shown, field: field.to_owned(), message });
    }
    let cases = &read.cases;
    for (index, case) in cases.iter().enumerate() {
        let wrong = |field: &str, message: &str| PolicyError::Field {
            file: shown.clone(),
            field: format!("cases[{index}].{field}"),
            message: message.to_owned(),
        };
        if case.name.trim().is_empty() {
            return Err(wrong("name", "expected a description of what the case shows"));
        }
        if cases[..index].iter().any(|other| other.name == case.name) {
            return Err(wrong("name", &format!("{:?} occurs twice", case.name)));
        }
        if case.violations.is_some_and(|count| count > 0) && case.expect == Outcome::Passed {
            return Err(wrong("violations", "a policy that passes has no violations"));
        }
    }
    Ok(read)
}
