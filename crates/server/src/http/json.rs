//! JSON bodies, read strictly: every field is known, given once, in one spelling, and of its type.
//!
//! Values stay text ([`RawValue`]) until they are asked for, so that an operation's `input` is kept digit for digit and
//! a piece of evidence in base64 is not copied. What is wrong is gathered, and told all at once by [`Fields::finish`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use operations::Violation;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Nesting deeper than this is refused. [`canonical`] reads a text once per level, so this bounds its work too.
const MAX_DEPTH: usize = 64;
/// The most members of the outermost object: far more than there are fields, far less than fill the memory.
const MAX_MEMBERS: usize = 10_000;
/// Names in a refusal are quoted up to this length.
const QUOTED_CHARS: usize = 64;

/// The members of a JSON object that have not been asked for yet.
pub(super) struct Fields<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    known: Vec<&'static str>,
    /// What was found wrong; callers add what they find themselves.
    pub violations: Vec<Violation>,
}

impl<'a> Fields<'a> {
    /// Reads the outermost object of a body.
    pub fn parse(body: &'a [u8]) -> Result<Fields<'a>, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::Malformed("the body is not UTF-8".to_owned()))?;
        let Members(members): Members<MAX_MEMBERS> = serde_json::from_str(text)
            .map_err(|error| ApiError::Malformed(format!("the body is not the JSON object that is wanted: {error}")))?;
        let violations =
            duplicates(&members).map(|name| Violation::new(quoted(name), "is given more than once")).collect();
        Ok(Fields { members, known: Vec::new(), violations })
    }

    /// The value of a field, in snake_case or camelCase, unless it is missing or null.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        let camel = camel_case(name);
        let mut found = None;
        let mut spellings: Vec<Cow<str>> = Vec::new();
        self.members.retain(|(spelling, value)| {
            let asked = spelling == name || *spelling == camel;
            if asked {
                found = Some(*value);
                spellings.push(spelling.clone());
            }
            !asked
        });
        if spellings.iter().any(|s| *s == name) && spellings.iter().any(|s| *s != name) {
            self.violations.push(Violation::new(name, format!("is given as {camel} too; use one spelling")));
        }
        found.filter(|value| value.get() != "null")
    }

    /// A text, empty when it is missing.
    pub fn text(&mut self, name: &'static str) -> Cow<'a, str> {
        self.typed(name, "must be a string", |json| serde_json::from_str(json).ok().map(|Text(text)| text))
            .unwrap_or_default()
    }

    /// A text, `None` when it is missing.
    pub fn given_text(&mut self, name: &'static str, wanted: &str) -> Option<Cow<'a, str>> {
        self.typed(name, wanted, |json| serde_json::from_str(json).ok().map(|Text(text)| text))
    }

    /// An integer.
    pub fn integer(&mut self, name: &'static str) -> Option<i64> {
        self.typed(name, "must be an integer", |json| serde_json::from_str(json).ok())
    }

    /// Yes or no.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "must be true or false", |json| serde_json::from_str(json).ok())
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.typed(name, "must be a list of strings", |json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// The objects of a list of 1 to `MOST`, each read by `read`, whose violations are told by the place in the list.
    /// Nothing more is read once there is something wrong with the list itself.
    pub fn rows<T, const MOST: usize>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields<'a>) -> Option<T>,
    ) -> Vec<T> {
        let wanted = format!("must be a list of 1 to {MOST} objects");
        let Some(raw) = self.raw(name) else {
            self.violations.push(Violation::new(name, wanted));
            return Vec::new();
        };
        let Ok(Elements(rows)) = serde_json::from_str::<Elements<MOST>>(raw.get()) else {
            self.violations.push(Violation::new(name, wanted));
            return Vec::new();
        };
        if rows.is_empty() {
            self.violations.push(Violation::new(name, wanted));
        }
        let mut values = Vec::with_capacity(rows.len());
        for (index, row) in rows.into_iter().enumerate() {
            let place = format!("{name}[{index}]");
            let Ok(mut fields) = Fields::parse(row.get().as_bytes()) else {
                self.violations.push(Violation::new(place, "must be an object"));
                continue;
            };
            values.extend(read(&mut fields));
            let told = fields.finish().into_iter();
            self.violations.extend(told.map(|v| Violation::new(format!("{place}.{}", v.field), v.description)));
        }
        values
    }

    /// A text that `parse` understands.
    pub fn parsed<T>(&mut self, name: &'static str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.typed(name, wanted, |json| serde_json::from_str(json).ok().and_then(|Text(text)| parse(&text)))
    }

    fn typed<T>(&mut self, name: &'static str, wanted: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let raw = self.raw(name)?;
        let value = read(raw.get());
        if value.is_none() {
            self.violations.push(Violation::new(name, wanted));
        }
        value
    }

    /// Adds what was not asked for to the violations; nothing more can be asked for then.
    pub fn refuse_rest(&mut self) {
        let names = self.known.join(", ");
        let unknown = self
            .members
            .drain(..)
            .map(|(name, _)| Violation::new(quoted(&name), format!("unknown field; the fields are {names}")));
        self.violations.extend(unknown);
    }

    /// Adds what was not asked for to the violations, and answers them all.
    pub fn finish(mut self) -> Vec<Violation> {
        self.refuse_rest();
        self.violations
    }
}

/// The one form of a JSON value that all its spellings share: members sorted, no space. Numbers keep their digits.
///
/// Refuses what has two readings: a member that is given twice, at any depth.
pub(super) fn canonical(raw: &RawValue) -> Result<String, String> {
    let mut text = String::with_capacity(raw.get().len());
    write_canonical(raw, 0, &mut text)?;
    Ok(text)
}

fn write_canonical(raw: &RawValue, depth: usize, text: &mut String) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    let json = raw.get();
    let invalid = |error: serde_json::Error| format!("is not valid JSON: {error}");
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members): Members = serde_json::from_str(json).map_err(invalid)?;
            if let Some(name) = duplicates(&members).next() {
                return Err(format!("has the member {:?} more than once", quoted(name)));
            }
            let sorted: BTreeMap<_, _> = members.into_iter().collect();
            text.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&name).expect("a string always serialises"));
                text.push(':');
                write_canonical(value, depth + 1, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(json).map_err(invalid)?;
            text.push('[');
            for (index, value) in values.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(value, depth + 1, text)?;
            }
            text.push(']');
        }
        // Decoding unites the spellings of a string, and finds lone surrogates.
        Some(b'"') => {
            let Text(value) = serde_json::from_str(json).map_err(invalid)?;
            text.push_str(&serde_json::to_string(&value).expect("a string always serialises"));
        }
        _ => text.push_str(json),
    }
    Ok(())
}

