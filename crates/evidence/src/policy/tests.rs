//! Policy and PolicyGroup documents: what reads and what is refused, and where.
#![allow(clippy::unwrap_used)]

use super::{Body, MatchMode, Policy, PolicyError, PolicyGroup, Scalar, lint};

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
    assert!(unnamed.contains("materials[0].type: a material that is selected by name needs its type"), "{unnamed}");
    let unknown = group("{policies: {materials: [{type: SARIF, name: m, match_mode: SUFFIX, policies: [{ref: b}]}]}}");
    assert!(unknown.unwrap_err().to_string().contains("unknown variant `SUFFIX`, expected"));
    assert!(group("{}").unwrap_err().to_string().contains("at least one policy"));
    assert!(group("{policies: {materials: [{policies: [{}]}]}}").unwrap_err().to_string().contains("exactly one of"));
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
    let spec = "{policies: [{kind: SARIF, path: a}, {kind: SARIF, path: b}, {kind: SBOM, path: c}, {kind: HELM_CHART, path: d}], inputs: [{name: x}]}";
    let notes = lint(&policy("{name: p}", spec).unwrap());
    assert_eq!(notes.len(), 4, "{notes:#?}");
    assert!(lint(&policy("{name: p, description: d}", ONE).unwrap()).is_empty());
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
        "p.yaml: spec.policies[0].attestation_phases: phases are those of an attestation: expected kind ATTESTATION"
    );
    assert!(of("ATTESTATION", "[LATER]").unwrap_err().to_string().contains("unknown variant `LATER`"));
}
