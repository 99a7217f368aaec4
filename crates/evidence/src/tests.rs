//! The evaluator from a request to an output.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Covered, EvaluateError, EvaluateRequest, Evaluator, EvaluatorConfig, Output, Status, Waiver, digest};

const SBOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,
    "components":[{"type":"library","name":"a"},{"type":"library","name":"b","licenses":[{"license":{"id":"MIT"}}]}]}"#;

const LICENSED: &str = r#"
apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: licensed, description: Every component has a licence.}
spec:
  policies:
    - kind: SBOM_CYCLONEDX_JSON
      embedded: |
        package main
        import rego.v1
        valid_input if input.bomFormat == "CycloneDX"
        violations contains {"message": m, "component": c.name} if {
          some c in input.components
          not c.licenses
          not c.name in exempt
          m := sprintf("%s has no licence", [c.name])
        }
        exempt contains name if some name in input.args.exempt
        exempt contains input.args.exempt if is_string(input.args.exempt)
  inputs:
    - {name: exempt, description: Names that need none.}
"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn evaluator(folder: &Path) -> Evaluator {
    Evaluator::new(EvaluatorConfig { policy_dir: Some(folder.to_owned()), ..EvaluatorConfig::default() }).unwrap()
}

/// A request from its JSON, the digest filled in.
fn request(mut fields: Json, bytes: &[u8]) -> EvaluateRequest {
    fields["digest"] = json!(digest(bytes));
    serde_json::from_value(fields).unwrap()
}

fn evaluate(evaluator: &Evaluator, fields: Json, bytes: &[u8]) -> Result<Output, EvaluateError> {
    let request = request(fields, bytes);
    request.validate().unwrap();
    evaluator.evaluate(&request, bytes)
}

fn script(kind: &str, name: &str, body: &str) -> Json {
    json!({
        "apiVersion": "workflowcontract.chainloop.dev/v1", "kind": "Policy", "metadata": {"name": name},
        "spec": {"policies": [{"kind": kind, "embedded": format!("package main\nimport rego.v1\n{body}")}]},
    })
}

#[test]
fn the_output_has_its_documented_shape() {
    let folder = folder(&[("licensed.yaml", LICENSED)]);
    let fields = json!({"name": "sbom", "policies": [{"ref": "licensed", "with": {"exempt": "x, y", "other": 1}}]});
    let mut output = evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap();
    output.policies[0].duration_ms = 0;
    assert_eq!(
        serde_json::to_value(&output).unwrap(),
        json!({
            "evidence": {
                "digest": digest(SBOM.as_bytes()), "kind": "SBOM_CYCLONEDX_JSON", "name": "sbom", "size": SBOM.len(),
            },
            "status": "failed",
            "policies": [{
                "name": "licensed",
                "reference": "licensed",
                "digest": digest(LICENSED.as_bytes()),
                "kind": "SBOM_CYCLONEDX_JSON",
                "status": "failed",
                "violations": [{
                    "subject": "licensed",
                    "message": "a has no licence",
                    "finding": {"message": "a has no licence", "component": "a"},
                }],
                "skipped": false,
                "skip_reasons": [],
                "ignored": false,
                "with": {"exempt": "x, y"},
                "warnings": ["licensed has no input other: ignored"],
                "duration_ms": 0,
            }],
            "left_out": [],
            "totals": {"policies": 1, "passed": 0, "failed": 1, "skipped": 0, "left_out": 0, "violations": 1},
        })
    );
}

#[test]
fn arguments_reach_the_policy_as_one_string_or_a_list() {
    let folder = folder(&[("licensed.yaml", LICENSED)]);
    for exempt in ["a", "z, a", "z\na"] {
        let fields = json!({"policies": [{"ref": "licensed", "with": {"exempt": exempt}}]});
        let output = evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap();
        assert_eq!(output.status, Status::Passed, "{exempt:?}");
    }
}

#[test]
fn an_embedded_policy_may_be_text_or_an_object() {
    let folder = folder(&[]);
    let text = json!({"policies": [{"embedded": LICENSED}]});
    assert_eq!(evaluate(&evaluator(folder.path()), text, SBOM.as_bytes()).unwrap().status, Status::Failed);
    let object = json!({"policies": [{"embedded": script("SBOM_CYCLONEDX_JSON", "p", "")}]});
    let output = evaluate(&evaluator(folder.path()), object, SBOM.as_bytes()).unwrap();
    assert_eq!((output.status, output.policies[0].reference.as_str()), (Status::Passed, "embedded"));
}

