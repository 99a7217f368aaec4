//! The screen of `longrun top`: three lists below a line of totals, or a single operation on request, and a line of
//! keys.
//!
//! Draws a [`View`] and changes nothing in it except the scroll positions of its lists.

use std::ops::Range;

use operations::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap};

use super::data::{Seen, time};
use super::view::{Mode, Pane, View};
use crate::render::{age, printable};

/// Minimum number of rows of the queues and of the workers, in addition to their titles and headings.
const FEWEST: u16 = 3;
/// Number of lines above the first list and below the last one.
const AROUND: u16 = 3;

/// Draws the screen.
pub fn draw(frame: &mut Frame<'_>, view: &mut View, now: Timestamp) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(heading(view, now), head);
    match &view.mode {
        Mode::One { text, scrolled } => {
            let lines: Vec<Line<'_>> = text.lines().map(Line::from).collect();
            let block = Block::new().borders(Borders::TOP).title(" Operation ");
            frame.render_widget(
                Paragraph::new(lines).block(block).wrap(Wrap { trim: false }).scroll((*scrolled, 0)),
                body,
            );
        }
        Mode::Lists | Mode::Filter => lists(frame, view, body, now),
    }
    frame.render_widget(keys(view), foot);
}

fn lists(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: Timestamp) {
    // Each list gets as many rows as it needs; spare rows go to the failures, and missing rows are taken from the
    // longest list.
    let rows = area.height.saturating_sub(2 * AROUND);
    let third = (rows / 3).max(FEWEST);
    let lines = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(2).clamp(FEWEST, third);
    let heights = [
        Constraint::Length(lines(view.queues().len())),
        Constraint::Length(lines(view.held().len())),
        Constraint::Min(FEWEST),
    ];
    let [top, middle, bottom] = Layout::vertical(heights).areas(area);
    queues(frame, view, top, now);
    workers(frame, view, middle, now);
    failures(frame, view, bottom, now);
}

/// The heading: which server, totals and rates; and errors.
fn heading(view: &View, now: Timestamp) -> Paragraph<'static> {
    let Seen { rates, at, .. } = &view.seen;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![
        Span::styled("longrun ", bold),
        Span::raw(format!("{}  ", printable(&view.url))),
        Span::styled(view.seen.pending().to_string(), bold),
        Span::raw(" pending, "),
        Span::styled(view.seen.running().to_string(), bold),
        Span::raw(" running"),
    ];
    if view.paused {
        first.push(Span::styled("  paused", Style::new().fg(Color::Yellow)));
    }
    let second = match (&view.problem, at) {
        (Some(problem), _) => {
            Line::styled(format!("{}; trying again", printable(problem)), Style::new().fg(Color::Red))
        }
        (None, None) => Line::raw("asking the server"),
        (None, Some(at)) => {
            let behind = view.seen.counted_until.map(|until| age::between(until, *at)).unwrap_or_default();
            let lag = if behind.as_secs() >= 15 {
                format!(", statistics {} behind", age::brief(behind))
            } else {
                String::new()
            };
            Line::raw(format!(
                "per second: {} created, {} completed, {} failed{lag}; as of {}",
                rate(rates.created),
                rate(rates.completed),
                rate(rates.failed),
                age::ago(*at, now),
            ))
        }
    };
    Paragraph::new(vec![Line::from(first), second])
}

fn keys(view: &View) -> Paragraph<'static> {
    let text = match &view.mode {
        Mode::Filter => format!("/{}_  enter: apply, esc: clear", printable(&view.filter)),
        Mode::One { .. } => "q quit  esc back  up/down scroll".to_owned(),
        Mode::Lists => {
            let filter = match view.filter.as_str() {
                "" => "/ filter".to_owned(),
                filter => format!("/ filter: {}", printable(filter)),
            };
            format!(
                "q quit  tab list  up/down choose  enter show  s sort: {}  {filter}  p {}",
                view.sort.name(),
                if view.paused { "resume" } else { "pause" }
            )
        }
    };
    Paragraph::new(Line::styled(text, Style::new().add_modifier(Modifier::DIM)))
}

