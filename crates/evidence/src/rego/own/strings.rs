//! Builtins on texts, with the results of Go's package `strings`.

use regorus::Value;

use super::{Outcome, Refused, integer, term, text};

/// `strings.replace_n`: what is inserted is not replaced again.
pub fn replace_n(args: &[Value]) -> Outcome {
    let Value::Object(pairs) = &args[0] else {
        return Err(Refused::new(format!("operand 1 must be an object, not {}", term::kind(&args[0]))));
    };
    let mut replacements: Vec<(&str, &str)> = Vec::new();
    for (old, new) in pairs.iter() {
        match (old, new) {
            (Value::String(old), Value::String(new)) => replacements.push((old, new)),
            _ => return Err(Refused::new("operand 1 must have strings as keys and values")),
        }
    }
    // Of several that match at a place, the first one counts.
    replacements.sort_unstable();
    let mut rest = text(args, 2)?;
    let (mut replaced, mut after_empty) = (String::new(), false);
    loop {
        // The empty text is found once at each place.
        let found = replacements.iter().find(|(old, _)| rest.starts_with(old) && !(after_empty && old.is_empty()));
        after_empty = found.is_some_and(|(old, _)| old.is_empty());
        if let Some((old, new)) = found {
            replaced.push_str(new);
            rest = &rest[old.len()..];
            continue;
        }
        let mut characters = rest.chars();
        let Some(next) = characters.next() else { return Ok(Value::from(replaced)) };
        replaced.push(next);
        rest = characters.as_str();
    }
}

/// `strings.count`: the occurrences that do not overlap. The empty text occurs before each character and at the end.
pub fn count(args: &[Value]) -> Outcome {
    Ok(Value::from(text(args, 1)?.matches(text(args, 2)?).count()))
}

/// `count`: of a text, the characters.
pub fn count_items(args: &[Value]) -> Outcome {
    Ok(Value::from(match &args[0] {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Set(items) => items.len(),
        Value::Object(fields) => fields.len(),
        other => {
            return Err(Refused::new(format!(
                "operand must be an array, an object, a set or a string, not {}",
                term::kind(other)
            )));
        }
    }))
}

/// `substring`: a negative length means the rest.
pub fn substring(args: &[Value]) -> Outcome {
    let start = usize::try_from(integer(args, 2)?).map_err(|_| Refused::new("operand 2 must not be negative"))?;
    let length = usize::try_from(integer(args, 3)?).unwrap_or(usize::MAX);
    Ok(Value::from(text(args, 1)?.chars().skip(start).take(length).collect::<String>()))
}

pub fn indexof(args: &[Value]) -> Outcome {
    let (whole, part) = (text(args, 1)?, searched(args)?);
    let found = whole.find(part).map(|at| whole[..at].chars().count());
    Ok(found.map_or_else(|| Value::from(-1_i64), Value::from))
}

/// `indexof_n`: occurrences may overlap.
pub fn indexof_n(args: &[Value]) -> Outcome {
    let (whole, part) = (text(args, 1)?, searched(args)?);
    let starts = whole.char_indices().enumerate().filter(|(_, (at, _))| whole[*at..].starts_with(part));
    Ok(Value::from(starts.map(|(index, _)| Value::from(index)).collect::<Vec<Value>>()))
}

fn searched(args: &[Value]) -> Result<&str, Refused> {
    Some(text(args, 2)?).filter(|part| !part.is_empty()).ok_or_else(|| Refused::new("operand 2 must not be empty"))
}

/// `upper`: each letter for itself. One that has no single letter as its capital stays as it is.
pub fn upper(args: &[Value]) -> Outcome {
    let upper = |letter: char| match letter {
        // Greek letters with an iota below: Rust writes the iota behind the capital.
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => after(letter, 8),
        '\u{1FB3}' | '\u{1FC3}' | '\u{1FF3}' => after(letter, 9),
        other => single(other.to_uppercase()).unwrap_or(other),
    };
    Ok(Value::from(text(args, 1)?.chars().map(upper).collect::<String>()))
}

/// `lower`: each letter for itself, wherever in a word it is.
pub fn lower(args: &[Value]) -> Outcome {
    let lower = |letter: char| match letter {
        // The only letter whose small form has a mark of its own.
        '\u{130}' => 'i',
        other => single(other.to_lowercase()).unwrap_or(other),
    };
    Ok(Value::from(text(args, 1)?.chars().map(lower).collect::<String>()))
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// The character that comes so many places after another one.
fn after(letter: char, by: u32) -> char {
    char::from_u32(u32::from(letter) + by).unwrap_or(letter)
}
