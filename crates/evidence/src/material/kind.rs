//! The names of the material types, as contracts and policies write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! kinds {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// What a piece of evidence claims to be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum MaterialKind {
            $(#[doc = $doc] $variant,)*
        }

        impl MaterialKind {
            /// Every name that is known, whether or not this version can read it.
            pub const ALL: &'static [MaterialKind] = &[$(MaterialKind::$variant,)*];

            /// The name on the wire, such as `SBOM_CYCLONEDX_JSON`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(MaterialKind::$variant => $name,)*
                }
            }
        }
    };
}

kinds! {
    SbomCyclonedxJson = "SBOM_CYCLONEDX_JSON", "A CycloneDX software bill of materials, 1.4 to 1.6.";
    SbomSpdxJson = "SBOM_SPDX_JSON", "An SPDX software bill of materials, 2.2, 2.3 or 3.0.";
    Sarif = "SARIF", "Findings of a static analysis, SARIF 2.1.0.";
    Openvex = "OPENVEX", "Statements on exploitability, OpenVEX.";
    CsafVex = "CSAF_VEX", "CSAF 2.0, profile VEX.";
    CsafInformationalAdvisory = "CSAF_INFORMATIONAL_ADVISORY", "CSAF 2.0, profile informational advisory.";
    CsafSecurityAdvisory = "CSAF_SECURITY_ADVISORY", "CSAF 2.0, profile security advisory.";
    CsafSecurityIncidentResponse = "CSAF_SECURITY_INCIDENT_RESPONSE", "CSAF 2.0, profile security incident response.";
    JunitXml = "JUNIT_XML", "A test report in the JUnit form.";
    JacocoXml = "JACOCO_XML", "A coverage report of JaCoCo.";
    CoberturaXml = "COBERTURA_XML", "A coverage report in the Cobertura form.";
    GitlabSecurityReport = "GITLAB_SECURITY_REPORT", "A security report of GitLab.";
    GhasCodeScan = "GHAS_CODE_SCAN", "Code scanning alerts of GitHub.";
    GhasSecretScan = "GHAS_SECRET_SCAN", "Secret scanning alerts of GitHub.";
    GhasDependencyScan = "GHAS_DEPENDENCY_SCAN", "Dependency alerts of GitHub.";
    OssfScorecardJson = "OSSF_SCORECARD_JSON", "A result of OpenSSF Scorecard.";
    GitleaksJson = "GITLEAKS_JSON", "A report of gitleaks.";
    TrufflehogJson = "TRUFFLEHOG_JSON", "A report of TruffleHog, in JSON lines.";
    TwistcliScanJson = "TWISTCLI_SCAN_JSON", "A scan of Prisma Cloud's twistcli.";
    BlackduckScaJson = "BLACKDUCK_SCA_JSON", "A scan of Black Duck.";
    CheckmarxJson = "CHECKMARX_JSON", "A scan of Checkmarx.";
    SlsaProvenance = "SLSA_PROVENANCE", "SLSA provenance in a Sigstore bundle.";
    Attestation = "ATTESTATION", "An in-toto statement in a DSSE envelope or a Sigstore bundle.";
    OpenapiSpec = "OPENAPI_SPEC", "An OpenAPI document.";
    AsyncapiSpec = "ASYNCAPI_SPEC", "An AsyncAPI document.";
    GraphqlSpec = "GRAPHQL_SPEC", "A GraphQL schema.";
    HelmChart = "HELM_CHART", "A packed Helm chart.";
    ContainerImage = "CONTAINER_IMAGE", "A reference to a container image.";
    String = "STRING", "A piece of text.";
    Evidence = "EVIDENCE", "Any file that serves as evidence.";
    Artifact = "ARTIFACT", "Any file that is a product of a build.";
}

impl MaterialKind {
    /// The kinds that this version reads and validates.
    pub const SUPPORTED: &'static [MaterialKind] = &[
        MaterialKind::SbomCyclonedxJson,
        MaterialKind::SbomSpdxJson,
        MaterialKind::Sarif,
        MaterialKind::Openvex,
        MaterialKind::JunitXml,
        MaterialKind::JacocoXml,
        MaterialKind::CoberturaXml,
        MaterialKind::OssfScorecardJson,
        MaterialKind::SlsaProvenance,
        MaterialKind::Attestation,
        MaterialKind::String,
        MaterialKind::Evidence,
        MaterialKind::Artifact,
    ];

    /// Whether this version reads and validates the kind.
    pub fn is_supported(self) -> bool {
        MaterialKind::SUPPORTED.contains(&self)
    }

    /// The names of the supported kinds, for messages.
    pub(crate) fn supported_names() -> String {
        let names: Vec<&str> = MaterialKind::SUPPORTED.iter().map(|kind| kind.as_str()).collect();
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
#[error("{0:?} is not a material type; supported are {supported}", supported = MaterialKind::supported_names())]
pub struct UnknownKind(pub std::string::String);

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
        assert_eq!(MaterialKind::ALL.len(), 31);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_supported_ones() {
        let message = "SBOM".parse::<MaterialKind>().unwrap_err().to_string();
        assert!(message.starts_with("\"SBOM\" is not a material type"), "{message}");
        assert!(message.contains("SBOM_CYCLONEDX_JSON"), "{message}");
    }
}
