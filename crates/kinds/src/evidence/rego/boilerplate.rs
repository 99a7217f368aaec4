//! Adds the rules that a policy may leave out.

use std::collections::BTreeSet;

use regorus::unstable::Module;

use super::walk;

/// Each rule with its text. They are added at the end, so that lines stay those of the author.
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

/// The names of the rules that every policy has in the end.
pub const NAMES: [&str; 6] = [RULES[0].0, RULES[1].0, RULES[2].0, RULES[3].0, RULES[4].0, RULES[5].0];

/// What has to be appended to a module for it to be complete; empty when it is.
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
