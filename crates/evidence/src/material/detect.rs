//! Detects a material's kind from its content.
//!
//! JSON is scanned in one pass, without building values, with a constant amount of memory. Only the envelope of a
//! Sigstore bundle is parsed, up to a size, to distinguish a provenance from other attestations. A detected kind is
//! only a claim; the validation checks whether the content fulfils it.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::archive::Format;
use super::kind::MaterialKind;
use super::{chainloop, csaf, fuzzing, graphql, json, packed, sysinternals, xml};
use crate::whole_characters;

/// The maximum size of an envelope whose predicate is read; a larger one counts as an attestation.
const MAX_ENVELOPE: usize = 8 * 1024 * 1024;

/// The kind that the content appears to have, if any.
pub fn detect(bytes: &[u8]) -> Option<MaterialKind> {
    if let Some(format) = Format::of(bytes) {
        return packed::detect(bytes, format);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return text(&sysinternals::decode(&bytes[..bytes.len().min(HEAD) & !1])?);
    }
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
            if reader.end().is_err() {
                return members.is_trufflehog().then_some(MaterialKind::TrufflehogJson);
            }
            members.kind()
        }
        b'[' => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let first = reader.deserialize_seq(First).ok()?;
            reader.end().ok()?;
            first?.kind_of_list()
        }
        _ => text(whole_characters(&bytes[..bytes.len().min(HEAD)], bytes.len() > HEAD)?),
    }
}

/// How much of a text is examined, in bytes.
const HEAD: usize = 256 * 1024;

/// The kind that a text appears to have.
fn text(text: &str) -> Option<MaterialKind> {
    let text = text.trim_start();
    let begins = |key: &str| text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    if sysinternals::is_accesschk(text) {
        return Some(MaterialKind::SysinternalsAccesschk);
    }
    if sysinternals::is_sigcheck(text) {
        return Some(MaterialKind::SysinternalsSigcheck);
    }
    if fuzzing::is_dranzer(text) {
        return Some(MaterialKind::CertccDranzer);
    }
    if fuzzing::is_radamsa(text) {
        return Some(MaterialKind::RadamsaReport);
    }
    if begins("openapi") {
        return Some(MaterialKind::OpenapiSpec);
    }
    if begins("asyncapi") {
        return Some(MaterialKind::AsyncapiSpec);
    }
    // A longer schema would be cut in the middle of a definition.
    (text.len() < HEAD && graphql::read(text.as_bytes()).is_ok()).then_some(MaterialKind::GraphqlSpec)
}

/// The top-level members that identify a kind.
#[derive(Default)]
struct Members<'a> {
    bom_format: &'a str,
    spdx_version: &'a str,
    context: &'a str,
    media_type: &'a str,
    payload_type: &'a str,
    envelope: Option<&'a str>,
    document: &'a str,
    meta: &'a str,
    evidence: &'a str,
    /// Which of [`NAMES`] are present.
    present: u64,
}

/// Members whose presence identifies a kind.
const NAMES: [&str; 25] = [
    "author",
    "runs",
    "@graph",
    "statements",
    "scorecard",
    "checks",
    "scan",
    "vulnerabilities",
    "plugins_used",
    "results",
    "consoleURL",
    "detailedVulnerabilities",
    "detailedCodeLocations",
    "scanID",
    "openapi",
    "asyncapi",
    "DetectorName",
    "SourceMetadata",
    "rule",
    "tool",
    "secret_type",
    "dependency",
    "security_advisory",
    "RuleID",
    "Fingerprint",
];

