//! Checks a document against a valid schema.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::read::is_integer;
use super::{MAX_DEPTH, MAX_STEPS, Refused, follow};
use crate::rego::own::re2::{self, Pattern};

/// One violation of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the part of the document, its elements joined by dots; `(Root)` is the whole document.
    pub field: String,
    /// The type of the problem.
    pub kind: &'static str,
    /// The message, for people.
    pub message: String,
}

/// The violations of the schema in a document.
///
/// # Errors
/// [`Refused`] when the schema refers to itself too deeply, or has too many alternatives to check.
pub fn check(schema: &Json, document: &Json) -> Result<Vec<Problem>, Refused> {
    let mut checker = Checker { root: schema, steps: 0 };
    checker.problems(schema, document, "(Root)", 0)
}

struct Checker<'s> {
    root: &'s Json,
    steps: u32,
}

type Problems = Result<Vec<Problem>, Refused>;

impl<'s> Checker<'s> {
    fn problems(&mut self, schema: &'s Json, value: &Json, field: &str, depth: usize) -> Problems {
        self.steps += 1;
        if depth > MAX_DEPTH || self.steps > MAX_STEPS {
            return Err(Refused::new("the schema refers to itself too deeply, or has too many alternatives"));
        }
        let members = match schema {
            Json::Object(members) => members,
            Json::Bool(false) => return Ok(vec![problem(field, "false", "False always fails validation".to_owned())]),
            _ => return Ok(Vec::new()),
        };
        if let Some(reference) = members.get("$ref").and_then(Json::as_str) {
            let next = follow(self.root, reference).map_err(Refused::new)?;
            return self.problems(next, value, field, depth + 1);
        }
        if let Some(found) = wrong_type(members, value, field) {
            return Ok(vec![found]);
        }
        let mut found = self.choices(members, value, field, depth)?;
        found.extend(common(members, value, field));
        match value {
            Json::Array(items) => found.extend(self.array(members, items, field, depth)?),
            Json::Object(fields) => found.extend(self.object(members, fields, field, depth)?),
            Json::String(text) => found.extend(string(members, text, field)),
            Json::Number(_) => found.extend(number(members, value, field)),
            Json::Null | Json::Bool(_) => {}
        }
        Ok(found)
    }

