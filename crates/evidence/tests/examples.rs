//! The examples of the repository work as described: each policy under `examples/policies/` is run on each of its
//! cases, and longrun's own evidence passes the release gate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use evidence::check::{Outcome, Report, check, find};
use evidence::policy::{Input, Policy, PolicyAttachment, Scalar};
use evidence::{EvaluateRequest, Evaluator, EvaluatorConfig, GroupAttachment, MaterialKind, Output, Status, digest};

/// The share of each policy's lines that its cases must evaluate, in percent.
const LEAST_COVERAGE: usize = 90;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The results of the example policies, by the names of their folders.
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

/// Evaluates a file of `examples/evidence/` with the release gate, without the check of the SBOM's age: the file only
/// gets older.
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
    evaluator.evaluate(&request, &bytes).unwrap()
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
fn at_least_thirty_policies_have_a_passing_and_a_failing_case() {
    let reports = reports();
    assert!(reports.len() >= 30, "{:?}", reports.keys());
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

/// The policy files that are found, without groups.
fn policy_files() -> Vec<PathBuf> {
    let found = find(&examples().join("policies")).unwrap();
    found.into_iter().filter(|file| file.ends_with("policy.yaml")).collect()
}

#[test]
fn the_cases_of_the_release_gate_come_out_as_they_say() {
    let report = check(&examples().join("policies/release-gate.yaml")).unwrap();
    assert!(report.ok && report.cases.len() >= 3, "{report:#?}");
}

#[test]
fn every_policy_is_found_by_a_search_of_the_folder() {
    let found = policy_files();
    let names: BTreeSet<String> =
        found.iter().map(|file| file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, reports().into_keys().collect::<BTreeSet<String>>());
}

#[test]
fn the_cases_evaluate_nearly_every_line_of_every_policy() {
    let thin: Vec<String> = reports()
        .into_iter()
        .filter(|(_, report)| {
            let (lines, evaluated) = report.lines();
            evaluated * 100 < lines * LEAST_COVERAGE
        })
        .map(|(name, report)| format!("{name}: {:?}", report.coverage))
        .collect();
    assert!(thin.is_empty(), "{}", thin.join("\n"));
}

/// The titles of the categories, in the order of the page.
const CATEGORIES: &[(&str, &str)] = &[
    ("sbom", "Bills of materials"),
    ("licensing", "Licences"),
    ("vulnerabilities", "Vulnerabilities"),
    ("static-analysis", "Static analysis"),
    ("secrets", "Secrets"),
    ("tests", "Tests and coverage"),
    ("images", "Images and charts"),
    ("api", "Interfaces"),
    ("provenance", "Provenance"),
    ("change-management", "Repositories and changes"),
    ("ai", "AI agents"),
];

/// The page of the documentation: every policy, what it requires, of which evidence, with which inputs.
fn library() -> String {
    let mut policies: BTreeMap<String, Vec<(String, Policy)>> = BTreeMap::new();
    for file in policy_files() {
        let text = fs::read_to_string(&file).unwrap();
        let policy = Policy::parse("policy.yaml", &text).unwrap();
        let folder = file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let Scalar(category) = policy.metadata.annotations["category"].clone();
        policies.entry(category).or_default().push((folder, policy));
    }
    let count: usize = policies.values().map(Vec::len).sum();
    let mut page = format!(
        "# Policies to start from\n\nThere are {count} policies in [examples/policies](../examples/README.md), each \
         with cases that show what\nit accepts and what it does not. `longrun policy test examples/policies` runs them. \
         To use a policy, put its folder into\nthe server's policy folder and name it (`--policy-ref NAME`), or send \
         it (`--policy FILE`). Inputs in **bold** must be\ngiven; others have the default that is shown, or have no \
         effect until they are given.\n"
    );
    for (category, title) in CATEGORIES {
        let mut of_category = policies.remove(*category).unwrap_or_default();
        of_category.sort_by(|(one, _), (other, _)| one.cmp(other));
        let _ = writeln!(page, "\n## {title}\n\n| policy | requirement | evidence | inputs |\n|---|---|---|---|");
        for (folder, policy) in of_category {
            let kinds: Vec<String> =
                policy.scripts.iter().filter_map(|script| script.kind.as_deref()).map(kind).collect();
            let inputs: Vec<String> = policy.inputs.iter().map(input).collect();
            let about = policy.metadata.description.trim().replace('\n', " ");
            let _ = writeln!(
                page,
                "| [{folder}](../examples/policies/{folder}/policy.yaml) | {about} | {} | {} |",
                kinds.join(", "),
                inputs.join("<br>")
            );
        }
    }
    assert!(policies.is_empty(), "categories that the page has no title for: {:?}", policies.keys());
    page
}

/// A material type on the page, with what the policies do not read of it.
fn kind(kind: &str) -> String {
    if kind == "SBOM_SPDX_JSON" { format!("`{kind}` (2.x; 3.0 is skipped)") } else { format!("`{kind}`") }
}

#[test]
fn an_spdx_3_document_is_skipped_by_every_policy_for_spdx_documents() {
    let document = r#"{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
        {"type": "CreationInfo", "@id": "_:c", "specVersion": "3.0.1", "created": "2024-01-02T03:04:05Z",
            "createdBy": ["https://example.com/t"]},
        {"type": "SpdxDocument", "spdxId": "https://example.com/d", "creationInfo": "_:c", "name": "app",
            "rootElement": ["https://example.com/p"]},
        {"type": "software_Package", "spdxId": "https://example.com/p", "creationInfo": "_:c", "name": "left-pad"}]}"#;
    let evaluator =
        Evaluator::new(EvaluatorConfig { policy_dir: Some(examples().join("policies")), ..EvaluatorConfig::default() });
    let evaluator = evaluator.unwrap();
    let mut skipped = 0;
    for file in policy_files() {
        let policy = Policy::parse("policy.yaml", &fs::read_to_string(&file).unwrap()).unwrap();
        if policy.scripts.iter().all(|script| script.kind.as_deref() != Some("SBOM_SPDX_JSON")) {
            continue;
        }
        let required = policy.inputs.iter().filter(|input| input.required);
        let attachment = PolicyAttachment {
            reference: Some(policy.metadata.name.clone()),
            with: required.map(|input| (input.name.clone(), Scalar("left-pad".to_owned()))).collect(),
            ..PolicyAttachment::default()
        };
        let request = EvaluateRequest {
            digest: digest(document.as_bytes()),
            policies: Some(vec![attachment]),
            ..EvaluateRequest::default()
        };
        let output = evaluator.evaluate(&request, document.as_bytes()).unwrap();
        assert_eq!(output.policies[0].status, Status::Skipped, "{}", policy.metadata.name);
        skipped += 1;
    }
    assert!(skipped > 0);
}

fn input(input: &Input) -> String {
    let about = input.description.trim().replace('\n', " ").replace('|', "\\|");
    match &input.default {
        _ if input.required => format!("**{}**: {about}", input.name),
        Some(Scalar(default)) if default.len() <= 60 => format!("{} ({}): {about}", input.name, default.trim()),
        Some(_) => format!("{} (see there): {about}", input.name),
        None => format!("{}: {about}", input.name),
    }
}

#[test]
fn the_documented_policies_are_those_that_there_are() {
    let file = examples().join("../docs/policy-library.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, library()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(written, library(), "renew it: UPDATE_DOCS=1 cargo test -p evidence the_documented_policies");
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
        // How the path of a home folder, a registry or a checkout begins.
        for sign in ["file:///", "/home/", "/root/", "/Users/", ".cargo/registry"] {
            assert!(!text.contains(sign), "{}: {sign}", path.display());
        }
    }
}
