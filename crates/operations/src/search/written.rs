//! The comparisons of a filter as they were written, for callers that show a filter in parts and assemble it again.

use super::lexer::{Token, is_word, tokens};
use super::parse::is_keyword;
use super::{InvalidFilter, MAX_COMPARISONS, MAX_FILTER_BYTES, parse, print};

/// One comparison of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The name of the field, e.g. `status` or `labels.team`.
    pub field: String,
    /// `=`, `!=`, `>=`, `>`, `<=`, `<` or `:`; negated where `NOT` precedes the comparison.
    pub sign: &'static str,
    /// The values; an operation matches if it has any of them.
    pub values: Vec<String>,
    /// The whole comparison, character by character.
    pub text: String,
}

/// Splits a filter into its comparisons. Joined by `AND`, their texts are the filter again; durations stay durations.
///
/// # Errors
/// [`InvalidFilter`], where [`Search::parse`](super::Search::parse) refuses the syntax as well. The values are not
/// checked.
pub fn written(filter: &str) -> Result<Vec<Written>, InvalidFilter> {
    if filter.len() > MAX_FILTER_BYTES {
        return super::Search::parse(filter, crate::Timestamp::from_millis(0)).map(|_| Vec::new());
    }
    let found = parse::comparisons(tokens(filter)?, MAX_COMPARISONS)?;
    let chars: Vec<char> = filter.chars().collect();
    let written = found.into_iter().map(|(position, comparison)| Written {
        field: comparison.field.name(),
        sign: sign(&comparison.sign),
        values: comparison.values.into_iter().map(|(_, value)| value).collect(),
        text: chars[position.start - 1..position.end - 1].iter().collect::<String>().trim_end().to_owned(),
    });
    Ok(written.collect())
}

/// A text in the form in which a filter accepts it as a value: in quotes where it needs them.
pub fn value(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(is_word) && !is_keyword(text);
    if is_plain { text.to_owned() } else { print::quoted(text) }
}

fn sign(token: &Token) -> &'static str {
    match token {
        Token::NotEqual => "!=",
        Token::Less => "<",
        Token::LessOrEqual => "<=",
        Token::Greater => ">",
        Token::GreaterOrEqual => ">=",
        Token::Has => ":",
        _ => "=",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::{Search, Timestamp};

    fn read(filter: &str) -> Result<Search, InvalidFilter> {
        Search::parse(filter, Timestamp::from_millis(1_800_000_000_000))
    }

    #[test]
    fn comparisons_come_as_they_were_written() {
        let filter = r#" kind=(scan OR "a b")  AND created_at >= "-1h" AND NOT status = FAILED AND labels.é = x"#;
        assert_eq!(written(filter).unwrap_err(), read(filter).unwrap_err(), "the error is the same as everywhere else");
        let filter = r#" kind=(scan OR "a b")  AND created_at >= "-1h" AND NOT status = FAILED AND labels.team="é" "#;
        let found = written(filter).unwrap();
        let texts: Vec<&str> = found.iter().map(|one| &*one.text).collect();
        assert_eq!(
            texts,
            [r#"kind=(scan OR "a b")"#, r#"created_at >= "-1h""#, "NOT status = FAILED", r#"labels.team="é""#]
        );
        let parts: Vec<_> = found.iter().map(|one| (&*one.field, one.sign, one.values.join("|"))).collect();
        assert_eq!(parts[0], ("kind", "=", "scan|a b".to_owned()));
        assert_eq!(parts[1], ("created_at", ">=", "-1h".to_owned()));
        assert_eq!(parts[2], ("status", "!=", "FAILED".to_owned()));
        assert_eq!(parts[3], ("labels.team", "=", "é".to_owned()));
        assert_eq!(written("  ").unwrap(), []);
        assert!(written("kind = a OR kind = b").is_err());
    }

    proptest! {
        #[test]
        fn a_filter_that_was_taken_apart_means_the_same(filter in "[a-z_ =!<>:()\"\\\\AORNDT0-9.é-]{0,60}") {
            let apart = written(&filter);
            if let Ok(search) = read(&filter) {
                let texts: Vec<String> = apart.unwrap().into_iter().map(|one| one.text).collect();
                prop_assert_eq!(read(&texts.join(" AND ")), Ok(search));
            }
        }

        #[test]
        fn a_value_is_read_as_it_is(text in "[ -~\n\r\té]{0,20}") {
            let filter = format!("error_message : {}", value(&text));
            if let Ok(found) = written(&filter) {
                prop_assert_eq!(&found[0].values, &[text]);
            }
        }
    }
}
