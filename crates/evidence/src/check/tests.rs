//! Cases, their results, and what they evaluate.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use super::{Report, check, check_some, find};
use crate::rego::Gap;

const POLICY: &str = "apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: sizes, description: d}
spec:
  policies:
    - kind: EVIDENCE
      path: sizes.rego
  inputs:
    - {name: most, description: m, required: true}
";

/// The tests refer to lines of this script by number.
const SCRIPT: &str = "package main

import rego.v1

default limit := 0

limit := to_number(input.args.most) if input.args.most

violations contains message if {
	input.size > limit
	message := sprintf(\"%d is more than %d\", [input.size, limit])
}

violations contains message if {
	input.name == \"never\"
	message := name_of(input)
}

name_of(thing) := thing.name
";

fn policy(cases: &str, evidence: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("policy.yaml", POLICY);
    write("sizes.rego", SCRIPT);
    write("cases.yaml", cases);
    evidence.iter().for_each(|(name, text)| write(name, text));
    folder
}

fn report(cases: &str) -> Report {
    let folder = policy(cases, &[("small.json", r#"{"size": 1, "name": "s"}"#), ("large.json", r#"{"size": 9}"#)]);
    check(&folder.path().join("policy.yaml")).unwrap()
}

fn refusal(cases: &str) -> String {
    check(&policy(cases, &[]).path().join("policy.yaml")).unwrap_err().to_string()
}

const TWO: &str = "cases:
  - {name: small, evidence: small.json, kind: EVIDENCE, with: {most: 5}, expect: passed}
  - {name: large, evidence: large.json, kind: EVIDENCE, with: {most: 5}, expect: failed, violations: 1, messages: [9 is more, than 5]}
";

#[test]
fn a_case_is_compared_with_status_count_and_messages() {
    let report = report(TWO);
    assert!(report.ok, "{report:#?}");
    let wrong = "cases:
  - {name: a, evidence: small.json, kind: EVIDENCE, with: {most: 5}, expect: failed, violations: 2, messages: [x]}
  - {name: b, evidence: none.json, kind: EVIDENCE, with: {most: 5}, expect: error}
  - {name: c, evidence: small.json, kind: EVIDENCE, expect: passed}
  - {name: d, evidence: small.json, kind: EVIDENCE, expect: error, message_contains: the input most is required}
";
    let report = self::report(wrong);
    let problems: Vec<&[String]> = report.cases.iter().map(|case| case.problems.as_slice()).collect();
    assert!(!report.ok);
    assert_eq!(
        problems[0],
        ["expected failed, got passed", "expected 2 violations, found 0", "no message contains \"x\""]
    );
    assert!(problems[1][0].starts_with("cannot read the evidence none.json: "), "{problems:?}");
    assert_eq!(problems[2], ["expected passed, got error: policy sizes: the input most is required"]);
    assert!(problems[3].is_empty(), "{problems:?}");
}

#[test]
fn cases_that_are_not_in_order_are_refused_with_their_place() {
    let case = |fields: &str| format!("cases:\n  - {{name: a, evidence: e, expect: passed}}\n  - {{{fields}}}\n");
    for (cases, says) in [
        (case("name: b, evidence: e, expect: passed, violation: 1"), "unknown field `violation`"),
        (case("name: b, evidence: e, expect: well"), "unknown variant `well`, expected one of `passed`, `failed`"),
        (case("name: b, expect: passed"), "missing field `evidence`"),
        (case("name: a, evidence: e, expect: passed"), "cases.yaml: cases[1].name: \"a\" occurs twice"),
        (
            case("name: ' ', evidence: e, expect: passed"),
            "cases[1].name: expected a description of what the case shows",
        ),
        (
            case("name: b, evidence: e, expect: passed, violations: 1"),
            "cases[1].violations: a policy that passes has no violations",
        ),
        ("cases: [".to_owned(), "cases.yaml: "),
    ] {
        let said = refusal(&cases);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn what_no_case_evaluates_is_named_by_rule_and_line() {
    let report = report(TWO);
    let [script] = report.coverage.as_slice() else { panic!("{report:#?}") };
    assert_eq!(script.script, "sizes.rego");
    // The head and the end of the rule whose body never holds, and the function that only this rule calls.
    let gap = |rule: &str, lines: &[u32]| Gap { rule: rule.to_owned(), lines: lines.to_vec() };
    assert_eq!(script.gaps, [gap("violations", &[14, 16]), gap("name_of", &[19])]);
    assert_eq!((script.lines, script.evaluated), (8, 5));
    assert_eq!(report.lines(), (8, 5));
}

#[test]
fn without_cases_nothing_is_evaluated_and_the_same_lines_count() {
    let report = report("cases: []\n");
    assert_eq!(report.lines(), (8, 0));
    assert_eq!(report.notes, ["cases.yaml: the policy has no cases"]);
}

#[test]
fn a_group_has_cases_too() {
    let cases = "cases:
  - {name: large, evidence: large.json, kind: EVIDENCE, with: {limit: 5}, expect: failed, messages: [9 is more than 5]}
  - {name: skipped, evidence: large.json, kind: EVIDENCE, with: {limit: 5}, skip: [sizes], expect: skipped}
";
    let group = "apiVersion: chainloop.dev/v1
kind: PolicyGroup
metadata: {name: gate}
spec:
  inputs: [{name: limit}]
  policies: {materials: [{policies: [{ref: policy, with: {most: '{{ inputs.limit }}'}}]}]}
";
    let folder = policy(TWO, &[("large.json", "{\"size\": 9}"), ("gate.yaml", group), ("gate.cases.yaml", cases)]);
    let report = check(&folder.path().join("gate.yaml")).unwrap();
    assert!(report.ok && report.cases.len() == 2, "{report:#?}");
    assert_eq!((report.policy.as_str(), report.lines()), ("gate", (0, 0)));
}

#[test]
fn a_case_says_what_calls_are_answered() {
    let cases = "cases:
- {name: vulnerable, evidence: e.json, kind: EVIDENCE, with: {most: 9}, expect: failed, messages: [GHSA-1],
   http: [{url: 'https://osv.example.com/v1', method: post, body: {vulns: [{id: GHSA-1}]}}]}
- {name: without an answer, evidence: e.json, kind: EVIDENCE, with: {most: 9}, expect: error,
   message_contains: 'the case has no answer to POST https://osv.example.com/v1 under http'}
";
    let script = "package main
import rego.v1
answer := http.send({\"method\": \"POST\", \"url\": \"https://osv.example.com/v1\", \"body\": {\"size\": input.size}})
violations contains vulnerability.id if some vulnerability in answer.body.vulns
";
    let folder = policy(cases, &[("e.json", "{\"size\": 1}"), ("sizes.rego", script)]);
    let report = check(&folder.path().join("policy.yaml")).unwrap();
    assert!(report.ok, "{:?}", report.cases);
    // Where no case has answers, the call is refused, and the error names the function.
    fs::write(folder.path().join("cases.yaml"), "cases: []").unwrap();
    let error = check(&folder.path().join("policy.yaml")).unwrap_err().to_string();
    assert!(error.contains("http.send is forbidden in policies"), "{error}");
}

#[test]
fn cases_of_another_form_are_refused_with_what_they_should_be() {
    for (cases, expected) in [
        ("[]", "expected a map with cases"),
        ("cases: [x]", "cases[0]: invalid type: string \"x\", expected a map with name, evidence and expect"),
        ("cases: [{name: a, evidence: e.json, expect: passed, http: [x]}]", "expected a map with the url of a call"),
    ] {
        let error = refusal(cases);
        assert!(error.contains(expected) && !error.contains("struct"), "{error}");
    }
}

#[test]
fn cases_are_chosen_by_name() {
    let folder = policy(TWO, &[("small.json", "{\"size\": 1}"), ("large.json", "{\"size\": 9}")]);
    let chosen = check_some(&folder.path().join("policy.yaml"), |policy, case| policy == "sizes" && case == "large");
    let names: Vec<String> = chosen.unwrap().cases.into_iter().map(|case| case.name).collect();
    assert_eq!(names, ["large"]);
}

#[test]
fn policies_are_found_by_their_names_or_by_their_cases() {
    let folder = tempfile::tempdir().unwrap();
    for file in
        ["a/policy.yaml", "a/deep/policy.json", "b/one.yaml", "b/one.cases.yaml", "b/two.yaml", ".hidden/policy.yaml"]
    {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let found = find(folder.path()).unwrap();
    let found: Vec<&Path> = found.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
    assert_eq!(found, ["a/deep/policy.json", "a/policy.yaml", "b/one.yaml"].map(Path::new));
    let one = folder.path().join("b/two.yaml");
    assert_eq!(find(&one).unwrap(), [one]);
    assert!(find(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
}
