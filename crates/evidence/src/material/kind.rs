//! The names of the material types, as contracts and policies write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strsim::levenshtein;

macro_rules! kinds {
    ($($variant:ident = $name:literal, $reads:literal, $input:literal, $told:literal;)*) => {
        /// The type that a piece of evidence claims to have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MaterialKind {
            $(#[doc = $reads] $variant,)*
        }

        impl MaterialKind {
            /// Every kind.
            pub const ALL: &'static [MaterialKind] = &[$(MaterialKind::$variant,)*];

            /// The name on the wire, such as `SBOM_CYCLONEDX_JSON`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(MaterialKind::$variant => $name,)*
                }
            }

            /// A description of the kind, in Markdown.
            pub const fn about(self) -> About {
                match self {
                    $(MaterialKind::$variant => About { reads: $reads, input: $input, told_by: $told },)*
                }
            }
        }
    };
}

/// A description of a kind, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// What is accepted.
    pub reads: &'static str,
    /// What policies see as `input`.
    pub input: &'static str,
    /// How the kind is detected when none is named; a dash if it is not detected.
    pub told_by: &'static str,
}

kinds! {
    SbomCyclonedxJson = "SBOM_CYCLONEDX_JSON",
        "A CycloneDX bill of materials, 1.2 to 1.7, in JSON.",
        "the document", "`bomFormat`";
    SbomSpdxJson = "SBOM_SPDX_JSON",
        "An SPDX bill of materials in JSON: 2.2, 2.3, or the graph of 3.0.",
        "the document", "`spdxVersion`, or `@graph` with the context of SPDX 3";
    Sarif = "SARIF",
        "Findings of a static analysis, SARIF 2.1.0.",
        "the document", "`runs`";
    Openvex = "OPENVEX",
        "Statements on exploitability, OpenVEX.",
        "the document", "`statements` with the context of OpenVEX";
    CsafVex = "CSAF_VEX",
        "CSAF 2.0 or 2.1 of the category `csaf_vex`.",
        "the document", "`document.category`";
    CsafInformationalAdvisory = "CSAF_INFORMATIONAL_ADVISORY",
        "CSAF of the category `csaf_informational_advisory`.",
        "the document", "`document.category`";
    CsafSecurityAdvisory = "CSAF_SECURITY_ADVISORY",
        "CSAF of the category `csaf_security_advisory`.",
        "the document", "`document.category`";
    CsafSecurityIncidentResponse = "CSAF_SECURITY_INCIDENT_RESPONSE",
        "CSAF of the category `csaf_security_incident_response`.",
        "the document", "`document.category`";
    JunitXml = "JUNIT_XML",
        "A test report in the JUnit form, or a zip or tar.gz of such reports (`*.xml`).",
        "`elements`, the suites of all reports", "`<testsuites>` or `<testsuite>`, also in an archive";
    JacocoXml = "JACOCO_XML",
        "A coverage report of JaCoCo.",
        "`name` and `counters` of the whole report", "`<report>`";
    CoberturaXml = "COBERTURA_XML",
        "A coverage report in the Cobertura form.",
        "the report with `sources`, and `packages` with their `classes`, `methods` and `lines`", "`<coverage>`";
    GitlabSecurityReport = "GITLAB_SECURITY_REPORT",
        "A security report of GitLab (SAST, DAST, secrets, dependencies, containers).",
        "the document", "`scan` and `vulnerabilities`";
    GhasCodeScan = "GHAS_CODE_SCAN",
        "Code scanning alerts, as GitHub's API lists them.",
        "`elements`", "a list whose first item has `rule` and `tool`";
    GhasSecretScan = "GHAS_SECRET_SCAN",
        "Secret scanning alerts, as GitHub's API lists them.",
        "`elements`", "a list whose first item has `secret_type`";
    GhasDependencyScan = "GHAS_DEPENDENCY_SCAN",
        "Dependabot alerts, as GitHub's API lists them.",
        "`elements`", "a list whose first item has `dependency` and `security_advisory`";
    OssfScorecardJson = "OSSF_SCORECARD_JSON",
        "A result of OpenSSF Scorecard.",
        "the document", "`scorecard` and `checks`";
    GitleaksJson = "GITLEAKS_JSON",
        "A report of gitleaks.",
        "`elements`", "a list whose first item has `RuleID` and `Fingerprint`";
    TrufflehogJson = "TRUFFLEHOG_JSON",
        "A report of TruffleHog: JSON lines, or a list; empty when nothing was found.",
        "`elements`", "a first line with `DetectorName` and `SourceMetadata`";
    YelpDetectSecretsBaseline = "YELP_DETECT_SECRETS_BASELINE",
        "A baseline of detect-secrets.",
        "the document", "`plugins_used` and `results`";
    TwistcliScanJson = "TWISTCLI_SCAN_JSON",
        "A scan of Prisma Cloud's twistcli.",
        "the document", "`results` and `consoleURL`";
    BlackduckScaJson = "BLACKDUCK_SCA_JSON",
        "A scan of Black Duck.",
        "the document", "`detailedVulnerabilities` and `detailedCodeLocations`";
    CheckmarxJson = "CHECKMARX_JSON",
        "A scan of Checkmarx One, in its own form.",
        "the document", "`scanID` and `results`";
    ZapDastZip = "ZAP_DAST_ZIP",
        "A zip of reports of ZAP with a `report_json.json`.",
        "the JSON report", "a zip with a `report_json.json`";
    SysinternalsSigcheck = "SYSINTERNALS_SIGCHECK",
        "The output of sigcheck as CSV or TSV, in UTF-8 or UTF-16.",
        "`elements`, one object per row", "the columns `Path` and `Verified`";
    SysinternalsAccesschk = "SYSINTERNALS_ACCESSCHK",
        "The text output of AccessChk.",
        "`tool`, `descriptors`, `objects` that refer to them by number, and the text as `raw` up to 10 MiB", "the banner of AccessChk";
    CertccDranzer = "CERTCC_DRANZER",
        "The text report of dranzer.",
        "`tool`, `objects`, `findings`, `summary`, and the text as `raw`", "`Testing COM Object -`, `Number of COM Objects`";
    RadamsaReport = "RADAMSA_REPORT",
        "radamsa's log of metadata (`-M`), or a zip, tar or tar.gz of such logs, or one that is gzipped.",
        "`elements`, one object per mutation", "lines of `muta-num:` and `generator:`";
    RadamsaCrashes = "RADAMSA_CRASHES",
        "An input that causes a crash, or an archive of such inputs.",
        "`{}`; their number is the annotation `chainloop.material.radamsa.crashes.count`", "—";
    SlsaProvenance = "SLSA_PROVENANCE",
        "SLSA provenance in a Sigstore bundle.",
        "the bundle, with the statement's `_type`, `subject`, `predicateType` and `predicate` added", "a bundle whose predicate is `https://slsa.dev/provenance/…`";
    Attestation = "ATTESTATION",
        "An in-toto statement in a DSSE envelope or a Sigstore bundle.",
        "the statement", "`payloadType`, or a Sigstore bundle";
    OpenapiSpec = "OPENAPI_SPEC",
        "An OpenAPI document, 3.0 or 3.1, in JSON or YAML.",
        "the document", "`openapi`";
    AsyncapiSpec = "ASYNCAPI_SPEC",
        "An AsyncAPI document, 2 or 3, in JSON or YAML.",
        "the document", "`asyncapi`";
    GraphqlSpec = "GRAPHQL_SPEC",
        "A schema in GraphQL's language.",
        "`definitions` and `directives`, each with its name", "text that is a schema";
    HelmChart = "HELM_CHART",
        "A packed Helm chart (tar.gz).",
        "`chart` and `values`, the contents of `Chart.yaml` and `values.yaml`", "a tar.gz with a `Chart.yaml`";
    ContainerImage = "CONTAINER_IMAGE",
        "A reference to a container image, with a tag, a digest or both.",
        "`{}`; the name and the digest are in the metadata, the tag is an annotation", "—";
    ChainloopRunnerContext = "CHAINLOOP_RUNNER_CONTEXT",
        "The data that Chainloop's plugin collects about repositories.",
        "the document", "`meta.id`";
    ChainloopPrInfo = "CHAINLOOP_PR_INFO",
        "A pull or merge request, as Chainloop collects it.",
        "the document", "`chainloop.material.evidence.id`";
    ChainloopAiAgentConfig = "CHAINLOOP_AI_AGENT_CONFIG",
        "The configuration of an AI agent, as Chainloop collects it.",
        "the document", "`chainloop.material.evidence.id`";
    ChainloopAiCodingSession = "CHAINLOOP_AI_CODING_SESSION",
        "A session with an AI agent, as Chainloop collects it.",
        "the document", "`chainloop.material.evidence.id`";
    String = "STRING",
        "A piece of text in UTF-8; may be empty.",
        "`value`, the text; base64 in `chainloop_metadata.content`", "—";
    Evidence = "EVIDENCE",
        "Any file that serves as evidence.",
        "the document if it is JSON, otherwise `{}`", "—";
    Artifact = "ARTIFACT",
        "Any file that is a product of a build; may be empty.",
        "the document if it is JSON, otherwise `{}`", "—";
}

