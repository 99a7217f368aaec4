//! JUnit test reports, as policies see them.
//!
//! The root is `testsuites` or a single `testsuite`. Policies find a list of suites in `input.elements`:
//!
//! ```json
//! {"elements": [{
//!   "name": "store", "package": "", "properties": {"tests": "2", "time": "0.5"},
//!   "tests": [
//!     {"name": "keeps", "classname": "store::sqlite", "duration": 500000000, "status": "failed",
//!      "message": "left != right", "error": {"message": "left != right", "type": "panic", "body": "..."},
//!      "properties": {"name": "keeps", "time": "0.5"}}
//!   ],
//!   "suites": [],
//!   "totals": {"tests": 1, "passed": 0, "skipped": 0, "failed": 1, "error": 0, "duration": 500000000}
//! }]}
//! ```
//!
//! `status` is `passed`, `skipped`, `failed` or `error`; `duration` is in nanoseconds; `error` is null unless the test
//! failed; `stdout` and `stderr` are there when the report has them. Totals are counted from the tests, those of nested
//! suites included, and never taken from the report's own attributes, which may lie. This is the form that Chainloop
//! gives to its policies.

use regorus::Value;
use serde_json::{Map, Value as Json, json};

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::xml::Element;

/// Suites in the form above.
pub fn elements(suites: Vec<Json>) -> Value {
    Value::from(json!({ "elements": suites }))
}

/// Checks a report and answers its suites.
pub fn suites(root: &Element) -> Result<Vec<Json>, MaterialError> {
    let mut suites = Vec::new();
    match root.name.as_str() {
        "testsuite" => suites.push(suite(root)?.0),
        "testsuites" => {
            counts(root)?;
            for child in &root.children {
                if child.name == "testsuite" {
                    suites.push(suite(child)?.0);
                }
            }
        }
        other => return Err(mismatch(root, "<testsuites> or <testsuite>", &format!("<{other}>"))),
    }
    Ok(suites)
}

fn mismatch(at: &Element, expected: &str, found: &str) -> MaterialError {
    MaterialError::Mismatch {
        kind: MaterialKind::JunitXml,
        at: format!("line {}", at.line),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// The report's own counts must at least be numbers.
fn counts(element: &Element) -> Result<(), MaterialError> {
    for name in ["tests", "failures", "errors", "skipped", "disabled"] {
        if let Some(text) = element.attribute(name)
            && text.trim().parse::<u64>().is_err()
        {
            let expected = format!("a count in the attribute {name} of <{}>", element.name);
            return Err(mismatch(element, &expected, &format!("{text:?}")));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Totals {
    tests: u64,
    passed: u64,
    skipped: u64,
    failed: u64,
    error: u64,
    duration: i64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.tests += other.tests;
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.error += other.error;
        self.duration = self.duration.saturating_add(other.duration);
    }

    fn json(self) -> Json {
        json!({
            "tests": self.tests, "passed": self.passed, "skipped": self.skipped,
            "failed": self.failed, "error": self.error, "duration": self.duration,
        })
    }
}

fn suite(element: &Element) -> Result<(Json, Totals), MaterialError> {
    counts(element)?;
    let (mut tests, mut suites, mut totals) = (Vec::new(), Vec::new(), Totals::default());
    for child in &element.children {
        match child.name.as_str() {
            "testcase" => {
                let (test, counted) = test(child)?;
                tests.push(test);
                totals.add(counted);
            }
            "testsuite" => {
                let (nested, counted) = suite(child)?;
                suites.push(nested);
                totals.add(counted);
            }
            _ => {}
        }
    }
    let mut properties = attributes(element);
    for property in element.child("properties").into_iter().flat_map(|list| list.children("property")) {
        let name =
            property.attribute("name").ok_or_else(|| mismatch(property, "a name attribute of <property>", "none"))?;
        let value = property.attribute("value").unwrap_or(&property.text);
        properties.insert(name.to_owned(), Json::from(value));
    }
    let mut json = json!({
        "name": element.attribute("name").unwrap_or_default(),
        "package": element.attribute("package").unwrap_or_default(),
        "properties": properties,
        "tests": tests,
        "suites": suites,
        "totals": totals.json(),
    });
    output(element, &mut json);
    Ok((json, totals))
}

fn test(element: &Element) -> Result<(Json, Totals), MaterialError> {
    let name = element.attribute("name").ok_or_else(|| mismatch(element, "a name attribute of <testcase>", "none"))?;
    let duration = duration(element)?;
    let mut totals = Totals { tests: 1, duration, ..Totals::default() };
    let (status, problem) = if let Some(failure) = element.child("failure") {
        totals.failed = 1;
        ("failed", Some(failure))
    } else if let Some(error) = element.child("error") {
        totals.error = 1;
        ("error", Some(error))
    } else if let Some(skipped) = element.child("skipped") {
        totals.skipped = 1;
        ("skipped", Some(skipped))
    } else {
        totals.passed = 1;
        ("passed", None)
    };
    let message = problem.and_then(|problem| problem.attribute("message")).unwrap_or_default();
    let error = problem.filter(|_| status != "skipped").map(|problem| {
        json!({
            "message": message,
            "type": problem.attribute("type").unwrap_or_default(),
            "body": problem.text,
        })
    });
    let mut json = json!({
        "name": name,
        "classname": element.attribute("classname").unwrap_or_default(),
        "duration": duration,
        "status": status,
        "message": message,
        "error": error,
        "properties": attributes(element),
    });
    output(element, &mut json);
    Ok((json, totals))
}

/// Nanoseconds from seconds, which some tools write as `1,234.5`.
fn duration(element: &Element) -> Result<i64, MaterialError> {
    let Some(text) = element.attribute("time").filter(|text| !text.trim().is_empty()) else {
        return Ok(0);
    };
    match text.trim().replace(',', "").parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Ok((seconds * 1e9).round() as i64),
        _ => Err(mismatch(element, "seconds in the attribute time of <testcase>", &format!("{text:?}"))),
    }
}

fn attributes(element: &Element) -> Map<String, Json> {
    element.attributes.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str()))).collect()
}

fn output(element: &Element, json: &mut Json) {
    for (tag, name) in [("system-out", "stdout"), ("system-err", "stderr")] {
        if let Some(text) = element.child(tag) {
            json[name] = Json::from(text.text.as_str());
        }
    }
}
