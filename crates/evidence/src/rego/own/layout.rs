//! Layouts of times, as Go's package `time` reads them: an example that shows how `2006-01-02 15:04:05` is written.

use std::fmt::Write as _;

use chrono::{Datelike, NaiveDateTime, Timelike};

/// What OPA accepts instead of a layout.
const NAMED: &[(&str, &str)] = &[
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("RFC3339", RFC3339),
    ("RFC3339Nano", RFC3339_NANO),
];
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
pub const RFC3339_NANO: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    None,
    Blank,
    Zero,
}

/// What of a time a part of a layout stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    LongYear,
    ShortYear,
    LongMonth,
    ShortMonth,
    Month(Fill),
    LongWeekday,
    ShortWeekday,
    Day(Fill),
    DayOfYear(Fill),
    Hour,
    Hour12(Fill),
    Minute(Fill),
    Second(Fill),
    UpperHalf,
    LowerHalf,
    Zone,
    /// The difference from UTC. `zulu`: UTC is written as `Z`; `colons`: there are colons between the parts, of which
    /// there are this many.
    Offset {
        zulu: bool,
        colons: bool,
        parts: usize,
    },
    /// The separator and the digits after it.
    Fraction {
        separator: char,
        digits: usize,
        trimmed: bool,
    },
}

const fn offset(zulu: bool, colons: bool, parts: usize) -> Part {
    Part::Offset { zulu, colons, parts }
}

/// How the parts are written; of two that match, the first one counts.
const WRITTEN: &[(&str, Part)] = &[
    ("January", Part::LongMonth),
    ("Jan", Part::ShortMonth),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::ShortWeekday),
    ("MST", Part::Zone),
    ("002", Part::DayOfYear(Fill::Zero)),
    ("01", Part::Month(Fill::Zero)),
    ("02", Part::Day(Fill::Zero)),
    ("03", Part::Hour12(Fill::Zero)),
    ("04", Part::Minute(Fill::Zero)),
    ("05", Part::Second(Fill::Zero)),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("1", Part::Month(Fill::None)),
    ("2006", Part::LongYear),
    ("2", Part::Day(Fill::None)),
    ("__2", Part::DayOfYear(Fill::Blank)),
    ("_2", Part::Day(Fill::Blank)),
    ("3", Part::Hour12(Fill::None)),
    ("4", Part::Minute(Fill::None)),
    ("5", Part::Second(Fill::None)),
    ("PM", Part::UpperHalf),
    ("pm", Part::LowerHalf),
    ("-070000", offset(false, false, 3)),
    ("-07:00:00", offset(false, true, 3)),
    ("-0700", offset(false, false, 2)),
    ("-07:00", offset(false, true, 2)),
    ("-07", offset(false, false, 1)),
    ("Z070000", offset(true, false, 3)),
    ("Z07:00:00", offset(true, true, 3)),
    ("Z0700", offset(true, false, 2)),
    ("Z07:00", offset(true, true, 2)),
    ("Z07", offset(true, false, 1)),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

enum Piece<'l> {
    Text(&'l str),
    Part(Part),
}

/// The pieces of a layout, which may be given by its name.
fn pieces(layout: &str) -> Vec<Piece<'_>> {
    let layout = NAMED.iter().find(|(name, _)| *name == layout).map_or(layout, |(_, layout)| layout);
    let (mut pieces, mut text, mut at) = (Vec::new(), 0, 0);
    while at < layout.len() {
        let Some((length, part)) = part(&layout[at..]) else {
            at += layout[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if text < at {
            pieces.push(Piece::Text(&layout[text..at]));
        }
        pieces.push(Piece::Part(part));
        at += length;
        text = at;
    }
    if text < layout.len() {
        pieces.push(Piece::Text(&layout[text..]));
    }
    pieces
}

/// The part at the beginning of a layout, and its length.
fn part(layout: &str) -> Option<(usize, Part)> {
    if let Some(digits) = layout.strip_prefix(['.', ',']) {
        let digit = digits.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
        let count = digits.chars().take_while(|next| *next == digit).count();
        let ends = !digits[count..].starts_with(|next: char| next.is_ascii_digit());
        let separator = if layout.starts_with('.') { '.' } else { ',' };
        return ends.then_some((count + 1, Part::Fraction { separator, digits: count, trimmed: digit == '9' }));
    }
    let (written, part) = WRITTEN.iter().find(|(written, _)| layout.starts_with(written))?;
    let after = &layout[written.len()..];
    let is_word = match part {
        // The beginning of another word.
        Part::ShortMonth | Part::ShortWeekday => after.starts_with(|next: char| next.is_ascii_lowercase()),
        // An underscore before a year.
        Part::Day(Fill::Blank) => after.starts_with("006"),
        _ => false,
    };
    (!is_word).then_some((written.len(), *part))
}

/// A time as it is formatted: what a clock shows, and the zone that the clock is in.
pub struct Shown<'z> {
    pub local: NaiveDateTime,
    /// In seconds.
    pub offset: i32,
    pub zone: &'z str,
}

