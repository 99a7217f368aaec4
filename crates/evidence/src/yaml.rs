//! Reads YAML, after checking that it is harmless.
//!
//! A YAML reader copies the target of an alias each time that it is used, so that a small document can become
//! arbitrarily large, and takes quadratic time for nested lists. Therefore [`check`] first scans the text, without
//! recursion and in linear time, and refuses anchors, aliases, tags and deep nesting. It detects the beginnings of
//! nodes as the reader does: text in quotes, in block scalars, in comments or within a plain scalar is ignored.

use serde::de::DeserializeOwned;

/// The maximum nesting depth of lists and mappings, in either style.
const MAX_NESTING: usize = 64;

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// Counted from 1; 0 when it is not known.
    pub line: usize,
    /// Counted from 1; 0 when it is not known.
    pub column: usize,
    /// The message; it names the line and the column if they are known.
    pub message: String,
}

/// Reads a document.
///
/// # Errors
/// Those of [`Scanned::new`] and [`Scanned::read`].
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    Scanned::new(text)?.read()
}

/// A document that is harmless and has no key twice in a mapping.
pub struct Scanned<'t> {
    text: &'t str,
    value: yaml_serde::Value,
}

impl Scanned<'_> {
    /// Looks through a document.
    ///
    /// # Errors
    /// [`YamlError`] when the text is not YAML, has a key twice in a mapping, or is [refused](check).
    pub fn new(text: &str) -> Result<Scanned<'_>, YamlError> {
        check(text)?;
        // These values refuse keys that occur twice; maps in other types would keep the last value.
        Ok(Scanned { text, value: parsed(text)? })
    }

    /// The text of a member of the outermost mapping.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.value.get(key)?.as_str()
    }

    /// Reads the document. Numbers that are asked for as texts are as they were written.
    ///
    /// # Errors
    /// [`YamlError`] when the document does not have the required type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, YamlError> {
        parsed(self.text)
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    yaml_serde::from_str(text).map_err(|error| {
        let place = error.location();
        YamlError {
            line: place.as_ref().map_or(0, yaml_serde::Location::line),
            column: place.as_ref().map_or(0, yaml_serde::Location::column),
            message: error.to_string(),
        }
    })
}

/// Refuses anchors, aliases, tags and nesting of more than 64 levels.
///
/// # Errors
/// [`YamlError`] with the position. A text that is not YAML may pass: the reader refuses it.
pub fn check(text: &str) -> Result<(), YamlError> {
    let mut scanner =
        Scanner { rest: text.trim_start_matches('\u{feff}'), line: 0, column: 0, open: 0, indents: vec![], key: None };
    while scanner.token()? {}
    Ok(())
}

