//! Points in time as clients see them: milliseconds, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// A point in time: milliseconds since the Unix epoch, UTC, between the years 1 and 9999 (the range of
/// `google.protobuf.Timestamp`).
///
/// Shown as RFC 3339 with `Z` and three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const MIN_MILLIS: i64 = -62_135_596_800_000;
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The point `millis` milliseconds after the epoch, clamped to the range above.
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis.clamp(MIN_MILLIS, MAX_MILLIS))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The point `duration` later, clamped to the range above.
    pub fn after(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.0.saturating_add(millis))
    }

    /// The point `duration` earlier, clamped to the range above.
    pub fn before(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0).expect("clamped to chrono's range");
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// The text is not an RFC 3339 date-time between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date-time such as 2026-01-23T04:56:07Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Any RFC 3339 offset is accepted; digits beyond milliseconds are cut off.
    fn from_str(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| InvalidTimestamp)?;
        let millis = time.timestamp_millis();
        if (MIN_MILLIS..=MAX_MILLIS).contains(&millis) { Ok(Timestamp(millis)) } else { Err(InvalidTimestamp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_in_utc_with_three_decimals() {
        let time: Timestamp = "2000-01-23T06:56:07.1239+02:00".parse().expect("valid");
        assert_eq!(time.to_string(), "2000-01-23T04:56:07.123Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn extremes_are_shown_without_panic() {
        for millis in [i64::MIN, i64::MAX] {
            let shown = Timestamp::from_millis(millis).to_string();
            assert_eq!(shown.parse(), Ok(Timestamp::from_millis(millis)), "{shown}");
        }
        assert_eq!(Timestamp::from_millis(0).after(Duration::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "2000-01-23", "2000-01-23T04:56:07", "yesterday", "0000-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }
}