pub fn format(shown: &Shown<'_>, layout: &str) -> String {
    let mut out = String::new();
    for piece in pieces(layout) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Part(part) => part.write(shown, &mut out),
        }
    }
    out
}

impl Part {
    fn write(self, shown: &Shown<'_>, out: &mut String) {
        let local = &shown.local;
        let month = MONTHS[local.month0() as usize];
        let weekday = WEEKDAYS[local.weekday().num_days_from_monday() as usize];
        let is_afternoon = local.hour() >= 12;
        let hour12 = (local.hour() + 11) % 12 + 1;
        let _ = match self {
            Part::LongYear => write!(out, "{:04}", local.year()),
            Part::ShortYear => write!(out, "{:02}", local.year() % 100),
            Part::LongMonth => write!(out, "{month}"),
            Part::ShortMonth => write!(out, "{}", &month[..3]),
            Part::Month(fill) => fill.write(local.month(), 2, out),
            Part::LongWeekday => write!(out, "{weekday}"),
            Part::ShortWeekday => write!(out, "{}", &weekday[..3]),
            Part::Day(fill) => fill.write(local.day(), 2, out),
            Part::DayOfYear(fill) => fill.write(local.ordinal(), 3, out),
            Part::Hour => write!(out, "{:02}", local.hour()),
            Part::Hour12(fill) => fill.write(hour12, 2, out),
            Part::Minute(fill) => fill.write(local.minute(), 2, out),
            Part::Second(fill) => fill.write(local.second(), 2, out),
            Part::UpperHalf => write!(out, "{}", if is_afternoon { "PM" } else { "AM" }),
            Part::LowerHalf => write!(out, "{}", if is_afternoon { "pm" } else { "am" }),
            Part::Zone => write!(out, "{}", shown.zone),
            Part::Offset { zulu: true, .. } if shown.offset == 0 => write!(out, "Z"),
            Part::Offset { colons, parts, .. } => {
                let sign = if shown.offset <= -60 { '-' } else { '+' };
                let seconds = shown.offset.unsigned_abs();
                let all = [seconds / 3600, seconds / 60 % 60, seconds % 60].map(|part| format!("{part:02}"));
                write!(out, "{sign}{}", all[..parts].join(if colons { ":" } else { "" }))
            }
            Part::Fraction { separator, digits, trimmed } => {
                let mut fraction = format!("{:09}", local.nanosecond());
                fraction.truncate(digits);
                // Go has no more than nine digits.
                let fraction = if trimmed { fraction.trim_end_matches('0') } else { &fraction };
                if fraction.is_empty() { Ok(()) } else { write!(out, "{separator}{fraction}") }
            }
        };
    }
}

impl Fill {
    fn write(self, number: u32, width: usize, out: &mut String) -> std::fmt::Result {
        match self {
            Fill::None => write!(out, "{number}"),
            Fill::Blank => write!(out, "{number:width$}"),
            Fill::Zero => write!(out, "{number:0width$}"),
        }
    }
}

/// The name of a time zone that is only known by its difference from UTC, such as `+0530` or `-03`.
pub fn zone_of(offset: i32) -> String {
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
    let minute = if minutes % 60 == 0 { String::new() } else { format!("{:02}", minutes % 60) };
    format!("{sign}{:02}{minute}", minutes / 60)
}

/// A time that has been read. What the text does not say is as in Go: the year is 0, the month and the day are 1.
#[derive(Default)]
pub struct Read {
    pub year: u32,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub nanosecond: u32,
    /// The difference from UTC in seconds.
    pub offset: i32,
}

type Wrong = &'static str;

const MISMATCH: Wrong = "it does not have the form of the layout";

/// Reads a text in the form of a layout. A time zone that is given by its name counts as UTC, since the name may have
/// several meanings; this is what OPA does on a server in UTC.
pub fn read(text: &str, layout: &str) -> Result<Read, Wrong> {
    let pieces = pieces(layout);
    let mut reader = Reader { rest: text.as_bytes(), time: Read::default(), day_of_year: None, is_afternoon: None };
    for (index, piece) in pieces.iter().enumerate() {
        let next = pieces[index + 1..].iter().find_map(|piece| match piece {
            Piece::Part(part) => Some(part),
            Piece::Text(_) => None,
        });
        match piece {
            Piece::Text(text) => reader.text(text.as_bytes())?,
            Piece::Part(part) => reader.part(*part, matches!(next, Some(Part::Fraction { .. })))?,
        }
    }
    if !reader.rest.is_empty() {
        return Err("there is more text after it");
    }
    reader.finish()
}

