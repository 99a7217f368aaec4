//! `longrun evidence evaluate` and `detect`, `longrun policy check`, `longrun operations wait`: verdicts as exit codes.

use std::process::Stdio;

use crate::common::{Dev, command, example, run, run_in};
use tempfile::tempdir;

#[test]
fn evidence_that_passes_is_exit_code_0() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (file, policy) = (example("evidence/longrun.cdx.json"), example("policies/sbom-licenses-present/policy.yaml"));
    let shown = dev.run(&["evidence", "evaluate", &file, "--policy", &policy]).expect(0).stdout;
    assert_eq!(shown, "longrun.cdx.json SBOM_CYCLONEDX_JSON: passed\n  ✓ sbom-licenses-present\n");
}

#[test]
fn violations_are_exit_code_1_and_readable() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = example("policies/sbom-licenses-present/evidence/unlicensed.cdx.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy];
    let shown = dev.run(&evaluate).expect(1).stdout;
    assert!(shown.contains("unlicensed.cdx.json SBOM_CYCLONEDX_JSON: failed"), "{shown}");
    assert!(shown.contains("✗ sbom-licenses-present: 2 violations"), "{shown}");
    assert!(shown.contains("component pkg:cargo/mystery@0.3.0 declares no licence"), "{shown}");

    let exempt = [&evaluate[..], &["--with", "exempt=mystery, inner"]].concat();
    dev.run(&exempt).expect(0);

    let answer = dev.run(&[&evaluate[..], &["-o", "json"]].concat()).expect(1).json();
    assert_eq!(answer["operation"]["status"], "ASYNC_OPERATION_STATUS_COMPLETED", "evaluated, whatever the verdict");
    let id = dev.run(&[&evaluate[..], &["-o", "id"]].concat()).expect(1).line();
    // The operation itself has done its work.
    dev.run(&["operations", "wait", &id, "--quiet"]).expect(0);
}

#[test]
fn a_reader_that_has_seen_enough_changes_neither_the_exit_code_nor_the_reports() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let good = example("policies/sbom-licenses-present/evidence/licensed.cdx.json");
    let bad = example("policies/sbom-licenses-present/evidence/unlicensed.cdx.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    for format in [&[][..], &["--format", "sarif"]] {
        let file = folder.path().join(format!("{}.xml", format.len()));
        let report = format!("junit={}", file.display());
        let mut evaluate = command();
        evaluate.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
        evaluate.args(["evidence", "evaluate", &bad, &good, "--policy", &policy, "--report", &report]).args(format);
        let mut process = evaluate.stdout(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        assert_eq!(process.wait().unwrap().code(), Some(1));
        assert!(std::fs::read_to_string(file).unwrap().contains("failures=\"1\""));
    }
}

#[test]
fn an_input_given_twice_has_both_values() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = example("policies/sbom-licenses-present/evidence/unlicensed.cdx.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy, "--with", "exempt=mystery"];
    dev.run(&evaluate).expect(1);
    dev.run(&[&evaluate[..], &["--with", "exempt=inner"]].concat()).expect(0);
    // Nothing but separators is no value.
    dev.run(&[&evaluate[..5], &["--with", "exempt=,"]].concat()).expect(1);
}

#[test]
fn several_files_are_evaluated_and_one_failure_is_enough() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let good = example("policies/sbom-licenses-present/evidence/licensed.cdx.json");
    let bad = example("policies/sbom-licenses-present/evidence/unlicensed.spdx.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let shown = dev.run(&["evidence", "evaluate", &good, &bad, "--policy", &policy]).expect(1).stdout;
    assert!(shown.contains("licensed.cdx.json SBOM_CYCLONEDX_JSON: passed"), "{shown}");
    assert!(shown.contains("unlicensed.spdx.json SBOM_SPDX_JSON: failed"), "{shown}");
}

#[test]
fn without_waiting_the_operation_is_answered_and_can_be_waited_for() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (file, policy) = (example("evidence/longrun.junit.xml"), example("policies/junit-no-failures/policy.yaml"));
    let id = dev.run(&["evidence", "evaluate", &file, "--policy", &policy, "--no-wait", "-o", "id"]).expect(0).line();
    let waited = dev.run(&["ops", "wait", &id, "--timeout", "1m", "-o", "json"]).expect(0).json();
    assert_eq!(waited["operation"]["id"], id);
    assert_eq!(waited["operation"]["status"], "ASYNC_OPERATION_STATUS_COMPLETED");
}

#[test]
fn a_wait_that_is_over_too_soon_is_exit_code_5() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = dev.run(&["ops", "create", "--kind", "nobody-runs-this", "-o", "id"]).expect(0).line();
    dev.run(&["ops", "wait", &id, "--timeout", "300ms"]).expect(5).says("has not ended").says("--timeout");
}

