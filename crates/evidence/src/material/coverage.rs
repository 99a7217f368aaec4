//! Coverage reports, as policies see them.
//!
//! JaCoCo: `{"name": …, "counters": [{"type": "LINE", "missed": 10, "covered": 90}, …]}`, the counters of the whole
//! report. Cobertura: the attributes of the report under their own names, numbers as numbers, and those of each
//! package: `{"line-rate": 0.9, "lines-covered": 90, "lines-valid": 100, …, "packages": [{"name": "store", "line-rate":
//! 0.8, …}]}`.

use std::collections::BTreeMap;

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::xml::Element;

const COUNTERS: [&str; 6] = ["INSTRUCTION", "BRANCH", "LINE", "COMPLEXITY", "METHOD", "CLASS"];

fn mismatch(kind: MaterialKind, at: &Element, expected: &str, found: &str) -> MaterialError {
    let at = format!("line {}", at.line);
    MaterialError::Mismatch { kind, at, expected: expected.to_owned(), found: found.to_owned() }
}

/// Checks a report of JaCoCo.
pub fn jacoco(root: &Element) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::JacocoXml;
    if root.name != "report" {
        return Err(mismatch(KIND, root, "<report>", &format!("<{}>", root.name)));
    }
    let mut counters = Vec::new();
    for counter in root.children("counter") {
        let kind = counter.attribute("type").unwrap_or_default();
        if !COUNTERS.contains(&kind) {
            return Err(mismatch(KIND, counter, &format!("a type of {}", COUNTERS.join(", ")), &format!("{kind:?}")));
        }
        let count = |name: &str| {
            let text = counter.attribute(name).unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_| mismatch(KIND, counter, &format!("a count in the attribute {name}"), &format!("{text:?}")))
        };
        counters.push(Value::from(BTreeMap::from([
            (Value::from("type"), Value::from(kind)),
            (Value::from("missed"), Value::from(count("missed")?)),
            (Value::from("covered"), Value::from(count("covered")?)),
        ])));
    }
    if counters.is_empty() {
        return Err(mismatch(KIND, root, "at least one <counter> of the whole report", "none"));
    }
    Ok(Value::from(BTreeMap::from([
        (Value::from("name"), Value::from(root.attribute("name").unwrap_or_default())),
        (Value::from("counters"), Value::from(counters)),
    ])))
}

/// Checks a report in the Cobertura form.
pub fn cobertura(root: &Element) -> Result<Value, MaterialError> {
    const KIND: MaterialKind = MaterialKind::CoberturaXml;
    if root.name != "coverage" {
        return Err(mismatch(KIND, root, "<coverage>", &format!("<{}>", root.name)));
    }
    let mut report = numbers(root, &["line-rate"])?;
    let mut packages = Vec::new();
    for package in root.child("packages").into_iter().flat_map(|list| list.children("package")) {
        if package.attribute("name").is_none() {
            return Err(mismatch(KIND, package, "a name attribute of <package>", "none"));
        }
        packages.push(Value::from(numbers(package, &[])?));
    }
    report.insert(Value::from("packages"), Value::from(packages));
    Ok(Value::from(report))
}

/// The attributes; those that count or rate become numbers.
fn numbers(element: &Element, required: &[&str]) -> Result<BTreeMap<Value, Value>, MaterialError> {
    let kind = MaterialKind::CoberturaXml;
    for name in required {
        if element.attribute(name).is_none() {
            return Err(mismatch(kind, element, &format!("an attribute {name} of <{}>", element.name), "none"));
        }
    }
    let mut fields = BTreeMap::new();
    for (name, text) in &element.attributes {
        let wrong = || mismatch(kind, element, &format!("a number in the attribute {name}"), &format!("{text:?}"));
        let value = if name.ends_with("-rate") {
            let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate)).ok_or_else(wrong)?;
            Value::from(rate)
        } else if name.starts_with("lines-") || name.starts_with("branches-") {
            Value::from(text.parse::<u64>().map_err(|_| wrong())?)
        } else {
            Value::from(text.as_str())
        };
        fields.insert(Value::from(name.as_str()), value);
    }
    Ok(fields)
}
