//! Policies in the form of Chainloop's own policies, boilerplate included, run unchanged.
use std::collections::BTreeMap;

use evidence::policy::{PolicyAttachment, Scalar};
use evidence::{EvaluateRequest, Evaluator, EvaluatorConfig, PolicyOutput, Status, digest};
use serde_json::{Value, json};

/// The head with which policies of this form begin.
const COMMON: &str = r#"package main

import rego.v1

################################
# Common section do NOT change #
################################

result := {
	"skipped": skipped,
	"violations": violations,
	"skip_reason": skip_reason,
	"ignore": ignore,
}

default skip_reason := ""

skip_reason := m if {
	not valid_input
	m := "invalid input"
}

default skipped := true

skipped := false if valid_input

default ignore := false

########################################
# EO Common section, custom code below #
########################################
"#;

struct Sample {
    kind: &'static str,
    rules: &'static str,
    inputs: &'static [&'static str],
}

impl Sample {
    fn run(&self, evidence: &Value, with: &[(&str, &str)]) -> PolicyOutput {
        let inputs: Vec<Value> = self.inputs.iter().map(|name| json!({"name": name})).collect();
        let policy = json!({
            "apiVersion": "workflowcontract.chainloop.dev/v1",
            "kind": "Policy",
            "metadata": {"name": "sample", "description": "d", "annotations": {"category": "sbom"}},
            "spec": {"policies": [{"kind": self.kind, "embedded": format!("{COMMON}{}", self.rules)}], "inputs": inputs},
        });
        let with: BTreeMap<String, Scalar> =
            with.iter().map(|(name, value)| ((*name).to_owned(), Scalar((*value).to_owned()))).collect();
        let bytes = evidence.to_string().into_bytes();
        let request = EvaluateRequest {
            digest: digest(&bytes),
            kind: Some(self.kind.to_owned()),
            policies: Some(vec![PolicyAttachment { embedded: Some(policy), with, ..PolicyAttachment::default() }]),
            ..EvaluateRequest::default()
        };
        let evaluator = Evaluator::new(EvaluatorConfig::default()).unwrap();
        let output = evaluator.evaluate(&request, &bytes);
        output.unwrap_or_else(|error| panic!("{error}")).policies.remove(0)
    }
}

#[track_caller]
fn came_out(output: &PolicyOutput, status: Status, messages: &[&str]) {
    let said: Vec<&str> = output.violations.iter().map(|violation| violation.message.as_str()).collect();
    assert_eq!((output.status, said.as_slice()), (status, messages), "{output:?}");
    assert!(output.warnings.is_empty(), "{:?}", output.warnings);
}

fn sbom(timestamp: &str, components: Value) -> Value {
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": timestamp}, "components": components,
    })
}

#[test]
fn components_without_licences() {
    let policy = Sample {
        kind: "SBOM_CYCLONEDX_JSON",
        inputs: &[],
        rules: r#"
valid_input if {
	# expect at least 1 component in the SBOM
	count(input.components) > 0
}

violations contains msg if {
	count(without_license) > 0
	msg := sprintf("Missing licenses for %s", [components_str])
}

components_str := concat(", ", [comp.purl | some comp in without_license])

without_license contains comp if {
	some comp in input.components
	not comp.licenses
}
"#,
    };
    let licensed = json!({"type": "library", "name": "a", "purl": "pkg:a", "licenses": [{"license": {"id": "MIT"}}]});
    let bare = json!({"type": "library", "name": "b", "purl": "pkg:b"});
    let at = "2026-01-01T00:00:00Z";
    came_out(&policy.run(&sbom(at, json!([licensed])), &[]), Status::Passed, &[]);
    came_out(&policy.run(&sbom(at, json!([licensed, bare])), &[]), Status::Failed, &["Missing licenses for pkg:b"]);
    let empty = policy.run(&sbom(at, json!([])), &[]);
    came_out(&empty, Status::Skipped, &[]);
    assert_eq!(empty.skip_reasons, ["invalid input"]);
}

#[test]
fn the_age_of_an_sbom() {
    let policy = Sample {
        kind: "SBOM_CYCLONEDX_JSON",
        inputs: &["freshness_days"],
        rules: r#"
valid_input if {
	input.chainloop_metadata.annotations["chainloop.material.type"] == "SBOM_CYCLONEDX_JSON"
}

default freshness_days := 30

freshness_days := to_number(input.args.freshness_days) if input.args.freshness_days

nanosecs_per_second := (1000 * 1000) * 1000

nanosecs_per_day := ((24 * 60) * 60) * nanosecs_per_second

maximum_age := freshness_days * nanosecs_per_day

violations contains msg if {
	sbom_ns = time.parse_rfc3339_ns(input.metadata.timestamp)
	exceeding = time.now_ns() - (sbom_ns + maximum_age)
	exceeding > 0
	msg := sprintf("SBOM created at: %s which is too old (freshness limit set to %d days)", [input.metadata.timestamp, freshness_days])
}
"#,
    };
    let old = sbom("2020-01-02T03:04:05Z", json!([]));
    let message = |days: &str| {
        format!("SBOM created at: 2020-01-02T03:04:05Z which is too old (freshness limit set to {days} days)")
    };
    came_out(&policy.run(&old, &[]), Status::Failed, &[&message("30")]);
    came_out(&policy.run(&old, &[("freshness_days", "7")]), Status::Failed, &[&message("7")]);
    came_out(&policy.run(&old, &[("freshness_days", "100000")]), Status::Passed, &[]);
}

