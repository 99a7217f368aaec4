//! The builtins `regex.*`.

use std::collections::BTreeSet;

use regex::Captures;
use regorus::Value;

use super::re2::{self, Pattern};
use super::{Outcome, Refused, integer, text};

pub fn matches(args: &[Value]) -> Outcome {
    let candidate = text(args, 2)?;
    Ok(Value::Bool(re2::compile(text(args, 1)?)?.regex.is_match(candidate)))
}

pub fn is_valid(args: &[Value]) -> Outcome {
    re2::is_valid(text(args, 1)?).map(Value::Bool)
}

pub fn find_n(args: &[Value]) -> Outcome {
    let pattern = re2::compile(text(args, 1)?)?;
    let found = pattern.regex.find_iter(text(args, 2)?).take(most(args, 3)?);
    Ok(Value::from(found.map(|found| Value::from(found.as_str())).collect::<Vec<Value>>()))
}

pub fn find_all_string_submatch_n(args: &[Value]) -> Outcome {
    let pattern = re2::compile(text(args, 1)?)?;
    let found = pattern.regex.captures_iter(text(args, 2)?).take(most(args, 3)?);
    let groups = |found: Captures<'_>| {
        let groups = found.iter().map(|group| Value::from(group.map_or("", |group| group.as_str())));
        Value::from(groups.collect::<Vec<Value>>())
    };
    Ok(Value::from(found.map(groups).collect::<Vec<Value>>()))
}

/// The maximum number of results; a negative one means all.
fn most(args: &[Value], at: usize) -> Result<usize, Refused> {
    Ok(usize::try_from(integer(args, at)?).unwrap_or(usize::MAX))
}

/// `regex.split`: unlike the crate's, it has no empty texts at the ends where the separator matches nothing.
pub fn split(args: &[Value]) -> Outcome {
    let (pattern, whole) = (text(args, 1)?, text(args, 2)?);
    let regex = re2::compile(pattern)?;
    if whole.is_empty() && !pattern.is_empty() {
        return Ok(Value::from(vec![Value::from("")]));
    }
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    for separator in regex.regex.find_iter(whole) {
        end = separator.start();
        if separator.end() > 0 {
            parts.push(Value::from(&whole[start..end]));
        }
        start = separator.end();
    }
    if end < whole.len() {
        parts.push(Value::from(&whole[start..]));
    }
    Ok(Value::from(parts))
}

pub fn replace(args: &[Value]) -> Outcome {
    let (whole, template) = (text(args, 1)?, text(args, 3)?);
    let pattern = re2::compile(text(args, 2)?)?;
    let replaced = pattern.regex.replace_all(whole, |found: &Captures<'_>| expand(template, &pattern, found));
    Ok(Value::from(replaced.into_owned()))
}

/// The template with `$1`, `$name` and `${name}` replaced by what the groups matched.
fn expand(template: &str, pattern: &Pattern, found: &Captures<'_>) -> String {
    let group = |at: usize| found.get(at).map_or("", |group| group.as_str());
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let start = braced.unwrap_or(rest);
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        let (name, after) = start.split_at(start.find(|character| !is_name(character)).unwrap_or(start.len()));
        let after = if braced.is_some() { after.strip_prefix('}') } else { Some(after) };
        let Some(after) = after.filter(|_| !name.is_empty()) else {
            out.push('$');
            continue;
        };
        rest = after;
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        if is_number {
            out.push_str(name.parse().map_or("", group));
        } else {
            let mut named = pattern.names.iter().enumerate().filter(|(_, own)| *own == name);
            out.push_str(named.find_map(|(at, _)| found.get(at)).map_or("", |group| group.as_str()));
        }
    }
    out.push_str(rest);
    out
}

