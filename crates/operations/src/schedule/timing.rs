//! When a schedule is due: a cron expression in a time zone, or a fixed interval.
//!
//! A cron expression refers to the wall clock of its time zone, which is changed twice a year in many places. So each
//! reading of that clock is mapped to one moment, and later readings never map to earlier moments:
//!
//! - a reading that occurs once maps to that moment;
//! - a reading that is skipped when the clock is set forward maps to the first moment after the gap;
//! - a reading that occurs twice when the clock is set back maps to the first of the two moments.
//!
//! Readings that map to the same moment are due once. `every` counts elapsed time, not readings of a wall clock.

use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Year};

use crate::{Timestamp, Violation};

/// The maximum length of a cron expression, in bytes.
const MAX_CRON_BYTES: usize = 256;
/// The lower and the upper bound of `every`: a second, ten years.
const EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10 * 365 * 24 * 3600)];
/// The fields of a cron expression; the first may be left out.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of the month", "month", "day of the week"];
const EXAMPLE: &str = "five fields (minute, hour, day of the month, month, day of the week), or six with seconds before \
                       them, e.g. \"0 3 * * *\" for three o'clock each night";

/// When something is due.
#[derive(Clone, Debug)]
pub struct Timing(Rule);

#[derive(Clone, Debug)]
enum Rule {
    Cron { cron: Box<Cron>, zone: Tz },
    Every { millis: i64, anchor: i64 },
}

impl Timing {
    /// A timing by a cron expression, or at an interval counted from `anchor`; `time_zone` applies to the expression
    /// and is UTC when it is empty.
    ///
    /// # Errors
    /// Everything that is wrong, as violations of the fields `cron`, `every` and `time_zone`.
    pub fn new(
        cron: &str,
        every: Option<Duration>,
        time_zone: &str,
        anchor: Timestamp,
    ) -> Result<Timing, Vec<Violation>> {
        let zone = zone(time_zone);
        match (cron.is_empty(), every) {
            (false, None) => match (parse(cron), zone) {
                (Ok(cron), Ok(zone)) => Ok(Timing(Rule::Cron { cron: Box::new(cron), zone })),
                (cron, zone) => Err([cron.err(), zone.err()].into_iter().flatten().collect()),
            },
            (true, Some(every)) => {
                let mut violations = Vec::new();
                if !(EVERY[0]..=EVERY[1]).contains(&every) || every.subsec_nanos() % 1_000_000 != 0 {
                    let problem = "must be between a second and ten years, in whole milliseconds, e.g. \"3600s\"";
                    violations.push(Violation::new("every", problem));
                }
                if !time_zone.is_empty() {
                    let problem =
                        "must be given with cron only: every counts elapsed time, which is the same everywhere";
                    violations.push(Violation::new("time_zone", problem));
                }
                let millis = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
                let timing = Timing(Rule::Every { millis, anchor: anchor.as_millis() });
                if violations.is_empty() { Ok(timing) } else { Err(violations) }
            }
            (true, None) => {
                let problem = format!("must be given, unless every is given: {EXAMPLE}");
                Err(vec![Violation::new("cron", problem)])
            }
            (false, Some(_)) => Err(vec![Violation::new("every", "must not be given together with cron")]),
        }
    }

