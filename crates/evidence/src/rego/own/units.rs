//! `units.parse` and `units.parse_bytes`: numbers with a unit such as `K` or `Mi`.

use regorus::Value;

use super::{Outcome, Refused, text};
use crate::material::json;

/// The units, with the exponents of ten and, if an `i` follows, of two.
const UNITS: &[(&str, u32, u32)] =
    &[("k", 3, 10), ("m", 6, 20), ("g", 9, 30), ("t", 12, 40), ("p", 15, 50), ("e", 18, 60)];
/// How many decimal places a result has if it is not an integer.
const PLACES: u32 = 10;

pub fn parse(args: &[Value]) -> Outcome {
    let (number, unit) = split(text(args, 1)?)?;
    // Only this unit depends on the case: a thousandth, or a million.
    let (numerator, denominator) = if unit == "m" { (1, 1000) } else { (factor(&unit.to_lowercase())?, 1) };
    let (numerator, denominator) = scaled(&number, numerator, denominator).ok_or_else(|| wrong(&number))?;
    if numerator % denominator == 0 {
        return integer(numerator / denominator);
    }
    let scale = 10_i128.pow(PLACES);
    let sign = if numerator < 0 { "-" } else { "" };
    let exact = numerator.checked_abs().and_then(|exact| exact.checked_mul(scale)).ok_or_else(|| wrong(&number))?;
    let rounded = (exact + denominator / 2) / denominator;
    read(&format!("{sign}{}.{:010}", rounded / scale, rounded % scale))
}

pub fn parse_bytes(args: &[Value]) -> Outcome {
    let (number, unit) = split(text(args, 1)?)?;
    let unit = unit.to_lowercase();
    let unit = unit.strip_suffix('b').filter(|unit| !unit.is_empty()).unwrap_or(&unit);
    let (numerator, denominator) = scaled(&number, factor(unit)?, 1).ok_or_else(|| wrong(&number))?;
    // A part of a byte does not count.
    integer(numerator / denominator)
}

fn wrong(number: &str) -> Refused {
    Refused::new(format!("{number:?} is not a number, or it has too many digits"))
}

fn integer(number: i128) -> Outcome {
    read(&number.to_string())
}

fn read(number: &str) -> Outcome {
    json::read(number.as_bytes()).map_err(|error| Refused::new(error.to_string()))
}

/// The number and the unit after it, without quotes.
fn split(text: &str) -> Result<(String, String), Refused> {
    let text = text.replace('"', "");
    if text.contains(' ') {
        return Err(Refused::new("spaces are not allowed in a number with a unit"));
    }
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_sign = |at: usize| matches!(bytes.get(at), Some(b'+' | b'-'));
    let is_number = |at: usize| match bytes[at] {
        // The unit `e`, or an exponent.
        b'e' | b'E' => is_digit(at + 1) || is_sign(at + 1),
        _ => is_digit(at) || is_sign(at) || bytes[at] == b'.',
    };
    let end = (0..bytes.len()).find(|at| !is_number(*at)).unwrap_or(bytes.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(Refused::new(format!("{text:?} has no number before its unit")));
    }
    Ok((number.to_owned(), unit.to_owned()))
}

fn factor(unit: &str) -> Result<i128, Refused> {
    if unit.is_empty() {
        return Ok(1);
    }
    let (letter, is_binary) = unit.strip_suffix('i').map_or((unit, false), |letter| (letter, true));
    let found = UNITS.iter().find(|(name, _, _)| *name == letter);
    let (_, ten, two) = found.ok_or_else(|| Refused::new(format!("there is no unit {unit:?}")))?;
    Ok(if is_binary { 1 << two } else { 10_i128.pow(*ten) })
}

/// A decimal number times a fraction, as a fraction; nothing if it is not a number or too long.
fn scaled(number: &str, numerator: i128, denominator: i128) -> Option<(i128, i128)> {
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse().ok()?),
        None => (number, 0_i32),
    };
    let (units, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{units}{fraction}").parse().ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let numerator = digits.checked_mul(numerator)?;
    if exponent < 0 {
        Some((numerator, denominator.checked_mul(power)?))
    } else {
        Some((numerator.checked_mul(power)?, denominator))
    }
}
