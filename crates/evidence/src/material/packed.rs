//! Evidence in an archive: ZAP's reports, Helm charts, JUnit reports.

use std::collections::BTreeMap;

use regorus::Value;

use super::archive::{self, Entry, Format, file_name};
use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use super::{json, junit, specs, xml};

/// The report that ZAP puts into its zip.
const ZAP_REPORT: &str = "report_json.json";
/// The maximum size of an archive that is unpacked to detect its kind, in bytes.
const MAX_DETECTED: usize = 32 * 1024 * 1024;

/// The kind that an archive appears to have.
pub fn detect(bytes: &[u8], format: Format) -> Option<MaterialKind> {
    if format == Format::Zip {
        let names = archive::zip_names(bytes).ok()?;
        if names.iter().any(|name| is_zap_report(name)) {
            return Some(MaterialKind::ZapDastZip);
        }
        if !names.iter().any(|name| is_report(name)) {
            return None;
        }
    }
    if bytes.len() > MAX_DETECTED {
        return None;
    }
    let entries = archive::entries(bytes, is_report).ok()?;
    if entries.iter().any(|entry| is_part_of_chart(&entry.name, "Chart.yaml")) {
        return Some(MaterialKind::HelmChart);
    }
    let report = entries.iter().find(|entry| is_report(&entry.name))?;
    let root = xml::root_name(&report.content)?;
    matches!(root.as_str(), "testsuites" | "testsuite").then_some(MaterialKind::JunitXml)
}

/// Files that macOS adds next to each file are ignored.
fn is_hidden(path: &str) -> bool {
    path.starts_with("__MACOSX/") || file_name(path).starts_with("._")
}

fn is_zap_report(path: &str) -> bool {
    file_name(path).eq_ignore_ascii_case(ZAP_REPORT) && !is_hidden(path)
}

fn is_report(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) && !is_hidden(path)
}

/// Whether a path is that of the chart's own file, and not of a chart inside the chart. As in Helm, everything is in
/// one folder, whatever its name is, and `c/./Chart.yaml` and `c\Chart.yaml` are `c/Chart.yaml`, too.
fn is_part_of_chart(path: &str, file: &str) -> bool {
    let path = path.strip_prefix("./").unwrap_or(path);
    let separator = if path.contains('\\') { '\\' } else { '/' };
    let Some((_, path)) = path.split_once(separator) else { return false };
    let mut parts = Vec::new();
    for part in path.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts == [file]
}

/// The JSON report in ZAP's zip. If there were a second one, a verdict on the first would not cover it.
pub fn zap(bytes: &[u8]) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::ZapDastZip;
    let entries = archive::entries(bytes, is_zap_report)?;
    let reports: Vec<Entry> = entries.into_iter().filter(|entry| is_zap_report(&entry.name)).collect();
    let report = match reports.as_slice() {
        [report] => report,
        [] => return Err(MaterialError::mismatch(KIND, "the archive", format!("a file {ZAP_REPORT}"), "none")),
        several => {
            let names: Vec<&str> = several.iter().take(5).map(|entry| entry.name.as_str()).collect();
            let found = format!("{}: {}", several.len(), names.join(", "));
            return Err(MaterialError::mismatch(KIND, "the archive", format!("one file {ZAP_REPORT}"), &found));
        }
    };
    let value = json::read_report(&report.content)?;
    let root = Node::root(KIND, &value);
    root.required("@programName")?.one_of(&["ZAP", "OWASP ZAP", "Checkmarx ZAP"])?;
    // ZAP writes an empty list of what it did not find.
    root.each_in("site", |site| site.required("alerts")?.each(|alert| alert.object()))?;
    Ok(value)
}

/// A chart's description and its values.
pub fn helm(bytes: &[u8]) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::HelmChart;
    if Format::of(bytes) != Some(Format::Gzip) {
        return Err(MaterialError::mismatch(KIND, "the content", "a tar.gz", "something else"));
    }
    let files = [("chart", "Chart.yaml"), ("values", "values.yaml")];
    let wanted = |path: &str| files.iter().any(|(_, file)| is_part_of_chart(path, file));
    let entries = archive::entries(bytes, wanted)?;
    let mut parts = BTreeMap::new();
    for (name, file) in files {
        let mut found = entries.iter().filter(|entry| is_part_of_chart(&entry.name, file));
        let entry =
            found.next().ok_or_else(|| MaterialError::mismatch(KIND, "the chart", format!("a file {file}"), "none"))?;
        // Of several, Helm uses the last one.
        if let Some(second) = found.next() {
            let names = format!("{} and {}", entry.name, second.name);
            return Err(MaterialError::mismatch(KIND, "the chart", format!("one file {file}"), &names));
        }
        let value = if entry.content.iter().all(u8::is_ascii_whitespace) {
            Value::new_object()
        } else {
            specs::yaml(&entry.content)
                .map_err(|error| MaterialError::mismatch(KIND, &entry.name, "YAML", error.to_string()))?
        };
        // Values that are completely commented out count as none.
        parts.insert(Value::from(name), if value == Value::Null { Value::new_object() } else { value });
    }
    let value = Value::from(parts);
    let root = Node::root(KIND, &value);
    let chart = root.required("chart")?;
    chart.required("name")?.text()?;
    chart.required("version")?;
    chart.required("apiVersion")?.one_of(&["v1", "v2"])?;
    root.required("values")?.object()?;
    Ok(value)
}

/// The suites of a report, or of all reports of an archive in the order of the archive.
pub fn junit(bytes: &[u8]) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::JunitXml;
    if Format::of(bytes).is_none() {
        return Ok(junit::elements(junit::suites(&xml::read(bytes)?)?));
    }
    let entries = archive::entries(bytes, is_report)?;
    let reports: Vec<Entry> = entries.into_iter().filter(|entry| is_report(&entry.name)).collect();
    if reports.is_empty() {
        return Err(MaterialError::mismatch(KIND, "the archive", "at least one report, *.xml", "none"));
    }
    let mut suites = Vec::new();
    for report in reports {
        let read = xml::read(&report.content).and_then(|root| junit::suites(&root));
        suites.extend(
            read.map_err(|error| MaterialError::mismatch(KIND, &report.name, "a JUnit report", error.to_string()))?,
        );
    }
    Ok(junit::elements(suites))
}
