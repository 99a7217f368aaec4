//! The request for an evaluation: the operation's input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::is_digest;
use crate::material::MaterialKind;
use crate::policy::{PolicyAttachment, Resolver, Scalar};

/// The maximum number of policies, and of groups, in one request: each is read and compiled, some of them twice.
const MAX_POLICIES: usize = 100;
const MAX_GROUPS: usize = 20;
/// The maximum length of the name of a material, a project or a version, in bytes.
const MAX_NAME: usize = 256;
/// The maximum length of a prompt, in bytes.
const MAX_PROMPT: usize = 16 * 1024;

/// The input of an `evidence_evaluation`, as JSON. The content itself is found by its digest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the fields of an evaluation")]
pub struct EvaluateRequest {
    /// `sha256:<64 hex>` of the evidence.
    #[serde(default)]
    pub digest: String,
    /// The material type; absent: it is detected from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The material's name, for policies that select by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The policies to evaluate; if there are neither policies nor groups, the default policies are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<PolicyAttachment>>,
    /// Groups of policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_groups: Option<Vec<GroupAttachment>>,
    /// Annotations that policies find in the metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Context; not seen by policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Context; not seen by policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_version_id: Option<String>,
    /// `input.chainloop_metadata.project_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// `input.chainloop_metadata.project_version_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_version_name: Option<String>,
    /// A natural-language check for an AI provider, in addition to the policies; not seen by policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// An attachment of a policy group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with ref")]
pub struct GroupAttachment {
    /// A reference into the policy folder.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Arguments by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Scalar>,
    /// The names of policies of the group to skip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

/// A request that cannot be carried out, whatever the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct RequestError {
    /// The field's path, such as `policies[0].ref`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl RequestError {
    pub(crate) fn new(field: impl Into<String>, message: impl std::fmt::Display) -> RequestError {
        RequestError { field: field.into(), message: message.to_string() }
    }
}

impl EvaluateRequest {
    /// Checks the form: everything that can be checked without reading a policy and without the evidence. Cheap,
    /// whatever the request contains.
    ///
    /// # Errors
    /// [`RequestError`] with the path of the first field that is not valid.
    pub fn validate(&self) -> Result<(), RequestError> {
        self.violations().into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that is wrong with the form, field by field.
    pub fn violations(&self) -> Vec<RequestError> {
        let mut violations = Vec::new();
        violations.extend(self.material_kind().err());
        let mut check = |holds: bool, field: &str, message: String| {
            if !holds {
                violations.push(RequestError::new(field, message));
            }
        };
        check(is_digest(&self.digest), "digest", "expected sha256: and 64 lower-case hexadecimal digits".to_owned());
        for (field, name) in [
            ("name", &self.name),
            ("project_name", &self.project_name),
            ("project_version_name", &self.project_version_name),
        ] {
            let is_name = |name: &String| name.len() <= MAX_NAME && !name.chars().any(char::is_control);
            let message = format!("expected at most {MAX_NAME} bytes of printable text");
            check(name.as_ref().is_none_or(is_name), field, message);
        }
        let is_prompt = |prompt: &String| prompt.len() <= MAX_PROMPT && !prompt.trim().is_empty();
        let message = format!("expected text of at most {MAX_PROMPT} bytes");
        check(self.prompt.as_ref().is_none_or(is_prompt), "prompt", message);
        let policies = self.policies.as_deref().unwrap_or_default();
        let groups = self.policy_groups.as_deref().unwrap_or_default();
        for (field, count, most) in
            [("policies", policies.len(), MAX_POLICIES), ("policy_groups", groups.len(), MAX_GROUPS)]
        {
            check(count <= most, field, format!("{count} are too many; at most {most} are allowed"));
        }
        for (index, attachment) in policies.iter().enumerate().take(MAX_POLICIES) {
            let field = format!("policies[{index}]");
            violations.extend(match (&attachment.reference, &attachment.embedded) {
                (Some(reference), None) => {
                    Resolver::check_form(reference).err().map(|error| RequestError::new(format!("{field}.ref"), error))
                }
                (None, Some(embedded)) => {
                    embedded_text(embedded).err().map(|error| RequestError::new(format!("{field}.embedded"), error))
                }
                _ => Some(RequestError::new(field, "expected exactly one of ref and embedded")),
            });
        }
        for (index, group) in groups.iter().enumerate().take(MAX_GROUPS) {
            let wrong = Resolver::check_form(&group.reference).err();
            violations.extend(wrong.map(|error| RequestError::new(format!("policy_groups[{index}].ref"), error)));
        }
        violations
    }

    /// Whether it names what to evaluate; otherwise the default policies are used. An empty list counts as none.
    pub fn names_policies(&self) -> bool {
        let empty = |count: Option<usize>| count.unwrap_or(0) == 0;
        !empty(self.policies.as_ref().map(Vec::len)) || !empty(self.policy_groups.as_ref().map(Vec::len))
    }

    /// The kind, if one is named.
    ///
    /// # Errors
    /// [`RequestError`] when it is not known.
    pub fn material_kind(&self) -> Result<Option<MaterialKind>, RequestError> {
        let Some(name) = self.kind.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        let kind: MaterialKind = name.parse().map_err(|error| RequestError::new("kind", error))?;
        Ok(Some(kind))
    }
}

/// The text of an embedded document. An object is written as JSON, which is YAML too.
pub(crate) fn embedded_text(embedded: &serde_json::Value) -> Result<String, &'static str> {
    match embedded {
        serde_json::Value::String(text) => Ok(text.clone()),
        object @ serde_json::Value::Object(_) => Ok(object.to_string()),
        _ => Err("expected the policy document, as text or as an object"),
    }
}