struct Scanner<'a> {
    rest: &'a str,
    /// Counted from 0, as is the column, in characters.
    line: usize,
    column: usize,
    /// The number of open brackets.
    open: usize,
    /// The columns of the open lists and mappings in block style, the outermost first.
    indents: Vec<usize>,
    /// The beginning of the node that a following `:` would make a key.
    key: Option<(usize, usize)>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Whether the character at this distance is a blank, a line break or the end.
    fn is_gap(&self, further: usize) -> bool {
        self.rest.chars().nth(further).is_none_or(|c| is_blank(c) || is_break(c))
    }

    fn skip(&mut self) {
        let mut characters = self.rest.chars();
        let Some(first) = characters.next() else { return };
        let second = characters.next();
        self.rest = &self.rest[first.len_utf8()..];
        if is_break(first) && !(first == '\r' && second == Some('\n')) {
            (self.line, self.column) = (self.line + 1, 0);
        } else {
            self.column += 1;
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.skip();
        }
    }

    fn skip_line(&mut self) {
        self.skip_while(|c| !is_break(c));
    }

    fn is_document_mark(&self) -> bool {
        self.column == 0 && (self.rest.starts_with("---") || self.rest.starts_with("...")) && self.is_gap(3)
    }

    fn refuse(&self, message: &str) -> YamlError {
        let (line, column) = (self.line + 1, self.column + 1);
        YamlError { line, column, message: format!("{message} at line {line} column {column}") }
    }

    /// A list or a mapping in block style begins, or continues, at this column.
    fn roll(&mut self, column: usize) -> Result<(), YamlError> {
        if self.open == 0 && self.indents.last().is_none_or(|indent| *indent < column) {
            self.indents.push(column);
            self.deep()?;
        }
        Ok(())
    }

    fn deep(&self) -> Result<(), YamlError> {
        if self.indents.len() + self.open > MAX_NESTING {
            return Err(self.refuse(&format!("nested deeper than {MAX_NESTING} levels")));
        }
        Ok(())
    }

    /// Consumes the next token; returns false at the end.
    fn token(&mut self) -> Result<bool, YamlError> {
        self.skip_while(|c| is_blank(c) || is_break(c));
        let Some(first) = self.peek() else { return Ok(false) };
        if first == '#' {
            self.skip_line();
            return Ok(true);
        }
        if self.open == 0 {
            let column = self.column;
            self.indents.retain(|indent| *indent <= column);
        }
        if self.is_document_mark() {
            self.indents.clear();
            (0..3).for_each(|_| self.skip());
            return Ok(true);
        }
        if self.column == 0 && first == '%' {
            self.skip_line();
            return Ok(true);
        }
        if self.open == 0 {
            self.key = match first {
                ':' if self.is_gap(1) => self.key,
                _ => Some((self.line, self.column)),
            };
        }
        match first {
            '[' | '{' => {
                self.open += 1;
                self.deep()?;
                self.skip();
            }
            ']' | '}' => {
                self.open = self.open.saturating_sub(1);
                self.skip();
            }
            '-' | '?' if self.is_gap(1) => {
                self.roll(self.column)?;
                self.skip();
            }
            ':' if self.open > 0 || self.is_gap(1) => {
                let key = self.key.take().filter(|(line, _)| *line == self.line);
                self.roll(key.map_or(self.column, |(_, column)| column))?;
                self.skip();
            }
            ',' => self.skip(),
            '?' if self.open > 0 => self.skip(),
            '&' => {
                return Err(self.refuse(
                    "anchors are not allowed: write the node out where it is needed, or put the text in quotes",
                ));
            }
            '*' => {
                return Err(self.refuse(
                    "aliases are not allowed: write the node out where it is needed, or put the text in quotes",
                ));
            }
            '!' => return Err(self.refuse("tags are not allowed: leave it out, or put the text in quotes")),
            '|' | '>' if self.open == 0 => self.block_scalar(),
            '\'' | '"' => self.quoted(first),
            _ => self.plain(),
        }
        Ok(true)
    }

    fn quoted(&mut self, quote: char) {
        self.skip();
        while let Some(next) = self.peek() {
            self.skip();
            if next == '\\' && quote == '"' {
                self.skip();
            } else if next == quote {
                if quote == '"' || self.peek() != Some('\'') {
                    return;
                }
                self.skip();
            }
        }
    }

    fn plain(&mut self) {
        let least = self.indents.last().map_or(0, |indent| indent + 1);
        loop {
            if self.is_document_mark() || self.peek() == Some('#') {
                return;
            }
            while let Some(next) = self.peek() {
                let ends = match next {
                    ':' => self.is_gap(1),
                    ',' | '[' | ']' | '{' | '}' => self.open > 0,
                    _ => false,
                };
                if ends {
                    return;
                }
                if is_blank(next) || is_break(next) {
                    break;
                }
                self.skip();
            }
            if self.peek().is_none() {
                return;
            }
            self.skip_while(|c| is_blank(c) || is_break(c));
            if self.open == 0 && self.column < least {
                return;
            }
        }
    }

    fn block_scalar(&mut self) {
        self.skip();
        let mut wanted = None;
        while let Some(next @ ('+' | '-' | '0'..='9')) = self.peek() {
            wanted = next.to_digit(10).or(wanted);
            self.skip();
        }
        self.skip_line();
        self.skip_break();
        let around = self.indents.last().copied();
        let given = wanted.filter(|digit| *digit > 0).and_then(|digit| usize::try_from(digit).ok());
        let mut indent = given.map(|more| around.unwrap_or(0) + more);
        self.indentation(&mut indent, around.map_or(1, |around| around + 1));
        while Some(self.column) == indent && self.peek().is_some() {
            self.skip_line();
            self.skip_break();
            self.indentation(&mut indent, 0);
        }
    }

    fn skip_break(&mut self) {
        if self.rest.starts_with("\r\n") {
            self.skip();
        }
        if self.peek().is_some_and(is_break) {
            self.skip();
        }
    }

    /// Skips the indentation of a block scalar's next line and the empty lines before it; determines the indentation if
    /// it is not known yet.
    fn indentation(&mut self, indent: &mut Option<usize>, least: usize) {
        let mut widest = 0;
        loop {
            while self.peek() == Some(' ') && indent.is_none_or(|indent| self.column < indent) {
                self.skip();
            }
            widest = widest.max(self.column);
            if !self.peek().is_some_and(is_break) {
                break;
            }
            self.skip_break();
        }
        indent.get_or_insert(widest.max(least));
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(text: &str) -> String {
        check(text).unwrap_err().message
    }

    #[test]
    fn anchors_aliases_and_tags_are_refused_with_their_place_wherever_a_node_may_begin() {
        for (text, place) in [
            ("a: &x 1", "line 1 column 4"),
            ("&x a: 1", "line 1 column 1"),
            ("a: 1\nb: *x", "line 2 column 4"),
            ("- *x", "line 1 column 3"),
            ("[a, *x]", "line 1 column 5"),
            ("{a: [1, {b: &x 1}]}", "line 1 column 13"),
            ("? *x\n: 1", "line 1 column 3"),
            ("--- &x\na: 1", "line 1 column 5"),
            ("a: |\n  *text\nb: *x", "line 3 column 4"),
            ("a: |2\n   text\n  text\nb:\n  &x 1", "line 5 column 3"),
            ("- - a: |\n      t\n    b: &x 1", "line 3 column 8"),
            ("a: 'it''s'\nb: \"\\\"\" \nc: *x", "line 3 column 4"),
            ("a: b # &c\n*x : 1", "line 2 column 1"),
            ("a: |\n*x", "line 2 column 1"),
            ("a: >-\n\n   t\n  *x", "line 4 column 3"),
            ("a: x\u{2028}b: *x", "line 2 column 4"),
        ] {
            assert!(refusal(text).ends_with(place), "{text:?}: {}", refusal(text));
        }
        assert!(refusal("a: !!binary eA==").starts_with("tags are not allowed"));
    }

    #[test]
    fn what_only_looks_like_one_passes() {
        for text in [
            "a: b & c * d",
            "a: x&y *z",
            "a: '*x &y'",
            "a: \"\\\\\\\"*x\"",
            "a: |\n  *x\n\n  &y : *z\nb: 1",
            "a: >+2\n   *x\n  &y\n",
            "spec:\n  policies:\n  - embedded: |\n      a := b\n      *x\n    kind: SARIF",
            "a: plain\n  text *and* more\nb: 1",
            "# &a *b\na: 1 # *c",
            "[\"*\", '&']",
            "a: \"over\n  *lines\"",
            "{\"a\":[\"*.json\",\"\\\"&\"]}",
            "a: |\r\n  *x\r\nb: 1",
        ] {
            check(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            read::<serde_json::Value>(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        }
    }

    #[test]
    fn nesting_is_bounded_in_either_style() {
        for (deep, fine) in [
            ("[".repeat(200_000), format!("{}{}", "[".repeat(64), "]".repeat(64))),
            ("{a: ".repeat(100_000), "{a: [1]}".to_owned()),
            ("- ".repeat(200_000), "- ".repeat(64)),
            ("? ".repeat(200_000), "? a".to_owned()),
            ((0..500).map(|at| format!("{}a:\n", " ".repeat(at))).collect(), "a:\n b:\n  c: 1".to_owned()),
        ] {
            assert!(refusal(&deep).contains("nested deeper than 64 levels"));
            check(&fine).unwrap();
        }
        let wide = "a: [[1], [2]]\n".repeat(10_000);
        check(&wide).unwrap();
    }

    #[test]
    fn an_error_of_the_reader_has_its_place() {
        let error = read::<serde_json::Value>("a: 1\nb: [").unwrap_err();
        assert_eq!((error.line > 1, error.column > 0), (true, true), "{error:?}");
    }
}