#[test]
fn a_policy_for_another_material_is_left_out_and_said_so() {
    let folder = folder(&[]);
    let fields = json!({"policies": [{"embedded": script("SARIF", "p", "")}]});
    let output = evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap();
    assert_eq!(output.status, Status::Skipped);
    assert_eq!(output.left_out[0].reason, "it is for SARIF");
}

#[test]
fn a_policy_that_only_skips_is_warned_of_and_so_are_rules_that_nothing_uses() {
    let folder = folder(&[]);
    let warnings = |body: &str| {
        let fields = json!({"policies": [{"embedded": script("SBOM_CYCLONEDX_JSON", "p", body)}]});
        evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap().policies.remove(0).warnings
    };
    let warning = "none of violations, findings and result is defined: the policy can never report a violation";
    assert_eq!(warnings("valid_input := true"), [warning]);
    let body = "violations contains \"no\" if input.never\nlimit := 3";
    assert_eq!(warnings(body), ["the rule limit is never used"]);
}

#[test]
fn several_scripts_of_a_policy_merge() {
    let folder = folder(&[]);
    let merged = |bodies: &[&str]| {
        let scripts: Vec<Json> = bodies
            .iter()
            .map(|body| json!({"kind": "EVIDENCE", "embedded": format!("package main\nimport rego.v1\n{body}")}))
            .collect();
        let policy = json!({
            "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"}, "spec": {"policies": scripts},
        });
        let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": policy}]});
        evaluate(&evaluator(folder.path()), fields, b"{}").unwrap()
    };
    let (fails, passes, skips, ignored) =
        ("violations contains \"v\"", "valid_input := true", "valid_input := false", "ignore := true");
    let output = merged(&[fails, fails]);
    assert_eq!(output.policies[0].violations.len(), 2);
    let output = merged(&[skips, passes]);
    assert_eq!((output.status, output.policies[0].skipped), (Status::Passed, false));
    let output = merged(&[skips, skips]);
    assert_eq!((output.status, output.policies[0].skipped), (Status::Skipped, true));
    assert_eq!(output.policies[0].skip_reasons, ["the file content is not recognized"]);
    let output = merged(&[ignored, fails]);
    assert_eq!((output.status, output.policies[0].violations.len()), (Status::Failed, 1));
    let output = merged(&[ignored, ignored]);
    assert!(output.policies.is_empty());
    assert_eq!(output.status, Status::Skipped);

    let unrunnable = "violations contains \"w\" if chainloop.evidence(\"x\").bad";
    let reason = "chainloop.evidence needs a Chainloop server, which this service does not have";
    for others in [&[passes][..], &[skips, passes], &[ignored, passes], &[]] {
        let output = merged(&[&[unrunnable], others].concat());
        let policy = &output.policies[0];
        assert_eq!((output.status, policy.status, policy.skipped), (Status::Skipped, Status::Skipped, true));
        assert_eq!(policy.skip_reasons, [reason], "{others:?}");
    }
    let mut output = merged(&[fails, unrunnable]);
    let policy = &output.policies[0];
    assert_eq!(
        (policy.status, policy.skipped, policy.skip_reasons.as_slice(), policy.not_evaluated.as_slice()),
        (Status::Failed, false, &[][..], &[reason.to_owned()][..])
    );
    output.waive("", "", &[waiver("p")]);
    assert_eq!((output.status, output.policies[0].skipped), (Status::Skipped, true), "the rest is still not evaluated");
    assert_eq!(output.policies[0].skip_reasons, [reason]);
}

/// A waiver of all violations of a policy.
fn waiver(policy: &str) -> Waiver {
    Waiver {
        id: "1".to_owned(),
        policy: policy.to_owned(),
        covered: Covered::All,
        subject: String::new(),
        reason: "accepted".to_owned(),
        by: "ann".to_owned(),
        expires: String::new(),
    }
}

#[test]
fn violations_of_a_skipped_script_are_kept_and_do_not_count() {
    let folder = folder(&[]);
    let body = "valid_input := false\nviolations contains \"v\"";
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": script("EVIDENCE", "p", body)}]});
    let output = evaluate(&evaluator(folder.path()), fields, b"{}").unwrap();
    assert_eq!((output.status, output.totals.violations), (Status::Skipped, 0));
    assert_eq!(output.policies[0].violations[0].message, "v");
    assert_eq!(output.policies[0].skip_reasons, ["the file content is not recognized"]);
}

