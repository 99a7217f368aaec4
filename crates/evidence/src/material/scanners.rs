//! JSON reports of scanners of source code, dependencies, images and secrets.

use regorus::Value;

use super::error::MaterialError;
use super::json;
use super::kind::MaterialKind;
use super::node::Node;

type Checked = Result<(), MaterialError>;

/// A security report of GitLab, <https://gitlab.com/gitlab-org/security-products/security-report-schemas>.
pub fn gitlab(value: &Value) -> Checked {
    const SEVERITIES: &[&str] = &["Info", "Unknown", "Low", "Medium", "High", "Critical", "Undefined"];
    let root = Node::root(MaterialKind::GitlabSecurityReport, value);
    let version = root.required("version")?;
    let is_version =
        |text: &str| text.split('.').count() >= 3 && text.starts_with(|first: char| first.is_ascii_digit());
    if !is_version(version.string()?) {
        return Err(version.expected("the version of the schema, such as 15.1.4"));
    }
    let scan = root.required("scan")?;
    scan.required("type")?.text()?;
    scan.required("status")?.one_of(&["success", "failure"])?;
    for tool in ["scanner", "analyzer"] {
        scan.optional(tool, |tool| {
            tool.required("id")?.text()?;
            tool.required("name")?.text().map(drop)
        })?;
    }
    root.required("vulnerabilities")?.each(|vulnerability| {
        vulnerability.required("id")?.text()?;
        vulnerability.optional("severity", |severity| severity.one_of(SEVERITIES).map(drop))?;
        vulnerability.strings(&["name", "description", "category", "solution"])?;
        vulnerability.required("identifiers")?.each(|identifier| {
            identifier.required("type")?.text()?;
            identifier.required("name")?.text()?;
            identifier.required("value")?.text().map(drop)
        })?;
        vulnerability.required("location")?.object()
    })
}

/// Alerts of GitHub: a list whose items have the members that distinguish it from the other lists. Policies compare the
/// state, so it must be one of those of [GitHub's API](https://docs.github.com/en/rest/code-scanning/code-scanning).
pub fn github(kind: MaterialKind, value: &Value) -> Checked {
    let states: &[&str] = match kind {
        MaterialKind::GhasCodeScan => &["open", "dismissed", "fixed"],
        MaterialKind::GhasSecretScan => &["open", "resolved"],
        _ => &["open", "auto_dismissed", "dismissed", "fixed"],
    };
    let root = Node::root(kind, value);
    root.each(|alert| {
        alert.required("number")?.integer(1)?;
        alert.required("state")?.one_of(states)?;
        match kind {
            MaterialKind::GhasCodeScan => {
                let rule = alert.required("rule")?;
                rule.object()?;
                rule.strings(&["id", "severity", "security_severity_level"])?;
                alert.required("tool")?.object()
            }
            MaterialKind::GhasSecretScan => alert.required("secret_type")?.text().map(drop),
            _ => {
                alert.required("dependency")?.required("package")?.required("name")?.text()?;
                alert.required("security_advisory")?.object()
            }
        }
    })
}

/// A report of gitleaks: a list, empty when nothing was found.
pub fn gitleaks(value: &Value) -> Checked {
    Node::root(MaterialKind::GitleaksJson, value).each(|finding| {
        for name in ["RuleID", "File", "Fingerprint"] {
            finding.required(name)?.text()?;
        }
        finding.strings(&["Description", "Match", "Secret", "Commit"])?;
        finding.optional("StartLine", |line| line.integer(0).map(drop))
    })
}

/// A report of TruffleHog: JSON lines, which may be none, or a list.
pub fn trufflehog(bytes: &[u8]) -> Result<Value, MaterialError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let findings = if first == Some(&b'[') { json::read_report(text)? } else { json::lines(text)? };
    Node::root(MaterialKind::TrufflehogJson, &findings).each(|finding| {
        finding.required("DetectorName")?.text()?;
        finding.required("SourceMetadata")?.object()?;
        finding.optional("Verified", |verified| verified.boolean().map(drop))
    })?;
    Ok(findings)
}

/// A baseline of detect-secrets.
pub fn detect_secrets(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::YelpDetectSecretsBaseline, value);
    root.required("version")?.text()?;
    root.required("plugins_used")?.each(|plugin| plugin.object())?;
    root.required("results")?.each_field(|file| {
        file.each(|secret| {
            secret.required("type")?.text()?;
            secret.required("hashed_secret")?.text()?;
            // What an audit says of it.
            for name in ["is_secret", "is_verified"] {
                secret.optional(name, |answer| answer.boolean().map(drop))?;
            }
            Ok(())
        })
    })
}

/// A scan of twistcli.
pub fn twistcli(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::TwistcliScanJson, value);
    root.required("consoleURL")?.text()?;
    root.required("results")?.each(|result| {
        result.object()?;
        result.each_in("vulnerabilities", |vulnerability| vulnerability.object())
    })
}

/// A scan of Black Duck.
pub fn blackduck(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::BlackduckScaJson, value);
    root.required("detailedCodeLocations")?.each(|node| node.object())?;
    root.required("detailedProjectVersionCustomFields")?.each(|node| node.object())?;
    root.required("detailedVulnerabilities")?.each(|vulnerability| {
        vulnerability.object()?;
        vulnerability.strings(&["vulnerabilityId", "severity"])?;
        // Policies compare them. Some tools write -1 where they know no score.
        for name in ["overallScore", "baseScore"] {
            vulnerability.optional(name, |score| score.number(-1.0, 10.0).map(drop))?;
        }
        Ok(())
    })
}

/// A scan of Checkmarx One; its results may be null when there are none.
pub fn checkmarx(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::CheckmarxJson, value);
    root.required("scanID")?.text()?;
    if !root.has("results") {
        return Err(root.expected("an object with the member \"results\""));
    }
    root.each_in("results", |result| {
        result.required("type")?.text()?;
        result.required("data")?.object()
    })
}
