//! The material of the demonstration: the repository's examples, embedded in the binary so that it needs no files.

/// Evidence: name and content.
pub const EVIDENCE: [(&str, &[u8]); 3] = [
    ("longrun.cdx.json", include_bytes!("../../../../../examples/evidence/longrun.cdx.json")),
    ("longrun.sarif.json", include_bytes!("../../../../../examples/evidence/longrun.sarif.json")),
    ("longrun.junit.xml", include_bytes!("../../../../../examples/evidence/longrun.junit.xml")),
];

/// The group of policies that each piece of evidence is evaluated against.
pub const GROUP: &str = "release-gate";

macro_rules! policies {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_str!(concat!("../../../../../examples/policies/", $path)))),*]
    };
}

/// The group and the policies that it names: path within the policy folder and text.
pub const POLICIES: [(&str, &str); 12] = policies![
    "release-gate.yaml",
    "coverage-floor/policy.yaml",
    "coverage-floor/cobertura.rego",
    "coverage-floor/jacoco.rego",
    "junit-no-failures/policy.yaml",
    "sarif-severity-ceiling/policy.yaml",
    "sarif-severity-ceiling/sarif.rego",
    "sbom-banned-licenses/policy.yaml",
    "sbom-freshness/policy.yaml",
    "sbom-licenses-present/policy.yaml",
    "sbom-licenses-present/cyclonedx.rego",
    "sbom-licenses-present/spdx.rego",
];
