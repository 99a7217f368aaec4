//! Versions as OPA reads them: a leading `v`, leading zeros, and a trailing dash or plus are accepted.

use std::cmp::Ordering;

use regorus::Value;

use super::{Outcome, Refused, text};

pub fn compare(args: &[Value]) -> Outcome {
    let version = |at: usize| -> Result<Version<'_>, Refused> {
        let text = text(args, at)?;
        Version::parse(text).ok_or_else(|| Refused::new(format!("operand {at}: {text:?} is not a valid SemVer")))
    };
    let order = version(1)?.compare(&version(2)?);
    Ok(Value::from(match order {
        Ordering::Less => -1_i64,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

pub fn is_valid(args: &[Value]) -> Outcome {
    Ok(Value::Bool(matches!(&args[0], Value::String(text) if Version::parse(text).is_some())))
}

struct Version<'a> {
    numbers: [i64; 3],
    pre: Option<&'a str>,
}

impl Version<'_> {
    fn parse(text: &str) -> Option<Version<'_>> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let pre = pre.filter(|pre| !pre.is_empty());
        if !build.is_none_or(identifiers) || !pre.is_none_or(identifiers) {
            return None;
        }
        let mut parts = core.split('.');
        let mut number = || {
            let part = parts.next()?;
            let plain = part.bytes().all(|byte| byte.is_ascii_digit());
            if plain { part.parse::<i64>().ok() } else { None }
        };
        let numbers = [number()?, number()?, number()?];
        if parts.next().is_some() { None } else { Some(Version { numbers, pre }) }
    }

    fn compare(&self, other: &Version<'_>) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre, other.pre) {
            (None, None) => Ordering::Equal,
            // A release is later than its pre-releases.
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(own), Some(other)) => compare_identifiers(own, other),
        })
    }
}

fn identifiers(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

fn compare_identifiers(own: &str, other: &str) -> Ordering {
    let mut others = other.split('.');
    for part in own.split('.') {
        let Some(other) = others.next() else { return Ordering::Greater };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let order = match (is_number(part), is_number(other)) {
            // Without leading zeros, the longer number is the larger one.
            (true, true) => compare_digits(part.trim_start_matches('0'), other.trim_start_matches('0')),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => part.cmp(other),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    if others.next().is_some() { Ordering::Less } else { Ordering::Equal }
}

fn compare_digits(own: &str, other: &str) -> Ordering {
    own.len().cmp(&other.len()).then_with(|| own.cmp(other))
}
