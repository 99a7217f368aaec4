//! Policy and PolicyGroup documents, as they are written in files and requests: YAML or JSON.
//!
//! A member that is misspelt would have no effect, and evidence could pass for that reason. So members of a `spec` that
//! Chainloop does not have, which refuses them too, are refused here. Those that have no meaning here are [`Unused`].

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{DeserializeOwned, Error as _, IgnoredAny as Unused};
use serde::{Deserialize, Deserializer};

use super::error::PolicyError;
use super::findings::FindingType;
use crate::material::MaterialKind;
use crate::yaml::Scanned;

/// The maximum size of a document.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The maximum number of scripts of a policy, and of policies of a group.
const MAX_PARTS: usize = 100;

const API_VERSIONS: [&str; 2] = ["chainloop.dev/v1", "workflowcontract.chainloop.dev/v1"];

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name, description and annotations.
    pub metadata: Metadata,
    /// One script per material type, in the order of the document.
    pub scripts: Vec<ScriptSource>,
    /// The arguments that it accepts.
    pub inputs: Vec<Input>,
}

/// Policies to be applied together.
#[derive(Clone, Debug)]
pub struct PolicyGroup {
    /// Name, description and annotations.
    pub metadata: Metadata,
    /// The policies, and the materials to which they apply.
    pub materials: Vec<GroupMaterial>,
    /// The arguments that it accepts and passes on.
    pub inputs: Vec<Input>,
}

/// The metadata of a document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(expecting = "a map with the name, and optionally description, annotations and finding_type")]
pub struct Metadata {
    /// A DNS-1123 label.
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// Arbitrary annotations.
    #[serde(default, deserialize_with = "Scalar::written")]
    pub annotations: BTreeMap<String, Scalar>,
    /// The type of its findings.
    #[serde(default, alias = "findingType")]
    pub finding_type: Option<FindingType>,
}

/// A script and the material type to which it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptSource {
    /// Its place in the document: `spec` in the older form with one script, otherwise `spec.policies[INDEX]`.
    pub field: String,
    /// The name of the material type; `None`: every type.
    pub kind: Option<String>,
    /// The location of the script.
    pub body: Body,
}

/// The location of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In the document.
    Embedded(String),
    /// In a file, relative to the document.
    Path(String),
    /// At a reference.
    Ref(String),
}

/// An argument of a policy or a group.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with name, and optionally description, required and default")]
pub struct Input {
    /// The key in `with` and in `input.args`.
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: String,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// Its value if it is not given.
    #[serde(default, deserialize_with = "Scalar::written_or_none")]
    pub default: Option<Scalar>,
}

/// Part of a group: policies for the materials of a type or name.
#[derive(Clone, Debug, Default)]
pub struct GroupMaterial {
    /// The material type; `None`: every type.
    pub kind: Option<String>,
    /// The material's name; `None`: every name. May contain `{{ inputs.x }}`.
    pub name: Option<String>,
    /// How the name is compared.
    pub match_mode: MatchMode,
    /// The policies.
    pub policies: Vec<PolicyAttachment>,
}

/// How the name in a group selects materials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MatchMode {
    /// The material has this name.
    #[default]
    #[serde(rename = "EXACT", alias = "MATCH_MODE_UNSPECIFIED", alias = "MATCH_MODE_EXACT", alias = "")]
    Exact,
    /// The material's name begins with this name.
    #[serde(rename = "PREFIX", alias = "MATCH_MODE_PREFIX")]
    Prefix,
}

