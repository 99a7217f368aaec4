//! SARIF 2.1.0: one result per violation, one rule for each policy and for each of its own rules. Violations that are
//! waived are suppressed results; what was not evaluated is a notification of the run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Level, Problem, Report};

pub fn render(report: &Report) -> String {
    let (problems, waived) = (report.problems(), report.waived());
    // The rules with their numbers, in order of appearance.
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules: Vec<Value> = Vec::new();
    for problem in problems.iter().chain(waived.iter().map(|(problem, _)| problem)) {
        numbers.entry(&problem.rule).or_insert_with(|| {
            rules.push(json!({"id": problem.rule, "name": problem.rule}));
            rules.len() - 1
        });
    }
    let result = |problem: &Problem<'_>| {
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
    };
    let results = problems.iter().map(result).chain(waived.iter().map(|(problem, reason)| {
        let mut result = result(problem);
        result["suppressions"] = json!([{"kind": "external", "justification": reason}]);
        result
    }));
    let mut document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "longrun", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results.collect::<Vec<Value>>(),
        }],
    });
    let notification = |level: &str, text: String| json!({"level": level, "message": {"text": text}});
    // A file that was not evaluated is reported by the run: the run has not done everything it was asked to do.
    let broken = report.files.iter().filter_map(|one| one.outcome.as_ref().err().map(|reason| (one, reason)));
    let mut notifications: Vec<Value> =
        broken.map(|(one, reason)| notification("error", format!("{}: {reason}", one.file))).collect();
    let successful = notifications.is_empty();
    notifications.extend(report.unevaluated().iter().map(|problem| {
        let Problem { rule, message, path, .. } = problem;
        notification(level(problem.level), format!("{path}: {rule}: {message}"))
    }));
    document["runs"][0]["invocations"] =
        json!([{"executionSuccessful": successful, "toolExecutionNotifications": notifications}]);
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
        assert_eq!(rules, ["secrets/generic-key", "secrets", "evaluation", "licences"]);
        let first = &run["results"][0];
        assert_eq!((first["ruleId"].as_str(), first["level"].as_str()), (Some("secrets/generic-key"), Some("warning")));
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(
            (place["artifactLocation"]["uri"].as_str(), &place["region"]["startLine"]),
            (Some("src/a.env"), &7.into())
        );
        let invocation = &run["invocations"][0];
        assert_eq!(invocation["executionSuccessful"], false);
        let notifications = &invocation["toolExecutionNotifications"];
        assert_eq!(notifications[0]["message"]["text"], "broken.json: not JSON: line 1");
        let skipped =
            serde_json::json!({"level": "note", "message": {"text": "sbom.json: age: skipped: no timestamp"}});
        assert_eq!(notifications[1], skipped);
        assert_eq!(run["results"][0].get("suppressions"), None);
        let waived = &run["results"][3];
        assert_eq!((&waived["ruleId"], &waived["message"]["text"]), (&"licences".into(), &"GPL".into()));
        let suppressions = serde_json::json!([{"kind": "external", "justification": "we <publish> it"}]);
        assert_eq!(waived["suppressions"], suppressions);
        assert_eq!(super::uri("a b\\c%"), "a%20b/c%25");
        let kind = Some(evidence::MaterialKind::Sarif);
        let read = evidence::Material::parse(kind, &evidence::material::Metadata::default(), text.as_bytes());
        assert!(read.is_ok(), "{read:?}");
    }
}
