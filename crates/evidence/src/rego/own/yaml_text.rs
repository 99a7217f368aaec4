//! `yaml.marshal`: values as OPA's library writes them in YAML, but without breaking long lines.

use std::fmt::Write as _;

use regorus::Value;

use super::{Outcome, Refused, encoding, sprintf, yaml};

pub fn marshal(args: &[Value]) -> Outcome {
    let mut writer = Writer { out: String::new() };
    match &args[0] {
        value if is_nested(value) => writer.nested(value, 0, true)?,
        scalar => writer.scalar(scalar, 2)?,
    }
    writer.end_line();
    Ok(Value::from(writer.out))
}

/// Whether a value is written on lines of its own.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Set(items) => !items.is_empty(),
        _ => false,
    }
}

struct Writer {
    out: String,
}

impl Writer {
    fn end_line(&mut self) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Begins a line, unless it is the first one of what is already on a line.
    fn line(&mut self, indent: usize, is_on_line: bool) {
        if !is_on_line {
            self.end_line();
            self.out.extend(std::iter::repeat_n(' ', indent));
        }
    }

    fn nested(&mut self, value: &Value, indent: usize, mut is_on_line: bool) -> Result<(), Refused> {
        let items: Vec<&Value> = match value {
            Value::Object(fields) => {
                let mut fields =
                    fields.iter().map(|(key, value)| Ok((name(key)?, value))).collect::<Result<Vec<_>, _>>()?;
                fields.sort_by_cached_key(|(key, _)| parts(key));
                for (key, value) in fields {
                    self.line(indent, is_on_line);
                    self.text(&key, indent, true);
                    self.out.push(':');
                    match value {
                        Value::Object(_) if is_nested(value) => self.nested(value, indent + 2, false)?,
                        list if is_nested(list) => self.nested(list, indent, false)?,
                        scalar => {
                            self.out.push(' ');
                            self.scalar(scalar, indent + 2)?;
                        }
                    }
                    is_on_line = false;
                }
                return Ok(());
            }
            Value::Array(items) => items.iter().collect(),
            Value::Set(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        for item in items {
            self.line(indent, is_on_line);
            self.out.push_str("- ");
            if is_nested(item) {
                self.nested(item, indent + 2, true)?
            } else {
                self.scalar(item, indent + 2)?
            }
            is_on_line = false;
        }
        Ok(())
    }

    fn scalar(&mut self, value: &Value, indent: usize) -> Result<(), Refused> {
        match value {
            Value::String(text) => self.text(text, indent, false),
            Value::Array(_) | Value::Set(_) => self.out.push_str("[]"),
            Value::Object(_) => self.out.push_str("{}"),
            Value::Number(number) if number.as_i64().is_none() && number.as_u64().is_none() => {
                let number = encoding::json(value)?.parse();
                self.out.push_str(&sprintf::shortest(number.map_err(|_| Refused::new("a number is too large"))?));
            }
            other => self.out.push_str(&encoding::json(other)?),
        }
        Ok(())
    }

    /// Writes a text without quotes, as a block of lines, or in the quotes that it needs.
    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        let is_printable = |character: char| {
            matches!(character, '\n' | '\u{20}'..='\u{7E}' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}')
                && character != '\u{FEFF}'
        };
        let is_simple = text.chars().all(is_printable) && !text.contains(" \n");
        let is_block = !is_key && is_simple && !text.ends_with(' ');
        let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        if text.contains('\n') && is_block {
            self.block(text, indent);
        } else if !is_simple || text.contains('\n') || !yaml::is_text(text) {
            self.double_quoted(text);
        } else if edges || has_indicator(text) {
            let _ = write!(self.out, "'{}'", text.replace('\'', "''"));
        } else {
            self.out.push_str(text);
        }
    }

    fn block(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        if text.starts_with([' ', '\n']) {
            self.out.push('2');
        }
        if !text.ends_with('\n') {
            self.out.push('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.out.push('+');
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.out.extend(std::iter::repeat_n(' ', indent));
                self.out.push_str(line);
            }
        }
        self.out.push('\n');
    }

    fn double_quoted(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let _ = match character {
                '"' => write!(self.out, "\\\""),
                '\\' => write!(self.out, "\\\\"),
                '\0' => write!(self.out, "\\0"),
                '\u{7}' => write!(self.out, "\\a"),
                '\u{8}' => write!(self.out, "\\b"),
                '\t' => write!(self.out, "\\t"),
                '\n' => write!(self.out, "\\n"),
                '\u{B}' => write!(self.out, "\\v"),
                '\u{C}' => write!(self.out, "\\f"),
                '\r' => write!(self.out, "\\r"),
                '\u{1B}' => write!(self.out, "\\e"),
                '\u{85}' => write!(self.out, "\\N"),
                '\u{0}'..='\u{1F}' | '\u{7F}'..='\u{9F}' => write!(self.out, "\\x{:02X}", u32::from(character)),
                '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}' => write!(self.out, "\\u{:04X}", u32::from(character)),
                '\u{10000}'.. => write!(self.out, "\\U{:08X}", u32::from(character)),
                other => write!(self.out, "{other}"),
            };
        }
        self.out.push('"');
    }
}

/// Whether a text has something that is not text without quotes.
fn has_indicator(text: &str) -> bool {
    let starts = text.starts_with(['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`']);
    let is_mark = ["?", ":", "-"]
        .iter()
        .any(|mark| text.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
    let is_document = text.starts_with("---") || text.starts_with("...");
    starts || is_mark || is_document || text.contains(": ") || text.ends_with(':') || text.contains(" #")
}

/// The name of a field: in JSON, all keys are strings.
fn name(key: &Value) -> Result<String, Refused> {
    match key {
        Value::String(key) => Ok(key.to_string()),
        other => encoding::json(other),
    }
}

/// A part of a key, in the order of keys: numbers within them count by their value, and letters come last.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Other(char),
    /// The number of digits, the digits, both without leading zeros, and the number of all digits.
    Number(usize, String, usize),
    Letter(char),
}

fn parts(key: &str) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), key);
    while let Some(first) = rest.chars().next() {
        let digits = &rest[..rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(rest.len())];
        let number = digits.trim_start_matches('0');
        parts.push(match first {
            _ if !digits.is_empty() => Part::Number(number.len(), number.to_owned(), digits.len()),
            letter if letter.is_alphabetic() => Part::Letter(letter),
            other => Part::Other(other),
        });
        rest = &rest[digits.len().max(first.len_utf8())..];
    }
    parts
}
