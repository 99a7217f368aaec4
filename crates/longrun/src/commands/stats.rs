//! `longrun stats`: how many operations ran and how long they took, as a chart.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use clap::ValueEnum;
use longrun_client::{Stats, StatsDurations, StatsPoint, StatsRequest};
use operations::{Step, Timestamp};

use super::times::Past;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, note};
use crate::render::{self, Answer, Style, age, printable};

/// The width when that of the terminal is unknown.
const WIDTH: usize = 100;
/// The minimum width of a bar, whatever the width of the terminal.
const MIN_BAR: usize = 10;
/// Counts that lag behind by less than this are considered complete.
const LAG: Duration = Duration::from_secs(15);
/// The characters that fill one eighth of a cell, two eighths, and so on.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// The length of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StepName {
    /// Kept for 7 days
    Minute,
    /// Kept for a year
    Hour,
    /// Kept permanently
    Day,
}

/// What the bars show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Operations that were created
    #[default]
    Created,
    /// Attempts that started
    Started,
    /// Operations that were completed
    Completed,
    /// Operations that failed
    Failed,
}

/// What `longrun stats` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start of the period: how long ago, e.g. 24h, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,
    /// End of the period, in the same formats; default: now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Length of a step; default: chosen to fit the period
    #[arg(long, value_enum)]
    step: Option<StepName>,
    /// Only this kind
    #[arg(long, add = clap_complete::ArgValueCompleter::new(crate::completing::kinds))]
    kind: Option<String>,
    /// Show each kind separately
    #[arg(long, conflicts_with = "kind")]
    by_kind: bool,
    /// What the bars show
    #[arg(long, value_enum, default_value_t)]
    bars: Shown,
    /// Print the result in the format of the API; the same as -o json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Shows statistics.
///
/// # Errors
/// When a time is invalid, or the call fails.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let now = age::now();
    let from = Past::parse("--since", &args.since)?.before(now);
    let to = args.until.as_deref().map(|until| Past::parse("--until", until)).transpose()?;
    let to = to.map(|to| to.before(now));
    let step = match args.step {
        Some(StepName::Minute) => Step::Minute,
        Some(StepName::Hour) => Step::Hour,
        Some(StepName::Day) => Step::Day,
        None => fitting(from, to.unwrap_or(now)),
    };
    let request = StatsRequest {
        from: Some(from.to_string()),
        to: to.map(|to| to.to_string()),
        step: Some(step.name().to_owned()),
        by_kind: args.by_kind,
        kind: args.kind,
    };
    let client = args.server.client()?;
    let answer = client.stats(&request).await?;
    if answer.value.points.is_empty() {
        super::list::suggest_kind(&client, request.kind.as_deref()).await;
    }
    let format = if args.json { render::Format::Json } else { args.output.format };
    let stats = &answer.value;
    match &stats.available_since {
        None => note("nothing has been counted yet: the server has not started counting"),
        Some(since) if since.parse().is_ok_and(|since: Timestamp| since > from) => {
            note(format!("counts are complete from {since} on"));
        }
        Some(_) => {}
    }
    if let (Some(lag), Some(until)) =
        (stats.lag_ms.map(Duration::from_millis).filter(|lag| *lag >= LAG), &stats.complete_until)
    {
        note(format!("events after {until}, {} ago, have not been counted yet", age::brief(lag)));
    }
    render::print(format, &Chart { answer: &answer, step, bars: args.bars, width: width() })?;
    Ok(Exit::Done)
}

/// The finest step with which the whole period fits on one screen.
fn fitting(from: Timestamp, to: Timestamp) -> Step {
    const SCREEN: i64 = 72;
    let length = to.as_millis().saturating_sub(from.as_millis());
    Step::ALL.into_iter().find(|step| length / step.millis() <= SCREEN).unwrap_or(Step::Day)
}

