//! Adds the rules that a policy may omit, and checks whether the policy can report violations at all.

use std::collections::BTreeSet;

use regorus::unstable::Module;

use super::error::RegoError;
use super::graph::Graph;
use super::walk;

/// Each rule with its text. They are added at the end, so that the author's line numbers stay the same.
const RULES: [(&str, &str); 6] = [
    (
        "skip_reason",
        "default skip_reason := \"\"\nskip_reason := \"the file content is not recognized\" if not valid_input\n",
    ),
    ("skipped", "default skipped := true\nskipped := false if valid_input\n"),
    ("valid_input", "default valid_input := true\n"),
    ("ignore", "default ignore := false\n"),
    ("violations", "default violations := []\n"),
    ("result", ""),
];

/// The names of the rules that every complete policy has.
pub const NAMES: [&str; 6] = [RULES[0].0, RULES[1].0, RULES[2].0, RULES[3].0, RULES[4].0, RULES[5].0];

/// The text that has to be appended to complete a module; empty if it is complete.
pub fn missing(module: &Module) -> String {
    let defined: BTreeSet<&str> = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    let mut text = String::from("\n");
    for (name, rule) in RULES {
        if !defined.contains(name) {
            text.push_str(rule);
        }
    }
    if !defined.contains("result") {
        let findings = if defined.contains("findings") { ", \"findings\": findings" } else { "" };
        text.push_str(
            "result := {\"skipped\": skipped, \"skip_reason\": skip_reason, \"violations\": violations, \"ignore\": ignore",
        );
        text.push_str(findings);
        text.push_str("}\n");
    }
    text
}

/// The rules with which a policy reports violations.
pub const OBJECTING: [&str; 2] = ["violations", "findings"];

/// Things that are probably not intended, given the module as its author wrote it and the graph of the complete module.
///
/// # Errors
/// [`RegoError::NeverObjects`] when the author wrote rules that report violations, and the result uses none of them: a
/// misspelled name, another convention such as `deny`, a `result` without its `violations`.
pub fn objections(module: &Module, graph: &Graph) -> Result<Vec<String>, RegoError> {
    let defined: BTreeSet<&str> = module.policy.iter().filter_map(|rule| walk::rule_name(rule)).collect();
    let unused = graph.unused();
    let idle: Vec<&str> = defined.iter().copied().filter(|name| unused.contains(name)).collect();
    let forgotten = |name: &&str| !NAMES.contains(name) || OBJECTING.contains(name);
    let objects = |name: &&str| defined.contains(name) && !unused.contains(name);
    // A `result` of the author's own may take its violations from any rule, but not from the empty ones that are added
    // here.
    let own_result = defined.contains("result")
        && OBJECTING.iter().all(|name| !defined.contains(name))
        && unused.contains("violations");
    if !OBJECTING.iter().any(objects) && !own_result && idle.iter().any(forgotten) {
        let names = idle.iter().copied().filter(|name| forgotten(name)).collect::<Vec<_>>().join(", ");
        return Err(RegoError::NeverObjects(names));
    }
    let mut warnings: Vec<String> = idle.into_iter().map(|name| format!("the rule {name} is never used")).collect();
    if !OBJECTING.iter().any(|name| defined.contains(name)) && !defined.contains("result") {
        warnings.push(
            "none of violations, findings and result is defined: the policy can never report a violation".to_owned(),
        );
    }
    Ok(warnings)
}
