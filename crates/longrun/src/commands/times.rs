//! Times on the command line: absolute, or relative to now.

use std::time::Duration;

use operations::Timestamp;

use crate::config::Span;
use crate::exit::{Hint, failure};
use crate::render::age;

/// A time in the past, as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// An RFC 3339 time.
    At(Timestamp),
    /// How long ago.
    Ago(Duration),
}

impl Past {
    /// Reads the value of a flag.
    ///
    /// # Errors
    /// When it is neither a time nor a duration.
    pub fn parse(flag: &str, text: &str) -> anyhow::Result<Past> {
        let ago = text.parse().ok().map(|Span(time)| Past::Ago(time));
        ago.or_else(|| text.parse().ok().map(Past::At)).ok_or_else(|| {
            let hint = "give a time such as 2026-01-31T12:00:00Z, or how long ago, e.g. 7d";
            failure(format!("{flag} is not a time"), hint)
        })
    }

    /// The time itself.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Past::At(time) => time,
            Past::Ago(time) => now.before(time),
        }
    }
}

/// The value of `--run-after`: an RFC 3339 time, or a duration that begins now.
///
/// # Errors
/// When it is neither, or the duration ends after the last time that there is.
pub fn run_after(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let hint = "write --run-after 2026-01-23T04:56:07Z or --run-after 10m";
    let Span(ahead) =
        text.parse().map_err(|_| anyhow::anyhow!("{text:?} is neither an RFC 3339 time nor a duration")).hint(hint)?;
    let time = age::now().after(ahead);
    // Times after the year 9999 are cut off to the last moment that there is.
    if time == Timestamp::from_millis(i64::MAX) {
        return Err(failure(format!("{text:?} from now is after the year 9999"), hint));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_is_a_time_or_how_long_ago() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let time = |text| Past::parse("--since", text).map(|past| past.before(now)).ok();
        assert_eq!(time("1h"), Some(now.before(Duration::from_secs(3_600))));
        assert_eq!(time("1970-01-01T00:00:01Z"), Some(Timestamp::from_millis(1_000)));
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn times_are_absolute_or_ahead() {
        let shown = run_after("2026-01-23T04:56:07Z").expect("a time").to_string();
        assert_eq!(shown, "2026-01-23T04:56:07.000Z");
        let ahead = run_after("1h").expect("a time");
        assert!((3_590_000..=3_600_000).contains(&(ahead.as_millis() - age::now().as_millis())));
        assert!(run_after("tomorrow").is_err());
    }

    #[test]
    fn times_beyond_the_calendar_are_refused() {
        for text in ["3000000d", "500000000000y"] {
            let error = run_after(text).expect_err("there is no such time");
            assert!(error.to_string().ends_with("is after the year 9999"), "{error}");
        }
    }
}
