//! The types of findings that a policy may declare, and what each requires of a violation that is an object.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The type of a policy's findings (`metadata.finding_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FindingType {
    /// A known vulnerability of a component.
    #[serde(rename = "VULNERABILITY")]
    Vulnerability,
    /// A finding of static analysis.
    #[serde(rename = "SAST")]
    Sast,
    /// A licence that must not be used.
    #[serde(rename = "LICENSE_VIOLATION")]
    LicenseViolation,
}

/// The requirement for a member of a finding.
enum Member {
    /// A string that is not empty, and that is required.
    Needed,
    /// A string.
    Text,
    /// A list of strings.
    Texts,
    /// A number between two bounds.
    Between(f64, f64),
    /// An integer.
    Integer,
}

use Member::{Between, Integer, Needed, Text, Texts};

impl FindingType {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FindingType::Vulnerability => "VULNERABILITY",
            FindingType::Sast => "SAST",
            FindingType::LicenseViolation => "LICENSE_VIOLATION",
        }
    }

    fn members(self) -> &'static [(&'static str, Member)] {
        match self {
            FindingType::Vulnerability => &[
                ("message", Needed),
                ("external_id", Needed),
                ("package_purl", Needed),
                ("severity", Needed),
                ("cvss_v3_score", Between(0.0, 10.0)),
                ("cwes", Texts),
                ("recommendation", Text),
                ("description", Text),
                ("fixed_version", Text),
            ],
            FindingType::Sast => &[
                ("message", Needed),
                ("rule_id", Needed),
                ("severity", Needed),
                ("location", Needed),
                ("line_number", Integer),
                ("code_snippet", Text),
                ("recommendation", Text),
            ],
            FindingType::LicenseViolation => &[
                ("message", Needed),
                ("component_name", Needed),
                ("license_id", Needed),
                ("package_purl", Text),
                ("license_name", Text),
                ("component_version", Text),
                ("recommendation", Text),
            ],
        }
    }

    /// Checks a finding. Unknown members are accepted: newer policies may have more.
    ///
    /// # Errors
    /// A sentence that names the member and what is expected of it.
    pub fn check(self, finding: &Map<String, Value>) -> Result<(), String> {
        for (name, member) in self.members() {
            let value = finding.get(*name).filter(|value| !value.is_null());
            let fits = match (member, value) {
                (Needed, value) => value.and_then(Value::as_str).is_some_and(|text| !text.is_empty()),
                (_, None) => true,
                (Text, Some(value)) => value.is_string(),
                (Texts, Some(value)) => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
                (Between(least, most), Some(value)) => {
                    value.as_f64().is_some_and(|number| (*least..=*most).contains(&number))
                }
                (Integer, Some(value)) => value.as_i64().is_some() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
            };
            if !fits {
                let expected = match member {
                    Needed => "a string that is not empty".to_owned(),
                    Text => "a string".to_owned(),
                    Texts => "a list of strings".to_owned(),
                    Between(least, most) => format!("a number from {least} to {most}"),
                    Integer => "an integer".to_owned(),
                };
                return Err(format!("a finding of the type {} needs {expected} as {name:?}", self.as_str()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finding_needs_what_its_type_demands_and_may_have_more() {
        let vulnerability = json!({
            "message": "m", "external_id": "CVE-2024-1234", "package_purl": "pkg:npm/a@1", "severity": "HIGH",
            "cvss_v3_score": 9.8, "cwes": ["CWE-79"], "of_a_newer_policy": 1,
        });
        let check = |of: FindingType, finding: Value| of.check(finding.as_object().unwrap());
        assert_eq!(check(FindingType::Vulnerability, vulnerability.clone()), Ok(()));
        for (member, value, says) in [
            ("severity", json!(""), "needs a string that is not empty as \"severity\""),
            ("package_purl", Value::Null, "needs a string that is not empty as \"package_purl\""),
            ("message", json!(1), "needs a string that is not empty as \"message\""),
            ("cvss_v3_score", json!(15.0), "needs a number from 0 to 10 as \"cvss_v3_score\""),
            ("cwes", json!("CWE-79"), "needs a list of strings as \"cwes\""),
        ] {
            let mut changed = vulnerability.clone();
            changed[member] = value;
            let error = check(FindingType::Vulnerability, changed).unwrap_err();
            assert_eq!(error, format!("a finding of the type VULNERABILITY {says}"));
        }
        let sast = json!({"message": "m", "rule_id": "R", "severity": "LOW", "location": "a.c", "line_number": 3});
        assert_eq!(check(FindingType::Sast, sast.clone()), Ok(()));
        assert!(check(FindingType::LicenseViolation, sast).unwrap_err().contains("component_name"));
    }
}
