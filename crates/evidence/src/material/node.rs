//! A value together with its path, so that a failed check can report where it failed.

use std::fmt;

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;

/// A value of a document under validation.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    kind: MaterialKind,
    value: &'a Value,
    /// The path is only written out when a check fails.
    up: Option<(&'a Node<'a>, Step<'a>)>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

type Checked<T = ()> = Result<T, MaterialError>;

impl<'a> Node<'a> {
    /// The whole document.
    pub fn root(kind: MaterialKind, value: &'a Value) -> Node<'a> {
        Node { kind, value, up: None }
    }

    /// The error for this position.
    pub fn expected(&self, expected: impl Into<String>) -> MaterialError {
        MaterialError::mismatch(self.kind, self.to_string(), expected, describe(self.value))
    }

    /// A member; `null` counts as absent.
    pub fn field<'b>(&'b self, name: &'b str) -> Option<Node<'b>> {
        let value = self.value.as_object().ok()?.get(&Value::from(name))?;
        if *value == Value::Null {
            return None;
        }
        Some(Node { kind: self.kind, value, up: Some((self, Step::Field(name))) })
    }

    /// A member that the format requires.
    pub fn required<'b>(&'b self, name: &'b str) -> Checked<Node<'b>> {
        self.object()?;
        self.field(name)
            .ok_or_else(|| MaterialError::mismatch(self.kind, self.to_string(), format!("a member {name:?}"), "none"))
    }

    /// Checks that it is an object.
    pub fn object(&self) -> Checked {
        if self.value.as_object().is_ok() { Ok(()) } else { Err(self.expected("an object")) }
    }

    /// The text of a string.
    pub fn string(&self) -> Checked<&'a str> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    /// The text of a string that is not empty.
    pub fn text(&self) -> Checked<&'a str> {
        match self.value {
            Value::String(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.expected("a string that is not empty")),
        }
    }

    /// Checks that it is one of these strings.
    pub fn one_of(&self, allowed: &[&str]) -> Checked<&'a str> {
        match self.value {
            Value::String(text) if allowed.contains(&&**text) => Ok(text),
            _ => Err(self.expected(format!("one of {}", allowed.join(", ")))),
        }
    }

    /// Checks that it is true or false.
    pub fn boolean(&self) -> Checked<bool> {
        match self.value {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Checks that it is an integer, not less than a bound.
    pub fn integer(&self, least: i64) -> Checked<i64> {
        match self.value.as_i64() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(self.expected(format!("an integer of at least {least}"))),
        }
    }

    /// Checks that it is a number between two bounds.
    pub fn number(&self, least: f64, most: f64) -> Checked<f64> {
        match self.value.as_f64() {
            Ok(number) if number >= least && number <= most => Ok(number),
            _ => Err(self.expected(format!("a number from {least} to {most}"))),
        }
    }

    /// Checks that it is a date and time in RFC 3339.
    pub fn timestamp(&self) -> Checked {
        match chrono::DateTime::parse_from_rfc3339(self.text()?) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.expected("a date and time in RFC 3339")),
        }
    }

    /// Checks every item of an array.
    pub fn each(&self, mut check: impl FnMut(&Node<'_>) -> Checked) -> Checked {
        let items = self.value.as_array().map_err(|_| self.expected("an array"))?;
        for (index, value) in items.iter().enumerate() {
            check(&Node { kind: self.kind, value, up: Some((self, Step::Index(index))) })?;
        }
        Ok(())
    }

    /// Checks every item of a member, if it is there.
    pub fn each_in(&self, name: &str, check: impl FnMut(&Node<'_>) -> Checked) -> Checked {
        self.field(name).map_or(Ok(()), |list| list.each(check))
    }

    /// Checks a member, if it is there.
    pub fn optional(&self, name: &str, check: impl FnOnce(&Node<'_>) -> Checked) -> Checked {
        self.field(name).map_or(Ok(()), |node| check(&node))
    }

    /// Checks that those of these members that are present are strings.
    pub fn strings(&self, names: &[&str]) -> Checked {
        names.iter().try_for_each(|name| self.optional(name, |node| node.string().map(drop)))
    }

    /// Checks the value of every member of an object.
    pub fn each_field(&self, mut check: impl FnMut(&Node<'_>) -> Checked) -> Checked {
        self.each_named(|_, node| check(node))
    }

    /// As [`each_field`](Self::each_field); the check is given the member's name as well.
    pub fn each_named(&self, mut check: impl FnMut(&str, &Node<'_>) -> Checked) -> Checked {
        let fields = self.value.as_object().map_err(|_| self.expected("an object"))?;
        for (name, value) in fields.iter() {
            let name = name.as_string().map_err(|_| self.expected("an object with names"))?;
            check(name, &Node { kind: self.kind, value, up: Some((self, Step::Field(name))) })?;
        }
        Ok(())
    }

    /// Whether a member is present, even if it is null.
    pub fn has(&self, name: &str) -> bool {
        self.value.as_object().is_ok_and(|fields| fields.contains_key(&Value::from(name)))
    }

    /// Whether it has no items; anything but an array has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of items of an array; 0 for anything else.
    pub fn len(&self) -> usize {
        self.value.as_array().map_or(0, |items| items.len())
    }
}

/// A JSON path, such as `$.components[3].name`.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.up {
            None => f.write_str("$"),
            Some((up, Step::Index(index))) => write!(f, "{up}[{index}]"),
            Some((up, Step::Field(name))) => {
                write!(f, "{up}")?;
                write_field(f, name)
            }
        }
    }
}

/// The step of a JSON path to a member.
pub(super) fn write_field(path: &mut impl fmt::Write, name: &str) -> fmt::Result {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain { write!(path, ".{name}") } else { write!(path, "[{name:?}]") }
}

/// A short description of a value: messages must not quote a whole SBOM.
fn describe(value: &Value) -> String {
    const MOST: usize = 60;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(_) => format!("the number {value}"),
        Value::String(text) if text.chars().count() > MOST => {
            let start: String = text.chars().take(MOST).collect();
            format!("the string {start:?}…")
        }
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(_) | Value::Set(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Undefined => "nothing".to_owned(),
    }
}
