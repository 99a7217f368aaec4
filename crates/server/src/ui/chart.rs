//! Charts: bars over time, drawn on the server as SVG, each with the same figures as a table.

use operations::{Durations, Timestamp};
use store::Counts;

use super::format::{duration, number};

/// The height of a chart in units of its drawing; the style sheet determines the height on the screen.
const HEIGHT: u64 = 1_000;
/// A value above zero is always visible.
const LEAST_HEIGHT: u64 = 20;
/// The distance from one bar to the next, and the width of a bar.
const PITCH: u64 = 10;
const BAR: u64 = 8;

/// What happened in one part of the shown time.
pub(super) struct Slot {
    /// When it began, for people: `14:05`, `Nov 28 14:00`.
    pub(super) name: String,
    pub(super) counts: Counts,
}

/// A chart.
pub(super) struct Chart {
    /// Unique in the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What it shows, for people who cannot see it.
    pub(super) description: String,
    /// Its width in units of its drawing.
    pub(super) width: u64,
    pub(super) bars: Vec<Bar>,
    /// The values of the upper edge and of the line in the middle.
    pub(super) top: String,
    pub(super) middle: String,
    /// The times at its beginning and in its middle.
    pub(super) from: String,
    pub(super) half: String,
    /// The legend of the colours; empty when there is only one.
    pub(super) keys: Vec<Key>,
    /// The columns of its table after the time.
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Row>,
    pub(super) is_empty: bool,
}

pub(super) struct Key {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
}

pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<String>,
}

/// How one part of the time is drawn.
pub(super) struct Bar {
    pub(super) x: u64,
    pub(super) width: u64,
    /// The tooltip.
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) y: u64,
    pub(super) height: u64,
}

/// One colour of a chart.
struct Series {
    class: &'static str,
    name: &'static str,
    /// One value for each slot; `None` if there is nothing to show.
    values: Vec<Option<u64>>,
}

/// The unit of the values of a chart.
#[derive(Clone, Copy)]
enum Unit {
    Number,
    Millis,
}

impl Unit {
    fn shown(self, value: u64) -> String {
        match self {
            Unit::Number => number(value),
            Unit::Millis => duration(i64::try_from(value).unwrap_or(i64::MAX)),
        }
    }
}

/// The title of a chart, and its texts.
struct Words {
    /// Unique in the page.
    id: &'static str,
    title: &'static str,
    /// What its bars show.
    what: &'static str,
    /// The text when there is nothing to show.
    nothing: &'static str,
}

/// How many operations ended.
pub(super) fn ended(slots: &[Slot]) -> Chart {
    let words = Words {
        id: "ended",
        title: "Throughput",
        what: "operations that ended",
        nothing: "No operation ended in this time.",
    };
    let completed = series(slots, "completed", "Completed", |counts| some(counts.completed));
    let failed = series(slots, "failed", "Failed", |counts| some(counts.failed));
    draw(words, slots, vec![completed, failed], true, Unit::Number)
}

/// How many failed.
pub(super) fn failures(slots: &[Slot]) -> Chart {
    let words = Words {
        id: "failures",
        title: "Failures",
        what: "operations that failed",
        nothing: "No operation failed in this time.",
    };
    let failed = series(slots, "failed", "Failed", |counts| some(counts.failed));
    draw(words, slots, vec![failed], true, Unit::Number)
}

/// How long the operations that started had waited.
pub(super) fn waiting(slots: &[Slot]) -> Chart {
    let words = Words {
        id: "waiting",
        title: "Waiting time",
        what: "how long operations had waited when they started",
        nothing: "No operation started in this time.",
    };
    let names = ["90 % waited at most", "Half waited at most"];
    let series = quantiles(slots, names, |counts| &counts.waiting);
    draw(words, slots, series, false, Unit::Millis)
}

