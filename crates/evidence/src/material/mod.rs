//! Evidence, read once: detected, validated for its kind, and converted to the value that policies see.
//!
//! Promises: arbitrary bytes never cause a panic, never overflow the stack and never take more than linear time; a
//! document that is not valid for its kind is refused with the position of the error; the value is shared between
//! policies, not copied.

mod archive;
mod attestation;
mod chainloop;
mod coverage;
mod csaf;
mod cyclonedx;
mod detect;
mod error;
mod fuzzing;
mod graphql;
mod image;
pub(crate) mod json;
mod junit;
mod kind;
mod node;
mod others;
mod packed;
mod sarif;
mod scanners;
mod schema;
mod spdx;
mod specs;
mod sysinternals;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::BTreeMap;

use ::attestation::{Identities, PublicKey, SignatureReport};
use base64::Engine as _;
use regorus::Value;

pub use detect::detect;
pub use error::MaterialError;
pub use kind::{About, MaterialKind, UnknownKind};

/// What policies may know about a material in addition to its content.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a> {
    /// The material's name; empty for none.
    pub name: &'a str,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: &'a str,
    /// Free annotations of the caller.
    pub annotations: BTreeMap<String, String>,
    /// The name of the project, when there is one.
    pub project_name: Option<&'a str>,
    /// The name of the project's version, when there is one.
    pub project_version_name: Option<&'a str>,
    /// Keys whose signatures are trusted, with their names.
    pub trusted_keys: &'a [(String, PublicKey)],
    /// Identities whose signatures are trusted, too.
    pub trusted_identities: Option<&'a Identities>,
}

/// A piece of evidence, ready for policies.
#[derive(Clone, Debug)]
pub struct Material {
    kind: MaterialKind,
    size: usize,
    input: Value,
}

impl Material {
    /// Reads evidence: detects the kind when none is given, validates, converts.
    ///
    /// # Errors
    /// [`MaterialError`] when the content is not of the kind, or the kind cannot be determined.
    pub fn parse(kind: Option<MaterialKind>, metadata: &Metadata<'_>, bytes: &[u8]) -> Result<Material, MaterialError> {
        let kind = match kind {
            Some(kind) => kind,
            None => detect(bytes).ok_or(MaterialError::NotRecognised)?,
        };
        let content = content(kind, bytes, metadata)?;
        let input = with_metadata(&content, kind, metadata, bytes);
        Ok(Material { kind, size: bytes.len(), input })
    }

    /// The kind of the evidence.
    pub fn kind(&self) -> MaterialKind {
        self.kind
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The document that policies see as `input`, without arguments. Cloning it is cheap.
    pub fn input(&self) -> &Value {
        &self.input
    }
}

/// The result of reading evidence.
struct Content {
    value: Value,
    /// What Chainloop reports in addition to the content.
    annotations: BTreeMap<&'static str, String>,
    /// The name and the digest of what the evidence refers to, if it is a reference.
    refers_to: Option<image::Image>,
    /// The result of verifying its signatures, if it is an attestation.
    signature: Option<SignatureReport>,
}

impl From<Value> for Content {
    fn from(value: Value) -> Content {
        Content { value, annotations: BTreeMap::new(), refers_to: None, signature: None }
    }
}

const TOOL: &str = "chainloop.material.tool.name";
const TOOL_VERSION: &str = "chainloop.material.tool.version";

fn content(kind: MaterialKind, bytes: &[u8], metadata: &Metadata<'_>) -> Result<Content, MaterialError> {
    if matches!(kind, MaterialKind::Attestation | MaterialKind::SlsaProvenance) {
        let (value, signature) = attestation::open(kind, json::read_evidence(bytes)?, metadata)?;
        return Ok(Content { signature: Some(signature), ..Content::from(value) });
    }
    let mut content = Content::from(value(kind, bytes)?);
    let read = content.value.clone();
    let mut annotate = |name: &'static str, text: String| {
        content.annotations.insert(name, text);
    };
    match kind {
        MaterialKind::SbomCyclonedxJson => main_component(cyclonedx::main_component(&read), annotate),
        MaterialKind::SbomSpdxJson => main_component(spdx::main_component(&read), annotate),
        MaterialKind::GitleaksJson => annotate(TOOL, "gitleaks".to_owned()),
        MaterialKind::TrufflehogJson => annotate(TOOL, "trufflehog".to_owned()),
        MaterialKind::CheckmarxJson => annotate(TOOL, "checkmarx".to_owned()),
        MaterialKind::YelpDetectSecretsBaseline => {
            annotate(TOOL, "detect-secrets".to_owned());
            if let Ok(version) = read["version"].as_string() {
                annotate(TOOL_VERSION, version.to_string());
            }
        }
        MaterialKind::RadamsaReport => annotate(TOOL, "radamsa".to_owned()),
        MaterialKind::RadamsaCrashes => {
            annotate(TOOL, "radamsa".to_owned());
            annotate("chainloop.material.radamsa.crashes.count", fuzzing::crashes(bytes)?.to_string());
        }
        MaterialKind::GraphqlSpec => {
            let schema = graphql::read(bytes)?;
            annotate("chainloop.material.graphql.type_count", schema.definitions.len().to_string());
            if !schema.directives.is_empty() {
                annotate("chainloop.material.graphql.directives", schema.directives.join(","));
            }
        }
        MaterialKind::ContainerImage => {
            let image = image::read(bytes)?;
            if let Some(tag) = &image.tag {
                annotate("chainloop.material.image.tag", tag.clone());
            }
            content.refers_to = Some(image);
        }
        _ => {}
    }
    Ok(content)
}

