//! Evidence, read once: recognised, validated as what it claims to be, and turned into the value that policies see.
//!
//! Promises: arbitrary bytes never panic, never overflow the stack and never take more than linear time; a document
//! that is not of its kind is refused with the place where it fails; the value is shared between policies, not copied.

mod attestation;
mod coverage;
mod cyclonedx;
mod detect;
mod error;
pub(crate) mod json;
mod junit;
mod kind;
mod node;
mod others;
mod sarif;
mod spdx;
#[cfg(test)]
mod tests;
mod xml;

use std::collections::BTreeMap;

use base64::Engine as _;
use regorus::Value;

pub use detect::detect;
pub use error::MaterialError;
pub use kind::{MaterialKind, UnknownKind};

/// What a policy may know of a material beyond its content.
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
    /// [`MaterialError`] when the content is not of the kind, or the kind is not supported or cannot be told.
    pub fn parse(kind: Option<MaterialKind>, metadata: &Metadata<'_>, bytes: &[u8]) -> Result<Material, MaterialError> {
        let kind = match kind {
            Some(kind) => kind,
            None => detect(bytes).ok_or(MaterialError::NotRecognised)?,
        };
        let content = content(kind, bytes)?;
        let input = with_metadata(content, kind, metadata, bytes);
        Ok(Material { kind, size: bytes.len(), input })
    }

    /// What the evidence is.
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

fn content(kind: MaterialKind, bytes: &[u8]) -> Result<Value, MaterialError> {
    let checked = |check: fn(&Value) -> Result<(), MaterialError>| {
        let value = json::read(bytes)?;
        check(&value)?;
        Ok(value)
    };
    match kind {
        MaterialKind::SbomCyclonedxJson => checked(cyclonedx::validate),
        MaterialKind::SbomSpdxJson => checked(spdx::validate),
        MaterialKind::Sarif => checked(sarif::validate),
        MaterialKind::Openvex => checked(others::openvex),
        MaterialKind::OssfScorecardJson => checked(others::scorecard),
        MaterialKind::JunitXml => junit::convert(&xml::read(bytes)?),
        MaterialKind::JacocoXml => coverage::jacoco(&xml::read(bytes)?),
        MaterialKind::CoberturaXml => coverage::cobertura(&xml::read(bytes)?),
        MaterialKind::Attestation | MaterialKind::SlsaProvenance => attestation::open(kind, json::read(bytes)?),
        // Any file: JSON when it is JSON, else without content that a policy could read.
        MaterialKind::Evidence | MaterialKind::Artifact => {
            Ok(json::read(bytes).unwrap_or_else(|_| Value::new_object()))
        }
        MaterialKind::String => {
            let text = std::str::from_utf8(bytes).map_err(|error| MaterialError::Mismatch {
                kind,
                at: format!("byte {}", error.valid_up_to()),
                expected: "UTF-8".to_owned(),
                found: "other bytes".to_owned(),
            })?;
            Ok(Value::from(BTreeMap::from([(Value::from("value"), Value::from(text))])))
        }
        other => Err(MaterialError::NotSupported(other)),
    }
}

/// Puts the metadata into the document; a list becomes `elements`, what is neither object nor list becomes `{}`.
fn with_metadata(content: Value, kind: MaterialKind, metadata: &Metadata<'_>, bytes: &[u8]) -> Value {
    let mut fields: BTreeMap<Value, Value> = match &content {
        Value::Object(object) => object.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        Value::Array(_) => BTreeMap::from([(Value::from("elements"), content.clone())]),
        _ => BTreeMap::new(),
    };
    let mut annotations: BTreeMap<Value, Value> = BTreeMap::new();
    for (key, value) in &metadata.annotations {
        annotations.insert(Value::from(key.as_str()), Value::from(value.as_str()));
    }
    // The built-in annotations win over those of the caller.
    annotations.insert(Value::from("chainloop.material.type"), Value::from(kind.as_str()));
    annotations.insert(Value::from("chainloop.material.name"), Value::from(metadata.name));
    let mut about = BTreeMap::from([
        (Value::from("name"), Value::from(metadata.name)),
        (Value::from("kind"), Value::from(kind.as_str())),
        (Value::from("annotations"), Value::from(annotations)),
    ]);
    if let Some((algorithm, hex)) = metadata.digest.split_once(':') {
        let digest = BTreeMap::from([(Value::from(algorithm), Value::from(hex))]);
        about.insert(Value::from("digest"), Value::from(digest));
    }
    if kind == MaterialKind::String {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        about.insert(Value::from("content"), Value::from(text));
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
