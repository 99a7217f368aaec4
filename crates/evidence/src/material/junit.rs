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
//! failed; `stdout` and `stderr` are present if the report has them. Totals are counted from the tests, those of nested
//! suites included. This is the form in which Chainloop passes reports to its policies.
//!
//! No failure is lost: tests outside of all suites are put into a suite without a name, the contents of unknown
//! elements are read, and a failure without a test case becomes a test with the name of its suite: an `<error>` or
//! `<failure>` of the suite itself, and failures and errors that only the suite's own attributes report (one test,
//! which counts as many). Those attributes may make the totals larger, never smaller.

use regorus::Value;
use serde_json::{Map, Value as Json, json};

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::xml::Element;

/// Suites in the form above.
pub fn elements(suites: Vec<Json>) -> Value {
    Value::from(Json::from_iter([("elements", Json::Array(suites))]))
}

/// Checks a report and returns its suites.
pub fn suites(root: &Element) -> Result<Vec<Json>, MaterialError> {
    match root.name.as_str() {
        "testsuite" => Ok(vec![suite(root)?.0]),
        "testsuites" => Ok(contents(root)?.into_suites()),
        other => Err(mismatch(root, "<testsuites> or <testsuite>", &format!("<{other}>"))),
    }
}

fn mismatch(at: &Element, expected: &str, found: &str) -> MaterialError {
    MaterialError::mismatch(MaterialKind::JunitXml, format!("line {}", at.line), expected, found)
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
        self.tests = self.tests.saturating_add(other.tests);
        self.passed = self.passed.saturating_add(other.passed);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.failed = self.failed.saturating_add(other.failed);
        self.error = self.error.saturating_add(other.error);
        self.duration = self.duration.saturating_add(other.duration);
    }

    fn json(self) -> Json {
        json!({
            "tests": self.tests, "passed": self.passed, "skipped": self.skipped,
            "failed": self.failed, "error": self.error, "duration": self.duration,
        })
    }
}

/// The contents of an element: suites, and tests outside of all suites.
#[derive(Default)]
struct Contents {
    tests: Vec<Json>,
    suites: Vec<Json>,
    /// The number of suites before the first of these tests.
    position: usize,
    of_tests: Totals,
    of_suites: Totals,
}

impl Contents {
    fn test(&mut self, (test, counted): (Json, Totals)) {
        if self.tests.is_empty() {
            self.position = self.suites.len();
        }
        self.tests.push(test);
        self.of_tests.add(counted);
    }

    fn suite(&mut self, (suite, counted): (Json, Totals)) {
        self.suites.push(suite);
        self.of_suites.add(counted);
    }

    fn append(&mut self, other: Contents) {
        if self.tests.is_empty() {
            self.position = self.suites.len() + other.position;
        }
        self.tests.extend(other.tests);
        self.suites.extend(other.suites);
        self.of_tests.add(other.of_tests);
        self.of_suites.add(other.of_suites);
    }

    fn totals(&self) -> Totals {
        let mut totals = self.of_tests;
        totals.add(self.of_suites);
        totals
    }

    /// The suites; tests outside of all suites are put into one without a name, at the position of the first of them.
    fn into_suites(mut self) -> Vec<Json> {
        if !self.tests.is_empty() {
            let mut unnamed = json!({
                "name": "", "package": "", "properties": {}, "suites": [], "totals": self.of_tests.json(),
            });
            unnamed["tests"] = Json::Array(self.tests);
            self.suites.insert(self.position, unnamed);
        }
        self.suites
    }
}

/// The contents of an element, including those of unknown elements.
fn contents(element: &Element) -> Result<Contents, MaterialError> {
    let is_suite = matches!(element.name.as_str(), "testsuites" | "testsuite");
    if is_suite {
        counts(element)?;
    }
    let mut found = Contents::default();
    for child in &element.children {
        match child.name.as_str() {
            "testcase" => found.test(test(child)?),
            "testsuite" => found.suite(suite(child)?),
            "failure" | "error" if is_suite => found.test(outside(element, child)),
            "properties" | "system-out" | "system-err" => {}
            _ => found.append(contents(child)?),
        }
    }
    if is_suite {
        for test in failures_without_test(element, found.totals()) {
            found.test(test);
        }
    }
    Ok(found)
}

/// A failure or an error of a suite itself, such as one in its setup.
fn outside(suite: &Element, problem: &Element) -> (Json, Totals) {
    let one = Totals { tests: 1, ..Totals::default() };
    let (status, counted) = match problem.name.as_str() {
        "failure" => ("failed", Totals { failed: 1, ..one }),
        _ => ("error", Totals { error: 1, ..one }),
    };
    (caseless(suite, status, &details(problem), attributes(problem)), counted)
}

/// The failures and errors that a suite's attributes report and that no test in it shows.
fn failures_without_test(suite: &Element, shown: Totals) -> Vec<(Json, Totals)> {
    let count_of = |name: &str| suite.attribute(name).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    let (failures, errors) = (count_of("failures"), count_of("errors"));
    // What one tool calls a failure is an error to another: only those that are shown as neither are missing.
    let mut missing = failures.saturating_add(errors).saturating_sub(shown.failed.saturating_add(shown.error));
    let mut tests = Vec::new();
    for (attribute, status, reported, shown) in
        [("failures", "failed", failures, shown.failed), ("errors", "error", errors, shown.error)]
    {
        let count = reported.saturating_sub(shown).min(missing);
        missing -= count;
        if count == 0 {
            continue;
        }
        let (failed, error) = if status == "failed" { (count, 0) } else { (0, count) };
        let counted = Totals { tests: count, failed, error, ..Totals::default() };
        let message = format!("the attribute {attribute} reports {count} more than the test cases show");
        let details = json!({ "message": message, "type": "", "body": "" });
        tests.push((caseless(suite, status, &details, Map::new()), counted));
    }
    tests
}

/// A test that represents a failure without a test case.
fn caseless(suite: &Element, status: &str, error: &Json, properties: Map<String, Json>) -> Json {
    json!({
        "name": suite.attribute("name").unwrap_or(&suite.name),
        "classname": "",
        "duration": 0,
        "status": status,
        "message": error["message"],
        "error": error,
        "properties": properties,
    })
}

/// The details of a failure or an error.
fn details(problem: &Element) -> Json {
    json!({
        "message": problem.attribute("message").unwrap_or_default(),
        "type": problem.attribute("type").unwrap_or_default(),
        "body": problem.text,
    })
}

fn suite(element: &Element) -> Result<(Json, Totals), MaterialError> {
    let found = contents(element)?;
    let totals = found.totals();
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
        "totals": totals.json(),
    });
    // In `json!` they would be copied, again for each suite around this one.
    json["tests"] = Json::Array(found.tests);
    json["suites"] = Json::Array(found.suites);
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
    } else if did_not_run(element) {
        totals.skipped = 1;
        ("skipped", None)
    } else {
        totals.passed = 1;
        ("passed", None)
    };
    let message = problem.and_then(|problem| problem.attribute("message")).unwrap_or_default();
    let error = problem.filter(|_| status != "skipped").map(details);
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

/// Whether a test was not run, as GoogleTest and CTest say it of disabled tests.
fn did_not_run(element: &Element) -> bool {
    matches!(element.attribute("status"), Some("notrun" | "disabled"))
        || element.attribute("result") == Some("suppressed")
}

/// Nanoseconds from seconds, which some tools write like `1,234.5`.
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