    fn holds(&mut self, schema: &'s Json, value: &Json, field: &str, depth: usize) -> Result<bool, Refused> {
        Ok(self.problems(schema, value, field, depth + 1)?.is_empty())
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`, `if`.
    fn choices(&mut self, members: &'s Map<String, Json>, value: &Json, field: &str, depth: usize) -> Problems {
        let mut found = Vec::new();
        for (name, kind, message) in [
            ("anyOf", "number_any_of", "Must validate at least one schema (anyOf)"),
            ("oneOf", "number_one_of", "Must validate one and only one schema (oneOf)"),
            ("allOf", "number_all_of", "Must validate all the schemas (allOf)"),
        ] {
            let schemas = members.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            if schemas.is_empty() {
                continue;
            }
            let mut outcomes = Vec::new();
            for schema in schemas {
                outcomes.push(self.problems(schema, value, field, depth + 1)?);
            }
            let holding = outcomes.iter().filter(|outcome| outcome.is_empty()).count();
            let holds = match name {
                "anyOf" => holding > 0,
                "oneOf" => holding == 1,
                _ => holding == schemas.len(),
            };
            if holds {
                continue;
            }
            if name == "allOf" {
                found.extend(outcomes.into_iter().flatten());
                found.push(problem(field, kind, message.to_owned()));
                continue;
            }
            found.push(problem(field, kind, message.to_owned()));
            if holding == 0 {
                // Of the alternatives that do not match, the one that matches best; one for another type matches worst.
                let distance = |outcome: &Vec<Problem>| {
                    let is_other = outcome.iter().any(|one| one.kind == "invalid_type" && one.field == field);
                    (is_other, outcome.len())
                };
                found.extend(outcomes.into_iter().min_by_key(distance).unwrap_or_default());
            }
        }
        if let Some(not) = members.get("not")
            && self.holds(not, value, field, depth)?
        {
            found.push(problem(field, "number_not", "Must not validate the schema (not)".to_owned()));
        }
        if let Some(condition) = members.get("if") {
            let holds = self.holds(condition, value, field, depth)?;
            let (name, kind, message) = if holds {
                ("then", "condition_then", "Must validate \"then\" as \"if\" was valid")
            } else {
                ("else", "condition_else", "Must validate \"else\" as \"if\" was not valid")
            };
            if let Some(branch) = members.get(name) {
                let inner = self.problems(branch, value, field, depth + 1)?;
                if !inner.is_empty() {
                    found.push(problem(field, kind, message.to_owned()));
                    found.extend(inner);
                }
            }
        }
        Ok(found)
    }

    fn array(&mut self, members: &'s Map<String, Json>, items: &[Json], field: &str, depth: usize) -> Problems {
        let mut found = Vec::new();
        let each = match members.get("items") {
            Some(Json::Array(each)) => Some(each),
            Some(one) => {
                for (index, item) in items.iter().enumerate() {
                    found.extend(self.problems(one, item, &below(field, &index.to_string()), depth + 1)?);
                }
                None
            }
            None => None,
        };
        if let Some(each) = each {
            for (index, (schema, item)) in each.iter().zip(items).enumerate() {
                found.extend(self.problems(schema, item, &below(field, &index.to_string()), depth + 1)?);
            }
            match members.get("additionalItems") {
                Some(Json::Bool(false)) if items.len() > each.len() => {
                    let message = "No additional items allowed on array".to_owned();
                    found.push(problem(field, "array_no_additional_items", message));
                }
                Some(more) => {
                    for (index, item) in items.iter().enumerate().skip(each.len()) {
                        found.extend(self.problems(more, item, &below(field, &index.to_string()), depth + 1)?);
                    }
                }
                None => {}
            }
        }
        let bounds = [("minItems", "array_min_items", "least"), ("maxItems", "array_max_items", "most")];
        found.extend(bounded(members, items.len(), field, bounds, |bound, limit| {
            format!("Array must have at {bound} {limit} items")
        }));
        if members.get("uniqueItems") == Some(&Json::Bool(true)) {
            for (index, item) in items.iter().enumerate() {
                self.steps += 1;
                if let Some(other) = items[..index].iter().position(|other| same(other, item)) {
                    let message = format!("array items[{other},{index}] must be unique");
                    found.push(problem(field, "unique", message));
                }
            }
        }
        if let Some(contained) = members.get("contains") {
            let mut holds = false;
            let mut best: Option<Vec<Problem>> = None;
            for (index, item) in items.iter().enumerate() {
                let inner = self.problems(contained, item, &below(field, &index.to_string()), depth + 1)?;
                holds |= inner.is_empty();
                if best.as_ref().is_none_or(|best| inner.len() < best.len()) {
                    best = Some(inner);
                }
            }
            if !holds {
                found.push(problem(field, "contains", "At least one of the items must match".to_owned()));
                found.extend(best.unwrap_or_default());
            }
        }
        Ok(found)
    }

    fn object(
        &mut self,
        members: &'s Map<String, Json>,
        fields: &Map<String, Json>,
        field: &str,
        depth: usize,
    ) -> Problems {
        let mut found = Vec::new();
        let bounds =
            [("minProperties", "array_min_properties", "least"), ("maxProperties", "array_max_properties", "most")];
        found.extend(bounded(members, fields.len(), field, bounds, |bound, limit| {
            format!("Must have at {bound} {limit} properties")
        }));
        for name in members.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if !fields.contains_key(name) {
                found.push(problem(field, "required", format!("{name} is required")));
            }
        }
        let properties = members.get("properties").and_then(Json::as_object);
        let patterns: Vec<(Arc<Pattern>, &'s Json)> = members
            .get("patternProperties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(pattern, schema)| Some((re2::compile(pattern).ok()?, schema)))
            .collect();
        for (name, value) in fields {
            let at = below(field, name);
            let mut is_known = false;
            let own = properties.and_then(|properties| properties.get(name));
            let matching =
                patterns.iter().filter(|(pattern, _)| pattern.regex.is_match(name)).map(|(_, schema)| *schema);
            for schema in own.into_iter().chain(matching) {
                is_known = true;
                found.extend(self.problems(schema, value, &at, depth + 1)?);
            }
            match members.get("additionalProperties") {
                Some(Json::Bool(false)) if !is_known => {
                    let message = format!("Additional property {name} is not allowed");
                    found.push(problem(field, "additional_property_not_allowed", message));
                }
                Some(more) if !is_known => found.extend(self.problems(more, value, &at, depth + 1)?),
                _ => {}
            }
            if let Some(names) = members.get("propertyNames") {
                let inner = self.problems(names, &Json::from(name.as_str()), field, depth + 1)?;
                if !inner.is_empty() {
                    let message = format!("Property name of {name:?} does not match");
                    found.push(problem(field, "invalid_property_name", message));
                    found.extend(inner);
                }
            }
            match members.get("dependencies").and_then(|dependencies| dependencies.get(name)) {
                Some(Json::Array(needed)) => {
                    found.extend(
                        needed.iter().filter_map(Json::as_str).filter(|needed| !fields.contains_key(*needed)).map(
                            |needed| problem(field, "missing_dependency", format!("Has a dependency on {needed}")),
                        ),
                    )
                }
                Some(schema) => {
                    found.extend(self.problems(schema, &Json::Object(fields.clone()), field, depth + 1)?);
                }
                None => {}
            }
        }
        Ok(found)
    }
}

fn problem(field: &str, kind: &'static str, message: String) -> Problem {
    Problem { field: field.to_owned(), kind, message }
}

/// The path of a part of the value at a path.
fn below(field: &str, part: &str) -> String {
    if field == "(Root)" { part.to_owned() } else { format!("{field}.{part}") }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) if is_integer(value) => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn wrong_type(members: &Map<String, Json>, value: &Json, field: &str) -> Option<Problem> {
    let (names, expected) = match members.get("type")? {
        Json::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Json::as_str).collect();
            let expected = if names.len() > 1 { format!("[{}]", names.join(",")) } else { names.join("") };
            (names, expected)
        }
        one => (vec![one.as_str()?], one.as_str()?.to_owned()),
    };
    let given = kind(value);
    let fits = names.iter().any(|name| *name == given || (*name == "number" && given == "integer"));
    (!fits && !names.is_empty())
        .then(|| problem(field, "invalid_type", format!("Invalid type. Expected: {expected}, given: {given}")))
}

/// `enum`, `const` and `format`.
fn common(members: &Map<String, Json>, value: &Json, field: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Some(allowed) = members.get("const").filter(|allowed| !same(allowed, value)) {
        found.push(problem(field, "const", format!("{field} does not match: {allowed}")));
    }
    if let Some(Json::Array(allowed)) = members.get("enum")
        && !allowed.iter().any(|one| same(one, value))
    {
        let all: Vec<String> = allowed.iter().map(Json::to_string).collect();
        found.push(problem(field, "enum", format!("{field} must be one of the following: {}", all.join(", "))));
    }
    found
}

fn string(members: &Map<String, Json>, text: &str, field: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    let length = text.chars().count();
    let bounds = [("minLength", "string_gte", "greater"), ("maxLength", "string_lte", "less")];
    found.extend(bounded(members, length, field, bounds, |bound, limit| {
        format!("String length must be {bound} than or equal to {limit}")
    }));
    if let Some(pattern) = members.get("pattern").and_then(Json::as_str)
        && !re2::compile(pattern).is_ok_and(|compiled| compiled.regex.is_match(text))
    {
        found.push(problem(field, "pattern", format!("Does not match pattern '{pattern}'")));
    }
    if let Some(format) = members.get("format").and_then(Json::as_str)
        && !has_format(format, text)
    {
        found.push(problem(field, "format", format!("Does not match format '{format}'")));
    }
    found
}

/// An unknown format accepts everything.
fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        "date" => chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        "regex" => re2::compile(text).is_ok(),
        "hostname" => text.split('.').all(|label| {
            let inner = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
            (1..=63).contains(&label.len())
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        }),
        "uuid" => {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            groups == [8, 4, 4, 4, 12] && text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
        }
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
                && !rest.is_empty()
                && !text.contains(['\\', ' '])
        }),
        _ => true,
    }
}

fn number(members: &Map<String, Json>, value: &Json, field: &str) -> Vec<Problem> {
    let Some(own) = value.as_f64() else { return Vec::new() };
    let limit = |name: &str| {
        members.get(name).filter(|limit| limit.is_number()).and_then(|limit| Some((limit, limit.as_f64()?)))
    };
    let is_exclusive = |name: &str| members.get(name) == Some(&Json::Bool(true));
    let mut found = Vec::new();
    if let Some((text, step)) = limit("multipleOf")
        && (own / step).fract() != 0.0
    {
        found.push(problem(field, "multiple_of", format!("Must be a multiple of {text}")));
    }
    // In draft 4 a boolean says whether the bound itself is excluded.
    let lower = [("minimum", is_exclusive("exclusiveMinimum")), ("exclusiveMinimum", true)];
    for (text, bound, is_out) in
        lower.into_iter().filter_map(|(name, out)| limit(name).map(|(text, bound)| (text, bound, out)))
    {
        if own < bound || (is_out && own == bound) {
            let (kind, than) =
                if is_out { ("number_gt", "greater than") } else { ("number_gte", "greater than or equal to") };
            found.push(problem(field, kind, format!("Must be {than} {text}")));
        }
    }
    let upper = [("maximum", is_exclusive("exclusiveMaximum")), ("exclusiveMaximum", true)];
    for (text, bound, is_out) in
        upper.into_iter().filter_map(|(name, out)| limit(name).map(|(text, bound)| (text, bound, out)))
    {
        if own > bound || (is_out && own == bound) {
            let (kind, than) =
                if is_out { ("number_lt", "less than") } else { ("number_lte", "less than or equal to") };
            found.push(problem(field, kind, format!("Must be {than} {text}")));
        }
    }
    found
}

/// Checks the lower and the upper bound of a count.
fn bounded(
    members: &Map<String, Json>,
    count: usize,
    field: &str,
    [lower, upper]: [(&str, &'static str, &str); 2],
    message: impl Fn(&str, &Json) -> String,
) -> Vec<Problem> {
    let count = count as f64;
    let breaks = |(name, kind, word): (&str, &'static str, &str), is_broken: fn(f64, f64) -> bool| {
        let limit = members.get(name)?;
        is_broken(count, limit.as_f64()?).then(|| problem(field, kind, message(word, limit)))
    };
    [breaks(lower, |count, limit| count < limit), breaks(upper, |count, limit| count > limit)]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether two values are equal; numbers are compared by value.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(_), Json::Number(_)) => one == other || one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}
