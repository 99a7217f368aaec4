//! The one form that all spellings of a JSON value share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Members, Text, quoted};

/// Nesting deeper than this is refused. A text is read once per level, so this bounds the work too.
const MAX_DEPTH: usize = 64;

/// The one form of a JSON value that all its spellings share: members sorted, no space. Numbers keep their digits.
///
/// Refuses what is ambiguous: a member that is given twice, at any depth.
pub(crate) fn canonical(raw: &RawValue) -> Result<String, String> {
    let mut text = String::with_capacity(raw.get().len());
    write_canonical(raw, 0, &mut text)?;
    Ok(text)
}

fn write_canonical(raw: &RawValue, depth: usize, text: &mut String) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    let json = raw.get();
    let invalid = |error: serde_json::Error| format!("is not valid JSON: {error}");
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members): Members<{ usize::MAX }> = serde_json::from_str(json).map_err(invalid)?;
            if let Some(name) = duplicates(&members).next() {
                return Err(format!("has the member {:?} more than once", quoted(name)));
            }
            let sorted: BTreeMap<_, _> = members.into_iter().collect();
            text.push('{');
            for (index, (name, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&name).expect("a string always serialises"));
                text.push(':');
                write_canonical(value, depth + 1, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(json).map_err(invalid)?;
            text.push('[');
            for (index, value) in values.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(value, depth + 1, text)?;
            }
            text.push(']');
        }
        // Decoding unites the spellings of a string, and finds lone surrogates.
        Some(b'"') => {
            let Text(value) = serde_json::from_str(json).map_err(invalid)?;
            text.push_str(&serde_json::to_string(&value).expect("a string always serialises"));
        }
        _ => text.push_str(json),
    }
    Ok(())
}

fn duplicates<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> impl Iterator<Item = &'m str> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (name, _) in members {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    fn canonical(json: &str) -> Result<String, String> {
        super::canonical(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_canonical_form_unites_spellings_and_keeps_digits() {
        let one = canonical(r#"{ "b": [1.0, 123456789012345678901234567890], "a": "\u0041" }"#).unwrap();
        assert_eq!(one, r#"{"a":"A","b":[1.0,123456789012345678901234567890]}"#);
        assert_eq!(canonical(&one).unwrap(), one);
        assert_ne!(canonical("1.0"), canonical("1"));
    }

    #[test]
    fn doubled_members_and_deep_nesting_are_refused_at_any_depth() {
        assert!(canonical(r#"[{"a":{"b":1,"b":2}}]"#).unwrap_err().contains("more than once"));
        assert!(canonical(r#"{"a":1,"\u0061":2}"#).unwrap_err().contains("more than once"));
        assert!(canonical(&"[".repeat(64).add_closing()).is_ok());
        assert!(canonical(&"[".repeat(100_000).add_closing()).unwrap_err().contains("deeper"));
    }

    trait AddClosing {
        fn add_closing(self) -> String;
    }

    impl AddClosing for String {
        fn add_closing(self) -> String {
            let closing = "]".repeat(self.len());
            self + &closing
        }
    }
}
