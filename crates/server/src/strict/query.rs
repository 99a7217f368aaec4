//! The part of a URL after `?`, as HTML forms write it.

use std::borrow::Cow;

use operations::Violation;
use percent_encoding::percent_decode;

use super::quoted;
use super::value::Value;

/// The parameters in their order, decoded; and which ones cannot be decoded.
pub(super) fn members(query: &str) -> (Vec<(Cow<'_, str>, Value<'_>)>, Vec<Violation>) {
    const UNREADABLE: &str = "is not percent-encoded UTF-8";
    let (mut members, mut violations) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(name), decode(value)) {
            (Some(name), Some(value)) => members.push((name, Value::Text(value))),
            (Some(name), None) => violations.push(Violation::new(quoted(&name), UNREADABLE)),
            (None, _) => violations.push(Violation::new(quoted(name), UNREADABLE)),
        }
    }
    (members, violations)
}

/// Decodes `%41` and `+` (a space, as in HTML forms); `None` when it is not valid percent-encoding of UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let escapes_are_whole = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if !escapes_are_whole {
        return None;
    }
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode(spaced.as_bytes()).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode(bytes).decode_utf8().ok()
}
