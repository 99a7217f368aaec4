//! Tables of which the configuration may have any number, each with a name: `[kinds.NAME]`, `[notices.NAME]`.
//!
//! A table is read in parts, by the types that know the keys; keys that no part has taken are mistakes. Each value is
//! checked separately, so that every mistake is reported.

use operations::Violation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::nearest::nearest;

/// The problems of a table: each with the key within the table, and what is wrong and what would be valid. An empty key
/// means the table itself.
#[derive(Debug, Default)]
pub struct Complaints(Vec<(String, String)>);

impl Complaints {
    /// None yet.
    pub fn new() -> Complaints {
        Complaints::default()
    }

    /// Adds a problem.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push((key.to_owned(), message.into()));
    }

    /// Adds a problem unless the condition holds.
    pub fn require(&mut self, holds: bool, key: &str, message: impl Into<String>) {
        if !holds {
            self.add(key, message);
        }
    }

    /// Adds that a text is not a valid name for `what`, e.g. "a kind".
    pub fn invalid_name(&mut self, key: &str, name: &str, what: &str, violation: &Violation) {
        self.add(key, format!("{name:?} is not a valid name for {what}: it {}", violation.description));
    }

    /// Adds the problems of a table within this one.
    pub fn within(&mut self, table: &str, problems: Complaints) {
        for (key, message) in problems {
            let key = if key.is_empty() { table.to_owned() } else { format!("{table}.{key}") };
            self.0.push((key, message));
        }
    }
}

impl IntoIterator for Complaints {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

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
            Err(error) => complaints.add(&key, error.message()),
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
        complaints.add(key, message);
    }
}

/// A part as a table, for showing it; values that are not set are left out.
pub fn shown(part: &impl Serialize) -> Table {
    match Value::try_from(part) {
        Ok(Value::Table(table)) => table,
        other => unreachable!("a part of a table is a struct: {other:?}"),
    }
}
