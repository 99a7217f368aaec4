//! Splits a filter into words, texts and operators, each with its position.

use super::InvalidFilter;

/// A token of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits and `_ - . /`: a field, a keyword or a value.
    Word(String),
    /// A text that was written in quotes.
    Text(String),
    Open,
    Close,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Has,
    End,
}

impl Token {
    /// How an error message shows the token.
    pub(super) fn shown(&self) -> String {
        match self {
            Token::Word(word) => format!("\"{}\"", cut(word)),
            Token::Text(text) => format!("the text {:?}", cut(text)),
            Token::Open => "\"(\"".to_owned(),
            Token::Close => "\")\"".to_owned(),
            Token::Equal => "\"=\"".to_owned(),
            Token::NotEqual => "\"!=\"".to_owned(),
            Token::Less => "\"<\"".to_owned(),
            Token::LessOrEqual => "\"<=\"".to_owned(),
            Token::Greater => "\">\"".to_owned(),
            Token::GreaterOrEqual => "\">=\"".to_owned(),
            Token::Has => "\":\"".to_owned(),
            Token::End => "the end of the filter".to_owned(),
        }
    }
}

/// As much of a text as an error message should repeat.
pub(super) fn cut(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// Whether a character may be part of a word, which needs no quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./".contains(c)
}

/// All tokens, each with the position of its first character; the last one is the end of the filter.
pub(super) fn tokens(filter: &str) -> Result<Vec<(usize, Token)>, InvalidFilter> {
    let chars: Vec<char> = filter.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        at += 1;
        let is_next_equal = chars.get(at) == Some(&'=');
        let mut with_equal = |one: Token, both: Token| {
            at += usize::from(is_next_equal);
            if is_next_equal { both } else { one }
        };
        let token = match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' => Token::Equal,
            ':' => Token::Has,
            '<' => with_equal(Token::Less, Token::LessOrEqual),
            '>' => with_equal(Token::Greater, Token::GreaterOrEqual),
            '!' if is_next_equal => {
                at += 1;
                Token::NotEqual
            }
            '"' => Token::Text(text(&chars, &mut at)?),
            c if is_word(c) => {
                while chars.get(at).is_some_and(|c| is_word(*c)) {
                    at += 1;
                }
                Token::Word(chars[start..at].iter().collect())
            }
            '\'' => {
                return Err(refused(
                    start,
                    "\"'\" is not a quotation mark in filters; write texts as \"…\"".to_owned(),
                ));
            }
            other => {
                let problem = format!(
                    "{other:?} is allowed in quoted texts only; values with characters other than letters, digits, \"_\", \
                     \"-\", \".\" and \"/\" must be in quotes, e.g. \"sha256:…\""
                );
                return Err(refused(start, problem));
            }
        };
        tokens.push((start + 1, token));
    }
    tokens.push((chars.len() + 1, Token::End));
    Ok(tokens)
}

/// Reads the text whose opening quotation mark has been read.
fn text(chars: &[char], at: &mut usize) -> Result<String, InvalidFilter> {
    let opened = *at - 1;
    let mut text = String::new();
    while let Some(&c) = chars.get(*at) {
        let position = *at;
        *at += 1;
        match c {
            '"' => return Ok(text),
            '\\' => {
                text.push(match chars.get(*at) {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c @ ('"' | '\\')) => *c,
                    _ => {
                        let problem = "\"\\\" must be followed by one of \" \\ n r t".to_owned();
                        return Err(refused(position, problem));
                    }
                });
                *at += 1;
            }
            c if c.is_control() => {
                let problem = format!("the control character {c:?} is not allowed in a text; write \\n, \\r or \\t");
                return Err(refused(position, problem));
            }
            c => text.push(c),
        }
    }
    Err(refused(opened, "the text that begins here is not closed; add a \"".to_owned()))
}

/// An error at a position that is counted from 0.
fn refused(at: usize, problem: String) -> InvalidFilter {
    InvalidFilter { position: at + 1, problem }
}
