//! Tells a material's kind from its content.
//!
//! JSON is skimmed, not built: one pass, a constant amount of memory whatever the input. Only the envelope of a
//! Sigstore bundle is read, up to a size, to tell a provenance from other attestations. A kind that is detected is only
//! a claim; whether the content keeps it is for the validation to say.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::kind::MaterialKind;
use super::{json, xml};

/// The largest envelope that is read for its predicate; in a larger one anything is an attestation.
const MAX_ENVELOPE: usize = 8 * 1024 * 1024;

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
            members.kind()
        }
        _ => None,
    }
}

/// The top-level members that tell a kind.
#[derive(Default)]
struct Members<'a> {
    bom_format: &'a str,
    spdx_version: &'a str,
    context: &'a str,
    media_type: &'a str,
    payload_type: &'a str,
    envelope: Option<&'a str>,
    has_runs: bool,
    has_graph: bool,
    has_statements: bool,
    has_scorecard: bool,
    has_checks: bool,
}

impl Members<'_> {
    fn kind(&self) -> Option<MaterialKind> {
        if self.bom_format == "\"CycloneDX\"" {
            return Some(MaterialKind::SbomCyclonedxJson);
        }
        if self.spdx_version.starts_with("\"SPDX-") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        if self.has_graph && self.context.contains("spdx.org/rdf/3") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        if self.has_statements && self.context.contains("openvex.dev/ns") {
            return Some(MaterialKind::Openvex);
        }
        if let Some(envelope) = self.envelope.filter(|_| self.media_type.contains("sigstore.bundle")) {
            let is_provenance = envelope.len() <= MAX_ENVELOPE && self.holds_provenance(envelope);
            return Some(if is_provenance { MaterialKind::SlsaProvenance } else { MaterialKind::Attestation });
        }
        if self.payload_type.contains("in-toto") {
            return Some(MaterialKind::Attestation);
        }
        if self.has_scorecard && self.has_checks {
            return Some(MaterialKind::OssfScorecardJson);
        }
        self.has_runs.then_some(MaterialKind::Sarif)
    }

    fn holds_provenance(&self, envelope: &str) -> bool {
        let bundle = format!("{{\"mediaType\":{},\"dsseEnvelope\":{envelope}}}", self.media_type);
        json::read(bundle.as_bytes())
            .is_ok_and(|bundle| super::attestation::statement(MaterialKind::SlsaProvenance, &bundle).is_ok())
    }
}

/// Reads the members that matter and skips the rest without recursion.
struct Skim;

impl<'de> Visitor<'de> for Skim {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let text = match key.as_ref() {
                "bomFormat" => &mut members.bom_format,
                "spdxVersion" => &mut members.spdx_version,
                "@context" => &mut members.context,
                "mediaType" => &mut members.media_type,
                "payloadType" => &mut members.payload_type,
                "dsseEnvelope" => members.envelope.insert(""),
                other => {
                    match other {
                        "runs" => members.has_runs = true,
                        "@graph" => members.has_graph = true,
                        "statements" => members.has_statements = true,
                        "scorecard" => members.has_scorecard = true,
                        "checks" => members.has_checks = true,
                        _ => {}
                    }
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Borrowed: however long it is, it is not copied.
            *text = map.next_value::<&RawValue>()?.get();
        }
        Ok(members)
    }
}
