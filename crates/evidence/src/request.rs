//! The request for an evaluation: the operation's input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
#[serde(deny_unknown_fields)]
pub struct EvaluateRequest {
    /// `sha256:<64 hex>` of the evidence.
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
#[serde(deny_unknown_fields)]
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
    /// Reads a request from JSON.
    ///
    /// # Errors
    /// [`RequestError`] with the path of the field that cannot be read; empty if it is not one field.
    pub fn read(text: &str) -> Result<EvaluateRequest, RequestError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let request = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            // The root has the path `.`.
            RequestError::new(path.trim_start_matches('.'), error.inner())
        })?;
        reader.end().map_err(|error| RequestError::new("", error))?;
        Ok(request)
    }

    /// Checks the form: everything that can be checked without reading a policy and without the evidence. Cheap,
    /// whatever the request contains.
    ///
    /// # Errors
    /// [`RequestError`] with the path of the first field that is not valid.
    pub fn validate(&self) -> Result<(), RequestError> {
        self.material_kind()?;
        if !is_digest(&self.digest) {
            return Err(RequestError::new("digest", "expected sha256: and 64 lower-case hexadecimal digits"));
        }
        for (field, name) in [
            ("name", &self.name),
            ("project_name", &self.project_name),
            ("project_version_name", &self.project_version_name),
        ] {
            if name.as_ref().is_some_and(|name| name.len() > MAX_NAME || name.chars().any(char::is_control)) {
                return Err(RequestError::new(field, format!("expected at most {MAX_NAME} bytes of printable text")));
            }
        }
        if self.prompt.as_ref().is_some_and(|prompt| prompt.len() > MAX_PROMPT || prompt.trim().is_empty()) {
            return Err(RequestError::new("prompt", format!("expected text of at most {MAX_PROMPT} bytes")));
        }
        let most = |field: &str, count: usize, most: usize| {
            if count <= most {
                Ok(())
            } else {
                Err(RequestError::new(field, format!("{count} are too many; at most {most} are allowed")))
            }
        };
        most("policies", self.policies.as_ref().map_or(0, Vec::len), MAX_POLICIES)?;
        most("policy_groups", self.policy_groups.as_ref().map_or(0, Vec::len), MAX_GROUPS)?;
        for (index, attachment) in self.policies.iter().flatten().enumerate() {
            let field = format!("policies[{index}]");
            match (&attachment.reference, &attachment.embedded) {
                (Some(reference), None) => {
                    Resolver::check_form(reference)
                        .map_err(|error| RequestError::new(format!("{field}.ref"), error))?;
                }
                (None, Some(embedded)) => {
                    embedded_text(embedded).map_err(|error| RequestError::new(format!("{field}.embedded"), error))?;
                }
                _ => return Err(RequestError::new(field, "expected exactly one of ref and embedded")),
            }
        }
        for (index, group) in self.policy_groups.iter().flatten().enumerate() {
            Resolver::check_form(&group.reference)
                .map_err(|error| RequestError::new(format!("policy_groups[{index}].ref"), error))?;
        }
        Ok(())
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

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// The text of an embedded document. An object is written as JSON, which is YAML too.
pub(crate) fn embedded_text(embedded: &serde_json::Value) -> Result<String, &'static str> {
    match embedded {
        serde_json::Value::String(text) => Ok(text.clone()),
        object @ serde_json::Value::Object(_) => Ok(object.to_string()),
        _ => Err("expected the policy document, as text or as an object"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named_by_its_path() {
        for (text, field, says) in [
            (r#"{"policies": [{"ref": "a"}, {"ref": "x", "wth": {}}]}"#, "policies[1].wth", "unknown field `wth`"),
            (r#"{"policies": [{"ref": "x", "with": {"a": 1.5}}]}"#, "policies[0].with.a", "put it in quotes"),
            (r#"{"policy_groups": [{"ref": 1}]}"#, "policy_groups[0].ref", "expected a string"),
            (r#"{"nmae": "x"}"#, "nmae", "unknown field `nmae`"),
            ("{}", "", "missing field `digest`"),
            (r#"{"digest": "d"} and more"#, "", "trailing characters"),
        ] {
            let error = EvaluateRequest::read(text).unwrap_err();
            assert_eq!(error.field, field, "{text}: {error}");
            assert!(error.message.contains(says), "{text}: {error}");
        }
        assert_eq!(EvaluateRequest::read(r#"{"digest": "d"} "#).unwrap().digest, "d");
    }
}