const GROUP: &str = r#"
apiVersion: chainloop.dev/v1
kind: PolicyGroup
metadata: {name: gate}
spec:
  policies:
    materials:
      - type: SBOM_CYCLONEDX_JSON
        policies:
          - ref: licensed
            with: {exempt: "{{ inputs.names }}"}
          - ref: other
      - type: SARIF
        policies: [{ref: other}]
      - type: SBOM_CYCLONEDX_JSON
        name: "{{ inputs.material }}"
        policies: [{ref: other}]
      - type: SBOM_CYCLONEDX_JSON
        name: sb
        match_mode: PREFIX
        policies: [{ref: other}]
      - type: SBOM_CYCLONEDX_JSON
        name: om
        match_mode: PREFIX
        policies: [{ref: other}]
  inputs:
    - {name: names, required: true}
    - {name: material}
"#;

#[test]
fn a_group_hands_its_inputs_on_and_selects_by_type_and_name() {
    let other = script("SBOM_CYCLONEDX_JSON", "other", "").to_string();
    let folder = folder(&[("licensed.yaml", LICENSED), ("gate.yaml", GROUP), ("other.json", &other)]);
    let run = |group: Json| {
        let fields = json!({"name": "sbom", "policy_groups": [group]});
        evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes())
    };
    let output = run(json!({"ref": "gate", "with": {"names": "a", "material": "image"}, "skip": ["other"]})).unwrap();
    assert_eq!(output.policies.len(), 1);
    assert_eq!(output.policies[0].group.as_deref(), Some("gate"));
    assert_eq!(output.policies[0].arguments["exempt"], "a");
    assert_eq!(output.status, Status::Passed);
    let reasons: Vec<&str> = output.left_out.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "the request skips it",
            "group gate: it is for SARIF",
            "group gate: it is for the material image",
            "the request skips it",
            "group gate: it is for materials whose names begin with om",
        ]
    );
    let output = run(json!({"ref": "gate", "with": {"names": "a", "material": "sbom"}})).unwrap();
    assert_eq!(output.policies.len(), 4);
    let error = run(json!({"ref": "gate"})).unwrap_err();
    assert_eq!(error.to_string(), "policy gate: the input names is required");
}

#[test]
fn a_policy_that_declares_no_inputs_gets_every_argument() {
    let folder = folder(&[]);
    let policy = script("EVIDENCE", "ban", "violations contains x if some x in input.args.banned");
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": policy, "with": {"banned": "a, b"}}]});
    let output = evaluate(&evaluator(folder.path()), fields, b"{}").unwrap();
    assert_eq!((output.status, output.totals.violations), (Status::Failed, 2));
    assert_eq!(output.policies[0].warnings, Vec::<String>::new());
}

