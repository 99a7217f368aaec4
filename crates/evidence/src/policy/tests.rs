//! Policy and PolicyGroup documents: which are accepted and which are refused, and where.
#![allow(clippy::unwrap_used)]

use super::{Body, MatchMode, Policy, PolicyAttachment, PolicyError, PolicyGroup, Scalar, lint};

fn policy(metadata: &str, spec: &str) -> Result<Policy, PolicyError> {
    let text = format!("apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {metadata}\nspec: {spec}\n");
    Policy::parse("p.yaml", &text)
}

fn refusal(metadata: &str, spec: &str) -> String {
    policy(metadata, spec).unwrap_err().to_string()
}

const ONE: &str = "{policies: [{kind: SARIF, path: a.rego}]}";

#[test]
fn both_forms_and_both_api_versions_read() {
    let policy = policy("{name: p}", ONE).unwrap();
    assert_eq!(policy.scripts[0].kind.as_deref(), Some("SARIF"));
    assert_eq!(policy.scripts[0].body, Body::Path("a.rego".to_owned()));
    for (spec, kind) in [
        ("type: SARIF\n  path: a.rego", Some("SARIF")),
        ("path: a.rego", None),
        ("type: MATERIAL_TYPE_UNSPECIFIED\n  path: a.rego", None),
    ] {
        let text = format!(
            "apiVersion: workflowcontract.chainloop.dev/v1\nkind: Policy\nmetadata:\n  name: p\nspec:\n  {spec}\n"
        );
        assert_eq!(Policy::parse("p", &text).unwrap().scripts[0].kind.as_deref(), kind, "{spec}");
    }
    assert_eq!(self::policy("{name: p}", "{policies: [{path: a.rego}]}").unwrap().scripts[0].kind, None);
    let json = r#"{"apiVersion":"chainloop.dev/v1","kind":"Policy","metadata":{"name":"p"},"spec":{"embedded":"package p\n"}}"#;
    assert_eq!(Policy::parse("p.json", json).unwrap().scripts[0].body, Body::Embedded("package p\n".to_owned()));
}

#[test]
fn a_refusal_names_file_field_and_place() {
    assert_eq!(
        Policy::parse("p.yaml", "apiVersion: v1\nkind: Policy\n").unwrap_err().to_string(),
        "p.yaml: apiVersion: expected chainloop.dev/v1 or workflowcontract.chainloop.dev/v1, found \"v1\""
    );
    assert!(refusal("{name: Upper}", ONE).starts_with("p.yaml: metadata.name: expected a DNS-1123 label"));
    assert!(refusal("{}", ONE).contains("missing field `name`"));
    assert!(refusal("{name: p}", "{}").starts_with("p.yaml: spec.policies: "));
    assert!(
        refusal("{name: p}", "{policies: [{kind: SARIF}]}").starts_with("p.yaml: spec.policies[0]: expected exactly")
    );
    let both = "{path: a.rego, policies: [{kind: SARIF, path: a.rego}]}";
    assert!(refusal("{name: p}", both).starts_with("p.yaml: spec.policies: "));
    let inputs = |inputs: &str| format!("{{path: a.rego, inputs: {inputs}}}");
    let error = refusal("{name: p}", &inputs("[{name: a, required: true, default: x}]"));
    assert_eq!(error, "p.yaml: spec.inputs[0].default: a is required, so a default has no meaning");
    assert!(refusal("{name: p}", &inputs("[{name: a}, {name: a}]")).starts_with("p.yaml: spec.inputs[1].name: "));
    let Err(PolicyError::Syntax { line, .. }) = policy("{name: p}", "{policies: [{kind: [1]}]}") else { panic!() };
    assert_eq!(line, 4);
    let Err(PolicyError::Syntax { line, .. }) = policy("{name: p", ONE) else { panic!() };
    assert!(line > 0);
}