/// An attachment of a policy: a reference to it, and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, expecting = "an object with ref or embedded")]
pub struct PolicyAttachment {
    /// A reference into the policy folder. Exactly one of `ref` and `embedded`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The document itself: its text, or an object.
    #[serde(default, deserialize_with = "embedded_document", skip_serializing_if = "Option::is_none")]
    pub embedded: Option<serde_json::Value>,
    /// Arguments by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, Scalar>,
    /// The materials to which it applies; absent: all of its kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<MaterialSelector>,
    /// Whether it is disabled for now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// The materials to which a policy applies, in addition to the restriction to its kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, expecting = "an object with the name of the material")]
pub struct MaterialSelector {
    /// The name of the material; empty: every name.
    #[serde(default)]
    pub name: String,
}

/// A string; numbers and booleans are converted to their text.
///
/// A JSON reader returns the value of a number, not how it was written: `1.10` would become `1.1`, another version. So
/// a number with a fraction or an exponent is refused; the YAML reader returns the text to a caller that requests it
/// (`Scalar::written`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        Scalar::of(&serde_json::Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Scalar {
    fn of(value: &serde_json::Value) -> Result<Scalar, String> {
        match value {
            serde_json::Value::String(text) => Ok(Scalar(text.clone())),
            serde_json::Value::Number(number) if number.is_f64() => Err(format!(
                "a number such as {number} may not keep the form in which it was written: put it in quotes"
            )),
            serde_json::Value::Number(number) => Ok(Scalar(number.to_string())),
            serde_json::Value::Bool(flag) => Ok(Scalar(flag.to_string())),
            serde_json::Value::Null => Ok(Scalar::default()),
            _ => Err("expected a string".to_owned()),
        }
    }

    /// The scalars of a mapping in YAML, with their text as it is written.
    pub(crate) fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Scalar>, D::Error> {
        let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
        Ok(written.into_iter().map(|(name, Written(scalar))| (name, scalar)).collect())
    }

    /// A scalar in YAML, with its text as it is written.
    fn written_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Scalar>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|Written(scalar)| scalar))
    }
}

/// A YAML scalar. A caller that requests text from the reader gets the text of a number, too.
struct Written(Scalar);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Written, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        // A boolean has one text, however it is written: policies compare with this text.
        let text = match text.as_str() {
            "True" | "TRUE" => "true".to_owned(),
            "False" | "FALSE" => "false".to_owned(),
            _ => text,
        };
        Ok(Written(Scalar(text)))
    }
}

