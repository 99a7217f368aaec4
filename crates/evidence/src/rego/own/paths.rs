//! `json.filter` and `json.remove`: what of an object is at some paths, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::{Outcome, Refused, term};

/// The paths, as a tree of their segments.
enum Selection {
    /// Everything from here on.
    All,
    Within(BTreeMap<Value, Selection>),
}

pub fn filter(args: &[Value]) -> Outcome {
    object(args)?;
    Ok(filtered(&args[0], &Selection::of(&args[1])?))
}

pub fn remove(args: &[Value]) -> Outcome {
    object(args)?;
    Ok(remaining(&args[0], Some(&Selection::of(&args[1])?)).unwrap_or_else(Value::new_object))
}

fn object(args: &[Value]) -> Result<(), Refused> {
    match &args[0] {
        Value::Object(_) => Ok(()),
        other => Err(Refused::new(format!("operand 1 must be an object, not {}", term::kind(other)))),
    }
}

impl Selection {
    fn of(paths: &Value) -> Result<Selection, Refused> {
        let paths: Vec<&Value> = match paths {
            Value::Array(paths) => paths.iter().collect(),
            Value::Set(paths) => paths.iter().collect(),
            other => {
                return Err(Refused::new(format!("operand 2 must be a set or an array, not {}", term::kind(other))));
            }
        };
        let mut selection = Selection::Within(BTreeMap::new());
        for path in paths {
            // An empty path selects nothing.
            if let Some((last, parents)) = segments(path)?.split_last() {
                selection.add(parents, last);
            }
        }
        Ok(selection)
    }

    fn add(&mut self, parents: &[Value], last: &Value) {
        let Selection::Within(fields) = self else { return };
        match parents.split_first() {
            None => _ = fields.insert(last.clone(), Selection::All),
            Some((first, parents)) => {
                let field = fields.entry(first.clone()).or_insert_with(|| Selection::Within(BTreeMap::new()));
                field.add(parents, last);
            }
        }
    }

    fn get(&self, key: &Value) -> Option<&Selection> {
        match self {
            Selection::All => None,
            Selection::Within(fields) => fields.get(key),
        }
    }
}

/// The segments of a path: a list, or a text with slashes between them and, in OPA, any number of slashes before them.
fn segments(path: &Value) -> Result<Vec<Value>, Refused> {
    match path {
        Value::Array(segments) => Ok(segments.iter().cloned().collect()),
        Value::String(path) if path.is_empty() => Ok(Vec::new()),
        Value::String(path) => {
            let segments = path.trim_start_matches('/').split('/');
            Ok(segments.map(|segment| Value::from(segment.replace("~1", "/").replace("~0", "~"))).collect())
        }
        other => {
            let kind = term::kind(other);
            Err(Refused::new(format!("operand 2 must contain paths, which are strings or arrays, not {kind}")))
        }
    }
}

/// The position of an item of a list in a path.
fn position(index: usize) -> Value {
    Value::from(index.to_string())
}

/// A value with those of its items and members, each changed, that `keep` returns for their key and their value.
fn kept(value: &Value, keep: impl Fn(&Value, &Value) -> Option<Value>) -> Value {
    match value {
        Value::Array(items) => {
            let kept = items.iter().enumerate().filter_map(|(index, item)| keep(&position(index), item));
            Value::from(kept.collect::<Vec<Value>>())
        }
        Value::Set(items) => Value::from(items.iter().filter_map(|item| keep(item, item)).collect::<BTreeSet<Value>>()),
        Value::Object(fields) => {
            let kept = fields.iter().filter_map(|(key, value)| Some((key.clone(), keep(key, value)?)));
            Value::from(kept.collect::<BTreeMap<Value, Value>>())
        }
        other => other.clone(),
    }
}

fn filtered(value: &Value, selection: &Selection) -> Value {
    let Selection::Within(_) = selection else { return value.clone() };
    kept(value, |key, value| selection.get(key).map(|within| filtered(value, within)))
}

/// Nothing remains of what is selected as a whole.
fn remaining(value: &Value, selection: Option<&Selection>) -> Option<Value> {
    let Some(selection) = selection else { return Some(value.clone()) };
    let Selection::Within(_) = selection else { return None };
    Some(kept(value, |key, value| remaining(value, selection.get(key))))
}