    /// The first due time after this time; `None` when there is none.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Rule::Every { millis, anchor } => {
                let passed = after.as_millis().checked_sub(*anchor)?.div_euclid(*millis);
                let next = anchor.checked_add(passed.max(0).checked_add(1)?.checked_mul(*millis)?)?;
                // Times are clamped to a range; at its end there is no next time.
                Some(Timestamp::from_millis(next)).filter(|found| found.as_millis() == next)
            }
            Rule::Cron { cron, zone } => {
                let mut reading = reading(after, *zone)?;
                loop {
                    reading = cron.find_next_occurrence(&reading.and_utc(), false).ok()?.naive_utc();
                    // Skips readings that the clock showed before it was set back: they are in the past.
                    let moment = moment(reading, *zone)?;
                    if moment > after {
                        return Some(moment);
                    }
                }
            }
        }
    }

    /// The last due time at or before this time.
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Rule::Every { millis, anchor } => {
                let passed = until.as_millis().checked_sub(*anchor)?.div_euclid(*millis);
                (passed > 0).then(|| Timestamp::from_millis(anchor + passed * millis))
            }
            Rule::Cron { cron, zone } => {
                let mut reading = reading(until, *zone)?;
                // While the clock shows a reading for the second time, later readings are in the past, too.
                if let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&reading)
                    && second.timestamp_millis() <= until.as_millis()
                {
                    reading = reading.checked_add_signed(second.signed_duration_since(first))?;
                }
                let mut is_first = true;
                loop {
                    reading = cron.find_previous_occurrence(&reading.and_utc(), is_first).ok()?.naive_utc();
                    is_first = false;
                    let moment = moment(reading, *zone)?;
                    if moment <= until {
                        return Some(moment);
                    }
                }
            }
        }
    }

    /// The latest `most` due times after `after` and up to `until`, in order. Costs no more for years than for hours.
    pub fn between(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let mut from = until;
        while found.len() < most
            && let Some(due) = self.last_until(from).filter(|due| *due > after)
        {
            found.push(due);
            from = Timestamp::from_millis(due.as_millis() - 1);
        }
        found.reverse();
        found
    }

    /// Up to `most` due times after this time.
    pub fn upcoming(&self, after: Timestamp, most: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |due| self.next_after(*due)).take(most).collect()
    }
}

fn zone(name: &str) -> Result<Tz, Violation> {
    if name.is_empty() {
        return Ok(Tz::UTC);
    }
    let wrong =
        || Violation::new("time_zone", "is not a time zone of the IANA database, e.g. \"Europe/Berlin\" or \"UTC\"");
    name.parse().map_err(|_| wrong())
}

fn parse(text: &str) -> Result<Cron, Violation> {
    let wrong = |why: &str| Violation::new("cron", format!("{why}; expected {EXAMPLE}"));
    if text.len() > MAX_CRON_BYTES || !text.is_ascii() {
        return Err(wrong(&format!("must be ASCII text of at most {MAX_CRON_BYTES} bytes")));
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if !(5..=6).contains(&fields.len()) {
        return Err(wrong(&format!("has {} fields", fields.len())));
    }
    let parser = CronParser::builder().year(Year::Disallowed).build();
    parser.parse(text).map_err(|_| {
        // Parses each field on its own, to report which one is wrong.
        let names = &FIELDS[FIELDS.len() - fields.len()..];
        let is_wrong = |place: &usize| {
            let alone: Vec<&str> = (0..fields.len()).map(|at| if at == *place { fields[at] } else { "*" }).collect();
            parser.parse(&alone.join(" ")).is_err()
        };
        match (0..fields.len()).find(is_wrong) {
            Some(place) => wrong(&format!("has no {} in {:?}", names[place], fields[place])),
            None => wrong("is not a cron expression"),
        }
    })
}

/// The reading of the wall clock, to the second.
fn reading(at: Timestamp, zone: Tz) -> Option<NaiveDateTime> {
    DateTime::<Utc>::from_timestamp_millis(at.as_millis())?.with_timezone(&zone).naive_local().with_nanosecond(0)
}

/// The moment to which a reading of the wall clock is mapped.
fn moment(reading: NaiveDateTime, zone: Tz) -> Option<Timestamp> {
    let moment = match zone.from_local_datetime(&reading) {
        LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => moment.timestamp(),
        LocalResult::None => {
            // The clock jumps over the reading somewhere between these two moments, since no zone is a day away from
            // UTC.
            let day = TimeDelta::days(1);
            let (mut before, mut behind) = (
                reading.checked_sub_signed(day)?.and_utc().timestamp(),
                reading.checked_add_signed(day)?.and_utc().timestamp(),
            );
            while behind - before > 1 {
                let middle = before + (behind - before) / 2;
                let shown = DateTime::<Utc>::from_timestamp(middle, 0)?.with_timezone(&zone).naive_local();
                if shown < reading { before = middle } else { behind = middle }
            }
            behind
        }
    };
    Some(Timestamp::from_millis(moment.checked_mul(1_000)?))
}
