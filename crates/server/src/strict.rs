//! Requests, read strictly into typed structs: every field is known, given once, in one spelling, and has its type.
//!
//! `serde` stops at the first error; a client gets all errors at once. So [`Read`] runs the struct's own `Deserialize`
//! again without the field that failed, until it succeeds: the errors of all fields are collected, and the rest of the
//! struct can still be checked. Each field is therefore `#[serde(default)]`; the domain decides whether it may be
//! missing. `null` counts as missing.
//!
//! Names are accepted in snake_case and, as proto3 JSON spells them, in camelCase. Values of JSON remain text until
//! they are needed ([`RawValue`]), so that an operation's `input` is stored digit for digit and a piece of evidence in
//! base64 is not copied.

mod canonical;
mod query;
mod value;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use operations::Violation;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) use self::canonical::canonical;
use self::value::{Problem, Value};
use crate::error::ApiError;

/// The most members of an object: far more than there are fields, far fewer than would fill the memory.
const MAX_MEMBERS: usize = 10_000;
/// The most violations of a request: one more than an answer names. A request is cheap to send, and each of its members
/// may be wrong.
const MOST_VIOLATIONS: usize = 101;
/// Names and values of a refused request are quoted up to this length.
const QUOTED_CHARS: usize = 64;

/// What was read, and everything that is wrong with it. A field that is not valid has its default value.
#[derive(Debug, Default)]
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) violations: Vec<Violation>,
}

impl<T> Read<T> {
    /// The value, for further checks, and the violations found so far: each field is reported once.
    pub(crate) fn into_parts(self) -> (T, Found) {
        let Read { value, mut violations } = self;
        violations.truncate(MOST_VIOLATIONS);
        (value, Found(violations))
    }
}

/// What a call without fields or parameters takes.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Nothing {}

/// The violations found in a request so far: the first ones, as many as an answer can have.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Violation>);

impl Found {
    /// Adds a violation, unless its field or the whole request has one already: a kind that is not a string is not
    /// reported as a bad name as well.
    pub(crate) fn add(&mut self, violation: Violation) {
        self.add_all([violation]);
    }

    /// The same for violations that were found together: a field may have several of them.
    pub(crate) fn add_all(&mut self, violations: impl IntoIterator<Item = Violation>) {
        let before = self.0.len();
        for violation in violations {
            let is_reported = |known: &Violation| {
                let rest = known.field.strip_prefix(&violation.field);
                known.field.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
            };
            if !self.0[..before].iter().any(is_reported) {
                self.add_another(violation);
            }
        }
    }

    /// Adds a violation of a field that may have several, such as one for each element of a list.
    pub(crate) fn add_another(&mut self, violation: Violation) {
        if self.left() > 0 {
            self.0.push(violation);
        }
    }

    /// Whether no more violations are collected.
    pub(crate) fn is_full(&self) -> bool {
        self.left() == 0
    }

    /// How many more violations are collected.
    fn left(&self) -> usize {
        MOST_VIOLATIONS.saturating_sub(self.0.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the violations of a part that is at `place`.
    pub(crate) fn add_at(&mut self, place: &str, part: Found) {
        let left = self.left();
        self.0.extend(part.0.into_iter().take(left).map(|violation| {
            let dot = if place.is_empty() || violation.field.is_empty() { "" } else { "." };
            Violation::new(format!("{place}{dot}{}", violation.field), violation.description)
        }));
    }

    /// Nothing, or the refusal that names all violations.
    pub(crate) fn none(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }
}

/// Reads a body that is a JSON object.
///
/// # Errors
/// [`ApiError::Malformed`] when it is not an object at all.
pub(crate) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Read<T>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::Malformed("the body is not UTF-8".to_owned()))?;
    let Members::<MAX_MEMBERS>(members) = serde_json::from_str(text)
        .map_err(|error| ApiError::Malformed(format!("the body is not the expected JSON object: {error}")))?;
    let members = members.into_iter().map(|(name, raw)| (name, Value::Json(raw.get())));
    Object::read(members.collect(), "field").map_err(|problem| ApiError::Malformed(problem.to_string()))
}

/// Reads the part of a URL after `?`.
pub(crate) fn query<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Read<T>, ApiError> {
    let (members, violations) = query::members(text);
    let mut read: Read<T> =
        Object::read(members, "parameter").map_err(|problem| ApiError::Malformed(problem.to_string()))?;
    read.violations.splice(0..0, violations);
    Ok(read)
}