/// How long the attempts that ended operations took.
pub(super) fn running(slots: &[Slot]) -> Chart {
    let words = Words {
        id: "running",
        title: "Run time",
        what: "how long the last attempts of operations took",
        nothing: "No attempt ended an operation in this time.",
    };
    let names = ["90 % ran at most", "Half ran at most"];
    let series = quantiles(slots, names, |counts| &counts.running);
    draw(words, slots, series, false, Unit::Millis)
}

fn quantiles(slots: &[Slot], [most, half]: [&'static str; 2], of: impl Fn(&Counts) -> &Durations) -> Vec<Series> {
    vec![
        series(slots, "p90", most, |counts| of(counts).quantile_ms(90)),
        series(slots, "p50", half, |counts| of(counts).quantile_ms(50)),
    ]
}

fn some(count: u64) -> Option<u64> {
    Some(count).filter(|count| *count > 0)
}

fn series(slots: &[Slot], class: &'static str, name: &'static str, value: impl Fn(&Counts) -> Option<u64>) -> Series {
    Series { class, name, values: slots.iter().map(|slot| value(&slot.counts)).collect() }
}

/// `stacked`: the values of a slot are stacked; otherwise one is drawn behind the other, the first at the back.
fn draw(words: Words, slots: &[Slot], series: Vec<Series>, stacked: bool, unit: Unit) -> Chart {
    let Words { id, title, what, nothing } = words;
    let at = |index: usize| series.iter().map(move |one| one.values[index]);
    let highest = |index: usize| {
        let values = at(index).flatten();
        if stacked { values.sum() } else { values.max().unwrap_or(0) }
    };
    let most = (0..slots.len()).map(highest).max().unwrap_or(0);
    let top = round_up(most.max(1), unit);
    let scale = |value: u64| {
        let height = u128::from(value) * u128::from(HEIGHT) / u128::from(top);
        u64::try_from(height).unwrap_or(HEIGHT).clamp(LEAST_HEIGHT, HEIGHT)
    };
    let (mut bars, mut rows) = (Vec::new(), Vec::new());
    for (index, slot) in slots.iter().enumerate().filter(|(index, _)| at(*index).flatten().next().is_some()) {
        let mut base = HEIGHT;
        let mut parts = Vec::new();
        for one in &series {
            let Some(value) = one.values[index] else { continue };
            let height = scale(value).min(base);
            parts.push(Part { class: one.class, y: base - height, height });
            if stacked {
                base -= height;
            }
        }
        let values: Vec<String> = series
            .iter()
            .filter_map(|one| Some(format!("{} {}", one.name.to_lowercase(), unit.shown(one.values[index]?))))
            .collect();
        let title = format!("{}: {}", slot.name, values.join(", "));
        bars.push(Bar { x: index as u64 * PITCH + (PITCH - BAR) / 2, width: BAR, title, parts });
        let cells = at(index).map(|value| value.map_or("–".to_owned(), |value| unit.shown(value))).collect();
        rows.push(Row { name: slot.name.clone(), cells });
    }
    let first = slots.first().map_or(String::new(), |slot| slot.name.clone());
    let description = match bars.len() {
        0 => nothing.to_owned(),
        _ => format!("Each bar shows {what} in a part of the time; the highest is {}.", unit.shown(most)),
    };
    Chart {
        id,
        title,
        description,
        width: slots.len() as u64 * PITCH,
        is_empty: bars.is_empty(),
        bars,
        top: unit.shown(top),
        middle: if top > 1 { unit.shown(top / 2) } else { String::new() },
        half: slots.get(slots.len() / 2).map_or(String::new(), |slot| slot.name.clone()),
        from: first,
        keys: series.iter().filter(|_| series.len() > 1).map(|one| Key { class: one.class, name: one.name }).collect(),
        columns: series.iter().map(|one| one.name).collect(),
        rows,
    }
}

/// The next round value, which is easy to halve.
fn round_up(value: u64, unit: Unit) -> u64 {
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    // Above one second, durations use the units of the clock.
    const CLOCK: [u64; 20] = [
        2_000,
        4_000,
        10_000,
        20_000,
        30_000,
        MINUTE,
        2 * MINUTE,
        4 * MINUTE,
        10 * MINUTE,
        20 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        4 * HOUR,
        8 * HOUR,
        12 * HOUR,
        24 * HOUR,
        48 * HOUR,
        96 * HOUR,
        240 * HOUR,
    ];
    if matches!(unit, Unit::Millis)
        && value > 1_000
        && let Some(step) = CLOCK.into_iter().find(|step| value <= *step)
    {
        return step;
    }
    let mut power = 1_u64;
    loop {
        for digit in [1, 2, 4, 6, 8] {
            let step = power.saturating_mul(digit);
            if value <= step {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// A time as the axis shows it: the time of day, with the date where the shown time is longer than a day.
pub(super) fn name(at: Timestamp, with_day: bool) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let exact = at.to_string();
    let time = exact.get(11..16).unwrap_or_default();
    if !with_day {
        return time.to_owned();
    }
    let month = exact.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1);
    format!("{} {} {time}", MONTHS[month.clamp(1, 12) - 1], exact.get(8..10).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str, completed: u64, failed: u64) -> Slot {
        Slot { name: name.to_owned(), counts: Counts { completed, failed, ..Counts::default() } }
    }

    #[test]
    fn bars_stand_on_one_another_below_a_round_top() {
        let chart = ended(&[slot("14:00", 150, 25), slot("14:01", 0, 0), slot("14:02", 1, 0)]);
        assert_eq!((chart.width, &*chart.top, &*chart.middle), (30, "200", "100"));
        let bars: Vec<(u64, &str)> = chart.bars.iter().map(|bar| (bar.x, &*bar.title)).collect();
        assert_eq!(bars, [(1, "14:00: completed 150, failed 25"), (21, "14:02: completed 1")]);
        let parts: Vec<_> = chart.bars[0].parts.iter().map(|part| (part.class, part.y, part.height)).collect();
        assert_eq!(parts, [("completed", 250, 750), ("failed", 125, 125)]);
        assert_eq!(chart.bars[1].parts[0].height, LEAST_HEIGHT, "one of two hundred is seen");
        assert_eq!(chart.rows[1].cells, ["1", "–"]);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let chart = failures(&[slot("14:00", 3, 0)]);
        assert!(chart.is_empty && chart.rows.is_empty());
        assert_eq!(chart.description, "No operation failed in this time.");
        let waiting = waiting(&[]);
        assert!(waiting.is_empty);
        assert_eq!(waiting.description, "No operation started in this time.");
    }

    #[test]
    fn what_took_no_time_is_shown_too() {
        let mut at_once = slot("14:00", 1, 0);
        at_once.counts.waiting.add(Timestamp::from_millis(5), Timestamp::from_millis(5));
        let chart = waiting(&[at_once, slot("14:01", 0, 0)]);
        assert_eq!(
            (chart.bars.len(), &*chart.bars[0].title),
            (1, "14:00: 90 % waited at most 0 ms, half waited at most 0 ms")
        );
    }

    #[test]
    fn tops_are_round() {
        for (value, top) in [(1, 1), (3, 4), (11, 20), (61, 80), (999, 1_000), (1_001, 2_000)] {
            assert_eq!(round_up(value, Unit::Number), top, "{value}");
        }
        for (millis, top) in [(7, 8), (900, 1_000), (1_100, 2_000), (31_000, 60_000), (3_000_000, 3_600_000)] {
            assert_eq!(round_up(millis, Unit::Millis), top, "{millis}");
        }
        assert!(round_up(u64::MAX, Unit::Millis) >= u64::MAX / 2);
    }

    #[test]
    fn times_are_named_with_their_day_where_there_are_several() {
        let at = "2026-11-28T14:05:00Z".parse().expect("a time");
        assert_eq!((name(at, false), name(at, true)), ("14:05".to_owned(), "Nov 28 14:05".to_owned()));
    }
}
