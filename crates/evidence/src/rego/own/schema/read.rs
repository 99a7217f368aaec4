//! Checks whether a schema is valid.

use serde_json::{Map, Value as Json};

use super::{MAX_DEPTH, follow, re2};

pub const TYPES: [&str; 7] = ["array", "boolean", "integer", "number", "null", "object", "string"];

type Verified = Result<(), String>;

/// Checks a schema and all schemas within it.
pub fn verify(root: &Json) -> Verified {
    if !root.is_object() {
        return Err("schema is invalid".to_owned());
    }
    schema(root, root, 0)
}

/// A schema: an object or, from draft 6 on, a boolean.
fn schema(root: &Json, at: &Json, depth: usize) -> Verified {
    if depth > MAX_DEPTH {
        return Err(format!("the schema nests more than {MAX_DEPTH} deep"));
    }
    let Json::Object(members) = at else {
        return if at.is_boolean() { Ok(()) } else { Err("Expected: Valid Schema, given: Invalid JSON".to_owned()) };
    };
    if let Some(reference) = members.get("$ref") {
        let text = reference.as_str().ok_or_else(|| not_a("string", "$ref"))?;
        return follow(root, text).map(drop);
    }
    for name in ["title", "description", "format", "$id", "$schema"] {
        if members.get(name).is_some_and(|value| !value.is_string()) {
            return Err(not_a("string", name));
        }
    }
    types(members)?;
    for name in ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] {
        match members.get(name) {
            Some(Json::Number(number)) if number.as_f64().is_some_and(|number| number < 0.0) => {
                return Err(format!("{name} must be greater than or equal to 0"));
            }
            Some(value) if !is_integer(value) => return Err(format!("{name} must be of an integer")),
            _ => {}
        }
    }
    for name in ["minimum", "maximum", "multipleOf"] {
        if members.get(name).is_some_and(|value| !value.is_number()) {
            return Err(format!("{name} must be of a Number"));
        }
    }
    for name in ["exclusiveMinimum", "exclusiveMaximum"] {
        if members.get(name).is_some_and(|value| !value.is_number() && !value.is_boolean()) {
            return Err(format!("{name} must be of a boolean/Number"));
        }
    }
    if members.get("multipleOf").and_then(Json::as_f64).is_some_and(|number| number <= 0.0) {
        return Err("multipleOf must be strictly greater than 0".to_owned());
    }
    if members.get("uniqueItems").is_some_and(|value| !value.is_boolean()) {
        return Err("uniqueItems must be of a boolean".to_owned());
    }
    if let Some(pattern) = members.get("pattern") {
        let text = pattern.as_str().ok_or_else(|| not_a("string", "pattern"))?;
        re2::compile(text).map_err(|_| "pattern must be a valid regex".to_owned())?;
    }
    if members.get("enum").is_some_and(|value| !value.is_array()) {
        return Err("enum must be of an array".to_owned());
    }
    if let Some(required) = members.get("required") {
        let names = required.as_array().ok_or("required must be of an array")?;
        if !names.iter().all(Json::is_string) {
            return Err(not_a("string", "required"));
        }
    }
    within(root, members, depth + 1)
}

/// The schemas within a schema.
fn within(root: &Json, members: &Map<String, Json>, depth: usize) -> Verified {
    for (name, called) in
        [("properties", "Properties"), ("patternProperties", "patternProperties"), ("definitions", "definitions")]
    {
        let Some(value) = members.get(name) else { continue };
        let inner = value.as_object().ok_or_else(|| format!("{called} must be of type object"))?;
        for (pattern, one) in inner {
            if name == "patternProperties" && re2::compile(pattern).is_err() {
                return Err("patternProperties must be a valid regex".to_owned());
            }
            schema(root, one, depth)?;
        }
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        let Some(value) = members.get(name) else { continue };
        let inner = value.as_array().ok_or_else(|| format!("{name} must be of an array"))?;
        inner.iter().try_for_each(|one| schema(root, one, depth))?;
    }
    for name in ["not", "if", "then", "else", "contains", "propertyNames"] {
        let Some(value) = members.get(name) else { continue };
        if !value.is_object() && !value.is_boolean() {
            return Err(format!("{name} must be of an object"));
        }
        schema(root, value, depth)?;
    }
    for name in ["additionalProperties", "additionalItems"] {
        let Some(value) = members.get(name) else { continue };
        if !value.is_object() && !value.is_boolean() {
            return Err(not_a("boolean/Valid Schema", name));
        }
        schema(root, value, depth)?;
    }
    match members.get("items") {
        None => {}
        Some(Json::Array(items)) => items.iter().try_for_each(|one| schema(root, one, depth))?,
        Some(one) if one.is_object() || one.is_boolean() => schema(root, one, depth)?,
        Some(_) => return Err(not_a("Valid Schema/Array Of Schemas", "items")),
    }
    let Some(dependencies) = members.get("dependencies") else { return Ok(()) };
    let dependencies = dependencies.as_object().ok_or_else(|| not_a("object", "dependencies"))?;
    dependencies.values().try_for_each(|one| match one {
        Json::Array(names) if names.iter().all(Json::is_string) => Ok(()),
        Json::Object(_) | Json::Bool(_) => schema(root, one, depth),
        _ => Err(not_a("Valid Schema/Array Of Strings", "dependencies")),
    })
}

fn types(members: &Map<String, Json>) -> Verified {
    let known = |name: &str| {
        if TYPES.contains(&name) {
            return Ok(());
        }
        Err(format!(
            "has a primitive type that is NOT VALID -- given: /{name}/ Expected valid values are:[{}]",
            TYPES.join(" ")
        ))
    };
    match members.get("type") {
        None => Ok(()),
        Some(Json::String(name)) => known(name),
        Some(Json::Array(names)) if names.iter().all(Json::is_string) => {
            names.iter().filter_map(Json::as_str).try_for_each(known)
        }
        Some(_) => Err("Invalid type. Expected: type, given: string/Array Of Strings".to_owned()),
    }
}

fn not_a(kind: &str, name: &str) -> String {
    format!("Invalid type. Expected: {kind}, given: {name}")
}

/// Whether a number has no fraction, however it is written.
pub fn is_integer(value: &Json) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}