/// Reads the part of a URL after `?`, each parameter of which belongs to one of two structs without common names.
pub(crate) fn query_of_two<'a, A: Deserialize<'a> + Default, B: Deserialize<'a>>(
    text: &'a str,
) -> Result<(Read<A>, Read<B>), ApiError> {
    let malformed = |problem: Problem| ApiError::Malformed(problem.to_string());
    let (members, violations) = query::members(text);
    let known = known_names::<A>();
    let (of_first, of_second) = members.into_iter().partition(|(name, _)| knows(known, name));
    let first = Object::read(of_first, "parameter").map_err(malformed)?;
    let mut second: Read<B> = Object::read_beside(of_second, known, "parameter").map_err(malformed)?;
    second.violations.splice(0..0, violations);
    Ok((first, second))
}

/// The names of a struct's fields.
fn known_names<'a, T: Deserialize<'a>>() -> &'static [&'static str] {
    let (without, mut known) = (BTreeSet::new(), <&[&str]>::default());
    // Every field may be left out, so that this only collects the names.
    let _ = T::deserialize(Object { members: &[], without: &without, known: &mut known });
    known
}

fn knows(known: &[&str], name: &str) -> bool {
    known.iter().any(|known| is_spelling(name, known))
}

/// An element of a list. An element that is not an object at all has one violation, without a field.
impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Read<T>, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let Ok(Members::<MAX_MEMBERS>(members)) = serde_json::from_str(raw.get()) else {
            return Ok(Read { value: T::default(), violations: vec![Violation::new("", "must be an object")] });
        };
        let members = members.into_iter().map(|(name, raw)| (name, Value::Json(raw.get())));
        Object::read(members.collect(), "field").map_err(de::Error::custom)
    }
}

/// A list of at least one and at most `MOST` elements, or one that is left out.
///
/// Of JSON, no more elements than that are read. A list from another interface is not yet counted, nor checked for
/// being left out: the code that takes the elements checks both.
#[derive(Debug)]
pub(crate) struct List<T, const MOST: usize>(pub(crate) Vec<T>);

impl<T, const MOST: usize> List<T, MOST> {
    /// A list from another interface, element by element. When it is too long, only as many elements are converted as
    /// show that.
    pub(crate) fn of<G>(given: impl IntoIterator<Item = G>, element: impl FnMut(G) -> T) -> List<T, MOST> {
        List(given.into_iter().take(MOST.saturating_add(1)).map(element).collect())
    }

    /// The elements of a field that must be given.
    pub(crate) fn required(self, field: &str, found: &mut Found) -> Vec<T> {
        self.elements(field, found, 1)
    }

    /// The elements of a field that may be left out.
    pub(crate) fn optional(self, field: &str, found: &mut Found) -> Vec<T> {
        self.elements(field, found, 0)
    }

    fn elements(self, field: &str, found: &mut Found, least: usize) -> Vec<T> {
        if (least..=MOST).contains(&self.0.len()) {
            return self.0;
        }
        found.add(Violation::new(field, format!("must be a list of 1 to {MOST} elements")));
        Vec::new()
    }
}

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> List<T, MOST> {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T, MOST>, D::Error> {
        struct Elements<T, const MOST: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = List<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of 1 to {MOST} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, MOST>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MOST {
                        return Err(de::Error::invalid_length(MOST + 1, &self));
                    }
                    elements.push(element);
                }
                if elements.is_empty() { Err(de::Error::invalid_length(0, &self)) } else { Ok(List(elements)) }
            }
        }
        deserializer.deserialize_seq(Elements(std::marker::PhantomData))
    }
}

/// The members of an object, or the parameters of a query, as a struct's `Deserialize` gets them.
struct Object<'o, 'a> {
    members: &'o [(Cow<'a, str>, Value<'a>)],
    /// Fields that the struct could not read.
    without: &'o BTreeSet<usize>,
    /// The names that the struct knows, once it has reported them.
    known: &'o mut &'static [&'static str],
}

impl<'a> Object<'_, 'a> {
    fn read<T: Deserialize<'a>>(
        members: Vec<(Cow<'a, str>, Value<'a>)>,
        noun: &'static str,
    ) -> Result<Read<T>, Problem> {
        Object::read_beside(members, &[], noun)
    }

    /// Reads a struct that shares its members with another one, whose names are reported as well.
    fn read_beside<T: Deserialize<'a>>(
        members: Vec<(Cow<'a, str>, Value<'a>)>,
        beside: &[&'static str],
        noun: &'static str,
    ) -> Result<Read<T>, Problem> {
        let (mut without, mut known) = (BTreeSet::new(), <&[&str]>::default());
        let mut violations = Vec::new();
        let value = loop {
            let object = Object { members: &members, without: &without, known: &mut known };
            match T::deserialize(object) {
                Ok(value) => break value,
                Err(Problem { at: Some(at), what }) if !without.contains(&at) => {
                    let name = known.iter().find(|name| is_spelling(&members[at].0, name));
                    violations.extend(name.map(|name| what.of(name)));
                    without.insert(at);
                }
                Err(problem) => return Err(problem),
            }
        };
        spellings(&members, known, beside, noun, &mut violations);
        Ok(Read { value, violations })
    }
}

