//! `regex.globs_match`: whether two patterns have a common match. Patterns consist of characters, `.`, `[a-z]` and `\`
//! before a literal character, each of which may be followed by `*` or `+`.

use std::collections::BTreeSet;

use regorus::Value;

use super::{Outcome, Refused, text};

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
        // If both delimiters are the same, they alternate.
        if character == open && (open != close || depth == 0) {
            depth += 1;
            if depth == 1 {
                pattern.push_str(&regex::escape(&std::mem::take(&mut literal)));
                continue;
            }
        } else if character == close {
            depth = usize::checked_sub(depth, 1).ok_or_else(unbalanced)?;
            if depth == 0 {
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
    let regex = regex::Regex::new(&pattern).map_err(|error| Refused::new(error.to_string()))?;
    Ok(Value::Bool(regex.is_match(candidate)))
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
