//! Durations as proto3 JSON writes them: seconds with up to nine decimals and an `s`, e.g. `"1.5s"`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

const WANTED: &str = "must be a duration in seconds such as \"60s\" or \"1.5s\"";

/// Reads the field of a body.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(WANTED))?;
    parse(&text).map(Some).ok_or_else(|| D::Error::custom(WANTED))
}

/// Reads a parameter of a query; an empty one counts as missing.
pub(super) fn parameter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { parse(&text).map(Some).ok_or_else(|| D::Error::custom(WANTED)) }
}

/// Reads a duration that is not negative.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(seconds) || !are_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some(Duration::new(seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Writes a duration, to the millisecond.
pub(crate) fn write(duration: Duration) -> String {
    format!("{}s", duration.as_millis() as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_with_up_to_nine_decimals() {
        assert_eq!(parse("60s"), Some(Duration::from_secs(60)));
        assert_eq!(parse("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse("0.000000001s"), Some(Duration::from_nanos(1)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        for duration in [Duration::from_secs(60), Duration::from_millis(1_500), Duration::ZERO] {
            assert_eq!(parse(&write(duration)), Some(duration));
        }
        assert_eq!(write(Duration::from_millis(90_001)), "90.001s");
        for bad in
            ["", "s", "60", "60 s", "-1s", "+1s", "1.s", ".5s", "1.0000000001s", "1m", "1e3s", "99999999999999999999s"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
