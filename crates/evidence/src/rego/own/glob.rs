//! `glob.match`, as OPA's glob library implements it: `*` and `?` stop at delimiters, `**` does not.
//!
//! The engine's own implementation follows the rules for file names, where `**/vendor/**` matches `vendor/b`; here, as
//! in OPA, there must be something before the `/` that precedes `vendor`.

use std::cell::RefCell;

use regex::Regex;
use regorus::Value;

use super::{Outcome, Refused, term, text};

/// The maximum length of a pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// The maximum nesting depth of braces.
const MAX_BRACES: usize = 16;
/// The number of compiled patterns that are cached.
const KEPT: usize = 64;

type Compiled = (String, Vec<char>, Regex);

thread_local! {
    /// The patterns that this thread has compiled, the most recently used at the end: policies use the same one
    /// repeatedly.
    static COMPILED: RefCell<Vec<Compiled>> = const { RefCell::new(Vec::new()) };
}

pub fn matches(args: &[Value]) -> Outcome {
    let (pattern, delimiters, candidate) = (text(args, 1)?, delimiters(&args[1])?, text(args, 3)?);
    if pattern.len() > MAX_PATTERN {
        return Err(Refused::new(format!("a pattern of more than {MAX_PATTERN} bytes")));
    }
    if let Some((before, after)) = around(pattern, &delimiters) {
        return Ok(Value::Bool(candidate.starts_with(before) && candidate.ends_with(after)));
    }
    COMPILED.with_borrow_mut(|kept| {
        let known = kept.iter().rposition(|(text, with, _)| text == pattern && *with == delimiters);
        match known {
            Some(at) => kept[at..].rotate_left(1),
            None => {
                let regex = compile(pattern, &delimiters)?;
                if kept.len() >= KEPT {
                    kept.remove(0);
                }
                kept.push((pattern.to_owned(), delimiters, regex));
            }
        }
        let (_, _, regex) = kept.last().expect("it was put there");
        Ok(Value::Bool(regex.is_match(candidate)))
    })
}

/// `None` for `null`: nothing stops a `*`. An empty list stands for a dot.
fn delimiters(value: &Value) -> Result<Vec<char>, Refused> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(Refused::new(format!("operand 2 must be an array or null, not {}", term::kind(other)))),
    };
    if items.is_empty() {
        return Ok(vec!['.']);
    }
    let single = |item: &Value| match item {
        Value::String(text) => text.chars().next().filter(|first| first.len_utf8() == text.len()),
        _ => None,
    };
    let delimiters = items.iter().map(single).collect::<Option<Vec<char>>>();
    delimiters.ok_or_else(|| Refused::new("a delimiter is a string of one character"))
}

/// `glob.quote_meta`: a pattern that matches the text.
pub fn quote_meta(args: &[Value]) -> Outcome {
    let mut quoted = String::new();
    for character in text(args, 1)?.chars() {
        if matches!(character, '\\' | '*' | '?' | '[' | ']' | '{' | '}') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Ok(Value::from(quoted))
}

/// The texts before and after a pattern's only wildcard, if that matches anything.
///
/// OPA's library only checks that a text begins and ends with these, so that `src/**/test` matches `src/test`, which
/// policies rely on.
fn around<'p>(pattern: &'p str, delimiters: &[char]) -> Option<(&'p str, &'p str)> {
    let wildcard = if pattern.contains("**") { "**" } else { "*" };
    let (before, after) = pattern.split_once(wildcard)?;
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['*', '?', '[', ']', '{', '}', '\\', ',']);
    let stops = wildcard == "*" && !delimiters.is_empty();
    (!stops && is_plain(before) && is_plain(after)).then_some((before, after))
}

fn compile(pattern: &str, delimiters: &[char]) -> Result<Regex, Refused> {
    let mut translation = Translation { out: String::from("(?s)\\A"), single: single(delimiters), braces: 0 };
    let characters: Vec<char> = pattern.chars().collect();
    translation.all(&characters).map_err(|what| Refused::new(format!("the glob {pattern:?}: {what}")))?;
    translation.out.push_str("\\z");
    Regex::new(&translation.out).map_err(|_| Refused::new(format!("the glob {pattern:?} is too complex")))
}

/// An expression for one character that is not a delimiter.
fn single(delimiters: &[char]) -> String {
    if delimiters.is_empty() {
        return ".".to_owned();
    }
    let mut class = String::from("[^");
    delimiters.iter().for_each(|delimiter| escape(*delimiter, &mut class));
    class.push(']');
    class
}

fn escape(character: char, out: &mut String) {
    if character.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(character);
}

/// A regular expression under construction.
struct Translation {
    out: String,
    single: String,
    /// The number of open braces.
    braces: usize,
}

impl Translation {
    fn all(&mut self, pattern: &[char]) -> Result<(), &'static str> {
        let mut at = 0;
        while let Some(character) = pattern.get(at) {
            at += 1;
            match character {
                '*' if pattern.get(at) == Some(&'*') => {
                    at += 1;
                    self.out.push_str(".*");
                }
                '*' => {
                    self.out.push_str(&self.single);
                    self.out.push('*');
                }
                '?' => self.out.push_str(&self.single),
                '{' if self.braces >= MAX_BRACES => return Err("braces nest too deep"),
                '{' => {
                    self.braces += 1;
                    self.out.push_str("(?:");
                }
                '}' if self.braces > 0 => {
                    self.braces -= 1;
                    self.out.push(')');
                }
                ',' if self.braces > 0 => self.out.push('|'),
                '[' => at = self.class(pattern, at)?,
                '\\' => {
                    // At the end of the pattern it escapes nothing.
                    pattern.get(at).into_iter().for_each(|escaped| escape(*escaped, &mut self.out));
                    at += 1;
                }
                other => escape(*other, &mut self.out),
            }
        }
        // Braces that are not closed are closed at the end.
        (0..self.braces).for_each(|_| self.out.push(')'));
        Ok(())
    }

    /// A set of characters or one range, possibly negated; returns the position after it.
    fn class(&mut self, pattern: &[char], mut at: usize) -> Result<usize, &'static str> {
        const UNCLOSED: &str = "a bracket is not closed";
        self.out.push('[');
        if pattern.get(at) == Some(&'!') {
            at += 1;
            self.out.push('^');
        }
        if let [low, '-', high, rest @ ..] = &pattern[at.min(pattern.len())..] {
            if rest.first() != Some(&']') {
                return Err("a range must be alone in its brackets");
            }
            if high < low {
                return Err("a range ends before it begins");
            }
            escape(*low, &mut self.out);
            self.out.push('-');
            escape(*high, &mut self.out);
            self.out.push(']');
            return Ok(at + 4);
        }
        let mut empty = true;
        loop {
            match pattern.get(at) {
                None => return Err(UNCLOSED),
                Some(']') if empty => return Err("empty brackets"),
                Some(']') => break,
                Some('\\') => {
                    at += 1;
                    escape(*pattern.get(at).ok_or(UNCLOSED)?, &mut self.out);
                }
                Some(other) => escape(*other, &mut self.out),
            }
            empty = false;
            at += 1;
        }
        self.out.push(']');
        Ok(at + 1)
    }
}