#[test]
fn what_no_policy_looked_at_is_exit_code_3_unless_that_is_allowed() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (sarif, policy) = (example("evidence/longrun.sarif.json"), example("policies/junit-no-failures/policy.yaml"));
    let evaluate = |files: &[&str], more: &[&str]| {
        dev.run(&[&["evidence", "evaluate", "--policy", policy.as_str()], more, files].concat())
    };
    let shown = evaluate(&[&sarif], &[]).expect(3).stdout;
    assert!(shown.starts_with("longrun.sarif.json SARIF: skipped\n"), "{shown}");
    evaluate(&[&sarif], &["--allow-skipped"]).expect(0);
    let (passes, fails) = (
        example("policies/junit-no-failures/evidence/passing.xml"),
        example("policies/junit-no-failures/evidence/failing.xml"),
    );
    evaluate(&[&passes, &sarif], &[]).expect(3);
    evaluate(&[&passes, &sarif], &["--allow-skipped"]).expect(0);
    evaluate(&[&sarif, &fails], &["--allow-skipped"]).expect(1);
    evaluate(&[&sarif, &fails], &[]).expect(1);
}

#[test]
fn a_file_that_cannot_be_read_keeps_no_other_from_being_looked_at() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (file, policy) = (example("evidence/longrun.junit.xml"), example("policies/junit-no-failures/policy.yaml"));
    let evaluated = dev.run(&["evidence", "evaluate", "none.xml", &file, "--policy", &policy]).expect(2);
    assert!(evaluated.stdout.contains("longrun.junit.xml JUNIT_XML: passed"), "{}", evaluated.stdout);
    evaluated.says("cannot read none.xml");
    let stored = dev.run(&["evidence", "put", "none.xml", &file, "-o", "id"]).expect(2);
    assert!(stored.line().starts_with("sha256:"));
    stored.says("cannot read none.xml");
    let detected = run(&["evidence", "detect", "none.xml", &file, "-o", "id"]).expect(2);
    assert_eq!(detected.line(), "JUNIT_XML");
    let checked = run(&["policy", "check", "nosuch.yaml", &policy]).expect(2);
    assert!(checked.stdout.starts_with('✓'), "{}", checked.stdout);
    checked.says("error: cannot read nosuch.yaml: No such file");
}

#[test]
fn what_cannot_be_evaluated_is_a_failed_operation_and_exit_code_1() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (file, policy) = (example("evidence/longrun.junit.xml"), example("policies/junit-no-failures/policy.yaml"));
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy, "--kind", "SARIF"];
    let shown = dev.run(&evaluate).expect(1).stdout;
    assert!(shown.contains("could not be evaluated"), "{shown}");
    let id = dev.run(&["ops", "list", "--status", "failed", "-o", "id"]).expect(0).line();
    let waited = dev.run(&["ops", "wait", &id]).expect(1).stdout;
    assert!(waited.contains("FAILED") && waited.contains("ERROR"), "{waited}");
}

#[test]
fn a_policy_that_cannot_be_sent_or_used_is_exit_code_2() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = example("evidence/longrun.junit.xml");
    let evaluate = |rest: &[&str]| dev.run(&[&["evidence", "evaluate", file.as_str()], rest].concat());
    evaluate(&["--policy", &example("policies/release-gate.yaml")])
        .expect(2)
        .says("PolicyGroup")
        .says("--policy-group");
    std::fs::write(folder.path().join("broken.yaml"), "kind: Policy\nspec: {}\n").unwrap();
    evaluate(&["--policy", "broken.yaml"]).expect(2).says("policies[0].embedded");
    evaluate(&["--with", "a=b"]).expect(2).says("--policy");
    evaluate(&["--policy-ref", "nobody-has-this"])
        .expect(2)
        .says("policies[0]")
        .says("hint:")
        .says("`policies.folder`")
        .says("--policies DIR");
    evaluate(&["--policy-group", "nobody-has-this"]).expect(2).says("policy_groups[0]").says("--policies DIR");
    evaluate(&[])
        .expect(2)
        .says("policies: are missing")
        .says("hint: give --policy FILE, --policy-ref NAME or --policy-group NAME");
    dev.run(&["evidence", "evaluate", "missing.json"]).expect(2).says("missing.json");
}

/// The classes and flags of regular expressions need Unicode tables, which other parts of a test program may bring in:
/// so the binary is asked.
#[test]
fn regular_expressions_know_classes_and_flags() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let policy = r#"
apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: patterns}
spec:
  policies:
    - kind: EVIDENCE
      embedded: |
        package main
        import rego.v1
        violations contains "digits" if regex.match(`^v\d+\.\d+$`, input.version)
        violations contains "words" if regex.match(`^\w+\s\w+$`, input.name)
        violations contains "case" if regex.match(`(?i)ÉCOLE`, input.place)
        violations contains "letters" if regex.match(`^\p{L}+$`, input.place)
        violations contains "no digits" if regex.match(`\d`, input.name)