#[test]
fn findings_fit_the_type_that_the_policy_declares() {
    let folder = folder(&[]);
    let run = |violation: &str| {
        let mut policy = script("EVIDENCE", "p", &format!("violations contains {violation}"));
        policy["metadata"]["finding_type"] = json!("VULNERABILITY");
        let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": policy}]});
        evaluate(&evaluator(folder.path()), fields, b"{}")
    };
    let output = run(r#"chainloop.vulnerability("m", "CVE-2024-1", "pkg:npm/a@1", "HIGH")"#).unwrap();
    assert_eq!(output.policies[0].violations[0].finding.as_ref().unwrap()["external_id"], "CVE-2024-1");
    assert_eq!(run("\"text\"").unwrap().status, Status::Failed);
    let error = run(r#"{"message": "m", "severity": "HIGH"}"#).unwrap_err().to_string();
    assert!(error.contains("a finding of the type VULNERABILITY needs a string that is not empty as"), "{error}");
}

#[test]
fn why_a_script_skipped_is_said_only_when_all_of_them_did() {
    let folder = folder(&[]);
    let bodies = ["valid_input := false\nviolations contains \"kept\"", "violations contains x if some x in []"];
    let scripts: Vec<Json> = bodies
        .iter()
        .map(|body| json!({"kind": "EVIDENCE", "embedded": format!("package main\nimport rego.v1\n{body}")}))
        .collect();
    let mut policy = script("EVIDENCE", "p", "");
    policy["spec"]["policies"] = json!(scripts);
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": policy}]});
    let output = evaluate(&evaluator(folder.path()), fields, b"{}").unwrap();
    assert_eq!(output.policies[0].skip_reasons, Vec::<String>::new());
    assert_eq!((output.status, output.policies[0].violations[0].message.as_str()), (Status::Failed, "kept"));
}

#[test]
fn what_a_policy_suppresses_is_reported_beside_what_it_objects_to() {
    let folder = folder(&[]);
    let body = "result := {\"skipped\": false, \"findings\": findings, \"suppressed_findings\": suppressed}\n\
        findings contains {\"message\": \"open\"}\nsuppressed contains {\"message\": \"accepted\"}";
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": script("EVIDENCE", "p", body)}]});
    let output = evaluate(&evaluator(folder.path()), fields, b"{}").unwrap();
    assert_eq!((output.status, output.totals.violations), (Status::Failed, 1));
    assert_eq!(output.policies[0].suppressed[0].message, "accepted");
}

#[test]
fn the_script_of_a_policy_may_stand_beside_it_under_a_relative_reference() {
    let policy = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: {policies: [{kind: EVIDENCE, ref: script.rego}]}\n";
    let rego = "package main\nimport rego.v1\nviolations contains \"from beside\"";
    let folder = folder(&[("p/policy.yaml", policy), ("p/script.rego", rego)]);
    let output = evaluate(&evaluator(folder.path()), json!({"kind": "EVIDENCE", "policies": [{"ref": "p"}]}), b"{}");
    assert_eq!(output.unwrap().policies[0].violations[0].message, "from beside");
}

#[test]
fn a_policy_may_select_a_material_by_its_name_and_may_be_disabled() {
    let group = "apiVersion: chainloop.dev/v1
kind: PolicyGroup
metadata: {name: g}
spec:
  inputs: [{name: product}]
  policies:
    materials:
      - policies:
          - {ref: licensed, selector: {name: '{{ inputs.product }}'}}
          - {ref: licensed, disabled: true}
";
    let folder = folder(&[("licensed.yaml", LICENSED), ("g.yaml", group)]);
    let evaluator = evaluator(folder.path());
    let of = |name: &str, fields: serde_json::Value| {
        let mut fields = fields;
        fields["name"] = json!(name);
        let output = evaluate(&evaluator, fields, SBOM.as_bytes()).unwrap();
        let reasons = output.left_out.iter().map(|one| one.reason.clone()).collect::<Vec<_>>();
        (output.policies.len(), reasons)
    };
    let selecting = || json!({"policies": [{"ref": "licensed", "selector": {"name": "product"}}]});
    assert_eq!(of("product", selecting()), (1, vec![]));
    let reason = "it is for the material product, and this one is \"tests\"".to_owned();
    assert_eq!(of("tests", selecting()), (0, vec![reason]));
    let disabled = json!({"policies": [{"ref": "licensed", "disabled": true}, {"ref": "licensed"}]});
    assert_eq!(of("product", disabled), (1, vec!["it is disabled".to_owned()]));
    let grouped = || json!({"policy_groups": [{"ref": "g", "with": {"product": "product"}}]});
    assert_eq!(of("product", grouped()), (1, vec!["it is disabled".to_owned()]));
    assert_eq!(of("tests", grouped()).0, 0);
}

#[test]
fn without_policies_the_default_set_is_used() {
    let folder = folder(&[("licensed.yaml", LICENSED)]);
    let default_policies = vec![serde_json::from_value(json!({"ref": "licensed"})).unwrap()];
    let policy_dir = Some(folder.path().to_owned());
    let config = EvaluatorConfig { policy_dir, default_policies, ..EvaluatorConfig::default() };
    let evaluator = Evaluator::new(config).unwrap();
    assert_eq!(evaluate(&evaluator, json!({}), SBOM.as_bytes()).unwrap().policies.len(), 1);
    for empty in [json!({"policies": []}), json!({"policies": [], "policy_groups": []})] {
        let output = evaluate(&evaluator, empty, SBOM.as_bytes()).unwrap();
        assert_eq!(output.policies.len(), 1, "an empty list does not bypass the default policies");
    }
}

#[test]
fn what_cannot_be_evaluated_is_an_error_that_names_policy_and_line() {
    let folder = folder(&[]);
    let body = "violations contains \"no\" if not to_number(input.text)";
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": script("EVIDENCE", "broken", body)}]});
    let error = evaluate(&evaluator(folder.path()), fields, br#"{"text":"x"}"#).unwrap_err();
    assert!(error.to_string().starts_with("policy broken: line 3, column"), "{error}");
    assert!(!error.is_retryable());
    let fields = json!({"kind": "SARIF", "policies": []});
    let error = evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap_err();
    let expected = "evidence: not SARIF: at $.version: expected one of 2.1.0, found the number 1";
    assert_eq!(error.to_string(), expected);
    let fields = json!({"policies": [{"ref": "absent"}]});
    let error = evaluate(&evaluator(folder.path()), fields, SBOM.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "absent: not in the policy folder");
}

#[test]
fn limits_hold() {
    let config = EvaluatorConfig { memory_limit: 1000, ..EvaluatorConfig::default() };
    let error = evaluate(&Evaluator::new(config).unwrap(), json!({}), SBOM.as_bytes()).unwrap_err();
    assert!(matches!(error, EvaluateError::TooLarge { .. }), "{error}");
    let body = "ns := numbers.range(1, 1000)\nviolations contains \"no\" if { some a in ns; some b in ns; some c in ns; a + b + c < 0 }";
    let fields = json!({"kind": "EVIDENCE", "policies": [{"embedded": script("EVIDENCE", "endless", body)}]});
    let config = EvaluatorConfig { time_limit: Duration::from_millis(200), ..EvaluatorConfig::default() };
    let error = evaluate(&Evaluator::new(config).unwrap(), fields, b"{}").unwrap_err();
    assert_eq!(error.to_string(), "policy endless: the evaluation took longer than 0.2 s and was ended");
}

#[test]
fn a_request_is_checked_with_the_path_of_the_field() {
    let message = |fields: Json| request(fields, b"").validate().unwrap_err().to_string();
    assert!(message(json!({"kind": "SBOM"})).starts_with("kind: \"SBOM\" is not a material type"));
    assert!(message(json!({"policies": [{}]})).starts_with("policies[0]: expected exactly one"));
    assert!(message(json!({"policies": [{"ref": "a"}, {"ref": "https://x/y"}]})).starts_with("policies[1].ref: "));
    assert!(message(json!({"policies": [{"embedded": 1}]})).starts_with("policies[0].embedded: expected the policy"));
    // The evaluator reads the policies.
    request(json!({"policies": [{"embedded": "x: ["}]}), b"").validate().unwrap();
    assert!(message(json!({"policy_groups": [{"ref": "../x"}]})).starts_with("policy_groups[0].ref: "));
    let digest: EvaluateRequest = serde_json::from_value(json!({"digest": "sha256:12"})).unwrap();
    assert!(digest.validate().unwrap_err().to_string().starts_with("digest: "));
    assert!(serde_json::from_value::<EvaluateRequest>(json!({"digest": "", "polices": []})).is_err());
}

#[test]
fn the_evaluator_checks_a_request_against_its_folder() {
    let folder = folder(&[("licensed.yaml", LICENSED), ("gate.yaml", GROUP)]);
    let evaluator = evaluator(folder.path());
    let check = |fields: Json| evaluator.check(&request(fields, b""));
    check(json!({"policies": [{"ref": "licensed"}]})).unwrap();
    let error = check(json!({"policies": [{"ref": "licensed"}, {"ref": "absent"}]})).unwrap_err();
    assert_eq!(error.to_string(), "policies[1]: absent: not in the policy folder");
    let error = check(json!({"policies": [{"embedded": "x: ["}]})).unwrap_err();
    assert_eq!(error.field, "policies[0].embedded");
    let error = check(json!({"policies": [{"embedded": script("SARIF", "p", "x := nothing.such(1)")}]})).unwrap_err();
    assert_eq!(error.field, "policies[0].embedded");
    assert!(error.message.contains("there is no function nothing.such"), "{error}");
    let error = check(json!({"policy_groups": [{"ref": "gate", "with": {"names": "a"}}]})).unwrap_err();
    assert_eq!(error.to_string(), "policy_groups[0]: other: not in the policy folder");
}

#[test]
fn a_policy_check_reports_what_came_out() {
    let cases = "cases:\n  - {name: right, evidence: sbom.json, expect: failed, violations: 1, message_contains: no licence}\n  - {name: wrong, evidence: sbom.json, expect: passed, violations: 0, message_contains: nothing}\n  - {name: absent, evidence: absent.json, expect: passed}\n";
    let folder = folder(&[("policy.yaml", LICENSED), ("cases.yaml", cases), ("sbom.json", SBOM)]);
    let report = super::check::check(&folder.path().join("policy.yaml")).unwrap();
    assert!(!report.ok);
    let oks: Vec<bool> = report.cases.iter().map(|case| case.ok).collect();
    assert_eq!(oks, [true, false, false]);
    assert_eq!(
        report.cases[1].problems,
        ["expected passed, got failed", "expected 0 violations, found 1", "no message contains \"nothing\""]
    );
    assert!(report.cases[2].problems[0].contains("the evidence absent.json: "), "{:?}", report.cases[2]);
}
