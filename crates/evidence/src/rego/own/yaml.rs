//! `yaml.unmarshal` and `yaml.is_valid`, which read YAML 1.1 as OPA does: `yes` and `off` are booleans, `010` is eight,
//! and `<<` merges mappings.
//!
//! The reader of YAML knows version 1.2. What it takes for a text is read again here, if no quotes are around it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use regorus::Value;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Outcome, Refused, sprintf, text};
use crate::material::json;

pub fn unmarshal(args: &[Value]) -> Outcome {
    read(text(args, 1)?).map_err(|error| Refused::new(format!("not valid YAML: {error}")))
}

pub fn is_valid(args: &[Value]) -> Outcome {
    Ok(Value::Bool(matches!(&args[0], Value::String(text) if read(text).is_ok())))
}

/// Reads the first document.
fn read(text: &str) -> Result<Value, yaml_serde::Error> {
    if text.lines().any(|line| line.starts_with("%YAML") && line.trim_end() != "%YAML 1.1") {
        return Err(yaml_serde::Error::custom("the version of YAML must be 1.1"));
    }
    if text.contains("!!binary") {
        return Err(yaml_serde::Error::custom("binary values are not supported"));
    }
    match yaml_serde::Deserializer::from_str(text).next() {
        None => Ok(Value::Null),
        Some(document) => document.deserialize_any(Node { text }),
    }
}

/// Reads a value.
#[derive(Clone, Copy)]
struct Node<'t> {
    text: &'t str,
}

impl Node<'_> {
    /// What is before a part of the text.
    fn before(&self, part: &str) -> &str {
        let start = (part.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
        start.and_then(|start| self.text.get(..start)).unwrap_or_default()
    }

    /// Whether there are neither quotes around a part of the text nor a tag before it that makes it a string.
    fn is_plain(&self, part: &str) -> bool {
        let before = self.before(part);
        let mut words = before.split_ascii_whitespace().rev().skip_while(|word| word.starts_with('&'));
        !before.ends_with(['"', '\'']) && words.next() != Some("!!str")
    }
}

impl<'de> DeserializeSeed<'de> for Node<'de> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'de> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value without a tag of its own")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_i128<E: Error>(self, number: i128) -> Result<Value, E> {
        Ok(Value::from(number as f64))
    }

    fn visit_u128<E: Error>(self, number: u128) -> Result<Value, E> {
        Ok(Value::from(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        if number.is_finite() { Ok(Value::from(number)) } else { Err(E::custom("a number must be finite")) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value, E> {
        Ok(Some(text).filter(|text| self.is_plain(text)).and_then(resolve).unwrap_or_else(|| Value::from(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::from(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = fields.next_key_seed(Key(self))? {
            let value = fields.next_value_seed(self)?;
            match key {
                Some(key) => _ = object.insert(key, value),
                None => merge(&mut object, &value).ok_or_else(|| A::Error::custom("<< needs mappings"))?,
            }
        }
        Ok(Value::from(object))
    }
}

/// Adds the fields of a mapping, or of a list of mappings of which the first ones take precedence.
fn merge(object: &mut BTreeMap<Value, Value>, mappings: &Value) -> Option<()> {
    let mappings = match mappings {
        Value::Array(mappings) => mappings.iter().rev().collect(),
        one => vec![one],
    };
    for mapping in mappings {
        let fields = mapping.as_object().ok()?;
        object.extend(fields.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    Some(())
}

/// Reads a key, which becomes a string; `<<` is none.
struct Key<'t>(Node<'t>);

impl<'de> DeserializeSeed<'de> for Key<'de> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'de> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string, a number or a boolean as a key")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(flag.to_string())))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(number.to_string())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(number.to_string())))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(sprintf::shortest(number))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(text)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Option<Value>, E> {
        if !self.0.is_plain(text) {
            return self.visit_str(text);
        }
        Ok(match resolve(text) {
            _ if text == "<<" => None,
            Some(other) => Some(Value::from(other.to_string())),
            None => Some(Value::from(text)),
        })
    }
}

/// Whether a text is that text even without quotes around it.
pub fn is_text(text: &str) -> bool {
    const OTHER: &[&str] = &["", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"];
    static NOT_TEXT: LazyLock<Regex> = LazyLock::new(|| {
        let number = r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?";
        let time = "[Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}([.][0-9]*)?(Z|[-+][0-9]{2}:[0-9]{2})?";
        Regex::new(&format!("^({number}|[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}({time})?)$")).expect("an expression")
    });
    !OTHER.contains(&text) && resolve(text).is_none() && !NOT_TEXT.is_match(text)
}

/// The value of a text without quotes that is a string in YAML 1.2, if it is none in YAML 1.1.
fn resolve(text: &str) -> Option<Value> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let number = text.replace('_', "");
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number.strip_prefix('+').unwrap_or(&number)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_unsigned = !digits.starts_with(['+', '-']);
    if let Some(integer) = u64::from_str_radix(digits, radix).ok().filter(|_| is_unsigned) {
        return json::read(format!("{sign}{integer}").as_bytes()).ok();
    }
    // Neither the names of infinity nor hexadecimal digits.
    let is_decimal = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    number.parse().ok().filter(|number: &f64| is_decimal && number.is_finite()).map(Value::from)
}