impl Members<'_> {
    fn kind(&self) -> Option<MaterialKind> {
        if self.bom_format == "\"CycloneDX\"" {
            return Some(MaterialKind::SbomCyclonedxJson);
        }
        if self.spdx_version.starts_with("\"SPDX-") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        if self.has(&["@graph"]) && self.context.contains("spdx.org/rdf/3") {
            return Some(MaterialKind::SbomSpdxJson);
        }
        let is_vex = self.context.contains("openvex.dev/ns") || (self.context == "\"\"" && self.has(&["author"]));
        if is_vex && self.has(&["statements"]) {
            return Some(MaterialKind::Openvex);
        }
        if let Some(envelope) = self.envelope.filter(|_| self.media_type.contains("sigstore.bundle")) {
            let is_provenance = envelope.len() <= MAX_ENVELOPE && self.holds_provenance(envelope);
            return Some(if is_provenance { MaterialKind::SlsaProvenance } else { MaterialKind::Attestation });
        }
        if self.payload_type.contains("in-toto") {
            return Some(MaterialKind::Attestation);
        }
        if !self.evidence.is_empty() {
            return self.evidence.trim_matches('"').parse().ok();
        }
        if self.meta.contains(chainloop::RUNNER_CONTEXT) {
            return Some(MaterialKind::ChainloopRunnerContext);
        }
        if self.document.contains("csaf_version") {
            return self.csaf();
        }
        if self.is_trufflehog() {
            return Some(MaterialKind::TrufflehogJson);
        }
        let by_members: [(&[&str], MaterialKind); 9] = [
            (&["scorecard", "checks"], MaterialKind::OssfScorecardJson),
            (&["scan", "vulnerabilities"], MaterialKind::GitlabSecurityReport),
            (&["plugins_used", "results"], MaterialKind::YelpDetectSecretsBaseline),
            (&["results", "consoleURL"], MaterialKind::TwistcliScanJson),
            (&["detailedVulnerabilities", "detailedCodeLocations"], MaterialKind::BlackduckScaJson),
            (&["scanID", "results"], MaterialKind::CheckmarxJson),
            (&["openapi"], MaterialKind::OpenapiSpec),
            (&["asyncapi"], MaterialKind::AsyncapiSpec),
            (&["runs"], MaterialKind::Sarif),
        ];
        by_members.iter().find(|(members, _)| self.has(members)).map(|(_, kind)| *kind)
    }

    /// The kind of a list with this first item.
    fn kind_of_list(&self) -> Option<MaterialKind> {
        let by_members: [(&[&str], MaterialKind); 5] = [
            (&["RuleID", "Fingerprint"], MaterialKind::GitleaksJson),
            (&["secret_type"], MaterialKind::GhasSecretScan),
            (&["dependency", "security_advisory"], MaterialKind::GhasDependencyScan),
            (&["rule", "tool"], MaterialKind::GhasCodeScan),
            (&["DetectorName", "SourceMetadata"], MaterialKind::TrufflehogJson),
        ];
        by_members.iter().find(|(members, _)| self.has(members)).map(|(_, kind)| *kind)
    }

    fn has(&self, members: &[&str]) -> bool {
        members.iter().all(|member| bit(member).is_some_and(|bit| self.present & bit != 0))
    }

    fn is_trufflehog(&self) -> bool {
        self.has(&["DetectorName", "SourceMetadata"])
    }

    fn csaf(&self) -> Option<MaterialKind> {
        #[derive(serde::Deserialize)]
        struct Document<'d> {
            #[serde(borrow)]
            category: std::borrow::Cow<'d, str>,
        }
        let document: Document<'_> = serde_json::from_str(self.document).ok()?;
        [
            MaterialKind::CsafVex,
            MaterialKind::CsafInformationalAdvisory,
            MaterialKind::CsafSecurityAdvisory,
            MaterialKind::CsafSecurityIncidentResponse,
        ]
        .into_iter()
        .find(|kind| csaf::category(*kind) == document.category)
    }

    fn holds_provenance(&self, envelope: &str) -> bool {
        let bundle = format!("{{\"mediaType\":{},\"dsseEnvelope\":{envelope}}}", self.media_type);
        json::read(bundle.as_bytes())
            .is_ok_and(|bundle| super::attestation::check(MaterialKind::SlsaProvenance, &bundle).is_ok())
    }
}

/// Reads the relevant members and skips the rest without recursion.
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
                "document" => &mut members.document,
                "meta" => &mut members.meta,
                chainloop::ID => &mut members.evidence,
                other => {
                    members.present |= bit(other).unwrap_or(0);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Borrowed: it is not copied, however long it is.
            *text = map.next_value::<&RawValue>()?.get();
        }
        Ok(members)
    }
}

/// The bit of a member in [`Members::present`].
fn bit(member: &str) -> Option<u64> {
    NAMES.iter().position(|name| *name == member).map(|at| 1 << at)
}

/// Reads the members of the first item of a list, and skips the others.
struct First;

impl<'de> Visitor<'de> for First {
    type Value = Option<Members<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of JSON objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let first = items.next_element_seed(Skim)?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = Members<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}
