//! Tables of which the configuration may have any number, each with a name: `[kinds.NAME]`, `[notices.NAME]`.
//!
//! A table is read in parts, by the types that know the keys; keys that no part has taken are mistakes. Each value is
//! checked separately, so that every mistake is reported.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::nearest::nearest;

/// The problems of a table: each with the key within the table, and what is wrong and what would be valid.
pub type Complaints = Vec<(String, String)>;

/// The keys of a part, whether set or not.
pub fn keys<T: Default + Serialize>() -> Vec<String> {
    match serde_json::to_value(T::default()) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().map(|(key, _)| key).collect(),
        other => unreachable!("a part of a table is a struct: {other:?}"),
    }
}

/// Takes a part out of a table. A value that cannot be used is reported and left at its default.
pub fn take<T: Default + Serialize + DeserializeOwned>(table: &mut Table, complaints: &mut Complaints) -> T {
    let mut part = Table::new();
    for key in keys::<T>() {
        let Some(value) = table.remove(&key) else { continue };
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        match alone.try_into::<T>() {
            Ok(_) => drop(part.insert(key, value)),
            Err(error) => complaints.push((key, error.message().to_owned())),
        }
    }
    part.try_into().expect("every value was checked by itself")
}

/// Reports the remaining keys of a table; the valid keys would have been `known`.
pub fn refuse_rest(table: &Table, known: &[String], complaints: &mut Complaints) {
    for key in table.keys() {
        let message = match nearest(key, known.iter().map(String::as_str)) {
            Some(nearest) => format!("there is no such key here; did you mean {nearest}?"),
            None => format!("there is no such key here; the keys are {}", known.join(", ")),
        };
        complaints.push((key.clone(), message));
    }
}

/// A part as a table, for showing it; values that are not set are left out.
pub fn shown(part: &impl Serialize) -> Table {
    match Value::try_from(part) {
        Ok(Value::Table(table)) => table,
        other => unreachable!("a part of a table is a struct: {other:?}"),
    }
}
