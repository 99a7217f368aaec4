//! SARIF 2.1.0: one result per violation, one rule for each policy and for each of its own rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Level, Report};

pub fn render(report: &Report) -> String {
    let problems = report.problems();
    // The rules with their numbers, in order of appearance.
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules: Vec<Value> = Vec::new();
    for problem in &problems {
        numbers.entry(&problem.rule).or_insert_with(|| {
            rules.push(json!({"id": problem.rule, "name": problem.rule}));
            rules.len() - 1
        });
    }
    let results = problems.iter().map(|problem| {
        json!({
            "ruleId": problem.rule,
            "ruleIndex": numbers[problem.rule.as_str()],
            "level": level(problem.level),
            "message": {"text": problem.message},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": uri(problem.path)},
                "region": {"startLine": problem.line},
            }}],
        })
    });
    let mut document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "longrun", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results.collect::<Vec<Value>>(),
        }],
    });
    // A file that was not evaluated is reported by the run: the run has not done everything it was asked to do.
    let reasons: Vec<Value> = report
        .files
        .iter()
        .filter_map(|one| one.outcome.as_ref().err().map(|reason| (one, reason)))
        .map(|(one, reason)| json!({"level": "error", "message": {"text": format!("{}: {reason}", one.file)}}))
        .collect();
    document["runs"][0]["invocations"] =
        json!([{"executionSuccessful": reasons.is_empty(), "toolExecutionNotifications": reasons}]);
    format!("{document:#}\n")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

/// A path as a relative reference: characters that a reference cannot contain are escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' | b'@' | b'+' => {
                uri.push(char::from(byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn each_violation_is_a_result_with_its_rule_and_place() {
        let text = super::render(&report());
        let document: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
        let run = &document["runs"][0];
        let rules: Vec<&str> = run["tool"]["driver"]["rules"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["id"].as_str())
            .collect();
        assert_eq!(rules, ["secrets/generic-key", "secrets", "evaluation"]);
        let first = &run["results"][0];
        assert_eq!((first["ruleId"].as_str(), first["level"].as_str()), (Some("secrets/generic-key"), Some("warning")));
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(
            (place["artifactLocation"]["uri"].as_str(), &place["region"]["startLine"]),
            (Some("src/a.env"), &7.into())
        );
        assert_eq!(run["invocations"][0]["executionSuccessful"], false);
        assert_eq!(super::uri("a b\\c%"), "a%20b/c%25");
        let kind = Some(evidence::MaterialKind::Sarif);
        let read = evidence::Material::parse(kind, &evidence::material::Metadata::default(), text.as_bytes());
        assert!(read.is_ok(), "{read:?}");
    }
}
