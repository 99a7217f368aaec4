//! Points out things that are allowed but probably not intended.

use super::document::Policy;

/// Notes about the policy; empty if there are none.
pub fn lint(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if policy.metadata.description.trim().is_empty() {
        notes.push("metadata.description: without a description, those whose evidence fails do not learn what the policy requires".to_owned());
    }
    for (index, script) in policy.scripts.iter().enumerate() {
        let field = match script.field.as_str() {
            "spec" => "spec.type".to_owned(),
            field => format!("{field}.kind"),
        };
        let Some(kind) = &script.kind else {
            notes.push(format!("{field}: without a material type the policy runs on every material"));
            continue;
        };
        if policy.scripts[..index].iter().any(|other| other.kind == script.kind) {
            notes.push(format!("{field}: a second script for {kind}; both run and their verdicts are merged"));
        }
    }
    for (index, input) in policy.inputs.iter().enumerate() {
        if input.description.trim().is_empty() {
            notes.push(format!("spec.inputs[{index}].description: {} has no description", input.name));
        }
    }
    notes
}