struct Reader<'t> {
    rest: &'t [u8],
    time: Read,
    day_of_year: Option<u32>,
    is_afternoon: Option<bool>,
}

impl<'t> Reader<'t> {
    /// Any number of blanks in the layout match any number of them.
    fn text(&mut self, mut expected: &[u8]) -> Result<(), Wrong> {
        while let Some(first) = expected.first() {
            if *first == b' ' {
                if self.rest.first().is_some_and(|next| *next != b' ') {
                    return Err(MISMATCH);
                }
                expected = expected.trim_ascii_start();
                let blanks = self.rest.iter().take_while(|next| **next == b' ').count();
                self.rest = &self.rest[blanks..];
            } else if self.rest.first() == Some(first) {
                (expected, self.rest) = (&expected[1..], &self.rest[1..]);
            } else {
                return Err(MISMATCH);
            }
        }
        Ok(())
    }

    fn part(&mut self, part: Part, is_before_fraction: bool) -> Result<(), Wrong> {
        match part {
            Part::LongYear => self.time.year = self.digits(4, 4)?,
            Part::ShortYear => {
                let year = self.digits(2, 2)?;
                self.time.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            Part::LongMonth => self.time.month = self.name(&MONTHS, usize::MAX)?,
            Part::ShortMonth => self.time.month = self.name(&MONTHS, 3)?,
            Part::Month(fill) => {
                self.time.month = self.number(fill, 2)?;
                within(self.time.month, 1, 12, "the month is out of range")?;
            }
            // The day of the week need not be the right one.
            Part::LongWeekday => _ = self.name(&WEEKDAYS, usize::MAX)?,
            Part::ShortWeekday => _ = self.name(&WEEKDAYS, 3)?,
            Part::Day(fill) => {
                self.time.day = self.number(fill, 2)?;
                within(self.time.day, 1, 31, DAY)?;
            }
            Part::DayOfYear(fill) => self.day_of_year = Some(self.number(fill, 3)?),
            Part::Hour => {
                self.time.hour = self.digits(1, 2)?;
                within(self.time.hour, 0, 23, HOUR)?;
            }
            Part::Hour12(fill) => {
                self.time.hour = self.number(fill, 2)?;
                within(self.time.hour, 0, 12, HOUR)?;
            }
            Part::Minute(fill) => {
                self.time.minute = self.number(fill, 2)?;
                within(self.time.minute, 0, 59, "the minute is out of range")?;
            }
            Part::Second(fill) => {
                self.time.second = self.number(fill, 2)?;
                within(self.time.second, 0, 59, "the second is out of range")?;
                // A fraction may follow even if the layout does not have one.
                if !is_before_fraction {
                    self.fraction()?;
                }
            }
            Part::UpperHalf => self.is_afternoon = Some(self.half(b"AM", b"PM")?),
            Part::LowerHalf => self.is_afternoon = Some(self.half(b"am", b"pm")?),
            Part::Zone => self.zone()?,
            Part::Offset { zulu: true, .. } if self.rest.first() == Some(&b'Z') => self.rest = &self.rest[1..],
            Part::Offset { colons, parts, .. } => self.offset(colons, parts)?,
            Part::Fraction { trimmed: true, .. } => self.fraction()?,
            Part::Fraction { digits, .. } => {
                let fraction = self.rest.get(1..=digits).ok_or(MISMATCH)?;
                if !fraction.iter().all(u8::is_ascii_digit) || !matches!(self.rest[0], b'.' | b',') {
                    return Err(MISMATCH);
                }
                self.time.nanosecond = nanoseconds(fraction);
                self.rest = &self.rest[digits + 1..];
            }
        }
        Ok(())
    }

    /// Reads a number of at least and at most so many digits.
    fn digits(&mut self, least: usize, most: usize) -> Result<u32, Wrong> {
        let count = self.rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return Err(MISMATCH);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    fn number(&mut self, fill: Fill, width: usize) -> Result<u32, Wrong> {
        if fill == Fill::Blank {
            let blanks = self.rest.iter().take(width - 1).take_while(|byte| **byte == b' ').count();
            self.rest = &self.rest[blanks..];
        }
        self.digits(if fill == Fill::Zero { width } else { 1 }, width)
    }

    /// Reads one of these names, of which only the beginning may count, and returns its number from 1.
    fn name(&mut self, names: &[&str], length: usize) -> Result<u32, Wrong> {
        for (name, number) in names.iter().zip(1..) {
            let length = length.min(name.len());
            if self.rest.get(..length).is_some_and(|own| own.eq_ignore_ascii_case(&name.as_bytes()[..length])) {
                self.rest = &self.rest[length..];
                return Ok(number);
            }
        }
        Err(MISMATCH)
    }

    fn half(&mut self, morning: &[u8], afternoon: &[u8]) -> Result<bool, Wrong> {
        let (half, rest) = self.rest.split_at_checked(2).ok_or(MISMATCH)?;
        self.rest = rest;
        if half == afternoon { Ok(true) } else { (half == morning).then_some(false).ok_or(MISMATCH) }
    }

    /// Reads a fraction of a second, if there is one.
    fn fraction(&mut self) -> Result<(), Wrong> {
        if let [b'.' | b',', digits @ ..] = self.rest {
            let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count > 0 {
                self.time.nanosecond = nanoseconds(&digits[..count]);
                self.rest = &digits[count..];
            }
        }
        Ok(())
    }

    fn offset(&mut self, colons: bool, parts: usize) -> Result<(), Wrong> {
        let (sign, rest) = self.rest.split_first().ok_or(MISMATCH)?;
        self.rest = rest;
        let mut seconds = 0;
        for (part, (unit, most)) in [(3600, 24), (60, 60), (1, 60)].into_iter().enumerate().take(parts) {
            if part > 0 && colons {
                self.text(b":")?;
            }
            let number = self.digits(2, 2)?;
            within(number, 0, most, "the difference from UTC is out of range")?;
            seconds += i32::try_from(number * unit).map_err(|_| MISMATCH)?;
        }
        self.time.offset = match sign {
            b'+' => seconds,
            b'-' => -seconds,
            _ => return Err(MISMATCH),
        };
        Ok(())
    }

    /// Reads the name of a time zone.
    fn zone(&mut self) -> Result<(), Wrong> {
        let upper = self.rest.iter().take(6).take_while(|byte| byte.is_ascii_uppercase()).count();
        let length = match self.rest {
            [b'U', b'T', b'C', ..] => 3,
            [b'C', b'h', b'S', b'T', ..] | [b'M', b'e', b'S', b'T', ..] => 4,
            [b'G', b'M', b'T', after @ ..] => 3 + signed(after),
            [b'+' | b'-', _, _, ..] => signed(self.rest),
            [_, _, _, b'T', ..] | [b'W', b'I', b'T', b'A', ..] if upper == 4 => 4,
            [_, _, _, _, b'T', ..] if upper == 5 => 5,
            _ if upper == 3 => 3,
            _ => 0,
        };
        if length == 0 {
            return Err(MISMATCH);
        }
        self.rest = &self.rest[length..];
        Ok(())
    }

    fn finish(mut self) -> Result<Read, Wrong> {
        let time = &mut self.time;
        match self.is_afternoon {
            Some(true) if time.hour < 12 => time.hour += 12,
            Some(false) if time.hour == 12 => time.hour = 0,
            _ => {}
        }
        let year = i32::try_from(time.year).map_err(|_| MISMATCH)?;
        if let Some(day) = self.day_of_year {
            let date = chrono::NaiveDate::from_yo_opt(year, day).ok_or("the day of the year is out of range")?;
            let agrees = |own: u32, other: u32| own == 0 || own == other;
            if !agrees(time.month, date.month()) || !agrees(time.day, date.day()) {
                return Err("the day of the year is not that of the month");
            }
            (time.month, time.day) = (date.month(), date.day());
        }
        (time.month, time.day) = (time.month.max(1), time.day.max(1));
        chrono::NaiveDate::from_ymd_opt(year, time.month, time.day).ok_or(DAY)?;
        Ok(self.time)
    }
}

const DAY: Wrong = "the day is out of range";
const HOUR: Wrong = "the hour is out of range";

fn within(number: u32, least: u32, most: u32, wrong: Wrong) -> Result<(), Wrong> {
    if (least..=most).contains(&number) { Ok(()) } else { Err(wrong) }
}

/// The length of a number of hours with its sign, or zero if there is none.
fn signed(text: &[u8]) -> usize {
    let [b'+' | b'-', digits @ ..] = text else { return 0 };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let hours = digits[..count].iter().fold(0_u32, |hours, digit| hours.saturating_mul(10) + u32::from(digit - b'0'));
    if count == 0 || hours > 23 { 0 } else { count + 1 }
}

/// The first nine digits of a fraction of a second.
fn nanoseconds(digits: &[u8]) -> u32 {
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    padded.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}