/// The main component of a bill of materials: name, type, version.
type Component = (String, String, String);

fn main_component(component: Option<Component>, mut annotate: impl FnMut(&'static str, String)) {
    let Some((name, kind, version)) = component else { return };
    // The name of an image is the full name of its repository.
    let name = if kind == "container" { image::repository(&name).unwrap_or(name) } else { name };
    annotate("chainloop.material.sbom.main_component.name", name);
    annotate("chainloop.material.sbom.main_component.type", kind);
    annotate("chainloop.material.sbom.main_component.version", version);
}

fn value(kind: MaterialKind, bytes: &[u8]) -> Result<Value, MaterialError> {
    let checked = |check: &dyn Fn(&Value) -> Result<(), MaterialError>| {
        let value = json::read_report(bytes)?;
        check(&value)?;
        Ok(value)
    };
    match kind {
        MaterialKind::SbomCyclonedxJson => checked(&cyclonedx::validate),
        MaterialKind::SbomSpdxJson => checked(&spdx::validate),
        MaterialKind::Sarif => checked(&sarif::validate),
        MaterialKind::Openvex => checked(&others::openvex),
        MaterialKind::CsafVex
        | MaterialKind::CsafInformationalAdvisory
        | MaterialKind::CsafSecurityAdvisory
        | MaterialKind::CsafSecurityIncidentResponse => checked(&|value| csaf::validate(kind, value)),
        MaterialKind::OssfScorecardJson => checked(&others::scorecard),
        MaterialKind::JunitXml => packed::junit(bytes),
        MaterialKind::JacocoXml => coverage::jacoco(&xml::read(bytes)?),
        MaterialKind::CoberturaXml => coverage::cobertura(&xml::read(bytes)?),
        MaterialKind::GitlabSecurityReport => checked(&scanners::gitlab),
        MaterialKind::GhasCodeScan | MaterialKind::GhasSecretScan | MaterialKind::GhasDependencyScan => {
            checked(&|value| scanners::github(kind, value))
        }
        MaterialKind::GitleaksJson => checked(&scanners::gitleaks),
        MaterialKind::TrufflehogJson => scanners::trufflehog(bytes),
        MaterialKind::YelpDetectSecretsBaseline => checked(&scanners::detect_secrets),
        MaterialKind::TwistcliScanJson => checked(&scanners::twistcli),
        MaterialKind::BlackduckScaJson => checked(&scanners::blackduck),
        MaterialKind::CheckmarxJson => checked(&scanners::checkmarx),
        MaterialKind::ZapDastZip => packed::zap(bytes),
        MaterialKind::SysinternalsSigcheck => sysinternals::sigcheck(bytes),
        MaterialKind::SysinternalsAccesschk => sysinternals::accesschk(bytes),
        MaterialKind::CertccDranzer => fuzzing::dranzer(bytes),
        MaterialKind::RadamsaReport => fuzzing::radamsa(bytes),
        MaterialKind::RadamsaCrashes => fuzzing::crashes(bytes).map(|_| Value::new_object()),
        MaterialKind::Attestation | MaterialKind::SlsaProvenance => {
            attestation::open(kind, json::read_evidence(bytes)?, &Metadata::default()).map(|(value, _)| value)
        }
        MaterialKind::OpenapiSpec | MaterialKind::AsyncapiSpec => {
            let value = specs::read(bytes)?;
            let check = if kind == MaterialKind::OpenapiSpec { specs::openapi } else { specs::asyncapi };
            check(&value).map(|()| value)
        }
        MaterialKind::GraphqlSpec => Ok(graphql::read(bytes)?.value()),
        MaterialKind::HelmChart => packed::helm(bytes),
        MaterialKind::ContainerImage => image::read(bytes).map(|_| Value::new_object()),
        MaterialKind::ChainloopRunnerContext => checked(&chainloop::runner_context),
        MaterialKind::ChainloopPrInfo
        | MaterialKind::ChainloopAiAgentConfig
        | MaterialKind::ChainloopAiCodingSession => checked(&|value| chainloop::evidence(kind, value)),
        // Any file: JSON if it is JSON, otherwise without content that a policy could read. If JSON that cannot be
        // parsed were accepted, a policy would see nothing of it, and report no violations.
        MaterialKind::Evidence | MaterialKind::Artifact => match json::read_report(bytes) {
            Err(error) if json::is_meant(bytes) => Err(error),
            read => Ok(read.unwrap_or_else(|_| Value::new_object())),
        },
        MaterialKind::String => {
            let text = std::str::from_utf8(bytes).map_err(|error| {
                MaterialError::mismatch(kind, format!("byte {}", error.valid_up_to()), "UTF-8", "other bytes")
            })?;
            Ok(Value::from(BTreeMap::from([(Value::from("value"), Value::from(text))])))
        }
    }
}

/// Adds the metadata to the document; a list becomes `elements`, a value that is neither becomes `{}`.
fn with_metadata(content: &Content, kind: MaterialKind, metadata: &Metadata<'_>, bytes: &[u8]) -> Value {
    let mut fields: BTreeMap<Value, Value> = match &content.value {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        list @ Value::Array(_) => BTreeMap::from([(Value::from("elements"), list.clone())]),
        _ => BTreeMap::new(),
    };
    let mut annotations: BTreeMap<Value, Value> = BTreeMap::new();
    for (key, value) in &metadata.annotations {
        annotations.insert(Value::from(key.as_str()), Value::from(value.as_str()));
    }
    // The built-in annotations take precedence over those of the caller.
    for (key, text) in &content.annotations {
        annotations.insert(Value::from(*key), Value::from(text.as_str()));
    }
    if let Some(image) = &content.refers_to {
        let is_latest = image.tag.as_deref() == Some("latest");
        annotations.insert(Value::from("chainloop.material.image.is_latest_tag"), Value::Bool(is_latest));
    }
    annotations.insert(Value::from("chainloop.material.type"), Value::from(kind.as_str()));
    annotations.insert(Value::from("chainloop.material.name"), Value::from(metadata.name));
    let mut about = BTreeMap::from([
        (Value::from("name"), Value::from(metadata.name)),
        (Value::from("kind"), Value::from(kind.as_str())),
        (Value::from("annotations"), Value::from(annotations)),
    ]);
    // For a reference, the digest is that of the object that it names.
    let digest = match &content.refers_to {
        Some(image) => {
            about.insert(Value::from("name"), Value::from(image.name.as_str()));
            image.digest.as_deref().unwrap_or_default()
        }
        None => metadata.digest,
    };
    if let Some((algorithm, hex)) = digest.split_once(':') {
        let digest = BTreeMap::from([(Value::from(algorithm), Value::from(hex))]);
        about.insert(Value::from("digest"), Value::from(digest));
    }
    if kind == MaterialKind::String {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        about.insert(Value::from("content"), Value::from(text));
    }
    if let Some(report) = &content.signature {
        about.insert(Value::from("signature"), signature(report));
    }
    for (key, value) in
        [("project_name", metadata.project_name), ("project_version_name", metadata.project_version_name)]
    {
        if let Some(value) = value {
            about.insert(Value::from(key), Value::from(value));
        }
    }
    fields.insert(Value::from("chainloop_metadata"), Value::from(about));
    Value::from(fields)
}

/// The result of verifying the signatures, as policies see it.
fn signature(report: &SignatureReport) -> Value {
    let json = serde_json::to_string(report).expect("texts and numbers have a form in JSON");
    Value::from_json_str(&json).expect("what was written just now is JSON")
}
