//! Which texts are accepted, and how a violation is reported.

/// The maximum length of a name, an id or a filter value, in bytes.
///
/// 256 is the limit of api.md for string parameters; stored values obey it, too, or nobody could filter by them.
pub const MAX_TEXT_BYTES: usize = 256;

/// What is wrong with one field of a request: sent as a field violation of `google.rpc.BadRequest`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Violation {
    /// The path of the field as the client wrote it, e.g. `pagination.page_size`.
    pub field: String,
    /// What is wrong and what would be valid.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Violation {
        Violation { field: field.into(), description: description.into() }
    }
}

/// Accepts any text of at most [`MAX_TEXT_BYTES`] bytes without control characters, which may be empty.
pub fn check_text(field: &str, value: &str) -> Result<(), Violation> {
    if value.len() > MAX_TEXT_BYTES {
        return Err(Violation::new(
            field,
            format!("is {} bytes long; at most {MAX_TEXT_BYTES} are allowed", value.len()),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(Violation::new(field, "contains a control character; use printable text only"));
    }
    Ok(())
}

/// Checks the name of a kind: 1 to 128 letters, digits, `_`, `-`, `.` and `/`, beginning with a letter or digit.
pub fn check_kind(field: &str, value: &str) -> Result<(), Violation> {
    let starts_well = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    let holds_well = value.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    if starts_well && holds_well && value.len() <= 128 {
        return Ok(());
    }
    Err(Violation::new(
        field,
        "must be 1 to 128 letters, digits, '_', '-', '.' or '/', starting with a letter or digit, e.g. evidence_evaluation",
    ))
}

/// Checks the name of an organization or of a token: printable text of 1 to 128 bytes without surrounding spaces, and
/// not `.` or `..`, which clients remove from the path of a URL.
pub fn check_name(field: &str, value: &str) -> Result<(), Violation> {
    check_text(field, value)?;
    if matches!(value, "." | "..") {
        return Err(Violation::new(field, "must not be . or .., which have a meaning of their own in a URL"));
    }
    if value.is_empty() || value.trim() != value || value.len() > 128 {
        return Err(Violation::new(
            field,
            "must be 1 to 128 bytes of printable text without leading or trailing spaces",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_printable() {
        assert!(check_text("f", "").is_ok());
        assert!(check_text("f", &"é".repeat(128)).is_ok());
        assert!(check_text("f", &"a".repeat(257)).is_err());
        assert!(check_text("f", "a\u{0}b").is_err());
        assert!(check_text("f", "a\u{85}b").is_err());
    }

    #[test]
    fn kinds_are_names() {
        for good in ["evidence_evaluation", "a", "9/b.c-d"] {
            assert!(check_kind("kind", good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "a b", "é", &"a".repeat(129)] {
            assert!(check_kind("kind", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_have_no_spaces_around() {
        assert!(check_name("organization", "Acme, Inc.").is_ok());
        for bad in ["", " a", "a ", "a\n"] {
            assert!(check_name("organization", bad).is_err(), "{bad:?}");
        }
    }
}
