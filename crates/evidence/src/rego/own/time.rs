//! The builtins `time.*`, with the results of Go's package `time`.

use chrono::{DateTime, Datelike, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};
use regorus::Value;

use super::layout::{self, Read, Shown};
use super::{Outcome, Refused, integer, term, text};

const NANOSECONDS: i128 = 1_000_000_000;
const SECONDS_OF_DAY: i128 = 86_400;

/// A point in time as the builtins receive it: nanoseconds, or a list of these, a time zone and a layout.
struct Moment {
    nanoseconds: i64,
    zone: Tz,
    layout: Option<String>,
}

impl Moment {
    fn of(value: &Value) -> Result<Moment, Refused> {
        let (number, zone, layout) = match value {
            Value::Array(items) => (items.first(), items.get(1), items.get(2)),
            other => (Some(other), None, None),
        };
        let number = match number {
            Some(Value::Number(number)) => number,
            _ => {
                let expected =
                    "operand 1 must be a number of nanoseconds, or an array of that, a time zone and a layout";
                return Err(Refused::new(expected));
            }
        };
        let nanoseconds = number.as_i64().filter(|_| number.is_integer());
        let nanoseconds = nanoseconds.ok_or_else(|| Refused::new("the timestamp must be an integer of 64 bits"))?;
        let zone = match zone {
            None => Tz::UTC,
            Some(Value::String(name)) => match name.as_ref() {
                // Where the policy runs must not matter.
                "" | "UTC" | "Local" => Tz::UTC,
                name => name.parse().map_err(|_| Refused::new(format!("there is no time zone {name:?}")))?,
            },
            Some(other) => {
                return Err(Refused::new(format!("the time zone must be a string, not {}", term::kind(other))));
            }
        };
        let layout = match layout {
            None => None,
            Some(Value::String(layout)) => Some(layout.to_string()),
            Some(other) => return Err(Refused::new(format!("the layout must be a string, not {}", term::kind(other)))),
        };
        Ok(Moment { nanoseconds, zone, layout })
    }

    fn local(&self) -> DateTime<Tz> {
        DateTime::from_timestamp_nanos(self.nanoseconds).with_timezone(&self.zone)
    }
}

/// `time.add_date`: a day that the month does not have is one of the next month, so that 31 January and one month are
/// 2 or 3 March.
pub fn add_date(args: &[Value]) -> Outcome {
    let moment = Moment::of(&args[0])?;
    let add = |at: usize| integer(args, at).map(i128::from);
    let local = moment.local().naive_local();
    let days = days(
        i128::from(local.year()) + add(2)?,
        i128::from(local.month()) + add(3)?,
        i128::from(local.day()) + add(4)?,
    );
    let (seconds, nanoseconds) = (local.and_utc().timestamp(), local.and_utc().timestamp_subsec_nanos());
    let seconds = utc(days * SECONDS_OF_DAY + i128::from(seconds).rem_euclid(SECONDS_OF_DAY), moment.zone)?;
    timestamp(seconds * NANOSECONDS + i128::from(nanoseconds))
}

pub fn format(args: &[Value]) -> Outcome {
    let moment = Moment::of(&args[0])?;
    let local = moment.local();
    let offset = local.offset().fix().local_minus_utc();
    // Where there is no name, it is the difference from UTC.
    let name = local.offset().abbreviation().filter(|name| !name.is_empty());
    let zone = name.map_or_else(|| layout::zone_of(offset), str::to_owned);
    let shown = Shown { local: local.naive_local(), offset, zone: &zone };
    let layout = moment.layout.as_deref().filter(|layout| !layout.is_empty());
    Ok(Value::from(layout::format(&shown, layout.unwrap_or(layout::RFC3339_NANO))))
}

pub fn parse_ns(args: &[Value]) -> Outcome {
    parse(text(args, 2)?, text(args, 1)?)
}

pub fn parse_rfc3339_ns(args: &[Value]) -> Outcome {
    parse(text(args, 1)?, layout::RFC3339)
}

fn parse(text: &str, layout: &str) -> Outcome {
    let wrong = |what: &str| Refused::new(format!("the time {text:?} cannot be read as {layout:?}: {what}"));
    let Read { year, month, day, hour, minute, second, nanosecond, offset } =
        layout::read(text, layout).map_err(wrong)?;
    let days = days(i128::from(year), i128::from(month), i128::from(day));
    let seconds = days * SECONDS_OF_DAY + i128::from(hour * 3600 + minute * 60 + second) - i128::from(offset);
    timestamp(seconds * NANOSECONDS + i128::from(nanosecond))
}

/// The units of a duration, in nanoseconds.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    // The micro sign, and the letter mu.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOSECONDS),
    ("m", 60 * NANOSECONDS),
    ("h", 3600 * NANOSECONDS),
    ("d", SECONDS_OF_DAY * NANOSECONDS),
    ("w", 7 * SECONDS_OF_DAY * NANOSECONDS),
    ("y", 365 * SECONDS_OF_DAY * NANOSECONDS),
];

pub fn parse_duration_ns(args: &[Value]) -> Outcome {
    let whole = text(args, 1)?;
    let wrong = || Refused::new(format!("{whole:?} is not a duration such as 1h30m or 7d"));
    let (sign, mut rest) = match whole.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, whole.strip_prefix('+').unwrap_or(whole)),
    };
    if rest == "0" {
        return Ok(Value::from(0));
    }
    let mut nanoseconds: i128 = 0;
    loop {
        let (number, after) = rest.split_at(rest.find(|next| !is_number(next)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let (units, fraction) = number.split_once('.').unwrap_or((number, ""));
        if units.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(wrong());
        }
        let units: i128 = if units.is_empty() { 0 } else { units.parse().map_err(|_| wrong())? };
        // More digits make no difference, as a nanosecond is a fraction of less than 17 digits even of a year.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong())? };
        let all = units.checked_mul(*unit).and_then(|all| all.checked_add(fraction * unit / scale));
        nanoseconds = all.and_then(|all| all.checked_add(nanoseconds)).ok_or_else(out_of_range)?;
        rest = after;
        if rest.is_empty() {
            return timestamp(sign * nanoseconds);
        }
    }
}

fn is_number(character: char) -> bool {
    character.is_ascii_digit() || character == '.'
}

fn out_of_range() -> Refused {
    Refused::new("the time is outside of the range that 64 bits can hold")
}

fn timestamp(nanoseconds: i128) -> Outcome {
    i64::try_from(nanoseconds).map(Value::from).map_err(|_| out_of_range())
}

/// The number of days from 1970-01-01 to a date, of which the month and the day may be any numbers.
fn days(year: i128, month: i128, day: i128) -> i128 {
    // Years begin in March here, so that a leap day is the last one.
    let months = year * 12 + month - 3;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let before = (153 * month + 2) / 5 + year * 365 + year / 4 - year / 100;
    era * 146_097 + before + day - 1 - 719_468
}

/// The offset of a time zone in seconds at a time in UTC.
fn offset(zone: Tz, seconds: i128) -> Result<i128, Refused> {
    let seconds = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let time = seconds.ok_or_else(out_of_range)?.naive_utc();
    Ok(i128::from(zone.offset_from_utc_datetime(&time).fix().local_minus_utc()))
}

/// The time in UTC of a local one. One that the clocks skip or show twice is resolved as in Go.
fn utc(local: i128, zone: Tz) -> Result<i128, Refused> {
    let guess = offset(zone, local)?;
    Ok(local - if guess == 0 { 0 } else { offset(zone, local - guess)? })
}