/// People who write policies know the members of a document, and not the types in longrun's source.
#[test]
fn a_refusal_describes_what_is_expected_and_names_no_type() {
    for (text, expected) in [
        ("hello", "expected a map with apiVersion, kind, metadata and spec"),
        ("metadata: x\nspec: {}", "metadata: invalid type: string \"x\", expected a map with the name"),
        ("metadata: {name: p}\nspec: x", "spec: invalid type: string \"x\", expected a map with policies"),
        ("metadata: {name: p}\nspec: {policies: [x]}", "expected a map with embedded, path or ref"),
        (
            "metadata: {name: p}\nspec: {path: a, inputs: [x]}",
            "spec.inputs[0]: invalid type: string \"x\", expected a map",
        ),
    ] {
        let head = if text == "hello" { "" } else { "apiVersion: chainloop.dev/v1\nkind: Policy\n" };
        let error = Policy::parse("p.yaml", &format!("{head}{text}\n")).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("struct"), "{error}");
    }
    for (policies, expected) in [
        ("x", "expected a map with materials or attestation"),
        ("{materials: [x]}", "expected a map with policies"),
        ("{attestation: [x]}", "expected a map with ref"),
        ("{attestation: [{ref: a, selector: x}]}", "expected an object with the name of the material"),
    ] {
        let head = "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: g}";
        let text = format!("{head}\nspec: {{policies: {policies}}}\n");
        let error = PolicyGroup::parse("g.yaml", &text).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("struct"), "{error}");
    }
}

#[test]
fn scalars_become_text_and_a_kind_mixed_up_is_said() {
    let policy =
        policy("{name: p, annotations: {a: 1, b: true}}", "{path: a, inputs: [{name: x, default: 80}]}").unwrap();
    assert_eq!(policy.metadata.annotations["b"], Scalar("true".to_owned()));
    assert_eq!(policy.inputs[0].default, Some(Scalar("80".to_owned())));
    let group = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: g}\nspec: {}\n";
    let error = PolicyGroup::parse("g.yaml", group).unwrap_err().to_string();
    assert_eq!(error, "g.yaml: kind: expected PolicyGroup, found \"Policy\"");
}

#[test]
fn a_group_needs_policies_with_one_source_each() {
    let group = |spec: &str| {
        let text = format!("apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {{name: g}}\nspec: {spec}\n");
        PolicyGroup::parse("g.yaml", &text)
    };
    let read = group(
        "{policies: {attestation: [{ref: a}], materials: [{type: SARIF, name: m, match_mode: PREFIX, policies: [{ref: b}]}]}}",
    )
    .unwrap();
    assert_eq!(read.materials.len(), 2);
    assert_eq!(read.materials[0].match_mode, MatchMode::Prefix);
    assert_eq!(read.materials[1].kind.as_deref(), Some("ATTESTATION"));
    let unnamed = group("{policies: {materials: [{name: m, policies: [{ref: b}]}]}}").unwrap_err().to_string();
    assert!(unnamed.contains("materials[0].type: a material that is selected by name needs a type"), "{unnamed}");
    let unknown = group("{policies: {materials: [{type: SARIF, name: m, match_mode: SUFFIX, policies: [{ref: b}]}]}}");
    assert!(unknown.unwrap_err().to_string().contains("unknown variant `SUFFIX`, expected"));
    assert!(group("{}").unwrap_err().to_string().contains("at least one policy"));
    assert!(group("{policies: {materials: [{policies: [{}]}]}}").unwrap_err().to_string().contains("exactly one of"));
}

#[test]
fn members_of_a_policy_that_chainloop_does_not_have_are_refused_by_name() {
    for (spec, name) in [
        ("{policies: [{kind: SARIF, path: a, embeded: x}]}", "embeded"),
        ("{policies: [{kind: SARIF, path: a}], input: []}", "input"),
        ("{path: a, inputs: [{name: limit, requierd: true}]}", "requierd"),
    ] {
        let error = refusal("{name: p}", spec);
        assert!(error.contains(&format!("unknown field `{name}`, expected one of")), "{error}");
    }
    for spec in [
        "{path: a, auto_match: {path: b}}",
        "{policies: [{kind: ATTESTATION, ref: a, attestationPhases: [INIT]}], autoMatch: {ref: b}}",
    ] {
        policy("{name: p, organization: o}", spec).unwrap();
    }
}

