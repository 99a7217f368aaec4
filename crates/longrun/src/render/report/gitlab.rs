//! A GitLab code quality report; merge requests show which entries are new and which are gone. What was not evaluated
//! is an entry, too. What is waived is not: the format has no place for it.

use serde_json::{Value, json};

use super::{Level, Report};

pub fn render(report: &Report) -> String {
    let issues = report.problems().into_iter().chain(report.unevaluated()).map(|problem| {
        let severity = match problem.level {
            Level::Error => "critical",
            Level::Warning => "minor",
            Level::Note => "info",
        };
        // Line numbers change; rule, file and message identify the same entry in the next report.
        let identity = format!("{}\0{}\0{}", problem.rule, problem.path, problem.message);
        let digest = evidence::digest(identity.as_bytes());
        json!({
            "description": problem.message,
            "check_name": problem.rule,
            "fingerprint": digest.trim_start_matches("sha256:"),
            "severity": severity,
            "location": {"path": problem.path, "lines": {"begin": problem.line}},
        })
    });
    format!("{:#}\n", Value::from(issues.collect::<Vec<Value>>()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn each_violation_is_an_issue_with_a_fingerprint_of_its_own() {
        let issues: Vec<serde_json::Value> = serde_json::from_str(&super::render(&report())).expect("is JSON");
        assert_eq!(issues.len(), 4);
        assert_eq!(issues[0]["check_name"], "secrets/generic-key");
        assert_eq!(issues[0]["location"], serde_json::json!({"path": "src/a.env", "lines": {"begin": 7}}));
        assert_ne!(issues[0]["fingerprint"], issues[1]["fingerprint"]);
        assert_eq!(issues[2]["severity"], "critical");
        assert_eq!(
            (&issues[3]["description"], &issues[3]["severity"]),
            (&"skipped: no timestamp".into(), &"info".into())
        );
    }
}