impl MaterialKind {
    /// The names of all kinds, for messages.
    pub(crate) fn names() -> std::string::String {
        let names: Vec<&str> = MaterialKind::ALL.iter().map(|kind| kind.as_str()).collect();
        names.join(", ")
    }
}

impl fmt::Display for MaterialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a material type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a material type; {hint}", hint = hint(.0))]
pub struct UnknownKind(pub std::string::String);

/// The name that was probably intended, or all names.
fn hint(name: &str) -> std::string::String {
    match nearest(name) {
        Some(kind) => format!("did you mean {kind}?"),
        None => format!("there are {}", MaterialKind::names()),
    }
}

/// The kind with the name that is nearest to this one, unless even that one is quite different. Case and separators are
/// ignored; and a name that is a part of exactly one other name stands for it: `SBOM_SPDX`.
fn nearest(name: &str) -> Option<MaterialKind> {
    const SHORTEST_PART: usize = 4;
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let name = letters(name);
    let candidates = MaterialKind::ALL.iter().map(|kind| (letters(kind.as_str()), *kind));
    if name.len() >= SHORTEST_PART {
        let mut whole = candidates.clone().filter(|(candidate, _)| candidate.contains(&name));
        if let (Some((_, only)), None) = (whole.next(), whole.next()) {
            return Some(only);
        }
    }
    let limit = (name.len() / 3).max(1);
    let (distance, kind) = candidates.map(|(candidate, kind)| (levenshtein(&name, &candidate), kind)).min()?;
    (distance <= limit).then_some(kind)
}

