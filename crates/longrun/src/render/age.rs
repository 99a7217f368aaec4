//! Times in a readable form: how long ago, and how long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use operations::Timestamp;

/// The current time of this machine's clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The time from one moment to the other; zero if the other one is not later.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(0))
}

/// How long ago a time is, in its largest unit: `3 min ago`; `in 3 min` for a future time.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let (past, future) = (between(time, now), between(now, time));
    match past.max(future).as_secs() {
        0 => "just now".to_owned(),
        _ if past > future => format!("{} ago", largest(past)),
        _ => format!("in {}", largest(future)),
    }
}

/// A duration of one second or more in its largest unit.
fn largest(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration in few characters: `120ms`, `4.2s`, `42s`, `1m02s`, `3h05m`, `2d04h`.
pub fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_unit() {
        let now = Timestamp::from_millis(10_000_000_000);
        let age = |seconds: i64| ago(Timestamp::from_millis(now.as_millis() - seconds * 1_000), now);
        let ages = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 172_800, -90].map(age);
        let said = [
            "just now",
            "59 s ago",
            "1 min ago",
            "59 min ago",
            "1 h ago",
            "23 h ago",
            "1 day ago",
            "2 days ago",
            "in 1 min",
        ];
        assert_eq!(ages, said);
    }

    #[test]
    fn durations_are_brief() {
        let said = [(120, "120ms"), (4_250, "4.2s"), (62_000, "1m02s"), (11_100_000, "3h05m"), (187_200_000, "2d04h")];
        for (millis, text) in said {
            assert_eq!(brief(Duration::from_millis(millis)), text);
        }
    }
}
