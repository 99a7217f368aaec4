//! Labels and unique keys: the names that callers give to their operations.

use std::collections::BTreeMap;

use crate::Violation;

/// Labels by their keys.
pub type Labels = BTreeMap<String, String>;

/// The maximum number of labels of an operation, not counting [`RETRY_OF`].
pub const MAX_LABELS: usize = 16;
/// The maximum length of a label's key, in bytes.
pub const MAX_LABEL_KEY_BYTES: usize = 63;
/// The maximum length of a label's value, in bytes.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// The maximum length of a unique key, in bytes.
pub const MAX_UNIQUE_KEY_BYTES: usize = 255;

/// The label that links an operation to the one that it repeats with another input. Its value is the id of that
/// operation.
pub const RETRY_OF: &str = "retry_of";

/// Checks the key of a label: 1 to 63 lower-case letters, digits, `.`, `_`, `-` and `/`, beginning and ending with a
/// letter or a digit. Only lower case is allowed, so that no two keys look alike; spaces, quotes and operators are not
/// allowed, so that keys need no quotes in a filter.
///
/// # Errors
/// A [`Violation`] of `field`.
pub fn check_label_key(field: &str, key: &str) -> Result<(), Violation> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let holds_well = key.chars().all(|c| is_plain(c) || "._-/".contains(c));
    if holds_well && key.starts_with(is_plain) && key.ends_with(is_plain) && key.len() <= MAX_LABEL_KEY_BYTES {
        return Ok(());
    }
    let shown = &key[..key.floor_char_boundary(MAX_LABEL_KEY_BYTES)];
    Err(Violation::new(
        field,
        format!(
            "{shown:?} is not a valid label key: it must be 1 to {MAX_LABEL_KEY_BYTES} lower-case letters, digits, '.', '_', '-' \
             or '/', beginning and ending with a letter or a digit, e.g. team or example.com/team"
        ),
    ))
}

/// Checks the value of a label: printable text of at most 255 bytes, which may be empty.
///
/// # Errors
/// A [`Violation`] of `field`.
pub fn check_label_value(field: &str, value: &str) -> Result<(), Violation> {
    check_bounded(field, value, MAX_LABEL_VALUE_BYTES)
}

/// Checks a unique key: printable text of 1 to 255 bytes.
///
/// # Errors
/// A [`Violation`] of `field`.
pub fn check_unique_key(field: &str, key: &str) -> Result<(), Violation> {
    if key.is_empty() {
        return Err(Violation::new(field, format!("must be 1 to {MAX_UNIQUE_KEY_BYTES} bytes of printable text")));
    }
    check_bounded(field, key, MAX_UNIQUE_KEY_BYTES)
}

fn check_bounded(field: &str, text: &str, most: usize) -> Result<(), Violation> {
    if text.len() > most {
        return Err(Violation::new(field, format!("is {} bytes long; at most {most} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Violation::new(field, "contains a control character; use printable text only"));
    }
    Ok(())
}

/// Everything that is wrong with the labels of an operation.
pub(crate) fn violations(labels: &Labels) -> Vec<Violation> {
    let mut found = Vec::new();
    let count = labels.keys().filter(|key| *key != RETRY_OF).count();
    if count > MAX_LABELS {
        found.push(Violation::new("labels", format!("there are {count} labels; at most {MAX_LABELS} are allowed")));
        // A list of everything that is wrong with thousands of labels helps nobody.
        return found;
    }
    for (key, value) in labels {
        match check_label_key("labels", key) {
            Ok(()) => found.extend(check_label_value(&format!("labels.{key}"), value).err()),
            Err(violation) => found.push(violation),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_labels_are_names_in_lower_case() {
        for good in ["a", "7", "team", "retry_of", "example.com/team", "a-b_c.d/e", &"k".repeat(63)] {
            assert_eq!(check_label_key("labels", good), Ok(()), "{good}");
        }
        for bad in ["", "Team", "a b", "-a", "a-", ".", "é", "a=b", "a\"", &"k".repeat(64)] {
            assert!(check_label_key("labels", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_and_unique_keys_are_bounded_printable_text() {
        assert_eq!(check_label_value("f", ""), Ok(()));
        assert_eq!(check_label_value("f", &"é".repeat(127)), Ok(()));
        assert!(check_label_value("f", &"a".repeat(256)).is_err());
        assert!(check_label_value("f", "a\u{0}b").is_err());
        assert_eq!(check_unique_key("f", "order 7"), Ok(()));
        assert!(check_unique_key("f", "").is_err());
        assert!(check_unique_key("f", &"a".repeat(256)).is_err());
    }

    #[test]
    fn every_label_that_is_wrong_is_told_by_its_name() {
        let label = |n: usize| (format!("l{n}"), n.to_string());
        let mut labels: Labels = (0..MAX_LABELS).map(label).collect();
        labels.insert(RETRY_OF.to_owned(), "an id".to_owned());
        assert_eq!(violations(&labels), [], "the link to what is repeated does not count");
        labels.insert("l1".to_owned(), "a\nb".to_owned());
        labels.remove("l2");
        labels.insert("B".to_owned(), String::new());
        let fields: Vec<String> = violations(&labels).into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["labels", "labels.l1"]);
        let many: Labels = (0..=MAX_LABELS).map(label).collect();
        assert_eq!(violations(&many), [Violation::new("labels", "there are 17 labels; at most 16 are allowed")]);
    }
}
