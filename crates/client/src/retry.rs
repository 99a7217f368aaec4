//! When to repeat a call: after the time that the server requested, or after a growing pause.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The first pause if the server requested no time; further ones double.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// No single pause is longer than this, whatever the server requests: a caller that wants to wait longer can do so.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// `Retry-After` in seconds. The date format is not parsed: longrun never sends it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// How long to pause before repetition number `repetition` (0 for the first).
///
/// If the server requested no time, half of the pause is random, so that many clients do not come back at once. A server
/// that asks for no pause at all gets one too: waits and workers repeat their calls without a limit.
pub(crate) fn pause(asked: Option<Duration>, repetition: u32) -> Duration {
    match asked.filter(|asked| !asked.is_zero()) {
        Some(asked) => asked.min(LONGEST_PAUSE),
        None => {
            let pause = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(repetition)).min(LONGEST_PAUSE);
            pause.mul_f64(rand::random_range(0.5..=1.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_decides_within_bounds() {
        assert_eq!(pause(Some(Duration::from_secs(3)), 7), Duration::from_secs(3));
        assert_eq!(pause(Some(Duration::from_secs(3600)), 0), LONGEST_PAUSE);
        assert!(pause(Some(Duration::ZERO), 3) >= Duration::from_millis(800));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        for (repetition, most) in [(0, 200), (1, 400), (3, 1600)] {
            let pause = pause(None, repetition).as_millis();
            assert!((most / 2..=most).contains(&pause), "{pause}");
        }
        assert!(pause(None, u32::MAX) <= LONGEST_PAUSE);
    }

    #[test]
    fn retry_after_is_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "2".parse().expect("a header"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(2)));
        for other in ["-1", "Fri, 31 Dec 1999 23:59:59 GMT", "NaN", "1e400"] {
            headers.insert(RETRY_AFTER, other.parse().expect("a header"));
            assert_eq!(retry_after(&headers), None, "{other}");
        }
    }
}