fn queues(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: Timestamp) {
    let rows: Vec<Row<'static>> = view
        .queues()
        .into_iter()
        .map(|queue| {
            let oldest = queue.oldest.as_ref().map(|(_, since)| age::brief(age::between(*since, now)));
            let failed = if queue.rates.failed > 0.0 { Style::new().fg(Color::Red) } else { Style::new() };
            Row::new([
                Cell::new(printable(&queue.kind)),
                number(queue.pending.to_string()),
                number(oldest.unwrap_or_default()),
                number(queue.running.to_string()),
                number(rate(queue.rates.created)),
                number(rate(queue.rates.completed)),
                number(rate(queue.rates.failed)).style(failed),
            ])
        })
        .collect();
    let widths = [
        Constraint::Min(12),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(8),
    ];
    let names = ["KIND", "PENDING", "OLDEST", "RUNNING", "CREATED/S", "COMPLETED/S", "FAILED/S"];
    let title = format!(" Queues: {} ", rows.len());
    let list = List { pane: Pane::Queues, title, names: &names, widths: &widths, rows, numbers: 1..7 };
    list.draw(frame, view, area);
}

fn workers(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: Timestamp) {
    let rows: Vec<Row<'static>> = view
        .held()
        .into_iter()
        .map(|(worker, holds, found)| {
            let since = time(found.operation.started_at.as_ref());
            let since = since.map(|since| age::brief(age::between(since, now)));
            Row::new([
                Cell::new(printable(worker)),
                number(holds.to_string()),
                Cell::new(printable(&found.operation.kind)),
                Cell::new(printable(&found.operation.id)),
                number(since.unwrap_or_default()),
                Cell::new(printable(&found.progress)),
            ])
        })
        .collect();
    // An id is never cut, so that it can be copied.
    let widths = [
        Constraint::Max(20),
        Constraint::Length(5),
        Constraint::Max(14),
        Constraint::Length(36),
        Constraint::Length(7),
        Constraint::Fill(1),
    ];
    let names = ["WORKER", "HOLDS", "KIND", "OPERATION", "FOR", "PROGRESS"];
    let workers = view.seen.workers.len();
    let more = if view.seen.more_running { ", of the 100 operations that have run longest" } else { "" };
    let title = format!(" Workers: {workers}{more} ");
    let list = List { pane: Pane::Workers, title, names: &names, widths: &widths, rows, numbers: 4..5 };
    list.draw(frame, view, area);
}

fn failures(frame: &mut Frame<'_>, view: &mut View, area: Rect, now: Timestamp) {
    let rows: Vec<Row<'static>> = view
        .failures()
        .into_iter()
        .map(|found| {
            let ended = time(found.operation.finished_at.as_ref());
            let message = found.operation.error_message.lines().next().unwrap_or_default();
            Row::new([
                Cell::new(ended.map(|ended| age::ago(ended, now)).unwrap_or_default()),
                Cell::new(printable(&found.operation.kind)),
                Cell::new(printable(&found.operation.id)),
                Cell::new(printable(message)),
            ])
        })
        .collect();
    let widths = [Constraint::Length(11), Constraint::Max(14), Constraint::Length(36), Constraint::Fill(1)];
    let names = ["ENDED", "KIND", "OPERATION", "ERROR"];
    let title = " Failures, newest first ".to_owned();
    let list = List { pane: Pane::Failures, title, names: &names, widths: &widths, rows, numbers: 0..0 };
    list.draw(frame, view, area);
}

/// One list.
struct List<'l> {
    pane: Pane,
    title: String,
    /// The headings of the columns.
    names: &'l [&'static str],
    widths: &'l [Constraint],
    rows: Vec<Row<'static>>,
    /// The columns of numbers, which are right-aligned with their headings.
    numbers: Range<usize>,
}

impl List<'_> {
    fn draw(self, frame: &mut Frame<'_>, view: &mut View, area: Rect) {
        let List { pane, title, names, widths, rows, numbers } = self;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let is_chosen = view.pane == pane;
        let heading = names
            .iter()
            .enumerate()
            .map(|(index, name)| if numbers.contains(&index) { number((*name).to_owned()) } else { Cell::new(*name) });
        let block =
            Block::new().borders(Borders::TOP).title(Span::styled(title, if is_chosen { bold } else { Style::new() }));
        let chosen = view.chosen(pane).min(rows.len().saturating_sub(1));
        let is_empty = rows.is_empty();
        let table = Table::new(rows, widths.iter().copied())
            .header(Row::new(heading).style(Style::new().add_modifier(Modifier::DIM)))
            .block(block)
            .column_spacing(1)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        let selected = (is_chosen && !is_empty).then_some(chosen);
        let mut state = TableState::new().with_offset(view.offset(pane)).with_selected(selected);
        frame.render_stateful_widget(table, area, &mut state);
        view.scrolled(pane, state.offset());
    }
}

fn number(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// A rate in few characters; a rate above zero is never shown as zero.
fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 0.1 => format!("{rate:.2}"),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => format!("{rate:.0}"),
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
