//! A single value: a piece of JSON, or the text of a parameter.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use operations::Violation;
use serde::Deserialize;
use serde::de::{self, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::{MAX_MEMBERS, Members, Text, quoted};

/// No field accepts a longer list, and a longer one is not read into memory.
const MAX_ELEMENTS: usize = 10_000;

/// A value that has not been read yet.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    /// Valid JSON.
    Json(&'a str),
    /// The decoded text of a parameter.
    Text(Cow<'a, str>),
}

impl Value<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Value::Json("null"))
    }
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Problem {
    /// The member of the object that is being read.
    pub(super) at: Option<usize>,
    pub(super) what: What,
}

/// What is wrong, and where in the value.
#[derive(Debug)]
pub(super) struct What {
    /// Such as `[3]` or `.name`; empty for the value itself.
    place: String,
    message: String,
}

impl What {
    /// As a violation of a field.
    pub(super) fn of(self, name: &str) -> Violation {
        Violation::new(format!("{name}{}", self.place), self.message)
    }
}

impl Problem {
    /// The problem of the value that has this one at `place`.
    fn within(self, place: &str) -> Problem {
        let What { place: inner, message } = self.what;
        Problem { at: self.at, what: What { place: format!("{place}{inner}"), message } }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what.message)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Problem {
        Problem { at: None, what: What { place: String::new(), message: message.to_string() } }
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn Expected) -> Problem {
        Problem::custom(format_args!("must be {}", in_words(&wanted.to_string())))
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Problem {
        Problem::custom(format_args!("must be {}", in_words(&wanted.to_string())))
    }

    fn invalid_length(_: usize, wanted: &dyn Expected) -> Problem {
        Problem::custom(format_args!("must be {}", in_words(&wanted.to_string())))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Problem {
        let message = format!("unknown field; the fields are {}", known.join(", "));
        Problem::custom(message).within(&format!(".{}", quoted(name)))
    }

    fn missing_field(name: &'static str) -> Problem {
        Problem::custom("must be given").within(&format!(".{name}"))
    }
}

/// The types that `serde` names, in the terms of JSON.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "i64" => "an integer",
        "u32" => "an integer between 0 and 4294967295",
        "i32" => "an integer between -2147483648 and 2147483647",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        // A type that does not say what it expects.
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let json = match self {
            Value::Text(Cow::Borrowed(text)) => return visitor.visit_borrowed_str(text),
            Value::Text(Cow::Owned(text)) => return visitor.visit_string(text),
            Value::Json(json) => json,
        };
        match json.as_bytes().first() {
            Some(b'"') => match serde_json::from_str(json) {
                Ok(Text(Cow::Borrowed(text))) => visitor.visit_borrowed_str(text),
                Ok(Text(Cow::Owned(text))) => visitor.visit_string(text),
                // Half of a surrogate pair, which is not a valid text.
                Err(_) => Err(de::Error::invalid_type(Unexpected::Other("no Unicode text"), &visitor)),
            },
            Some(b'[') => {
                let Short(elements) = serde_json::from_str(json)
                    .map_err(|_| <Problem as de::Error>::invalid_length(MAX_ELEMENTS + 1, &visitor))?;
                visitor.visit_seq(Elements { elements: elements.into_iter(), next: 0 })
            }
            Some(b'{') => {
                let Members::<MAX_MEMBERS>(members) = serde_json::from_str(json)
                    .map_err(|_| <Problem as de::Error>::invalid_length(MAX_MEMBERS + 1, &visitor))?;
                visitor.visit_map(Entries { members: members.into_iter(), value: None, seen: BTreeSet::new() })
            }
            Some(b't') => visitor.visit_bool(true),
            Some(b'f') => visitor.visit_bool(false),
            Some(b'n') => visitor.visit_unit(),
            _ => match (json.parse::<i64>(), json.parse::<f64>()) {
                (Ok(integer), _) => visitor.visit_i64(integer),
                (Err(_), Ok(number)) => visitor.visit_f64(number),
                (Err(_), Err(error)) => Err(de::Error::custom(error)),
            },
        }
    }

    /// Present; `null` is left out before.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    /// Numbers of a query consist of digits only.
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let Value::Text(text) = &self else { return self.deserialize_any(visitor) };
        match text.parse::<i32>() {
            Ok(number) if number >= 0 && !text.starts_with('+') => number.into_deserializer().deserialize_i32(visitor),
            _ => Err(de::Error::custom("must be an integer between 0 and 2147483647")),
        }
    }

    /// Used for [`RawValue`], and nothing else here.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Problem> {
        let Value::Json(json) = self else { return self.deserialize_any(visitor) };
        serde_json::Deserializer::from_str(json).deserialize_newtype_struct(name, visitor).map_err(de::Error::custom)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of a list that is not too long for any field.
struct Short<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Short<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Short<'de>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Short<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Short<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX_ELEMENTS {
                        return Err(de::Error::custom("it is too long"));
                    }
                    elements.push(element);
                }
                Ok(Short(elements))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

/// The elements of a list.
struct Elements<'a> {
    elements: std::vec::IntoIter<&'a RawValue>,
    next: usize,
}

impl<'a> SeqAccess<'a> for Elements<'a> {
    type Error = Problem;

    fn next_element_seed<T: de::DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some(element) = self.elements.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let read = seed.deserialize(Value::Json(element.get())).map(Some);
        read.map_err(|problem| problem.within(&format!("[{index}]")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// The members of an object whose names may be any.
struct Entries<'a> {
    members: std::vec::IntoIter<(Cow<'a, str>, &'a RawValue)>,
    value: Option<(Cow<'a, str>, &'a RawValue)>,
    seen: BTreeSet<Cow<'a, str>>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Problem;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        if !self.seen.insert(name.clone()) {
            return Err(
                <Problem as de::Error>::custom("is given more than once").within(&format!(".{}", quoted(&name)))
            );
        }
        self.value = Some((name.clone(), value));
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (name, value) = self.value.take().expect("a key comes before its value");
        let read = seed.deserialize(Value::Json(value.get()));
        read.map_err(|problem| problem.within(&format!(".{}", quoted(&name))))
    }
}
