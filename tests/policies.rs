//! `longrun policy test`: cases and coverage of policies, as tables, as reports and as exit codes.
use crate::common::{example, run, run_in};

/// A folder with a policy that forbids components of a name, and its cases.
fn folder(cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "no-left-pad/policy.yaml",
        "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: no-left-pad, description: d}\nspec:\n  policies:\n    - kind: SBOM_CYCLONEDX_JSON\n      path: sbom.rego\n",
    );
    write(
        "no-left-pad/sbom.rego",
        "package main\n\nviolations contains \"left-pad <is> there\" if {\n\tsome component in input.components\n\tcomponent.name == \"left-pad\"\n}\n\nviolations contains \"no components\" if {\n\tcount(input.components) == 0\n}\n",
    );
    write("no-left-pad/cases.yaml", cases);
    write(
        "no-left-pad/with.json",
        r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"left-pad"}]}"#,
    );
    write(
        "no-left-pad/without.json",
        r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"library","name":"ms"}]}"#,
    );
    folder
}

const SOUND: &str = "cases:
  - {name: with, evidence: with.json, expect: failed, violations: 1, messages: [left-pad]}
  - {name: without, evidence: without.json, expect: passed}
";

#[test]
fn the_policies_of_the_repository_pass_their_own_tests() {
    let shown = run(&["policy", "test", &example("policies"), "--min-coverage", "90"]).expect(0).stdout;
    assert!(shown.contains("sbom-licenses-present"), "{shown}");
    assert!(shown.contains("policies, ") && !shown.contains("of them failed"), "{shown}");
}

#[test]
fn a_folder_is_searched_and_what_no_case_evaluates_is_told_by_rule_and_line() {
    let folder = folder(SOUND);
    let shown = run_in(folder.path(), &["policy", "test"]).expect(0).stdout;
    assert!(shown.contains("no-left-pad  2/2    80 %      passed"), "{shown}");
    assert!(shown.contains("not evaluated: sbom.rego: violations 8"), "{shown}");
    assert!(shown.contains("1 policy, 2 cases; 80 % of the lines evaluated"), "{shown}");
    let enough = run_in(folder.path(), &["policy", "test", ".", "--min-coverage", "80"]);
    enough.expect(0);
    let short = run_in(folder.path(), &["policy", "test", "no-left-pad/policy.yaml", "--min-coverage", "81"]);
    assert!(short.expect(1).stdout.contains("its cases evaluate 80 % of its lines, and 81 % are required"));
}

#[test]
fn a_case_that_comes_out_otherwise_is_exit_code_1_and_a_failure_of_the_report() {
    let folder = folder(&format!("{SOUND}  - {{name: \"none <at> all\", evidence: without.json, expect: failed}}\n"));
    let shown = run_in(folder.path(), &["policy", "test"]).expect(1).stdout;
    assert!(shown.contains("none <at> all") && shown.contains("expected failed, got passed"), "{shown}");
    assert!(shown.contains("3 cases, 1 of them failed"), "{shown}");
    let report =
        run_in(folder.path(), &["policy", "test", "--format", "junit", "--min-coverage", "90"]).expect(1).stdout;
    for part in [
        r#"<testsuite name="no-left-pad" file="./no-left-pad/policy.yaml" tests="4" failures="2" errors="0" skipped="0">"#,
        r#"<property name="coverage" value="80"/>"#,
        r#"<testcase classname="no-left-pad" name="with"/>"#,
        r#"name="none &lt;at&gt; all""#,
        r#"<failure type="case" message="expected failed, got passed">"#,
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    let json = run_in(folder.path(), &["policy", "test", "--format", "json"]).expect(1).json();
    assert_eq!((json[0]["ok"].as_bool(), json[0]["coverage"]["percent"].as_u64()), (Some(false), Some(80)));
    assert_eq!(json[0]["cases"][2]["problems"][0], "expected failed, got passed");
    assert_eq!(json[0]["coverage"]["scripts"][0]["gaps"][0]["rule"], "violations");
}

#[test]
fn some_cases_are_chosen_by_name_and_say_nothing_about_coverage() {
    let folder = folder(&format!("{SOUND}  - {{name: broken, evidence: without.json, expect: failed}}\n"));
    let shown = run_in(folder.path(), &["policy", "test", "--filter", "left-pad/with"]).expect(0).stdout;
    assert!(shown.contains("1 policy, 2 cases\n"), "{shown}");
    run_in(folder.path(), &["policy", "test", "--filter", "nothing-like-it"]).expect(2).says("no case in .");
    let both = ["policy", "test", "--filter", "with", "--min-coverage", "80"];
    run_in(folder.path(), &both).expect(2).says("cannot be used with");
}

#[test]
fn a_policy_without_cases_has_not_passed_them() {
    let folder = folder("cases: []\n");
    let shown = run_in(folder.path(), &["policy", "test"]).expect(0).stdout;
    assert!(shown.contains("no-left-pad  0/0    0 %       no cases"), "{shown}");
    let short = run_in(folder.path(), &["policy", "test", "--min-coverage", "1"]).expect(1).stdout;
    assert!(short.contains("0 %       failed"), "{short}");
}

#[test]
fn cases_that_are_not_in_order_and_folders_without_policies_are_exit_code_2() {
    let folder = folder("cases:\n  - {name: a, evidence: with.json, expects: failed}\n");
    let shown = run_in(folder.path(), &["policy", "test"]).expect(2).stdout;
    assert!(shown.contains("cases.yaml: ") && shown.contains("unknown field `expects`"), "{shown}");
    let report = run_in(folder.path(), &["policy", "test", "--format", "junit"]).expect(2).stdout;
    assert!(report.contains("<error message=\"cases.yaml: "), "{report}");
    let empty = tempfile::tempdir().unwrap();
    run_in(empty.path(), &["policy", "test"]).expect(2).says("a policy is a policy.yaml");
    run_in(empty.path(), &["policy", "test", "nowhere"]).expect(2).says("nowhere");
}
