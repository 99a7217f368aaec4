//! The builtins `urlquery.*`, with the results of Go's package `net/url`.

use std::collections::BTreeMap;

use regorus::Value;

use super::{Outcome, Refused, term, text};

pub fn encode(args: &[Value]) -> Outcome {
    Ok(Value::from(escape(text(args, 1)?)))
}

pub fn decode(args: &[Value]) -> Outcome {
    unescape(text(args, 1)?).map(Value::from)
}

pub fn encode_object(args: &[Value]) -> Outcome {
    let Value::Object(fields) = &args[0] else {
        return Err(Refused::new(format!("operand must be an object, not {}", term::kind(&args[0]))));
    };
    let mut pairs = Vec::new();
    let fields: BTreeMap<&Value, &Value> = fields.iter().collect();
    for (key, value) in fields {
        let values: Vec<&Value> = match value {
            Value::Array(values) => values.iter().collect(),
            Value::Set(values) => values.iter().collect(),
            single => vec![single],
        };
        for value in values {
            match (key, value) {
                (Value::String(key), Value::String(value)) => pairs.push(format!("{}={}", escape(key), escape(value))),
                _ => {
                    return Err(Refused::new(
                        "operand must have strings as keys, and strings or lists of them as values",
                    ));
                }
            }
        }
    }
    Ok(Value::from(pairs.join("&")))
}

pub fn decode_object(args: &[Value]) -> Outcome {
    let mut fields: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for pair in text(args, 1)?.split('&').filter(|pair| !pair.is_empty()) {
        if pair.contains(';') {
            return Err(Refused::new(format!("{pair:?} contains a semicolon, which does not separate")));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.entry(Value::from(unescape(key)?)).or_default().push(Value::from(unescape(value)?));
    }
    let fields = fields.into_iter().map(|(key, values)| (key, Value::from(values)));
    Ok(Value::from(fields.collect::<BTreeMap<Value, Value>>()))
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unescape(text: &str) -> Result<String, Refused> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let code = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                code.ok_or_else(|| Refused::new(format!("{text:?} has a percent sign without two hexadecimal digits")))?
            }
            other => other,
        });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
