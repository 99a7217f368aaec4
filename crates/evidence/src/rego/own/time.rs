//! The builtins `time.*`, with the results of Go's package `time`.

use chrono::{DateTime, Datelike, Offset, TimeZone};
use chrono_tz::Tz;
use regorus::Value;

use super::{Outcome, Refused, integer, term};

const NANOSECONDS: i128 = 1_000_000_000;
const SECONDS_OF_DAY: i128 = 86_400;

/// A point in time as the builtins receive it: nanoseconds, or a list of these, a time zone and a layout.
struct Moment {
    nanoseconds: i64,
    zone: Tz,
}

impl Moment {
    fn of(value: &Value) -> Result<Moment, Refused> {
        let (number, zone) = match value {
            Value::Array(items) => (items.first(), items.get(1)),
            other => (Some(other), None),
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
        Ok(Moment { nanoseconds, zone })
    }
}

/// `time.add_date`: a day that the month does not have is one of the next month, so that 31 January and one month are
/// 2 or 3 March.
pub fn add_date(args: &[Value]) -> Outcome {
    let moment = Moment::of(&args[0])?;
    let add = |at: usize| integer(args, at).map(i128::from);
    let local = DateTime::from_timestamp_nanos(moment.nanoseconds).with_timezone(&moment.zone).naive_local();
    let days = days(
        i128::from(local.year()) + add(2)?,
        i128::from(local.month()) + add(3)?,
        i128::from(local.day()) + add(4)?,
    );
    let (seconds, nanoseconds) = (local.and_utc().timestamp(), local.and_utc().timestamp_subsec_nanos());
    let seconds = utc(days * SECONDS_OF_DAY + i128::from(seconds).rem_euclid(SECONDS_OF_DAY), moment.zone)?;
    timestamp(seconds * NANOSECONDS + i128::from(nanoseconds))
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
