//! `json.match_schema` and `json.verify_schema`: JSON Schema as in OPA, drafts 4 to 7, with OPA's error messages.
//!
//! References must point into the schema. A reference out of it is an error: nothing is fetched.

mod check;
mod read;

use regorus::Value;
use serde_json::Value as Json;

use super::{Outcome, Refused, re2, term};
use crate::material::json;

/// The maximum depth to which a schema is followed, references included.
const MAX_DEPTH: usize = 64;
/// The maximum number of times that a part of a schema is compared with a part of a document: nested alternatives could
/// take forever.
const MAX_STEPS: u32 = 200_000;

/// The document or schema in an argument: an object, or its text in JSON.
fn operand(args: &[Value], at: usize) -> Result<Json, Refused> {
    let value = match &args[at - 1] {
        Value::String(text) => &json::read(text.as_bytes()).map_err(|_| Refused::new("invalid JSON string"))?,
        object @ Value::Object(_) => object,
        other => {
            return Err(Refused::new(format!("operand {at} must be a string or an object, not {}", term::kind(other))));
        }
    };
    serde_json::to_value(value).map_err(|error| Refused::new(error.to_string()))
}

/// Whether a document matches a schema, and its violations.
pub fn match_schema(args: &[Value]) -> Outcome {
    let (document, schema) = (operand(args, 1)?, operand(args, 2)?);
    read::verify(&schema).map_err(Refused::new)?;
    let problems = check::check(&schema, &document)?;
    let listed = problems.iter().map(|problem| {
        let error = format!("{}: {}", problem.field, problem.message);
        let members = [
            ("desc", &problem.message),
            ("error", &error),
            ("field", &problem.field),
            ("type", &problem.kind.to_owned()),
        ]
        .map(|(name, text)| (Value::from(name), Value::from(text.as_str())));
        Value::from(members.into_iter().collect::<std::collections::BTreeMap<Value, Value>>())
    });
    let listed: Vec<Value> = listed.collect();
    Ok(Value::from(vec![Value::Bool(listed.is_empty()), Value::from(listed)]))
}

/// Whether a schema is valid, and what is wrong with it.
pub fn verify_schema(args: &[Value]) -> Outcome {
    let verified = match operand(args, 1) {
        Ok(schema) => read::verify(&schema),
        // A text that is not JSON is an invalid schema; a value of another type is an invalid argument.
        Err(_) if matches!(args[0], Value::String(_)) => Err("invalid JSON string".to_owned()),
        Err(error) => return Err(error),
    };
    Ok(match verified {
        Ok(()) => Value::from(vec![Value::Bool(true), Value::Null]),
        Err(message) => Value::from(vec![Value::Bool(false), Value::from(format!("jsonschema: {message}"))]),
    })
}

/// The target of a reference within a schema: `#`, or `#/definitions/x`.
fn follow<'s>(root: &'s Json, reference: &str) -> Result<&'s Json, String> {
    let Some(path) = reference.strip_prefix('#') else {
        return Err(format!("the reference {reference:?} points out of the schema, and nothing is fetched"));
    };
    let mut at = root;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match at {
            Json::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(&part),
        };
        at = next.ok_or_else(|| format!("Object has no key '{part}'"))?;
    }
    Ok(at)
}
