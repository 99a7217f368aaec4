//! Points out what is allowed but unlikely to be meant.

use super::document::Policy;

/// What a careful reader would ask about the policy; empty when there is nothing.
pub fn lint(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    if policy.metadata.description.trim().is_empty() {
        notes.push("metadata.description: a policy without a description helps nobody whom it stops".to_owned());
    }
    for (index, script) in policy.scripts.iter().enumerate() {
        let field = format!("spec.policies[{index}].kind");
        let Some(kind) = &script.kind else {
            notes.push("spec.type: without a material type the policy runs on every material".to_owned());
            continue;
        };
        if policy.scripts[..index].iter().any(|other| other.kind == script.kind) {
            notes.push(format!("{field}: a second script for {kind}; both run and their verdicts are merged"));
        }
    }
    for (index, input) in policy.inputs.iter().enumerate() {
        if input.description.trim().is_empty() {
            notes.push(format!("spec.inputs[{index}].description: {} is not described", input.name));
        }
    }
    notes
}
