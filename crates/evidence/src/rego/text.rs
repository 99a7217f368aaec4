//! Positions in the text of a script, and the replacement of parts of it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Lexer, Module, Ref, TokenKind};

use super::{guard, walk};

/// A position in the source, in bytes.
pub fn place(offset: u32) -> usize {
    usize::try_from(offset).expect("a script is smaller than the address space")
}

fn is_quote(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'"' | b'`'))
}

/// The source of a script.
#[derive(Clone, Copy)]
pub struct Text<'s>(pub &'s str);

impl Text<'_> {
    /// The start of an element: the engine omits the quote before a string.
    pub fn begin(self, offset: u32) -> usize {
        let at = place(offset);
        if is_quote(at.checked_sub(1).and_then(|before| self.0.as_bytes().get(before))) { at - 1 } else { at }
    }

    /// The end of an element: the engine omits the quote after a string.
    pub fn end(self, offset: u32) -> usize {
        let at = place(offset);
        if is_quote(self.0.as_bytes().get(at)) { at + 1 } else { at }
    }

    /// The position of a character in a part of the source, without comments.
    pub fn find(self, wanted: char, start: usize, end: usize) -> Option<usize> {
        let mut is_comment = false;
        let found = self.0[start..end].char_indices().find(|(_, character)| {
            is_comment = *character == '#' || is_comment && *character != '\n';
            !is_comment && *character == wanted
        });
        found.map(|(at, _)| start + at)
    }

    /// The part of the source with an expression, with a semicolon after each statement that another one follows: only
    /// then it can be put on one line.
    pub fn separated(self, expr: &Ref<Expr>, start: usize, end: usize) -> String {
        let mut ends = BTreeSet::new();
        for query in walk::queries_within(expr) {
            for pair in query.stmts.windows(2) {
                let (until, next) = (self.end(pair[0].span.end), self.begin(pair[1].span.start));
                if !flat(&self.0[until..next]).contains(';') {
                    ends.insert(until);
                }
            }
        }
        let mut text = String::new();
        let mut done = start;
        for until in ends {
            text.push_str(&self.0[done..until]);
            text.push(';');
            done = until;
        }
        text.push_str(&self.0[done..end]);
        text
    }
}

/// A source with replacements, none of which is within another one.
pub struct Edits<'s> {
    pub source: Text<'s>,
    /// The start of each brace, by its line and column: the engine gives another start for most objects.
    braces: BTreeMap<(u32, u32), usize>,
    /// The replacements, by the start of what they replace, with its end.
    edits: BTreeMap<usize, (usize, String)>,
}

impl<'s> Edits<'s> {
    /// No replacements in the source of a module.
    pub fn new(source: &'s str, module: &Module) -> Edits<'s> {
        let mut lexer = Lexer::new(&module.package.refr.span().source);
        lexer.set_max_col(guard::lengths().max_col);
        let mut braces = BTreeMap::new();
        while let Ok(token) = lexer.next_token() {
            match token.0 {
                TokenKind::Eof => break,
                TokenKind::Symbol if token.1.text() == "{" => {
                    braces.insert((token.1.line, token.1.col), place(token.1.start));
                }
                _ => {}
            }
        }
        Edits { source: Text(source), braces, edits: BTreeMap::new() }
    }

    /// The start and the end of an expression.
    pub fn extent(&self, expr: &Expr) -> (usize, usize) {
        let span = expr.span();
        let (begin, end) = (self.source.begin(span.start), self.source.end(span.end));
        match expr {
            Expr::Object { .. } => (self.braces.get(&(span.line, span.col)).copied().unwrap_or(begin), end),
            // For `set()` the engine gives the end of what comes after it.
            Expr::Set { items, .. } if items.is_empty() => {
                (begin, self.source.0[begin..].find(')').map_or(end, |at| begin + at + 1))
            }
            _ => (begin, end),
        }
    }

    /// Whether nothing is replaced or inserted.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Replaces a part of the source, and the replacements within it.
    pub fn replace(&mut self, (start, end): (usize, usize), text: String) {
        while let Some((within, _)) = self.edits.range(start..end).next() {
            let within = *within;
            self.edits.remove(&within);
        }
        self.edits.insert(start, (end, text));
    }

    /// Inserts a text, before what is inserted or replaced at the same position.
    pub fn prepend(&mut self, at: usize, text: &str) {
        self.edits.entry(at).or_insert((at, String::new())).1.insert_str(0, text);
    }

    /// Inserts a text, after what was inserted at the same position.
    pub fn append(&mut self, at: usize, text: &str) {
        self.edits.entry(at).or_insert((at, String::new())).1.push_str(text);
    }

    /// A part of the source with the replacements within it.
    pub fn rewritten(&self, start: usize, end: usize) -> String {
        let mut text = String::new();
        let mut done = start;
        for (from, (to, replacement)) in self.edits.range(start..end) {
            text.push_str(&self.source.0[done..*from]);
            text.push_str(replacement);
            done = *to;
        }
        text.push_str(&self.source.0[done..end]);
        text
    }

    /// The whole source with the replacements.
    pub fn finish(&self) -> String {
        let end = self.source.0.len();
        let mut text = self.rewritten(0, end);
        text.extend(self.edits.get(&end).map(|(_, inserted)| inserted.as_str()));
        text
    }

    /// The line breaks that are lacking in a text that replaces a part of the source.
    pub fn lines(&self, (start, end): (usize, usize), text: &str) -> String {
        let lines = |text: &str| text.matches('\n').count();
        "\n".repeat(lines(&self.source.0[start..end]).saturating_sub(lines(text)))
    }
}

/// A name that the source does not contain.
pub fn fresh(source: &str, name: &str) -> String {
    let mut fresh = name.to_owned();
    while source.contains(&fresh) {
        fresh.push('_');
    }
    fresh
}

/// An expression on one line, without its comments. A raw string of several lines stays as it is.
pub fn flat(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '#' => {
                characters.by_ref().find(|next| *next == '\n');
                flat.push(' ');
            }
            '\n' | '\r' => flat.push(' '),
            '"' | '`' => {
                flat.push(character);
                while let Some(next) = characters.next() {
                    flat.push(next);
                    if next == character {
                        break;
                    }
                    if next == '\\' && character == '"' {
                        flat.extend(characters.next());
                    }
                }
            }
            other => flat.push(other),
        }
    }
    flat.trim().to_owned()
}

/// For tests: a rule as it is rewritten, which can be parsed and has as many lines.
#[cfg(test)]
pub fn rewritten(rule: &str, rewrite: impl Fn(&mut Edits, &Module)) -> String {
    use super::script::parse;

    let head = "package p\nimport rego.v1\n";
    let source = format!("{head}{rule}\n");
    let module = parse(&source).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let mut edits = Edits::new(&source, &module);
    rewrite(&mut edits, &module);
    let rewritten = edits.finish();
    assert_eq!(rewritten.lines().count(), source.lines().count(), "{rewritten}");
    parse(&rewritten).unwrap_or_else(|error| panic!("{rewritten}: {error}"));
    rewritten.strip_prefix(head).expect("the head stays as it is").trim_end().to_owned()
}
