//! Reads filters: `comparison AND comparison …`, where a comparison may have alternatives and be negated.

use std::collections::BTreeSet;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use super::fields::{Field, Sort};
use super::lexer::{Token, tokens};
use super::{InvalidFilter, MAX_CANONICAL_BYTES, Numbers, Search, Set, Times};
use crate::{OperationId, Status, Timestamp, check_text};

/// The maximum length of a text that is searched for within another one, in bytes.
const MAX_CONTAINED_BYTES: usize = 256;

impl FromStr for Search {
    type Err = InvalidFilter;

    /// Reads the canonical form, as `Display` writes it: times are absolute, and the filter may be longer than one that
    /// a caller sends.
    fn from_str(filter: &str) -> Result<Search, InvalidFilter> {
        if filter.len() > MAX_CANONICAL_BYTES {
            return refuse(1, format!("the filter is longer than {MAX_CANONICAL_BYTES} bytes"));
        }
        parse(filter, None, usize::MAX)
    }
}

/// Reads a filter; durations count back from `now`, and are not valid when it is `None`.
pub(super) fn parse(filter: &str, now: Option<Timestamp>, most: usize) -> Result<Search, InvalidFilter> {
    let mut search = Search::default();
    each(tokens(filter)?, most, |_, comparison| add(&mut search, comparison, now))?;
    Ok(search)
}

/// The comparisons of a filter, each with the positions where it begins and where the text after it begins.
pub(super) fn comparisons(
    tokens: Vec<(usize, Token)>,
    most: usize,
) -> Result<Vec<(Range<usize>, Comparison)>, InvalidFilter> {
    let mut found = Vec::new();
    each(tokens, most, |position, comparison| {
        found.push((position, comparison));
        Ok(())
    })?;
    Ok(found)
}

/// Reads the comparisons one after the other.
fn each(
    tokens: Vec<(usize, Token)>,
    most: usize,
    mut take: impl FnMut(Range<usize>, Comparison) -> Result<(), InvalidFilter>,
) -> Result<(), InvalidFilter> {
    let mut parser = Parser { tokens, at: 0, comparisons: 0, most };
    if *parser.peek() == Token::End {
        return Ok(());
    }
    loop {
        let begin = parser.position();
        let comparison = parser.term()?;
        take(begin..parser.position(), comparison)?;
        match parser.peek() {
            Token::End => return Ok(()),
            Token::Word(word) if word == "AND" => parser.at += 1,
            Token::Word(word) if word == "OR" => {
                let problem = "OR joins alternatives of one field, within parentheses only: \
                               status = (PENDING OR RUNNING), or (status = PENDING OR status = RUNNING)";
                return refuse(parser.position(), problem);
            }
            other => {
                let problem = format!("{} cannot follow a comparison; join comparisons by AND", other.shown());
                return refuse(parser.position(), problem);
            }
        }
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    comparisons: usize,
    most: usize,
}

/// A field, an operator and values; the field, the operator and each value with their positions.
pub(super) struct Comparison {
    position: usize,
    pub(super) field: Field,
    sign_position: usize,
    pub(super) sign: Token,
    pub(super) values: Vec<(usize, String)>,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(_, token)| token)
    }

    fn position(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(position, _)| *position)
    }

    /// The next token and its position; after the end of the filter, the end token again and again.
    fn next(&mut self) -> (usize, Token) {
        let next = (self.position(), self.peek().clone());
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        next
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Word(word) if word == wanted);
        self.at += usize::from(is_it);
        is_it
    }

    /// A comparison, or alternatives in parentheses; `NOT` may precede it.
    fn term(&mut self) -> Result<Comparison, InvalidFilter> {
        let position = self.position();
        let is_negated = self.takes_word("NOT");
        let mut term = if *self.peek() == Token::Open { self.alternatives()? } else { self.comparison()? };
        if is_negated {
            term.sign = match (term.sign, term.field.sort()) {
                (Token::Equal, Sort::Set { can_exclude: true }) => Token::NotEqual,
                (Token::NotEqual, _) => Token::Equal,
                _ => {
                    let problem = format!(
                        "NOT is allowed before status, kind, project_id and worker with = or !=, but not before this \
                         comparison of {}",
                        term.field.name()
                    );
                    return refuse(position, problem);
                }
            };
        }
        Ok(term)
    }

    /// `(field = a OR field = b)`.
    fn alternatives(&mut self) -> Result<Comparison, InvalidFilter> {
        self.at += 1;
        let mut first = self.comparison()?;
        while self.takes_word("OR") {
            let other = self.comparison()?;
            if other.field != first.field {
                let (one, two) = (first.field.name(), other.field.name());
                let problem = format!("OR joins alternatives of one field, and this one begins with {one}, not {two}");
                return refuse(other.position, problem);
            }
            for sign in [(first.sign_position, &first.sign), (other.sign_position, &other.sign)] {
                if *sign.1 != Token::Equal {
                    return refuse(
                        sign.0,
                        format!("alternatives that OR joins must be compared with =, not with {}", sign.1.shown()),
                    );
                }
            }
            first.values.extend(other.values);
        }
        match self.next() {
            (_, Token::Close) => Ok(first),
            (position, token) => {
                let problem = format!("{} was found where OR or \")\" was expected", token.shown());
                refuse(position, problem)
            }
        }
    }

    /// `field operator value`, or `field = (a OR b)`.
    fn comparison(&mut self) -> Result<Comparison, InvalidFilter> {
        let (position, token) = self.next();
        let field = match token {
            Token::Word(word) if !is_keyword(&word) => {
                Field::named(&word).map_err(|problem| InvalidFilter { position, problem })?
            }
            other => {
                let problem = format!("{} was found where a field such as status was expected", other.shown());
                return refuse(position, problem);
            }
        };
        self.comparisons += 1;
        if self.comparisons > self.most {
            let problem = format!("the filter has more than {} comparisons; write alternatives as a list", self.most);
            return refuse(position, problem);
        }
        let (sign_position, sign) = self.next();
        if !field.sort().takes(&sign) {
            let (name, signs) = (field.name(), field.sort().signs());
            return refuse(sign_position, format!("{name} can be compared with {signs}, not with {}", sign.shown()));
        }
        let mut values = Vec::new();
        if *self.peek() == Token::Open {
            if !matches!(field.sort(), Sort::Set { .. }) {
                return refuse(self.position(), format!("{} takes one value, not a list", field.name()));
            }
            self.at += 1;
            values.push(self.value()?);
            while self.takes_word("OR") {
                values.push(self.value()?);
            }
            match self.next() {
                (_, Token::Close) => {}
                (position, token) => {
                    let problem = format!("{} was found where OR or \")\" was expected", token.shown());
                    return refuse(position, problem);
                }
            }
        } else {
            values.push(self.value()?);
        }
        Ok(Comparison { position, field, sign_position, sign, values })
    }

    fn value(&mut self) -> Result<(usize, String), InvalidFilter> {
        match self.next() {
            (position, Token::Text(text)) => Ok((position, text)),
            (position, Token::Word(word)) if !is_keyword(&word) => Ok((position, word)),
            (position, other) => {
                let problem = format!("{} was found where a value was expected", other.shown());
                refuse(position, problem)
            }
        }
    }
}

