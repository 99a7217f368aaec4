//! Arguments: from `with` to `input.args`, and from a group's inputs to its policies.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::document::{Input, MAX_BYTES, Scalar};
use super::error::PolicyError;

/// The effective arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The declared ones with their text, defaults filled in.
    pub values: BTreeMap<String, String>,
    /// Warnings about arguments that were given but are not declared.
    pub warnings: Vec<String>,
}

impl Arguments {
    /// Matches the given arguments with the declared ones; `owner` is the policy or group, for messages.
    ///
    /// A policy that declares nothing gets all arguments, as in Chainloop: a policy from before inputs were declared
    /// would otherwise never see what it should forbid, and pass.
    pub fn bind(owner: &str, inputs: &[Input], with: &BTreeMap<String, Scalar>) -> Result<Arguments, PolicyError> {
        let mut values = BTreeMap::new();
        if inputs.is_empty() {
            values.extend(with.iter().map(|(name, Scalar(text))| (name.clone(), text.clone())));
            return Ok(Arguments { values, warnings: Vec::new() });
        }
        for input in inputs {
            let given = with.get(&input.name).filter(|value| !split(&value.0).is_empty());
            match given.or(input.default.as_ref()) {
                Some(Scalar(text)) => {
                    values.insert(input.name.clone(), text.clone());
                }
                None if input.required => {
                    return Err(PolicyError::MissingInput { policy: owner.to_owned(), input: input.name.clone() });
                }
                None => {}
            }
        }
        let declared: BTreeSet<&String> = inputs.iter().map(|input| &input.name).collect();
        let unknown = with.keys().filter(|name| !declared.contains(name));
        let warnings = unknown.map(|name| format!("{owner} has no input {name}: ignored")).collect();
        Ok(Arguments { values, warnings })
    }

    /// What the policy sees in `input.args`: one value as a string, several as a list, an argument without a value not
    /// at all.
    pub fn rego(&self) -> BTreeMap<Value, Value> {
        let mut args = BTreeMap::new();
        for (name, text) in &self.values {
            let mut parts = split(text);
            let value = match parts.len() {
                0 => continue,
                1 => Value::from(parts.remove(0)),
                _ => Value::from(parts.into_iter().map(Value::from).collect::<Vec<Value>>()),
            };
            args.insert(Value::from(name.as_str()), value);
        }
        args
    }
}

/// Splits a value into lines and each line at commas; `\,` is a comma that does not split.
fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for line in text.lines() {
        let mut part = String::new();
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.peek() == Some(&',') => part.extend(characters.next()),
                ',' => parts.push(std::mem::take(&mut part)),
                other => part.push(other),
            }
        }
        parts.push(part);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Replaces `{{ inputs.name }}` by the group's argument; one that is not given, or that the group does not declare, is
/// empty.
pub fn interpolate(group: &str, text: &str, values: &BTreeMap<String, String>) -> Result<String, PolicyError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, tail)) = after.split_once("}}") else { break };
        out.push_str(before);
        let inside = inside.trim();
        let Some(name) = inside.strip_prefix('.').unwrap_or(inside).strip_prefix("inputs.") else {
            let message = "expected {{ inputs.name }}: nothing else is replaced";
            return Err(PolicyError::field(group, &format!("{{{{ {inside} }}}}"), message));
        };
        out.push_str(values.get(name).map(String::as_str).unwrap_or_default());
        // A long argument that is used many times would fill the memory.
        if out.len() > MAX_BYTES {
            let message = format!("with the arguments filled in, a text of the group is longer than {MAX_BYTES} bytes");
            return Err(PolicyError::field(group, &format!("inputs.{name}"), &message));
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn input(name: &str, required: bool, default: Option<&str>) -> Input {
        let default = default.map(|text| Scalar(text.to_owned()));
        Input { name: name.to_owned(), description: String::new(), required, default }
    }

    fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, Scalar> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Scalar((*text).to_owned()))).collect()
    }

    fn args(text: &str) -> serde_json::Value {
        let arguments = Arguments::bind("p", &[input("x", false, None)], &with(&[("x", text)])).unwrap();
        serde_json::to_value(Value::from(arguments.rego())).unwrap()
    }

    #[test]
    fn a_value_of_separators_alone_counts_as_not_given() {
        let with = |value: &str| BTreeMap::from([("a".to_owned(), Scalar(value.to_owned()))]);
        for nothing in ["", " ", ",", " , ,\n,"] {
            let bound = Arguments::bind("p", &[input("a", false, Some("default"))], &with(nothing)).unwrap();
            assert_eq!(bound.values["a"], "default", "{nothing:?}");
            assert!(Arguments::bind("p", &[input("a", true, None)], &with(nothing)).is_err(), "{nothing:?}");
        }
        assert_eq!(
            Arguments::bind("p", &[input("a", false, Some("default"))], &with("\\,")).unwrap().values["a"],
            "\\,"
        );
    }

    #[test]
    fn one_value_is_a_string_several_are_a_list_none_is_absent() {
        assert_eq!(args("a"), serde_json::json!({"x": "a"}));
        assert_eq!(args(" a , b\nc,"), serde_json::json!({"x": ["a", "b", "c"]}));
        assert_eq!(args(r"a\,b, c\d"), serde_json::json!({"x": ["a,b", r"c\d"]}));
        assert_eq!(args(" ,\n, "), serde_json::json!({}));
        assert_eq!(args("a\r\nb"), serde_json::json!({"x": ["a", "b"]}));
    }

    #[test]
    fn a_required_input_that_is_missing_is_named() {
        let error = Arguments::bind("p", &[input("floor", true, None)], &with(&[])).unwrap_err();
        assert_eq!(error.to_string(), "policy p: the input floor is required");
        let error = Arguments::bind("p", &[input("floor", true, None)], &with(&[("floor", " ")])).unwrap_err();
        assert_eq!(error.to_string(), "policy p: the input floor is required");
    }

    #[test]
    fn defaults_hold_and_unknown_arguments_are_warned_of() {
        let inputs = [input("a", false, Some("1")), input("b", false, Some("2"))];
        let arguments = Arguments::bind("p", &inputs, &with(&[("b", "3"), ("z", "0")])).unwrap();
        assert_eq!(arguments.values, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "3".into())]));
        assert_eq!(arguments.warnings, ["p has no input z: ignored"]);
    }

    #[test]
    fn who_declares_no_inputs_gets_every_argument() {
        let arguments = Arguments::bind("p", &[], &with(&[("licenses", "AGPL-3.0, SSPL-1.0")])).unwrap();
        assert_eq!(arguments.warnings, Vec::<String>::new());
        let rego = serde_json::to_value(Value::from(arguments.rego())).unwrap();
        assert_eq!(rego, serde_json::json!({"licenses": ["AGPL-3.0", "SSPL-1.0"]}));
    }

    #[test]
    fn group_inputs_are_interpolated() {
        let values = BTreeMap::from([("floor".to_owned(), "80".to_owned())]);
        let text = |text: &str| interpolate("g", text, &values);
        assert_eq!(text("a {{ inputs.floor }} b {{inputs.floor}}{{ .inputs.unset }}.").unwrap(), "a 80 b 80.");
        assert_eq!(text("no {{ end").unwrap(), "no {{ end");
        assert!(text("{{ env.HOME }}").unwrap_err().to_string().contains("expected {{ inputs.name }}"));
        let long = BTreeMap::from([("x".to_owned(), "a".repeat(100_000))]);
        let error = interpolate("g", &"{{inputs.x}}".repeat(10_000), &long).unwrap_err().to_string();
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
    }
}