#[test]
fn banned_components_with_and_without_versions() {
    let policy = Sample {
        kind: "SBOM_CYCLONEDX_JSON",
        inputs: &["components"],
        rules: r#"
valid_input := true

# several values arrive as a list, one as a string
banned_components := input.args.components if is_array(input.args.components)

banned_components := [input.args.components] if is_string(input.args.components)

# ban all versions
violations contains ref if {
	some i
	comp := input.components[i]
	some j
	banned := banned_components[j]
	nv := split(banned, "@")
	not nv[1]
	contains(comp.name, nv[0])
	ref := sprintf("Banned component: %v", [comp.name])
}

# ban specific versions
violations contains ref if {
	some i
	comp := input.components[i]
	some j
	banned := banned_components[j]
	nv := split(banned, "@")
	comp.name == nv[0]
	result := semver.compare(comp.version, nv[1])
	result <= 0
	ref := sprintf("Banned component: %v %v", [comp.name, comp.version])
}
"#,
    };
    let component = |name: &str, version: &str| json!({"type": "library", "name": name, "version": version});
    let evidence = sbom("2026-01-01T00:00:00Z", json!([component("log4j", "2.14.1"), component("leftpad", "1.0.0")]));
    let run = |components: &str| policy.run(&evidence, &[("components", components)]);
    came_out(&run("log4j@2.14.1"), Status::Failed, &["Banned component: log4j 2.14.1"]);
    came_out(&run("log4j@2.14.0"), Status::Passed, &[]);
    let both = ["Banned component: leftpad", "Banned component: log4j 2.14.1"];
    came_out(&run("leftpad, log4j@2.15.0"), Status::Failed, &both);
    came_out(&run("struts"), Status::Passed, &[]);
}

#[test]
fn required_components_and_a_walk_through_a_set() {
    let policy = Sample {
        kind: "SBOM_CYCLONEDX_JSON",
        inputs: &[],
        rules: r#"
valid_input := true

required_packages := {"glibc", "libcrypto3"}

violations contains msg if {
	count(all_matches) != count(required_packages)
	missing := required_packages - all_matches
	some i
	msg := sprintf("missing package: %v", [missing[i]])
}

all_matches contains name if {
	some comp in input.components
	comp.name in required_packages
	name := comp.name
}
"#,
    };
    let evidence = sbom("2026-01-01T00:00:00Z", json!([{"type": "library", "name": "glibc"}]));
    came_out(&policy.run(&evidence, &[]), Status::Failed, &["missing package: libcrypto3"]);
}

#[test]
fn errors_in_a_sarif_report_with_a_local_that_is_named_as_a_rule() {
    let policy = Sample {
        kind: "SARIF",
        inputs: &["level"],
        rules: r#"
valid_input if {
	input.version == "2.1.0"
}

default level := "error"

level := input.args.level if input.args.level

violations contains msg if {
	some run in input.runs
	some result in run.results
	result.level == level
	msg := sprintf("%s: %s", [result.ruleId, result.message.text])
}
"#,
    };
    let result = |level: &str| json!({"ruleId": level, "level": level, "message": {"text": "text"}});
    let results = json!([result("error"), result("warning")]);
    let evidence = json!({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t"}}, "results": results}]});
    came_out(&policy.run(&evidence, &[]), Status::Failed, &["error: text"]);
    came_out(&policy.run(&evidence, &[("level", "warning")]), Status::Failed, &["warning: text"]);
    came_out(&policy.run(&evidence, &[("level", "note")]), Status::Passed, &[]);
}

#[test]
fn a_field_of_any_evidence_by_its_path_and_a_pattern() {
    let policy = Sample {
        kind: "EVIDENCE",
        inputs: &["required_field", "field_pattern"],
        rules: r#"
valid_input if {
	input.chainloop_metadata.annotations["chainloop.material.type"] == "EVIDENCE"
}

required_field := input.args.required_field

field_pattern := input.args.field_pattern

# a helper whose local is named as a rule
field_value(obj, path) := obj[path] if not contains(path, ".")

field_value(obj, path) := result if {
	contains(path, ".")
	result := object.get(obj, split(path, "."), null)
}

field_exists(obj, path) if field_value(obj, path)

field_exists(obj, path) := false if not field_value(obj, path)

violations contains msg if {
	field_pattern
	value := field_value(input, required_field)
	value
	not regex.match(field_pattern, sprintf("%v", [value]))
	msg := sprintf("Field '%s' value '%v' does not match pattern '%s'", [required_field, value, field_pattern])
}

violations contains msg if {
	required_field
	not field_exists(input, required_field)
	msg := sprintf("Required field '%s' is missing or null", [required_field])
}
"#,
    };
    let evidence = json!({"application": {"name": "web"}, "port": 80});
    let run = |with: &[(&str, &str)]| policy.run(&evidence, with);
    came_out(&run(&[("required_field", "application.name")]), Status::Passed, &[]);
    let missing = ["Required field 'owner' is missing or null"];
    came_out(&run(&[("required_field", "owner")]), Status::Failed, &missing);
    came_out(&run(&[("required_field", "port"), ("field_pattern", "^8")]), Status::Passed, &[]);
    let mismatch = ["Field 'port' value '80' does not match pattern '^9'"];
    came_out(&run(&[("required_field", "port"), ("field_pattern", "^9")]), Status::Failed, &mismatch);
}
