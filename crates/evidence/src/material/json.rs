//! Reads JSON into a Rego value, once, keeping integers of any size exact.
//!
//! A general JSON reader rounds integers beyond 64 bits to floating point, so that two different identifiers compare
//! equal. This one keeps every integer exact; decimals become IEEE doubles, as everywhere in the Rego engine (so the
//! text `1.0` is read as the number 1). It never overflows the stack, and its running time is linear in the input.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;

use regorus::Value;

use super::error::MaterialError;

/// The maximum nesting depth of arrays and objects. Everything that processes the value later is recursive.
const MAX_DEPTH: usize = 128;
/// The maximum length of a number: converting digits to a big integer takes quadratic time.
const MAX_NUMBER: usize = 1000;

/// What a reader accepts.
#[derive(Clone, Copy)]
struct Accepts {
    /// Control characters in strings, as they are.
    controls: bool,
    /// A key that occurs again in an object: the last value counts.
    repeated_keys: bool,
}

/// Reads one JSON document as OPA does: of a key that occurs several times in an object, the last value counts.
/// Anything but white space after the document is an error.
pub fn read(bytes: &[u8]) -> Result<Value, MaterialError> {
    document(bytes, Accepts { controls: false, repeated_keys: true })
}

/// As [`read`], but a key that occurs several times in an object is refused: readers differ in which value counts, so
/// what a policy judges might not be what others see.
pub fn read_evidence(bytes: &[u8]) -> Result<Value, MaterialError> {
    document(bytes, Accepts { controls: false, repeated_keys: false })
}

/// As [`read_evidence`], but control characters in strings are accepted as they are: some tools write them in their
/// findings.
pub fn read_report(bytes: &[u8]) -> Result<Value, MaterialError> {
    document(bytes, Accepts { controls: true, repeated_keys: false })
}

/// Reads JSON lines into a list; empty lines are ignored.
pub fn lines(bytes: &[u8]) -> Result<Value, MaterialError> {
    let mut items = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        items.push(read_report(line).map_err(|error| match error {
            MaterialError::Json { column, reason, .. } => MaterialError::Json { line: index + 1, column, reason },
            other => other,
        })?);
    }
    Ok(Value::from(items))
}

/// Whether bytes begin as JSON does, so that they were intended to be JSON even if they cannot be parsed.
///
/// Templates (`{{`), RTF (`{\`), the sections of INI and TOML (`[name]`) and the lines of many logs (`[12:00] …`) begin
/// with the same brackets.
pub fn is_meant(bytes: &[u8]) -> bool {
    let (text, is_wide) = match bytes {
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => (rest, true),
        [0xef, 0xbb, 0xbf, rest @ ..] => (rest, false),
        _ => (bytes, false),
    };
    // In UTF-16, the byte that is zero for the characters with which JSON begins.
    let is_gap = |byte: u8| byte.is_ascii_whitespace() || (is_wide && byte == 0);
    let mut rest = text.iter().copied().filter(|byte| !is_gap(*byte)).peekable();
    match rest.next() {
        Some(b'{') => !matches!(rest.next(), Some(b'{' | b'%' | b'#' | b'\\')),
        Some(b'[') => is_meant_list(rest),
        _ => false,
    }
}

/// Whether the text after a bracket, blanks skipped, begins like a list.
fn is_meant_list(mut rest: Peekable<impl Iterator<Item = u8>>) -> bool {
    const WORDS: [&[u8]; 5] = [b"true", b"false", b"null", b"NaN", b"Infinity"];
    const LONGEST: usize = 16;
    while rest.next_if_eq(&b'[').is_some() {}
    let mut word = Vec::new();
    while let Some(byte) = rest.next_if(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(byte)) {
        if word.len() < LONGEST {
            word.push(byte);
        }
    }
    if word.first().is_some_and(u8::is_ascii_alphabetic) && !WORDS.contains(&word.as_slice()) {
        return false;
    }
    match rest.next() {
        None | Some(b',') => true,
        Some(b']') => matches!(rest.next(), None | Some(b',' | b']' | b'}' | b'[' | b'{' | b'"')),
        Some(b'{' | b'"' | b'\'') => word.is_empty(),
        Some(b'/') => word.is_empty() && matches!(rest.next(), Some(b'/' | b'*')),
        Some(_) => false,
    }
}