/// The width of the terminal in columns.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.or_else(|| Style::of_stdout().width()).unwrap_or(WIDTH)
}

struct Chart<'a> {
    answer: &'a longrun_client::Answer<Stats>,
    step: Step,
    bars: Shown,
    width: usize,
}

impl Answer for Chart<'_> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.answer.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        chart(style, &self.answer.value, self.step, self.bars, self.width)
    }

    fn ids(&self) -> Vec<String> {
        self.answer.value.points.iter().map(|point| point.start.clone()).collect()
    }
}

/// One line per step, or per kind and step, including steps in which nothing happened.
fn chart(style: Style, stats: &Stats, step: Step, bars: Shown, width: usize) -> String {
    let by_kind = stats.points.iter().any(|point| point.kind.is_some());
    let mut steps: BTreeMap<i64, Vec<&StatsPoint>> = BTreeMap::new();
    if let (Ok(from), Ok(to)) = (stats.start.parse::<Timestamp>(), stats.end.parse::<Timestamp>()) {
        let mut start = step.start(from).as_millis();
        while start < to.as_millis() {
            steps.insert(start, Vec::new());
            start += step.millis();
        }
    }
    for point in &stats.points {
        if let Ok(start) = point.start.parse::<Timestamp>() {
            steps.entry(start.as_millis()).or_default().push(point);
        }
    }
    let nothing = StatsPoint::default();
    let mut lines = Vec::new();
    for (start, points) in &steps {
        let start = shown_start(Timestamp::from_millis(*start), step);
        let points = if points.is_empty() { vec![&nothing] } else { points.clone() };
        lines.extend(points.into_iter().map(|point| (start.clone(), point)));
    }
    let heading = ["", "KIND", "CREATED", "STARTED", "DONE", "FAILED", "WAITED", "RAN"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(lines.iter().map(|(start, point)| {
        [
            start.clone(),
            printable(point.kind.as_deref().unwrap_or_default()),
            point.created.to_string(),
            point.started.to_string(),
            point.completed.to_string(),
            point.failed.to_string(),
            typical(&point.waiting),
            typical(&point.running),
        ]
    }));
    let shown: Vec<usize> = (0..heading.len()).filter(|column| *column != 1 || by_kind).collect();
    let widths: Vec<usize> =
        shown.iter().map(|column| rows.iter().map(|row| row[*column].chars().count()).max().unwrap_or(0)).collect();
    let taken: usize = widths.iter().map(|width| width + 2).sum();
    let room = width.saturating_sub(taken).max(MIN_BAR);
    let most = lines.iter().map(|(_, point)| value(point, bars)).max().unwrap_or(0);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, width) in shown.iter().zip(&widths) {
            let cell = &row[*column];
            let pad = " ".repeat(width - cell.chars().count());
            line += &(if *column < 2 { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") });
        }
        if index == 0 {
            line = style.strong(&format!("{line}{}", name(bars)));
        } else {
            let bar = bar(value(lines[index - 1].1, bars), most, room);
            line += &(if bars == Shown::Failed { style.bad(&bar) } else { style.good(&bar) });
        }
        text += line.trim_end();
        text.push('\n');
    }
    text + &style.faint(&totals(&stats.points))
}

fn value(point: &StatsPoint, bars: Shown) -> u64 {
    match bars {
        Shown::Created => point.created,
        Shown::Started => point.started,
        Shown::Completed => point.completed,
        Shown::Failed => point.failed,
    }
}

fn name(bars: Shown) -> &'static str {
    match bars {
        Shown::Created => "created",
        Shown::Started => "started",
        Shown::Completed => "done",
        Shown::Failed => "failed",
    }
}

