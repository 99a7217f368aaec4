//! Tells a material's kind from its content.
//!
//! JSON is skimmed, not built: one pass, a constant amount of memory whatever the input. A kind that is detected is only
//! a claim; whether the content keeps it is for the validation to say.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{MaterialKind, json, xml};

/// The kind that the content looks like, if it looks like one.
pub fn detect(bytes: &[u8]) -> Option<MaterialKind> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = bytes.iter().position(|byte| !byte.is_ascii_whitespace())?;
    match bytes[first] {
        b'<' => match xml::root_name(bytes).as_deref()? {
            "testsuites" | "testsuite" => Some(MaterialKind::JunitXml),
            "report" => Some(MaterialKind::JacocoXml),
            "coverage" => Some(MaterialKind::CoberturaXml),
            _ => None,
        },
        b'{' => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let members = reader.deserialize_map(Skim).ok()?;
            reader.end().ok()?;
            members.kind(bytes)
        }
        _ => None,
    }
}

/// The top-level members that tell a kind.
#[derive(Default)]
struct Members {
    bom_format: Option<Box<RawValue>>,
    spdx_version: Option<Box<RawValue>>,
    context: Option<Box<RawValue>>,
    media_type: Option<Box<RawValue>>,
    payload_type: Option<Box<RawValue>>,
    has_runs: bool,
    has_graph: bool,
    has_statements: bool,
    has_envelope: bool,
    has_scorecard: bool,
    has_checks: bool,
}

impl Members {
    fn kind(&self, bytes: &[u8]) -> Option<MaterialKind> {
        let text = |member: &Option<Box<RawValue>>| member.as_ref().map(|raw| raw.get().to_owned()).unwrap_or_default();
        if text(&self.bom_format) == "\"CycloneDX\"" {
            return Some(MaterialKind::SbomCyclonedxJson);
        }
        if text(&self.spdx_version).starts_with("\"SPDX-") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        let context = text(&self.context);
        if self.has_graph && context.contains("spdx.org/rdf/3") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        if self.has_statements && context.contains("openvex.dev/ns") {
            return Some(MaterialKind::Openvex);
        }
        if self.has_envelope && text(&self.media_type).contains("sigstore.bundle") {
            let document = json::read(bytes).ok()?;
            let provenance = super::attestation::statement(MaterialKind::SlsaProvenance, &document).is_ok();
            return Some(if provenance { MaterialKind::SlsaProvenance } else { MaterialKind::Attestation });
        }
        if text(&self.payload_type).contains("in-toto") {
            return Some(MaterialKind::Attestation);
        }
        if self.has_scorecard && self.has_checks {
            return Some(MaterialKind::OssfScorecardJson);
        }
        self.has_runs.then_some(MaterialKind::Sarif)
    }
}

/// Reads the members that matter and skips the rest without recursion.
struct Skim;

impl<'de> Visitor<'de> for Skim {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let text = match key.as_ref() {
                "bomFormat" => &mut members.bom_format,
                "spdxVersion" => &mut members.spdx_version,
                "@context" => &mut members.context,
                "mediaType" => &mut members.media_type,
                "payloadType" => &mut members.payload_type,
                other => {
                    match other {
                        "runs" => members.has_runs = true,
                        "@graph" => members.has_graph = true,
                        "statements" => members.has_statements = true,
                        "dsseEnvelope" => members.has_envelope = true,
                        "scorecard" => members.has_scorecard = true,
                        "checks" => members.has_checks = true,
                        _ => {}
                    }
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *text = Some(map.next_value()?);
        }
        Ok(members)
    }
}
