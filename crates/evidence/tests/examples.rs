//! The examples of the repository do what they say: each policy under `examples/policies/` is run on each of its cases,
//! and longrun's own evidence passes the release gate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use evidence::check::{Outcome, Report, check};
use evidence::policy::Scalar;
use evidence::{EvaluateRequest, Evaluator, EvaluatorConfig, GroupAttachment, MaterialKind, Output, Status, digest};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// What came of each example policy, by the name of its folder.
fn reports() -> BTreeMap<String, Report> {
    let folders = fs::read_dir(examples().join("policies")).unwrap().map(|entry| entry.unwrap().path());
    folders
        .filter(|path| path.is_dir())
        .map(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let report = check(&folder.join("policy.yaml")).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, report)
        })
        .collect()
}

/// Evaluates a file of `examples/evidence/` with the release gate, the SBOM's age left out: the file only gets older.
fn gate(file: &str, with: &[(&str, &str)]) -> Output {
    let policy_dir = Some(examples().join("policies"));
    let evaluator = Evaluator::new(EvaluatorConfig { policy_dir, ..EvaluatorConfig::default() }).unwrap();
    let bytes = fs::read(examples().join("evidence").join(file)).unwrap();
    let request = EvaluateRequest {
        digest: digest(&bytes),
        policy_groups: Some(vec![GroupAttachment {
            reference: "release-gate".to_owned(),
            with: with.iter().map(|(name, value)| ((*name).to_owned(), Scalar((*value).to_owned()))).collect(),
            skip: vec!["sbom-freshness".to_owned()],
        }]),
        ..EvaluateRequest::default()
    };
    evaluator.evaluate(&request, &bytes, &AtomicBool::new(false)).unwrap()
}

/// The policies that ran, in the order of the group.
fn ran(output: &Output) -> Vec<&str> {
    output.policies.iter().map(|policy| policy.name.as_str()).collect()
}

#[test]
fn every_case_of_every_policy_comes_out_as_it_says() {
    let mut wrong = Vec::new();
    for (name, report) in reports() {
        assert_eq!(report.policy, name, "the folder is named after the policy");
        assert_eq!(report.notes, Vec::<String>::new(), "{name}");
        for case in report.cases.iter().filter(|case| !case.ok) {
            wrong.push(format!("{name}: {}: {:?}; said {:?}", case.name, case.problems, case.violations));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn at_least_ten_policies_have_a_passing_and_a_failing_case() {
    let reports = reports();
    assert!(reports.len() >= 10, "{:?}", reports.keys());
    for (name, report) in reports {
        for wanted in [Status::Passed, Status::Failed] {
            assert!(
                report.cases.iter().any(|case| case.status == Some(wanted)),
                "{name} has no case that is {wanted:?}"
            );
        }
    }
}

#[test]
fn every_failing_case_counts_its_violations() {
    for (name, report) in reports() {
        for case in report.cases.iter().filter(|case| case.expected.expect == Outcome::Failed) {
            assert!(case.expected.violations.is_some(), "{name}: {}", case.name);
        }
    }
}

#[test]
fn longruns_sbom_passes_the_release_gate() {
    let output = gate("longrun.cdx.json", &[]);
    assert_eq!(output.evidence.kind, MaterialKind::SbomCyclonedxJson);
    assert_eq!(output.status, Status::Passed, "{:#?}", output.policies);
    assert_eq!(ran(&output), ["sbom-licenses-present", "sbom-banned-licenses"]);
}

#[test]
fn longruns_lint_findings_pass_the_release_gate() {
    let output = gate("longrun.sarif.json", &[]);
    assert_eq!(output.evidence.kind, MaterialKind::Sarif);
    assert_eq!(output.status, Status::Passed, "{:#?}", output.policies);
    assert_eq!(ran(&output), ["sarif-severity-ceiling"]);
}

#[test]
fn longruns_test_report_passes_the_release_gate() {
    let output = gate("longrun.junit.xml", &[]);
    assert_eq!(output.evidence.kind, MaterialKind::JunitXml);
    assert_eq!(output.status, Status::Passed, "{:#?}", output.policies);
    assert_eq!(ran(&output), ["junit-no-failures"]);
}

#[test]
fn an_input_of_the_release_gate_reaches_the_policy_that_takes_it() {
    let output = gate("longrun.cdx.json", &[("banned_licenses", "Unicode-3.0, MIT")]);
    assert_eq!(output.status, Status::Failed);
    let licenses = output.policies.iter().find(|policy| policy.name == "sbom-banned-licenses").unwrap();
    assert_eq!(licenses.arguments["licenses"], "Unicode-3.0, MIT");
    assert!(licenses.violations.iter().any(|violation| violation.message.contains("MIT is banned")));
}

#[test]
fn evidence_tells_nothing_of_the_machine_that_made_it() {
    for entry in fs::read_dir(examples().join("evidence")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // How the path of a home, a registry or a checkout begins.
        for sign in ["file:///", "/home/", "/root/", "/Users/", ".cargo/registry"] {
            assert!(!text.contains(sign), "{}: {sign}", path.display());
        }
    }
}