#[test]
fn members_of_a_group_that_chainloop_does_not_have_are_refused_by_name() {
    let group = |spec: &str| {
        let text = format!("apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {{name: g}}\nspec: {spec}\n");
        PolicyGroup::parse("g.yaml", &text).map_err(|error| error.to_string())
    };
    for (spec, name) in [
        ("{policies: {attestation: [{ref: a, wiht: {licenses: MIT}}]}}", "wiht"),
        ("{policies: {attestation: [{ref: a, selector: {nmae: x}}]}}", "nmae"),
        ("{policies: {materials: [{type: SARIF, policy: [{ref: a}]}]}}", "policy"),
        ("{policies: {attestations: [{ref: a}]}}", "attestations"),
        ("{policies: {attestation: [{ref: a}]}, inputs: [{name: x, dflt: 1}]}", "dflt"),
        ("{policies: {attestation: [{ref: a}]}, output: x}", "output"),
    ] {
        let error = group(spec).unwrap_err();
        assert!(error.contains(&format!("unknown field `{name}`, expected")), "{error}");
    }
    let unused = "{ref: a, gate: true, requirements: [owasp/top-10]}";
    let material = "type: SARIF, optional: true, output: true, annotations: [], skip_upload: true";
    group(&format!("{{policies: {{attestation: [{unused}], materials: [{{{material}, policies: [{unused}]}}]}}}}"))
        .unwrap();
}

#[test]
fn documents_that_would_blow_up_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1));
    }
    bomb.push_str("apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\nspec: *a39\n");
    assert!(Policy::parse("bomb", &bomb).is_err());
    assert!(Policy::parse("deep", &"[".repeat(100_000)).is_err());
    assert!(Policy::parse("large", &"#".repeat(2 * 1024 * 1024)).unwrap_err().to_string().contains("larger than"));
}

#[test]
fn lint_points_out_what_is_unlikely_to_be_meant() {
    let spec = "{policies: [{kind: SARIF, path: a}, {kind: SARIF, path: b}, {kind: OPENVEX, path: c}, {kind: HELM_CHART, path: d}], inputs: [{name: x}]}";
    let notes = lint(&policy("{name: p}", spec).unwrap());
    assert_eq!(notes.len(), 3, "{notes:#?}");
    assert!(lint(&policy("{name: p, description: d}", ONE).unwrap()).is_empty());
    for (spec, field) in
        [("{policies: [{kind: SARIF, path: a}, {path: b}]}", "spec.policies[1].kind"), ("{path: a}", "spec.type")]
    {
        let notes = lint(&policy("{name: p, description: d}", spec).unwrap());
        assert_eq!(notes, [format!("{field}: without a material type the policy runs on every material")]);
    }
}

#[test]
fn a_type_of_findings_that_is_not_known_is_refused() {
    let of = |kind: &str| policy(&format!("{{name: p, finding_type: {kind}}}"), ONE);
    assert_eq!(of("SAST").unwrap().metadata.finding_type, Some(super::FindingType::Sast));
    let error = of("vulnerability").unwrap_err().to_string();
    assert!(error.contains("unknown variant `vulnerability`, expected one of `VULNERABILITY`, `SAST`"), "{error}");
}

#[test]
fn phases_are_those_of_an_attestation_and_hold_here_all() {
    let of = |kind: &str, phases: &str| {
        policy("{name: p}", &format!("{{policies: [{{kind: {kind}, path: a.rego, attestation_phases: {phases}}}]}}"))
    };
    assert_eq!(of("ATTESTATION", "[INIT, PUSH]").unwrap().scripts.len(), 1);
    assert!(of("SARIF", "[]").is_ok());
    let error = of("SARIF", "[INIT]").unwrap_err().to_string();
    assert_eq!(
        error,
        "p.yaml: spec.policies[0].attestation_phases: attestation phases apply to attestations only: expected kind ATTESTATION"
    );
    assert!(of("ATTESTATION", "[LATER]").unwrap_err().to_string().contains("unknown variant `LATER`"));
}