/// The embedded document of a policy. If it is an object, its numbers have already been converted.
fn embedded_document<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<serde_json::Value>, D::Error> {
    let document = Option::<serde_json::Value>::deserialize(deserializer)?;
    let inputs = document.as_ref().and_then(|document| document.pointer("/spec/inputs")?.as_array());
    for default in inputs.into_iter().flatten().filter_map(|input| input.get("default")) {
        // A value that is not a scalar is refused by the reader of the document.
        if default.is_number() {
            Scalar::of(default).map_err(D::Error::custom)?;
        }
    }
    Ok(document)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a map with apiVersion, kind, metadata and spec")]
struct Head {
    api_version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(expecting = "a map with apiVersion, kind, metadata and spec")]
struct Document<S> {
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with policies, and optionally inputs")]
struct PolicySpec {
    #[serde(default)]
    policies: Vec<RawScript>,
    #[serde(default)]
    inputs: Vec<Input>,
    // The older form, before several kinds were supported: one script, directly in the spec.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    embedded: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default, rename = "auto_match", alias = "autoMatch")]
    _auto_match: Unused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with embedded, path or ref, and optionally kind")]
struct RawScript {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    embedded: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// When Chainloop evaluates an attestation that is being created. Here an attestation is evaluated as a whole, so
    /// all phases apply.
    #[serde(default, alias = "attestationPhases")]
    attestation_phases: Vec<AttestationPhase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum AttestationPhase {
    #[serde(rename = "ATTESTATION_PHASE_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "INIT")]
    Init,
    #[serde(rename = "PUSH")]
    Push,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with policies, and optionally inputs")]
struct GroupSpec {
    #[serde(default)]
    policies: GroupPolicies,
    #[serde(default)]
    inputs: Vec<Input>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with materials or attestation")]
struct GroupPolicies {
    #[serde(default)]
    materials: Vec<RawGroupMaterial>,
    #[serde(default)]
    attestation: Vec<GroupUse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with policies, and optionally type and name")]
struct RawGroupMaterial {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "matchMode")]
    match_mode: MatchMode,
    #[serde(default)]
    policies: Vec<GroupUse>,
    #[serde(default, rename = "optional")]
    _optional: Unused,
    #[serde(default, rename = "output")]
    _output: Unused,
    #[serde(default, rename = "annotations")]
    _annotations: Unused,
    #[serde(default, rename = "skip_upload", alias = "skipUpload")]
    _skip_upload: Unused,
}

/// As [`PolicyAttachment`], with the members that it has in a contract only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with ref")]
struct GroupUse {
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    #[serde(default, deserialize_with = "embedded_document")]
    embedded: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "Scalar::written")]
    with: BTreeMap<String, Scalar>,
    #[serde(default)]
    selector: Option<MaterialSelector>,
    #[serde(default)]
    disabled: bool,
    #[serde(default, rename = "requirements")]
    _requirements: Unused,
    #[serde(default, rename = "gate")]
    _gate: Unused,
}

impl From<GroupUse> for PolicyAttachment {
    fn from(raw: GroupUse) -> PolicyAttachment {
        let GroupUse { reference, embedded, with, selector, disabled, .. } = raw;
        PolicyAttachment { reference, embedded, with, selector, disabled }
    }
}

impl Policy {
    /// Reads a policy; `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<Policy, PolicyError> {
        let document: Document<PolicySpec> = read(file, text, "Policy")?;
        let spec = document.spec;
        let mut scripts = Vec::new();
        let single = spec.embedded.is_some() || spec.path.is_some();
        if single != spec.policies.is_empty() {
            let message = "expected the scripts in policies, or exactly one script in embedded or path";
            return Err(PolicyError::field(file, "spec.policies", message));
        }
        if single {
            let body = one_body(file, "spec", spec.embedded, spec.path, None)?;
            let kind = known_kind(file, "spec.type", spec.kind)?;
            scripts.push(ScriptSource { field: "spec".to_owned(), kind, body });
        }
        for (index, raw) in spec.policies.into_iter().enumerate() {
            let field = format!("spec.policies[{index}]");
            let body = one_body(file, &field, raw.embedded, raw.path, raw.reference)?;
            if !raw.attestation_phases.is_empty() && raw.kind.as_deref() != Some("ATTESTATION") {
                let message = "attestation phases apply to attestations only: expected kind ATTESTATION";
                return Err(PolicyError::field(file, &format!("{field}.attestation_phases"), message));
            }
            let kind = known_kind(file, &format!("{field}.kind"), raw.kind)?;
            scripts.push(ScriptSource { field, kind, body });
        }
        if scripts.len() > MAX_PARTS {
            return Err(PolicyError::field(file, "spec.policies", &format!("more than {MAX_PARTS} scripts")));
        }
        checked(file, &document.metadata, &spec.inputs)?;
        Ok(Policy { metadata: document.metadata, scripts, inputs: spec.inputs })
    }
}

impl PolicyGroup {
    /// Reads a group; `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<PolicyGroup, PolicyError> {
        let document: Document<GroupSpec> = read(file, text, "PolicyGroup")?;
        let GroupSpec { policies, inputs } = document.spec;
        let mut materials: Vec<GroupMaterial> = Vec::new();
        for (index, raw) in policies.materials.into_iter().enumerate() {
            let RawGroupMaterial { kind, name, match_mode, policies, .. } = raw;
            let field = format!("spec.policies.materials[{index}].type");
            let kind = known_kind(file, &field, kind)?;
            if name.as_ref().is_some_and(|name| !name.is_empty()) && kind.is_none() {
                return Err(PolicyError::field(file, &field, "a material that is selected by name needs a type"));
            }
            let policies = policies.into_iter().map(PolicyAttachment::from).collect();
            materials.push(GroupMaterial { kind, name, match_mode, policies });
        }
        if !policies.attestation.is_empty() {
            let kind = Some("ATTESTATION".to_owned());
            let policies = policies.attestation.into_iter().map(PolicyAttachment::from).collect();
            materials.push(GroupMaterial { kind, policies, ..GroupMaterial::default() });
        }
        if materials.iter().all(|material| material.policies.is_empty()) {
            return Err(PolicyError::field(file, "spec.policies", "expected at least one policy"));
        }
        if materials.iter().map(|material| material.policies.len()).sum::<usize>() > MAX_PARTS {
            return Err(PolicyError::field(file, "spec.policies", &format!("more than {MAX_PARTS} policies")));
        }
        for attachment in materials.iter().flat_map(|material| &material.policies) {
            if attachment.reference.is_some() == attachment.embedded.is_some() {
                return Err(PolicyError::field(
                    file,
                    "spec.policies",
                    "a policy needs exactly one of ref and embedded",
                ));
            }
        }
        checked(file, &document.metadata, &inputs)?;
        Ok(PolicyGroup { metadata: document.metadata, materials, inputs })
    }
}

/// Reads a document of this kind.
fn read<T: DeserializeOwned>(file: &str, text: &str, kind: &str) -> Result<T, PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(PolicyError::field(file, "", &format!("larger than {MAX_BYTES} bytes")));
    }
    let wrong = |error| PolicyError::syntax(file, error);
    let document = Scanned::new(text).map_err(wrong)?;
    let head = match (document.text_of("apiVersion"), document.text_of("kind")) {
        (Some(api_version), Some(kind)) => Head { api_version: api_version.to_owned(), kind: kind.to_owned() },
        // The reader says what is missing, and where.
        _ => document.read().map_err(wrong)?,
    };
    if !API_VERSIONS.contains(&head.api_version.as_str()) {
        let message = format!("expected {}, found {:?}", API_VERSIONS.join(" or "), head.api_version);
        return Err(PolicyError::field(file, "apiVersion", &message));
    }
    if head.kind != kind {
        return Err(PolicyError::field(file, "kind", &format!("expected {kind}, found {:?}", head.kind)));
    }
    document.read().map_err(wrong)
}