/// The letters and digits of a name.
fn letters(name: &str) -> std::string::String {
    name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect()
}

impl FromStr for MaterialKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<MaterialKind, UnknownKind> {
        let found = MaterialKind::ALL.iter().find(|kind| kind.as_str() == name);
        found.copied().ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

impl Serialize for MaterialKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MaterialKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MaterialKind, D::Error> {
        let name = <std::string::String as Deserialize>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_kind() {
        for kind in MaterialKind::ALL {
            assert_eq!(kind.as_str().parse::<MaterialKind>().unwrap(), *kind);
        }
        assert_eq!(MaterialKind::ALL.len(), 42);
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("sbom_cyclonedx_json", "SBOM_CYCLONEDX_JSON"),
            ("SBOM_SPDX", "SBOM_SPDX_JSON"),
            ("SBOM-SPDX-JSON", "SBOM_SPDX_JSON"),
            ("JUNIT", "JUNIT_XML"),
            ("SARIFF", "SARIF"),
            ("cyclonedx", "SBOM_CYCLONEDX_JSON"),
            ("csaf_vex", "CSAF_VEX"),
            ("TRUFFLEHOG_JSN", "TRUFFLEHOG_JSON"),
        ] {
            let message = name.parse::<MaterialKind>().unwrap_err().to_string();
            assert_eq!(message, format!("{name:?} is not a material type; did you mean {meant}?"));
        }
        for name in ["", "JSON", "X", "SARIF".repeat(100_000).as_str()] {
            let message = name.parse::<MaterialKind>().unwrap_err().to_string();
            assert!(message.ends_with("STRING, EVIDENCE, ARTIFACT"), "{name:.9}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let message = "SBOM".parse::<MaterialKind>().unwrap_err().to_string();
        assert!(message.starts_with("\"SBOM\" is not a material type"), "{message}");
        assert!(message.contains("SBOM_CYCLONEDX_JSON"), "{message}");
    }
}