fn document(bytes: &[u8], accepts: Accepts) -> Result<Value, MaterialError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        place(bytes, at, "bytes that are not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, keys: HashSet::new(), accepts };
    let value = reader.value(0).and_then(|value| {
        reader.space();
        if reader.at < reader.bytes.len() { Err("text after the end of the document".to_owned()) } else { Ok(value) }
    });
    value.map_err(|reason| place(reader.bytes, reader.at, reason))
}

/// Line and column of a byte offset.
fn place(bytes: &[u8], at: usize, reason: String) -> MaterialError {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    MaterialError::Json { line, column: before.len() - start + 1, reason }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The keys so far: thousands of similar objects share one copy of each key.
    keys: HashSet<Arc<str>>,
    accepts: Accepts,
}

impl Reader<'_> {
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH}"));
        }
        self.space();
        match self.bytes.get(self.at) {
            None => Err("the document ends too early".to_owned()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(Arc::from(self.string()?))),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err("expected a value".to_owned()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err("expected a value".to_owned())
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::from(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::from(items));
                }
                _ => return Err("expected , or ] in an array".to_owned()),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut fields = BTreeMap::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::from(fields));
        }
        loop {
            self.space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err("expected a key in double quotes".to_owned());
            }
            let begin = self.at;
            let key = self.string()?;
            let key = self.key(key);
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return Err("expected : after a key".to_owned());
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            if fields.insert(Value::String(key.clone()), value).is_some() && !self.accepts.repeated_keys {
                self.at = begin;
                return Err(format!("the key {key:?} occurs a second time in its object"));
            }
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::from(fields));
                }
                _ => return Err("expected , or } in an object".to_owned()),
            }
        }
    }

    fn key(&mut self, key: String) -> Arc<str> {
        if let Some(known) = self.keys.get(key.as_str()) {
            return known.clone();
        }
        let key: Arc<str> = Arc::from(key);
        self.keys.insert(key.clone());
        key
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err("a string does not end".to_owned()),
                Some(b'"') => break,
                // After a backslash it would become part of an escape below.
                Some(b'\\') if matches!(self.bytes.get(self.at + 1), Some(0..=0x1f)) => {
                    return Err("a control character after a backslash".to_owned());
                }
                Some(b'\\') => self.at += 2,
                Some(0..=0x1f) if !self.accepts.controls => return Err("a control character in a string".to_owned()),
                Some(_) => self.at += 1,
            }
        }
        let inside = &self.text[quote + 1..self.at];
        self.at += 1;
        if !inside.contains('\\') {
            return Ok(inside.to_owned());
        }
        let quoted = &self.text[quote..self.at];
        let escaped = quoted.contains(char::is_control).then(|| escape_controls(quoted));
        // The library decodes the escapes.
        serde_json::from_str(escaped.as_deref().unwrap_or(quoted)).map_err(|_| {
            self.at = quote;
            "a string with an invalid escape".to_owned()
        })
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, String> {
        const WRONG: &str = "not a number";
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let digits = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return Err(WRONG.to_owned());
        }
        let mut integer = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            integer = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(WRONG.to_owned());
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(WRONG.to_owned());
            }
        }
        let text = &self.text[start..self.at];
        if text.len() > MAX_NUMBER {
            return Err(format!("a number of more than {MAX_NUMBER} characters"));
        }
        if integer && let Ok(small) = text.parse::<i64>() {
            return Ok(Value::from(small));
        }
        match text.parse::<f64>() {
            // An integer keeps all its digits. One that exceeds the range of doubles could not be written as JSON
            // again.
            Ok(number) if number.is_finite() && integer => {
                Value::from_numeric_string(text).map_err(|_| WRONG.to_owned())
            }
            Ok(number) if number.is_finite() => Ok(Value::from(number)),
            _ => Err("a number out of range".to_owned()),
        }
    }
}