#[test]
fn a_material_type_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let error = refusal("{name: p}", "{policies: [{kind: SARIF, path: a}, {kind: sbom_cyclonedx_json, path: b}]}");
    let meant = "\"sbom_cyclonedx_json\" is not a material type; did you mean SBOM_CYCLONEDX_JSON?";
    assert_eq!(error, format!("p.yaml: spec.policies[1].kind: {meant}"));
    let error = refusal("{name: p}", "{type: SBOM_SPDX, path: a}");
    assert_eq!(error, "p.yaml: spec.type: \"SBOM_SPDX\" is not a material type; did you mean SBOM_SPDX_JSON?");
    let group = |kind: &str| {
        let head = "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {name: g}\n";
        let spec = format!("spec: {{policies: {{materials: [{{type: {kind}, policies: [{{ref: a}}]}}]}}}}\n");
        PolicyGroup::parse("g.yaml", &format!("{head}{spec}"))
    };
    let error = group("SARIFF").unwrap_err().to_string();
    assert_eq!(
        error,
        "g.yaml: spec.policies.materials[0].type: \"SARIFF\" is not a material type; did you mean SARIF?"
    );
    assert_eq!(group("MATERIAL_TYPE_UNSPECIFIED").unwrap().materials[0].kind, None);
}

#[test]
fn inputs_keep_the_text_of_their_numbers() {
    for text in ["1.10", "1e3", "0x1F", "007", "80", "-0.50", "1_000", "12345678901234567890123456789.0", "text"] {
        let spec = format!("{{path: a, inputs: [{{name: x, default: {text}}}]}}");
        let read = policy(&format!("{{name: p, annotations: {{a: {text}}}}}"), &spec).unwrap();
        assert_eq!(read.inputs[0].default, Some(Scalar(text.to_owned())));
        assert_eq!(read.metadata.annotations["a"], Scalar(text.to_owned()));
        let group = format!(
            "apiVersion: chainloop.dev/v1\nkind: PolicyGroup\nmetadata: {{name: g}}\nspec:\n  policies:\n    \
             attestation: [{{ref: a, with: {{x: {text}, none: }}}}]\n"
        );
        let read = PolicyGroup::parse("g.yaml", &group).unwrap();
        assert_eq!(read.materials[0].policies[0].with["x"], Scalar(text.to_owned()));
        assert_eq!(read.materials[0].policies[0].with["none"], Scalar::default());
    }
    let default = |text: &str| policy("{name: p}", &format!("{{path: a, inputs: [{{name: x, default: {text}}}]}}"));
    assert_eq!(default("True").unwrap().inputs[0].default, Some(Scalar("true".to_owned())));
    assert_eq!(default("~").unwrap().inputs[0].default, None);
    assert_eq!(default("'~'").unwrap().inputs[0].default, Some(Scalar("~".to_owned())));
    assert!(default("[1]").is_err());
}

#[test]
fn a_number_in_json_whose_text_is_lost_is_refused() {
    let of = |text: &str| serde_json::from_str::<PolicyAttachment>(text).map_err(|error| error.to_string());
    let whole = of(r#"{"ref": "p", "with": {"a": 80, "b": true, "c": "1.10", "d": -1}}"#).unwrap();
    let texts: Vec<&str> = whole.with.values().map(|Scalar(text)| text.as_str()).collect();
    assert_eq!(texts, ["80", "true", "1.10", "-1"]);
    for text in [
        r#"{"ref": "p", "with": {"a": 1.10}}"#,
        r#"{"ref": "p", "with": {"a": 1e3}}"#,
        r#"{"ref": "p", "with": {"a": 123456789012345678901234567890}}"#,
        r#"{"embedded": {"spec": {"inputs": [{"name": "a", "default": 1.10}]}}}"#,
    ] {
        let error = of(text).unwrap_err();
        assert!(error.contains("put it in quotes"), "{text}: {error}");
    }
    let embedded =
        of(r#"{"embedded": {"metadata": {"annotations": {"v": 1.5}}, "spec": {"inputs": [{"default": 1}]}}}"#);
    assert!(embedded.unwrap().embedded.is_some());
    assert_eq!(of(r#"{"ref": "p", "embedded": null}"#).unwrap().embedded, None);
}