/// What is wrong with the names: unknown, doubled, or in both spellings. It ends when an answer can have no more
/// violations.
fn spellings(
    members: &[(Cow<'_, str>, Value<'_>)],
    known: &'static [&'static str],
    beside: &[&'static str],
    noun: &str,
    violations: &mut Vec<Violation>,
) {
    // The spelling in which each known name was given first.
    let mut first: Vec<Option<&str>> = vec![None; known.len()];
    let mut doubled = BTreeSet::new();
    for (name, _) in members {
        if violations.len() >= MOST_VIOLATIONS {
            return;
        }
        let Some(index) = known.iter().position(|known| is_spelling(name, known)) else {
            let names = match &[beside, known].concat()[..] {
                [] => format!("there are no {noun}s here"),
                [name] => format!("the {noun} is {name}"),
                names => format!("the {noun}s are {}", names.join(", ")),
            };
            violations.push(Violation::new(quoted(name), format!("unknown {noun}; {names}")));
            continue;
        };
        match first[index] {
            None => first[index] = Some(name),
            Some(_) if !doubled.insert(index) => {}
            Some(before) if before == name => {
                violations.push(Violation::new(known[index], "is given more than once"));
            }
            Some(before) => {
                let description = format!("is given as {before} and as {name}; use one spelling");
                violations.push(Violation::new(known[index], description));
            }
        }
    }
}

impl<'de> Deserializer<'de> for Object<'_, 'de> {
    type Error = Problem;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        *self.known = fields;
        let mut given = vec![false; fields.len()];
        let wanted = self.members.iter().enumerate().filter_map(|(at, (name, value))| {
            let field = fields.iter().position(|field| is_spelling(name, field))?;
            // If a field is given twice, the first value counts; the request is refused in any case.
            let is_wanted = !given[field] && !self.without.contains(&at) && !value.is_null();
            given[field] = true;
            is_wanted.then_some((at, fields[field], value))
        });
        visitor.visit_map(Wanted { members: wanted, next: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
        unreachable!("requests are structs")
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The members that the struct reads.
struct Wanted<'o, 'a, I> {
    members: I,
    next: Option<(usize, &'o Value<'a>)>,
}

impl<'o, 'a: 'o, I: Iterator<Item = (usize, &'static str, &'o Value<'a>)>> MapAccess<'a> for Wanted<'o, 'a, I> {
    type Error = Problem;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((at, name, value)) = self.members.next() else { return Ok(None) };
        self.next = Some((at, value));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (at, value) = self.next.take().expect("a key comes before its value");
        seed.deserialize(value.clone()).map_err(|problem| Problem { at: Some(at), ..problem })
    }
}

/// Whether a client's spelling means this name: the same, or its camelCase form.
fn is_spelling(given: &str, name: &str) -> bool {
    if given == name {
        return true;
    }
    let mut given = given.bytes();
    let mut is_hump = false;
    for byte in name.bytes() {
        if byte == b'_' {
            is_hump = true;
            continue;
        }
        let wanted = if is_hump { byte.to_ascii_uppercase() } else { byte };
        is_hump = false;
        if given.next() != Some(wanted) {
            return false;
        }
    }
    given.next().is_none()
}

/// A text of a client, short and printable.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", short.escape_debug())
}

/// The members of a JSON object in their order, with unread values.
struct Members<'a, const MOST: usize>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de, const MOST: usize> Deserialize<'de> for Members<'de, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de, MOST>, D::Error> {
        struct Visit<const MOST: usize>;
        impl<'de, const MOST: usize> Visitor<'de> for Visit<MOST> {
            type Value = Members<'de, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de, MOST>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if members.len() == MOST {
                        return Err(de::Error::custom(format_args!("it has more than {MOST} members")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// A string, borrowed when it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