/// Adds a comparison to a search.
fn add(search: &mut Search, comparison: Comparison, now: Option<Timestamp>) -> Result<(), InvalidFilter> {
    let text = |name: &'static str| {
        move |value: &str| check_text(name, value).map(|()| value.to_owned()).map_err(|wrong| wrong.description)
    };
    match &comparison.field {
        Field::Status => among(&mut search.status, &comparison, status),
        Field::Kind => among(&mut search.kind, &comparison, text("kind")),
        Field::ProjectId => among(&mut search.project_id, &comparison, text("project_id")),
        Field::ResourceType => among(&mut search.resource_type, &comparison, text("resource_type")),
        Field::ResourceId => among(&mut search.resource_id, &comparison, text("resource_id")),
        Field::Id => among(&mut search.id, &comparison, id),
        Field::UniqueKey => among(&mut search.unique_key, &comparison, text("unique_key")),
        Field::Schedule => among(&mut search.schedule, &comparison, text("schedule")),
        Field::Worker => among(&mut search.worker, &comparison, text("worker")),
        Field::Label(key) => {
            among(search.labels.entry(key.clone()).or_default(), &comparison, text("the value of a label"))
        }
        Field::CreatedAt => within(&mut search.created_at, &comparison, now),
        Field::StartedAt => within(&mut search.started_at, &comparison, now),
        Field::FinishedAt => within(&mut search.finished_at, &comparison, now),
        Field::Attempts => between(&mut search.attempts, &comparison),
        Field::Priority => between(&mut search.priority, &comparison),
        Field::ErrorMessage => contained(&mut search.error_message, comparison),
        Field::Input => contained(&mut search.input, comparison),
        Field::Output => contained(&mut search.output, comparison),
    }
}

pub(super) fn is_keyword(word: &str) -> bool {
    matches!(word, "AND" | "OR" | "NOT")
}