/// `regex.template_match`: matches a text with a pattern that contains regular expressions between two delimiters.
pub fn template_match(args: &[Value]) -> Outcome {
    let (template, candidate) = (text(args, 1)?, text(args, 2)?);
    let single = |at: usize| {
        let mut characters = text(args, at)?.chars();
        match (characters.next(), characters.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Refused::new(format!("operand {at} must be one character"))),
        }
    };
    let (open, close) = (single(3)?, single(4)?);
    let unbalanced = || Refused::new(format!("unbalanced delimiters in {template:?}"));
    let (mut pattern, mut literal, mut inside, mut depth) = (String::from("^"), String::new(), String::new(), 0);
    for character in template.chars() {
        if character == open {
            depth += 1;
            if depth == 1 {
                pattern.push_str(&regex::escape(&std::mem::take(&mut literal)));
                continue;
            }
        } else if character == close {
            depth = usize::checked_sub(depth, 1).ok_or_else(unbalanced)?;
            if depth == 0 {
                // Alone it must be an expression as well.
                re2::compile(&format!("^{inside}$"))?;
                pattern.push_str(&format!("({})", std::mem::take(&mut inside)));
                continue;
            }
        }
        if depth > 0 { inside.push(character) } else { literal.push(character) }
    }
    if depth > 0 {
        return Err(unbalanced());
    }
    pattern.push_str(&regex::escape(&literal));
    pattern.push('$');
    Ok(Value::Bool(re2::compile(&pattern)?.regex.is_match(candidate)))
}

/// The maximum length of a pattern, in parts.
const MAX_PARTS: usize = 1000;

#[derive(Debug)]
struct Part {
    /// The ranges of characters that it matches.
    characters: Vec<(char, char)>,
    /// Whether it may be omitted, as with `*`.
    is_optional: bool,
    /// Whether it may be repeated, as with `*` and `+`.
    repeats: bool,
}

/// `regex.globs_match`: whether two patterns have a common match. Patterns consist of characters, `.`, `[a-z]` and `\`
/// before a literal character, each of which may be followed by `*` or `+`.
pub fn globs_match(args: &[Value]) -> Outcome {
    let (own, other) = (parse(text(args, 1)?)?, parse(text(args, 2)?)?);
    Ok(Value::Bool(intersect(&own, &other)))
}

fn parse(pattern: &str) -> Result<Vec<Part>, Refused> {
    let wrong = |what: &str| Refused::new(format!("the pattern {pattern:?}: {what}"));
    let mut parts: Vec<Part> = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let matched = match character {
            '.' => vec![('\0', char::MAX)],
            '\\' => {
                let escaped = characters.next().ok_or_else(|| wrong("a backslash at the end"))?;
                vec![(escaped, escaped)]
            }
            '[' => {
                let mut ranges = Vec::new();
                loop {
                    let low = match characters.next() {
                        None => return Err(wrong("a bracket is not closed")),
                        Some(']') => break,
                        Some('\\') => characters.next().ok_or_else(|| wrong("a bracket is not closed"))?,
                        Some(low) => low,
                    };
                    let mut high = low;
                    if characters.peek() == Some(&'-') {
                        characters.next();
                        high = match characters.next() {
                            None | Some(']') => return Err(wrong("a range is not complete")),
                            Some('\\') => characters.next().ok_or_else(|| wrong("a bracket is not closed"))?,
                            Some(high) => high,
                        };
                    }
                    if high < low {
                        return Err(wrong("a range ends before it begins"));
                    }
                    ranges.push((low, high));
                }
                ranges
            }
            '*' | '+' | ']' => return Err(wrong(&format!("{character:?} has nothing before it"))),
            other => vec![(other, other)],
        };
        let flag = characters.next_if(|next| matches!(next, '*' | '+'));
        parts.push(Part { characters: matched, is_optional: flag == Some('*'), repeats: flag.is_some() });
        if parts.len() > MAX_PARTS {
            return Err(wrong(&format!("more than {MAX_PARTS} parts")));
        }
    }
    Ok(parts)
}

/// Whether a non-empty text matches both: visits all pairs of positions in the two.
fn intersect(own: &[Part], other: &[Part]) -> bool {
    // A position is the next part; the flag says whether anything has been matched.
    let mut seen = BTreeSet::new();
    let mut open = vec![(0, 0, false)];
    while let Some((i, j, any)) = open.pop() {
        if !seen.insert((i, j, any)) {
            continue;
        }
        let (left, right) = (own.get(i), other.get(j));
        if left.is_none() && right.is_none() && any {
            return true;
        }
        if left.is_some_and(|part| part.is_optional) {
            open.push((i + 1, j, any));
        }
        if right.is_some_and(|part| part.is_optional) {
            open.push((i, j + 1, any));
        }
        if let (Some(left), Some(right)) = (left, right)
            && left.characters.iter().any(|(a, b)| right.characters.iter().any(|(c, d)| a <= d && c <= b))
        {
            let next = |part: &Part, at: usize| if part.repeats { vec![at, at + 1] } else { vec![at + 1] };
            for i in next(left, i) {
                open.extend(next(right, j).into_iter().map(|j| (i, j, true)));
            }
        }
    }
    false
}