fn duplicates<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> impl Iterator<Item = &'m str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (name, _) in members {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name)
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or("").to_owned();
    for part in parts {
        camel.push_str(&part[..1].to_ascii_uppercase());
        camel.push_str(&part[1..]);
    }
    camel
}

fn quoted(name: &str) -> String {
    name.chars().take(QUOTED_CHARS).collect::<String>().escape_debug().to_string()
}

/// A string, borrowed when it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of a list, unread; `MOST` at most.
struct Elements<'a, const MOST: usize>(Vec<&'a RawValue>);

impl<'de, const MOST: usize> Deserialize<'de> for Elements<'de, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Elements<'de, MOST>, D::Error> {
        struct List<const MOST: usize>;
        impl<'de, const MOST: usize> Visitor<'de> for List<MOST> {
            type Value = Elements<'de, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements<'de, MOST>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom(format_args!("it has more than {MOST} elements")));
                    }
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The members of an object in their order, values unread; `MOST` at most.
struct Members<'a, const MOST: usize = { usize::MAX }>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de, const MOST: usize> Deserialize<'de> for Members<'de, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de, MOST>, D::Error> {
        struct Object<const MOST: usize>;
        impl<'de, const MOST: usize> Visitor<'de> for Object<MOST> {
            type Value = Members<'de, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de, MOST>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if members.len() == MOST {
                        return Err(A::Error::custom(format_args!("it has more than {MOST} members")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn canonical(json: &str) -> Result<String, String> {
        super::canonical(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn fields_are_read_in_either_spelling_and_leftovers_are_told() {
        let body = br#"{"resource_id":"a\u0041","maxAttempts":3,"timeout":null,"nope":1,"nope":2,"x":"y"}"#;
        let mut fields = Fields::parse(body).unwrap();
        assert_eq!(fields.text("resource_id"), "aA");
        assert_eq!(fields.integer("max_attempts"), Some(3));
        assert!(fields.raw("timeout").is_none());
        let told: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "nope: is given more than once");
        assert_eq!(told.last().unwrap(), "x: unknown field; the fields are resource_id, max_attempts, timeout");
    }

    #[test]
    fn two_spellings_and_wrong_types_are_told() {
        let mut fields = Fields::parse(br#"{"resource_id":"a","resourceId":"b","kind":7,"priority":1.5}"#).unwrap();
        fields.text("resource_id");
        fields.text("kind");
        fields.integer("priority");
        let told: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "resource_id: is given as resourceId too; use one spelling",
                "kind: must be a string",
                "priority: must be an integer"
            ]
        );
    }

    #[test]
    fn rows_are_bounded_and_told_by_their_place() {
        let read = |body: &str| {
            let mut fields = Fields::parse(body.as_bytes()).unwrap();
            let rows = fields.rows::<_, 2>("rows", |row| Some(row.text("id").into_owned()));
            (rows, fields.finish().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(read(r#"{"rows":[{"id":"a"},{"id":"b"}]}"#), (vec!["a".to_owned(), "b".to_owned()], vec![]));
        let told = read(r#"{"rows":[{"id":1,"x":2},3]}"#).1;
        assert_eq!(
            told,
            [
                "rows[0].id: must be a string",
                "rows[0].x: unknown field; the fields are id",
                "rows[1]: must be an object"
            ]
        );
        for body in ["{}", r#"{"rows":null}"#, r#"{"rows":[]}"#, r#"{"rows":{}}"#, r#"{"rows":[{},{},{}]}"#] {
            assert_eq!(read(body).1, ["rows: must be a list of 1 to 2 objects"], "{body}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_malformed() {
        for body in ["", "[]", "1", "{", "{}x", "{\"a\":}", "{\"a\":1,}", "nul"] {
            assert!(matches!(Fields::parse(body.as_bytes()), Err(ApiError::Malformed(_))), "{body}");
        }
        assert!(matches!(Fields::parse(b"{\"a\":\"\xff\"}"), Err(ApiError::Malformed(_))));
    }

    #[test]
    fn the_canonical_form_unites_spellings_and_keeps_digits() {
        let one = canonical(r#"{ "b": [1.0, 123456789012345678901234567890], "a": "\u0041" }"#).unwrap();
        assert_eq!(one, r#"{"a":"A","b":[1.0,123456789012345678901234567890]}"#);
        assert_eq!(canonical(&one).unwrap(), one);
        assert_ne!(canonical("1.0"), canonical("1"));
    }

    #[test]
    fn doubled_members_and_deep_nesting_are_refused_at_any_depth() {
        assert!(canonical(r#"[{"a":{"b":1,"b":2}}]"#).unwrap_err().contains("more than once"));
        assert!(canonical(r#"{"a":1,"\u0061":2}"#).unwrap_err().contains("more than once"));
        assert!(canonical(&"[".repeat(64).add_closing()).is_ok());
        assert!(canonical(&"[".repeat(100_000).add_closing()).unwrap_err().contains("deeper"));
    }

    trait AddClosing {
        fn add_closing(self) -> String;
    }

    impl AddClosing for String {
        fn add_closing(self) -> String {
            let closing = "]".repeat(self.len());
            self + &closing
        }
    }
}