/// A bar, which takes the whole width for the highest value; a value that is not zero is always visible.
fn bar(value: u64, most: u64, room: usize) -> String {
    if value == 0 || most == 0 {
        return String::new();
    }
    let eighths = (u128::from(value) * room as u128 * 8).div_ceil(u128::from(most));
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).min(room * 8);
    let mut bar: String = std::iter::repeat_n('█', eighths / 8).collect();
    if eighths % 8 > 0 {
        bar.push(EIGHTHS[eighths % 8 - 1]);
    }
    bar
}

/// The part of a time that identifies the step.
fn shown_start(start: Timestamp, step: Step) -> String {
    let text = start.to_string();
    let length = if step == Step::Day { "2026-01-31".len() } else { "2026-01-31T12:00".len() };
    text.get(..length).unwrap_or(&text).replace('T', " ")
}

/// The values that half of all, and almost all, did not exceed.
fn typical(durations: &StatsDurations) -> String {
    match (durations.p50_ms, durations.p99_ms) {
        (Some(p50), Some(p99)) => {
            format!("{} … {}", age::brief(Duration::from_millis(p50)), age::brief(Duration::from_millis(p99)))
        }
        _ => String::new(),
    }
}

fn totals(points: &[StatsPoint]) -> String {
    let sum = |number: fn(&StatsPoint) -> u64| points.iter().map(number).sum::<u64>();
    format!(
        "{} created, {} started, {} done, {} failed; times in UTC; waited and ran: half … 99 % took no longer\n",
        sum(|point| point.created),
        sum(|point| point.started),
        sum(|point| point.completed),
        sum(|point| point.failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(start: &str, kind: Option<&str>, created: u64) -> StatsPoint {
        let waiting = StatsDurations { count: 1, sum_ms: 5, p50_ms: Some(5), p90_ms: Some(5), p99_ms: Some(90_000) };
        StatsPoint { start: start.to_owned(), kind: kind.map(str::to_owned), created, waiting, ..StatsPoint::default() }
    }

    fn stats(points: Vec<StatsPoint>) -> Stats {
        let (start, end) = ("2026-01-31T10:20:00.000Z".to_owned(), "2026-01-31T12:30:00.000Z".to_owned());
        Stats { step: "hour".to_owned(), start, end, points, ..Stats::default() }
    }

    #[test]
    fn every_step_has_a_line_and_the_longest_bar_fills_the_width() {
        let stats = stats(vec![point("2026-01-31T10:00:00.000Z", None, 4), point("2026-01-31T12:00:00.000Z", None, 1)]);
        let shown = chart(Style::PLAIN, &stats, Step::Hour, Shown::Created, 90);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 5, "{shown}");
        assert!(lines[1].starts_with("2026-01-31 10:00") && lines[1].contains("5ms … 1m30s"), "{shown}");
        assert_eq!(lines[1].chars().count(), 90, "{shown}");
        let cells = |line: &str| line.chars().filter(|c| *c == '█').count();
        assert_eq!((cells(lines[2]), cells(lines[3])), (0, cells(lines[1]) / 4), "{shown}");
        assert!(lines[4].starts_with("5 created"), "{shown}");
    }

    #[test]
    fn a_narrow_terminal_has_short_bars_and_what_is_not_nothing_is_seen() {
        let stats = stats(vec![
            point("2026-01-31T10:00:00.000Z", Some("scan"), 1_000_000),
            point("2026-01-31T10:00:00.000Z", Some("build\u{1b}"), 1),
        ]);
        let shown = chart(Style::PLAIN, &stats, Step::Hour, Shown::Created, 20);
        assert!(shown.contains(&"█".repeat(MIN_BAR)) && !shown.contains(&"█".repeat(MIN_BAR + 1)), "{shown}");
        assert!(shown.contains("build\\u{1b}") && shown.contains('▏'), "{shown}");
    }

    #[test]
    fn the_step_fits_the_time() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (hours, step) in [(1, Step::Minute), (24, Step::Hour), (24 * 30, Step::Day)] {
            assert_eq!(fitting(now.before(Duration::from_secs(hours * 3600)), now), step);
        }
    }
}
