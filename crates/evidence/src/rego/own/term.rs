//! Values as OPA writes them.

use std::fmt::Write as _;

use regorus::Value;

/// The name of a value's type, as in OPA.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Set(_) => "set",
        Value::Undefined => "undefined",
    }
}

/// Writes the text of a value, with strings in quotes.
pub fn write(value: &Value, out: &mut String) {
    let mut list = |open: &str, items: &mut dyn Iterator<Item = &Value>, close: &str| {
        out.push_str(open);
        for (index, item) in items.enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            write(item, out);
        }
        out.push_str(close);
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::String(text) => quote(text, out),
        Value::Array(items) => list("[", &mut items.iter(), "]"),
        Value::Set(items) if items.is_empty() => out.push_str("set()"),
        Value::Set(items) => list("{", &mut items.iter(), "}"),
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(key, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
        Value::Number(number) if number.is_integer() => out.push_str(&number.format_decimal()),
        Value::Number(_) | Value::Undefined => out.push_str(&value.to_string()),
    }
}

/// Writes a string in double quotes, as Go does.
pub fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => _ = write!(out, "\\x{:02x}", u32::from(character)),
            '\u{80}'..='\u{9f}' | '\u{feff}' => _ = write!(out, "\\u{:04x}", u32::from(character)),
            other => out.push(other),
        }
    }
    out.push('"');
}