fn refuse<T>(position: usize, problem: impl Into<String>) -> Result<T, InvalidFilter> {
    Err(InvalidFilter { position, problem: problem.into() })
}

/// Adds values to a set; a comparison that contradicts an earlier one is an error, since nobody means that.
fn among<T: Ord + Clone>(
    set: &mut Set<T>,
    comparison: &Comparison,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<(), InvalidFilter> {
    let mut values = BTreeSet::new();
    for (position, value) in &comparison.values {
        values.insert(read(value).map_err(|problem| InvalidFilter { position: *position, problem })?);
    }
    let wanted = if comparison.sign == Token::NotEqual { Set::Except(values) } else { Set::Among(values) };
    *set = std::mem::take(set).and(wanted);
    if set.is_none() {
        let name = comparison.field.name();
        let problem = format!(
            "an earlier comparison of {name} excludes every value of this one; write alternatives as {name} = (one OR other)"
        );
        return refuse(comparison.position, problem);
    }
    Ok(())
}

/// A status by its name, with or without the prefix that all names have, or by its number.
fn status(value: &str) -> Result<Status, String> {
    let by_short_name = || Status::ALL.into_iter().find(|status| status.to_string() == value);
    let by_number = || value.parse().ok().filter(|_| !value.starts_with('+')).and_then(Status::from_number);
    Status::from_wire_name(value).or_else(by_short_name).or_else(by_number).ok_or_else(|| {
        let names = Status::ALL.map(|status| status.to_string()).join(", ");
        format!("{} is not a status; the statuses are {names}", Token::Word(value.to_owned()).shown())
    })
}

fn id(value: &str) -> Result<OperationId, String> {
    let shown = || Token::Word(value.to_owned()).shown();
    value.parse().map_err(|_| format!("{} is not an operation id, which is a UUID of 36 characters", shown()))
}

fn within(times: &mut Times, comparison: &Comparison, now: Option<Timestamp>) -> Result<(), InvalidFilter> {
    for (position, value) in &comparison.values {
        let time = time(value, now).map_err(|problem| InvalidFilter { position: *position, problem })?;
        // Times have millisecond precision.
        let next = Timestamp::from_millis(time.as_millis().saturating_add(1));
        let wanted = match comparison.sign {
            Token::GreaterOrEqual => Times { from: Some(time), before: None },
            Token::Greater => Times { from: Some(next), before: None },
            Token::Less => Times { from: None, before: Some(time) },
            _ => Times { from: None, before: Some(next) },
        };
        *times = times.and(wanted);
    }
    Ok(())
}

/// A time as RFC 3339 writes it, or a duration before now.
fn time(value: &str, now: Option<Timestamp>) -> Result<Timestamp, String> {
    if let Ok(time) = value.parse() {
        return Ok(time);
    }
    let unknown = || {
        let shown = Token::Text(value.to_owned()).shown();
        format!(
            "{shown} is not a time; write RFC 3339 in quotes, e.g. \"2026-01-23T04:56:07Z\", or a duration before now, e.g. \"-1h\""
        )
    };
    let before = value.strip_prefix('-').and_then(duration).ok_or_else(unknown)?;
    now.map(|now| now.before(before)).ok_or_else(unknown)
}

/// Numbers with one unit each, one after the other: `1h`, `90m`, `1d12h`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 7 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(Duration::from_secs(seconds))
}

fn between(numbers: &mut Numbers, comparison: &Comparison) -> Result<(), InvalidFilter> {
    for (position, value) in &comparison.values {
        let Ok(number) = value.parse::<i32>().map(i64::from) else {
            let shown = Token::Word(value.clone()).shown();
            return refuse(*position, format!("{shown} is not a whole number such as 3 or -10"));
        };
        let (least, most) = match comparison.sign {
            Token::Equal => (Some(number), Some(number)),
            Token::GreaterOrEqual => (Some(number), None),
            Token::Greater => (Some(number + 1), None),
            Token::Less => (None, Some(number - 1)),
            _ => (None, Some(number)),
        };
        *numbers = numbers.and(Numbers { least, most });
    }
    Ok(())
}

fn contained(texts: &mut BTreeSet<String>, comparison: Comparison) -> Result<(), InvalidFilter> {
    for (position, text) in comparison.values {
        if text.is_empty() || text.len() > MAX_CONTAINED_BYTES {
            let problem =
                format!("a text to search for must have 1 to {MAX_CONTAINED_BYTES} bytes, not {}", text.len());
            return refuse(position, problem);
        }
        texts.insert(text);
    }
    Ok(())
}
