//! Reads what a policy's `result` says.

use regorus::Value;

use super::error::RegoError;

/// One thing that a policy objects to.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// For people.
    pub message: String,
    /// The object that the policy made, when it made one.
    pub finding: Option<serde_json::Value>,
}

/// What one script says of one material.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The script does not apply.
    pub skipped: bool,
    /// Why, when it says so.
    pub skip_reason: String,
    /// The script wants to be left out of the output.
    pub ignored: bool,
    /// What it objects to; when skipped, to be disregarded.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// A verdict that only says why there is none.
    pub fn skipped(reason: String) -> Verdict {
        Verdict { skipped: true, skip_reason: reason, ignored: false, violations: Vec::new() }
    }

    pub(super) fn read(result: &Value) -> Result<Verdict, RegoError> {
        let bad = |what: &str| RegoError::BadResult(what.to_owned());
        if *result == Value::Undefined {
            return Err(RegoError::NoResult);
        }
        let object = result.as_object().map_err(|_| bad("it is not an object"))?;
        let flag = |name: &str| match object.get(&Value::from(name)) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(bad(&format!("{name:?} is not true or false"))),
        };
        let skip_reason = match object.get(&Value::from("skip_reason")) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.to_string(),
            Some(_) => return Err(bad("\"skip_reason\" is not a string")),
        };
        let list = |name: &str| match object.get(&Value::from(name)) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.iter().cloned().collect::<Vec<Value>>())),
            Some(Value::Set(items)) => Ok(Some(items.iter().cloned().collect())),
            Some(_) => Err(bad(&format!("{name:?} is not a list"))),
        };
        let chosen = match (list("findings")?, list("violations")?) {
            (Some(findings), violations) if !findings.is_empty() || violations.is_none() => findings,
            (_, Some(violations)) => violations,
            _ => return Err(bad("it has neither \"violations\" nor \"findings\"")),
        };
        // A misspelt name must not make violations vanish.
        let stray = object.iter().find(|(name, value)| !is_member(name) && is_filled(value));
        if let Some((name, _)) = stray {
            return Err(bad(&format!("{name} is a list with something in it, but means nothing here")));
        }
        let violations = chosen.iter().map(violation).collect::<Result<_, _>>()?;
        Ok(Verdict { skipped: flag("skipped")?, skip_reason, ignored: flag("ignore")?, violations })
    }
}

fn is_member(name: &Value) -> bool {
    const MEMBERS: [&str; 5] = ["skipped", "skip_reason", "violations", "findings", "ignore"];
    matches!(name, Value::String(name) if MEMBERS.contains(&name.as_ref()))
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Set(items) => !items.is_empty(),
        _ => false,
    }
}

fn violation(value: &Value) -> Result<Violation, RegoError> {
    let bad = |what: &str| RegoError::BadResult(format!("a violation is {what}"));
    match value {
        Value::String(text) => Ok(Violation { message: text.to_string(), finding: None }),
        Value::Object(object) => {
            let Some(Value::String(message)) = object.get(&Value::from("message")) else {
                return Err(bad("an object without a string \"message\""));
            };
            let finding = serde_json::to_value(value).map_err(|error| bad(&error.to_string()))?;
            Ok(Violation { message: message.to_string(), finding: Some(finding) })
        }
        _ => Err(bad("neither a string nor an object")),
    }
}
