//! Times, numbers and texts as people read them.

use operations::{Operation, Status, Timestamp};

/// A time, and how long ago it was when the page was rendered.
pub(super) struct When {
    /// RFC 3339, for programs.
    pub(super) exact: String,
    /// For people: `2026-11-28 01:02:03 UTC`.
    pub(super) shown: String,
    /// Relative, for people: `5 min ago`.
    pub(super) ago: String,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> When {
        let exact = at.to_string();
        let shown = format!("{} {} UTC", &exact[..10], &exact[11..19]);
        When { shown, ago: ago(now.as_millis() - at.as_millis()), exact }
    }
}

/// How long ago, from milliseconds.
fn ago(millis: i64) -> String {
    match millis {
        ..-5_000 => format!("in {}", until(-millis)),
        -5_000..1_000 => "just now".to_owned(),
        _ => format!("{} ago", duration(millis)),
    }
}

/// How long until then. Days are rounded up, so that 90 days are still shown as such a moment later.
fn until(millis: i64) -> String {
    const DAY: i64 = 24 * 3_600_000;
    if millis < 2 * DAY { duration(millis) } else { format!("{} d", millis.saturating_add(DAY - 1) / DAY) }
}

/// A time of day, in UTC, with the date unless that is today: `12:01`, `2026-11-29 12:01`.
pub(super) fn clock(at: Timestamp, now: Timestamp) -> String {
    let (exact, today) = (at.to_string(), now.to_string());
    let time = &exact[11..16];
    if exact[..10] == today[..10] { time.to_owned() } else { format!("{} {time}", &exact[..10]) }
}

/// A duration in its two largest units at most: `340 ms`, `12 s`, `5 min`, `3 h 20 min`, `12 d`.
pub(super) fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let (seconds, minutes, hours) = (millis / 1_000, millis / 60_000, millis / 3_600_000);
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..600_000 if seconds % 60 > 0 => format!("{minutes} min {} s", seconds % 60),
        60_000..3_600_000 => format!("{minutes} min"),
        _ if hours < 48 && minutes % 60 > 0 => format!("{hours} h {} min", minutes % 60),
        _ if hours < 48 => format!("{hours} h"),
        _ => format!("{} d", hours / 24),
    }
}

/// A number with thousands separators: `12,345,678`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count, exact or a lower bound.
pub(super) fn count(count: u64, is_exact: bool) -> String {
    if is_exact { number(count) } else { format!("at least {}", number(count)) }
}

/// A text as one word of a shell's command.
pub(super) fn quoted_for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The name and colour of a status. For programs, cancelled operations are failed; for people, they are distinguished.
pub(super) struct Badge {
    /// The class of the style sheet.
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    /// A sign, since some people cannot distinguish colours.
    pub(super) sign: &'static str,
}

impl Badge {
    pub(super) fn of(operation: &Operation) -> Badge {
        if operation.was_cancelled() {
            return Badge { class: "cancelled", name: "Cancelled", sign: "⊘" };
        }
        Badge::of_status(operation.status)
    }

    pub(super) fn of_status(status: Status) -> Badge {
        match status {
            Status::Pending => Badge { class: "pending", name: "Pending", sign: "◷" },
            Status::Running => Badge { class: "running", name: "Running", sign: "▶" },
            Status::Completed => Badge { class: "completed", name: "Completed", sign: "✓" },
            Status::Failed => Badge { class: "failed", name: "Failed", sign: "✕" },
        }
    }
}

/// A text without its middle when it is long, such as a digest.
pub(super) fn short(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let (head, tail) = (most * 2 / 3, most - most * 2 / 3 - 1);
    let skipped: String = text.chars().skip(count - tail).collect();
    format!("{}…{skipped}", text.chars().take(head).collect::<String>())
}

/// A JSON text with its members on lines of their own, in their order, and numbers and texts as they were written; a
/// text that is not JSON does not change.
pub(super) fn pretty(text: &str) -> String {
    if serde_json::from_str::<&serde_json::value::RawValue>(text).is_err() {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    let new_line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.extend(std::iter::repeat_n("  ", depth));
    };
    for character in text.chars() {
        if in_text {
            shown.push(character);
            in_text = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                depth += 1;
                shown.push(character);
                new_line(&mut shown, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                // An empty one has nothing between its brackets.
                let kept = shown.trim_end().len();
                shown.truncate(kept);
                if !shown.ends_with(['{', '[']) {
                    new_line(&mut shown, depth);
                }
                shown.push(character);
            }
            ',' => {
                shown.push(',');
                new_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            white if white.is_ascii_whitespace() => {}
            other => {
                in_text = other == '"';
                shown.push(other);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (millis, text) in [
            (-5, "0 ms"),
            (340, "340 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_599_999, "59 min"),
            (3_600_000, "1 h"),
            (12_000_000, "3 h 20 min"),
            (47 * 3_600_000, "47 h"),
            (48 * 3_600_000, "2 d"),
        ] {
            assert_eq!(duration(millis), text, "{millis}");
        }
    }

    #[test]
    fn what_is_ahead_is_told_in_whole_days() {
        const HOUR: i64 = 3_600_000;
        for (millis, text) in [
            (5, "just now"),
            (-4_000, "just now"),
            (-6_000, "in 6.0 s"),
            (-90_000, "in 1 min 30 s"),
            (-(48 * HOUR - 1), "in 47 h 59 min"),
            (-48 * HOUR, "in 2 d"),
            (-(48 * HOUR + 1), "in 3 d"),
            (-(90 * 24 * HOUR - 20), "in 90 d"),
            (2_000, "2.0 s ago"),
        ] {
            assert_eq!(ago(millis), text, "{millis}");
        }
    }

    #[test]
    fn a_time_of_another_day_is_told_with_its_day() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-28T11:59:59Z");
        assert_eq!(clock(at("2026-11-28T12:01:02Z"), now), "12:01");
        assert_eq!(clock(at("2026-11-29T12:01:02Z"), now), "2026-11-29 12:01");
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(number), ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn long_texts_keep_both_ends() {
        assert_eq!(short("short", 10), "short");
        assert_eq!(short("sha256:0123456789abcdef", 13), "sha256:0…cdef");
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        assert_eq!(pretty("plain <text>"), "plain <text>");
        assert_eq!(pretty("{\"b\":1e400,\"a\":[ ]}"), "{\n  \"b\": 1e400,\n  \"a\": []\n}");
        assert_eq!(pretty(r#"["\\\"{,:", {} ]"#), "[\n  \"\\\\\\\"{,:\",\n  {}\n]");
    }
}