"#;
    std::fs::write(folder.path().join("patterns.yaml"), policy).unwrap();
    std::fs::write(folder.path().join("e.json"), r#"{"version":"v1.25","name":"two words","place":"école"}"#).unwrap();
    let evaluate = ["evidence", "evaluate", "e.json", "--kind", "EVIDENCE", "--policy", "patterns.yaml"];
    let shown = dev.run(&evaluate).expect(1).stdout;
    assert!(shown.contains("4 violations"), "{shown}");
    for message in ["digits", "words", "case", "letters"] {
        assert!(shown.contains(message), "{shown}");
    }
    assert!(!shown.contains("no digits"), "{shown}");
}

#[test]
fn kinds_are_detected_without_a_server() {
    let (sbom, junit) = (example("evidence/longrun.cdx.json"), example("evidence/longrun.junit.xml"));
    let found = run(&["evidence", "detect", &sbom, &junit, "-o", "id"]).expect(0).stdout;
    assert_eq!(found, "SBOM_CYCLONEDX_JSON\nJUNIT_XML\n");
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("noise"), [0_u8, 159, 146, 150]).unwrap();
    let found = run_in(folder.path(), &["evidence", "detect", "noise", "-o", "json"]).expect(1).json();
    assert_eq!(found[0]["kind"], "");
}

#[test]
fn policies_are_checked_with_their_examples() {
    let good = example("policies/junit-no-failures/policy.yaml");
    let shown = run(&["policy", "check", &good]).expect(0).stdout;
    assert!(shown.starts_with('✓') && shown.contains("examples"), "{shown}");

    let folder = tempdir().unwrap();
    std::fs::copy(&good, folder.path().join("policy.yaml")).unwrap();
    std::fs::copy(example("evidence/longrun.junit.xml"), folder.path().join("r.xml")).unwrap();
    let cases = "cases: [{name: it should complain, evidence: r.xml, expect: failed}]\n";
    std::fs::write(folder.path().join("cases.yaml"), cases).unwrap();
    let shown = run_in(folder.path(), &["policy", "check", "policy.yaml"]).expect(1).stdout;
    assert!(shown.contains("✗ it should complain") && shown.contains("expected failed"), "{shown}");

    std::fs::write(folder.path().join("policy.yaml"), "kind: [").unwrap();
    let report = run_in(folder.path(), &["policy", "check", "policy.yaml", "-o", "json"]).expect(1).json();
    assert_eq!(report[0]["ok"], false);
}

#[test]
fn reports_for_build_systems_hold_all_files_and_the_exit_code_stays() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let good = example("policies/sbom-licenses-present/evidence/licensed.cdx.json");
    let bad = example("policies/sbom-licenses-present/evidence/unlicensed.cdx.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let report = |format: &str| {
        let evaluate = ["evidence", "evaluate", &good, &bad, "--policy", &policy, "--format", format];
        dev.run(&evaluate).expect(1).stdout
    };
    let junit = report("junit");
    assert!(junit.contains("tests=\"1\" failures=\"1\"") && junit.contains("tests=\"1\" failures=\"0\""), "{junit}");
    let sarif: serde_json::Value = serde_json::from_str(&report("sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "sbom-licenses-present");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 2);
    assert_eq!(report("github").lines().filter(|line| line.starts_with("::error file=")).count(), 2);
    let gitlab: serde_json::Value = serde_json::from_str(&report("gitlab")).unwrap();
    assert_eq!(gitlab[0]["check_name"], "sbom-licenses-present");

    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (file("a.xml"), file("b.json"));
    let reports = ["--report", &format!("junit={first}"), "--report", &format!("gitlab={second}")].map(str::to_owned);
    let mut evaluate = vec!["evidence", "evaluate", &good, &bad, "--policy", &policy];
    evaluate.extend(reports.iter().map(String::as_str));
    let shown = dev.run(&evaluate).expect(1).stdout;
    assert!(shown.contains("✗ sbom-licenses-present"), "the results are shown as well: {shown}");
    assert!(std::fs::read_to_string(first).unwrap().contains("<testsuites"));
    assert!(std::fs::read_to_string(second).unwrap().contains("check_name"));
    let (evidence, policy) = (file("longrun.junit.xml"), file("policy.yaml"));
    for read in [&evidence, &policy] {
        std::fs::copy(&good, read).unwrap();
        let replacing = ["--policy", &policy, "--report", &format!("junit={read}")];
        let replacing = [&["evidence", "evaluate", evidence.as_str()][..], &replacing].concat();
        assert!(dev.run(&replacing).expect(2).stderr.contains("would replace a file that is to be read"));
        assert_eq!(std::fs::read(read).unwrap(), std::fs::read(&good).unwrap(), "it is still there");
    }
    evaluate.extend(["--report", "junit=/nowhere/a.xml"]);
    assert!(dev.run(&evaluate).expect(2).stderr.contains("cannot write /nowhere/a.xml"));
}

#[test]
fn a_skipped_policy_can_be_as_bad_as_a_violation() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = example("evidence/longrun.sarif.json");
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy];
    dev.run(&evaluate).expect(3);
    dev.run(&[&evaluate[..], &["--fail-on", "skipped"]].concat()).expect(1);
}