/// The quoted string with its control characters written as escapes.
fn escape_controls(quoted: &str) -> String {
    let mut escaped = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        match character {
            '\0'..='\u{1f}' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn big_integers_stay_exact() {
        let value = read(b"[9007199254740993, 340282366920938463463374607431768211457, -1]").unwrap();
        let numbers = value.as_array().unwrap();
        assert_ne!(numbers[0], read(b"9007199254740992").unwrap());
        assert_ne!(numbers[1], read(b"340282366920938463463374607431768211456").unwrap());
        assert_eq!(numbers[2], Value::from(-1i64));
    }

    #[test]
    fn agrees_with_the_library_on_ordinary_documents() {
        for text in [
            r#"{"a":[1,2.5,-0.001e3,true,false,null,"x"],"b":{"c":"\u00e9\n\"\\ \ud83d\ude00"},"":[]}"#,
            " [ ] ",
            "\"\"",
            "{}",
            "1E2",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), Value::from_json_str(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_the_library_refuses_is_refused() {
        for text in [
            "", "{", "[1,]", "{\"a\":}", "01", "1.", "-", "+1", "tru", "\"\\x\"", "\"\n\"", "[] []", "{a:1}", "1e",
            "'a'", "\"\\",
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_report_may_have_control_characters_in_its_strings() {
        let text = "{\"a\":\"one\ttwo\nthree\", \"b\":\"\\u00e9\u{1}\"}";
        assert!(read(text.as_bytes()).unwrap_err().to_string().contains("a control character in a string"));
        let value = serde_json::to_value(read_report(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({"a": "one\ttwo\nthree", "b": "é\u{1}"}));
        // A control character after a backslash cannot be intended.
        for text in ["\"\\\n\"", "\"\\\u{7f}\"", "\"\t\\\u{85}\""] {
            for wrong in [read(text.as_bytes()), read_report(text.as_bytes())] {
                assert!(wrong.is_err(), "{text:?}");
            }
        }
    }

    #[test]
    fn json_lines_become_a_list() {
        let value = lines(b"{\"a\":1}\n\n {\"a\":2}\r\n").unwrap();
        assert_eq!(serde_json::to_value(value).unwrap(), serde_json::json!([{"a": 1}, {"a": 2}]));
        assert_eq!(lines(b"").unwrap(), Value::from(Vec::<Value>::new()));
        assert!(lines(b"{}\n{]").unwrap_err().to_string().contains("line 2, column 2"));
    }

    #[test]
    fn an_error_names_line_and_column() {
        let error = read(b"{\n  \"a\": 1,\n  \"b\": x\n}").unwrap_err();
        assert_eq!(error.to_string(), "not JSON: line 3, column 8: expected a value");
    }

    #[test]
    fn nesting_and_digits_are_bounded() {
        let deep = "[".repeat(1_000_000);
        assert!(read(deep.as_bytes()).unwrap_err().to_string().contains("nested deeper"));
        let long = "1".repeat(1_000_000);
        assert!(read(long.as_bytes()).unwrap_err().to_string().contains("more than 1000"));
        assert!(read(b"1e999999999").unwrap_err().to_string().contains("out of range"));
        let whole = |digits: usize| read("5".repeat(digits).as_bytes());
        assert!(whole(310).unwrap_err().to_string().contains("out of range"));
        assert!(!whole(308).unwrap().to_string().is_empty(), "an accepted number can be written");
    }

    #[test]
    fn what_was_meant_as_json_is_told_from_what_only_begins_with_a_bracket() {
        for text in [
            "{\"a\":1,}",
            "{a: 1}",
            "{'a': 1}",
            "{",
            "[",
            "\u{feff} \n {\"a\": 1e999}",
            "[[[[[[",
            "[[1, 2], [1e999]]",
            "[0x1F, 1]",
            "[-1 , 2",
            "[true, x]",
            "[NaN]",
            "[1]\n[2]",
            "[{\"a\":1}",
            "[\"a\",]",
            "['a']",
            "[ // all\n 1]",
            "{\"a\":1}\n{\"a\":2}",
        ] {
            assert!(is_meant(text.as_bytes()), "{text}");
            assert!(read_report(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "",
            "text",
            "{{ template }}",
            "{% if %}",
            "{\\rtf1",
            "[package]\nname = \"a\"",
            "[[bin]]",
            "[nullable]",
            "[1]\nkey = 1",
            "[2026-11-29 10:00:00] started",
            "[    0.000000] Linux version",
            "[INFO] started",
            "[a link](https://example.com)",
            "[](x)",
            "[/etc/hosts]",
            "// {\"a\": 1}",
        ] {
            assert!(!is_meant(text.as_bytes()), "{text}");
        }
        let wide = "\u{feff} {\"a\":1}".encode_utf16();
        assert!(is_meant(&wide.clone().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()));
        assert!(is_meant(&wide.flat_map(u16::to_be_bytes).collect::<Vec<u8>>()));
    }

    #[test]
    fn the_last_of_two_like_keys_counts() {
        assert_eq!(read(br#"{"a":1,"a":2}"#).unwrap(), read(br#"{"a":2}"#).unwrap());
    }
}
