//! Reads a policy's `result`.

use regorus::Value;
use strsim::levenshtein;

use super::boilerplate::OBJECTING;
use super::error::RegoError;

/// A violation.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The message, for people.
    pub message: String,
    /// The object that the policy created, if it created one.
    pub finding: Option<serde_json::Value>,
}

/// The result of one script for one material.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The script does not apply, or could not be run.
    pub skipped: bool,
    /// The script could not be run, for the reason in `skip_reason`.
    pub unevaluated: bool,
    /// The reason, if it gives one.
    pub skip_reason: String,
    /// The script requests to be left out of the output.
    pub ignored: bool,
    /// The violations; if the script skipped, those that it reports nevertheless.
    pub violations: Vec<Violation>,
    /// The findings that it did not count as violations.
    pub suppressed: Vec<Violation>,
}

impl Verdict {
    /// The verdict on a script that cannot be run.
    pub(super) fn unevaluated(reason: String) -> Verdict {
        Verdict {
            skipped: true,
            unevaluated: true,
            skip_reason: reason,
            ignored: false,
            violations: Vec::new(),
            suppressed: Vec::new(),
        }
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
            (_, violations) => violations.unwrap_or_default(),
        };
        // A misspelled name must not make violations disappear. Other members are ignored.
        let misspelt = object.iter().find(|(name, value)| is_misspelt(name) && is_filled(value));
        if let Some((name, _)) = misspelt {
            return Err(bad(&format!("{name} is a list that is not empty, but has no meaning in a result")));
        }
        let violations = chosen.iter().map(violation).collect::<Result<_, _>>()?;
        let suppressed = list("suppressed_findings")?.unwrap_or_default();
        let suppressed = suppressed.iter().map(violation).collect::<Result<_, _>>()?;
        let (skipped, ignored) = (flag("skipped")?, flag("ignore")?);
        Ok(Verdict { skipped, unevaluated: false, skip_reason, ignored, violations, suppressed })
    }
}

/// Whether a name is a misspelling of a member that holds violations.
fn is_misspelt(name: &Value) -> bool {
    const SLIPS: usize = 2;
    // A longer name is not a misspelling, and comparing it would take long.
    const LONGEST: usize = 64;
    let Value::String(name) = name else { return false };
    let is_right = OBJECTING.contains(&name.as_ref());
    !is_right
        && name.len() <= LONGEST
        && OBJECTING.iter().any(|meant| levenshtein(&name.to_lowercase(), meant) <= SLIPS)
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
