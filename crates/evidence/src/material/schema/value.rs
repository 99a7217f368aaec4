//! The access of `jsonschema` to Rego values, so that evidence is checked as it was parsed, without a copy.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object};
use regorus::Value;
use regorus::value::Object as RegoObject;

/// Rego values. A member that is `null` counts as absent, as in all other checks of evidence.
pub struct Rego;

impl Json for Rego {
    type Node<'a> = &'a Value;
    type PreparedKey = Value;
    type StringBuffer = Option<Value>;

    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Value {
        Value::from(key)
    }

    fn with_string_node<T>(buffer: &mut Option<Value>, string: &str, f: impl FnOnce(&Value) -> T) -> T {
        f(buffer.insert(Value::from(string)))
    }
}

impl<'a> Node<'a, Rego> for &'a Value {
    type Object = Members<'a>;
    type Array = &'a [Value];
    type Number = Numeric<'a>;

    fn as_object(&self) -> Option<Members<'a>> {
        match self {
            Value::Object(members) => Some(Members(members)),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&'a [Value]> {
        match self {
            Value::Array(items) => Some(items.as_slice()),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Value::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<Numeric<'a>> {
        match self {
            Value::Number(_) => Some(Numeric(self)),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) | Value::Set(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
            Value::Null | Value::Undefined => JsonType::Null,
        }
    }

    fn equals_value(&self, expected: &serde_json::Value) -> bool {
        match (self, expected) {
            (Value::String(text), serde_json::Value::String(expected)) => **text == **expected,
            (Value::String(_), _) | (_, serde_json::Value::String(_)) => false,
            (value, expected) => **value == Value::from(expected.clone()),
        }
    }

    /// The value that an error quotes: an empty one, since it may be a whole SBOM.
    fn to_value(&self) -> Cow<'a, serde_json::Value> {
        Cow::Owned(serde_json::Value::Null)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Value>(self) as usize))
    }
}

/// The members of an object that are not `null`.
pub struct Members<'a>(&'a RegoObject);

impl<'a> Members<'a> {
    fn entries(&self) -> impl Iterator<Item = (&'a Value, &'a Value)> + use<'a> {
        self.0.iter().filter(|(_, value)| !matches!(value, Value::Null))
    }
}

impl<'a> Object<'a, Rego> for Members<'a> {
    type Node = &'a Value;
    type MemberName = &'a str;
    type MembersIter = Box<dyn Iterator<Item = (&'a str, &'a Value)> + 'a>;

    fn len(&self) -> usize {
        self.entries().count()
    }

    fn get(&self, key: &Value) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !matches!(value, Value::Null))
    }

    fn members(&self) -> Self::MembersIter {
        Box::new(self.entries().map(|(name, value)| (name.as_string().map_or("", |name| name), value)))
    }
}

impl<'a> Array<'a, Rego> for &'a [Value] {
    type Node = &'a Value;
    type ElementsIter = std::slice::Iter<'a, Value>;

    fn len(&self) -> usize {
        <[Value]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Value> {
        self.iter()
    }

    fn is_unique(&self) -> bool {
        let mut items: Vec<&Value> = self.iter().collect();
        items.sort_unstable();
        items.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// A value that is a number.
pub struct Numeric<'a>(&'a Value);

impl JsonNumber for Numeric<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.as_u64().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.as_i64().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.as_f64().ok()
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Owned(self.0.as_number().map(|number| number.format_decimal()).unwrap_or_default())
    }

    fn to_number(&self) -> Cow<'_, serde_json::Number> {
        let exact = self.as_u64().map(Into::into).or_else(|| self.as_i64().map(Into::into));
        let number = exact.or_else(|| serde_json::Number::from_f64(self.as_f64()?));
        // An integer beyond the range of floating point is larger than any limit in a schema.
        Cow::Owned(number.unwrap_or_else(|| u64::MAX.into()))
    }

    fn is_integer(&self) -> bool {
        self.0.as_number().is_ok_and(|number| number.is_integer())
    }

    fn is_written_as_integer(&self) -> bool {
        self.is_integer()
    }
}
