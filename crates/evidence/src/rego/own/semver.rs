//! Versions as OPA reads them: a leading `v` is let through.

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
    numbers: [u64; 3],
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
        if !build.is_none_or(|build| identifiers(build, false)) || !pre.is_none_or(|pre| identifiers(pre, true)) {
            return None;
        }
        let mut parts = core.split('.');
        let mut number = || {
            let part = parts.next()?;
            let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part.len() == 1 || !part.starts_with('0'));
            if plain { part.parse::<u64>().ok() } else { None }
        };
        let numbers = [number()?, number()?, number()?];
        if parts.next().is_some() { None } else { Some(Version { numbers, pre }) }
    }

    fn compare(&self, other: &Version<'_>) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre, other.pre) {
            (None, None) => Ordering::Equal,
            // What is released comes after what leads to it.
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(own), Some(other)) => compare_identifiers(own, other),
        })
    }
}

fn identifiers(text: &str, numbers_are_plain: bool) -> bool {
    text.split('.').all(|part| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        let allowed = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !part.is_empty() && allowed && !(numbers_are_plain && digits && part.len() > 1 && part.starts_with('0'))
    })
}

fn compare_identifiers(own: &str, other: &str) -> Ordering {
    let mut others = other.split('.');
    for part in own.split('.') {
        let Some(other) = others.next() else { return Ordering::Greater };
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let order = match (number(part), number(other)) {
            // Without leading zeros, the longer number is the larger one.
            (true, true) => part.len().cmp(&other.len()).then_with(|| part.cmp(other)),
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
