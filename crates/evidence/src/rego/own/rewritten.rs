//! What rewritten scripts call.

use regorus::Value;

use super::Outcome;

/// Whether a collection, the last argument, contains a value; with three arguments, at the key that comes first.
pub fn member(args: &[Value]) -> Outcome {
    let is_member = match args {
        [value, Value::Array(items)] => items.contains(value),
        [value, Value::Set(items)] => items.contains(value),
        [value, Value::Object(fields)] => fields.values().any(|field| field == value),
        [key, value, collection @ (Value::Array(_) | Value::Object(_))] => collection[key] == *value,
        _ => false,
    };
    Ok(Value::Bool(is_member))
}

/// The value if it can be iterated over, otherwise an empty list.
pub fn items(args: &[Value]) -> Outcome {
    match &args[0] {
        iterable @ (Value::Array(_) | Value::Object(_) | Value::Set(_)) => Ok(iterable.clone()),
        _ => Ok(Value::new_array()),
    }
}