fn one_body(
    file: &str,
    field: &str,
    embedded: Option<String>,
    path: Option<String>,
    reference: Option<String>,
) -> Result<Body, PolicyError> {
    match (embedded, path, reference) {
        (Some(text), None, None) => Ok(Body::Embedded(text)),
        (None, Some(path), None) => Ok(Body::Path(path)),
        (None, None, Some(reference)) => Ok(Body::Ref(reference)),
        _ => Err(PolicyError::field(file, field, "expected exactly one of embedded, path and ref")),
    }
}

fn checked(file: &str, metadata: &Metadata, inputs: &[Input]) -> Result<(), PolicyError> {
    if !is_label(&metadata.name) {
        let message = "expected a DNS-1123 label: lower-case letters, digits and hyphens, 63 at most, a letter or digit at both ends";
        return Err(PolicyError::field(file, "metadata.name", message));
    }
    let mut names = BTreeSet::new();
    for (index, input) in inputs.iter().enumerate() {
        let field = format!("spec.inputs[{index}]");
        if input.name.trim().is_empty() {
            return Err(PolicyError::field(file, &format!("{field}.name"), "expected a name"));
        }
        if !names.insert(&input.name) {
            return Err(PolicyError::field(file, &format!("{field}.name"), &format!("{} occurs twice", input.name)));
        }
        if input.required && input.default.is_some() {
            let message = format!("{} is required, so a default has no meaning", input.name);
            return Err(PolicyError::field(file, &format!("{field}.default"), &message));
        }
    }
    Ok(())
}

/// The material type, if one is named. No evidence ever has a type that does not exist, so that a policy for such a
/// type would never be evaluated.
fn known_kind(file: &str, field: &str, kind: Option<String>) -> Result<Option<String>, PolicyError> {
    // Contracts may write explicitly that they name none.
    let Some(kind) = kind.filter(|kind| kind != "MATERIAL_TYPE_UNSPECIFIED") else { return Ok(None) };
    match kind.parse::<MaterialKind>() {
        Ok(_) => Ok(Some(kind)),
        Err(error) => Err(PolicyError::field(file, field, &error.to_string())),
    }
}

fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}
