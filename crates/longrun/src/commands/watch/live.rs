//! The live table of `longrun operations watch`: one row per operation, updated in place, with the latest change on
//! top.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyModifiers};
use longrun_client::{Operation, Watch, WatchEvent, WatchStep};
use operations::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use tokio::sync::mpsc::channel;

use crate::render::{self, age, operations::operations_table, printable};
use crate::terminal::{Event, Screen};

/// How many operations are remembered.
const REMEMBERED: usize = 200;

/// What has been reported.
#[derive(Debug, Default)]
struct Rows {
    /// The latest change comes first; each with the time when it was reported, and whether the operation was deleted.
    rows: VecDeque<(Timestamp, Operation, bool)>,
    told: u64,
    /// Why the server cannot be reached, if so.
    away: Option<String>,
}

impl Rows {
    fn tell(&mut self, event: WatchEvent, now: Timestamp) {
        let before = self.rows.iter().position(|(_, of, _)| of.id == event.operation.id);
        let before = before.and_then(|at| self.rows.remove(at));
        // A deletion only reports the id.
        let operation = match before {
            Some((_, operation, _)) if event.is_deletion => operation,
            _ => Operation { output: String::new(), ..event.operation },
        };
        self.rows.push_front((now, operation, event.is_deletion));
        self.rows.truncate(REMEMBERED);
        self.told += 1;
    }

    fn draw(&self, frame: &mut Frame<'_>, now: Timestamp) {
        let [body, foot] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
        let rows = self.rows.iter().map(|(at, operation, is_deleted)| {
            let status = if *is_deleted { "DELETED" } else { operation.short_status() };
            let colour = match status {
                "COMPLETED" => Style::new().fg(Color::Green),
                "FAILED" => Style::new().fg(Color::Red),
                "RUNNING" => Style::new().fg(Color::Yellow),
                _ => Style::new(),
            };
            let error = operation.error_message.lines().next().unwrap_or_default();
            Row::new([
                Cell::new(age::ago(*at, now)),
                Cell::new(printable(&operation.id)),
                Cell::new(printable(status)).style(colour),
                Cell::new(printable(&operation.kind)),
                Cell::new(printable(error)),
            ])
        });
        let widths = [
            Constraint::Length(10),
            Constraint::Length(36),
            Constraint::Length(9),
            Constraint::Max(16),
            Constraint::Fill(1),
        ];
        let heading = Row::new(["CHANGED", "ID", "STATUS", "KIND", "ERROR"]);
        frame.render_widget(
            Table::new(rows, widths).header(heading.style(Style::new().add_modifier(Modifier::BOLD))),
            body,
        );
        let foot_text = match &self.away {
            Some(reason) => Line::styled(format!("{}; trying again", printable(reason)), Style::new().fg(Color::Red)),
            None => Line::styled(
                format!("{}; q quits", render::count(self.told, "change")),
                Style::new().add_modifier(Modifier::DIM),
            ),
        };
        frame.render_widget(Paragraph::new(foot_text), foot);
    }
}

/// Shows transitions until the user quits, or `left` were shown. The final table stays on the terminal.
///
/// # Errors
/// When the call fails.
pub async fn show(watch: Watch, left: u64, limit: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut rows = Rows::default();
    let mut screen = Screen::open()?;
    let result = follow(watch, left, limit, &mut rows, &mut screen).await;
    drop(screen);
    let operations: Vec<&Operation> = rows.rows.iter().map(|(_, operation, _)| operation).collect();
    if !operations.is_empty() {
        render::write(operations_table(render::Style::of_stdout(), operations))?;
    }
    result
}

async fn follow(
    mut watch: Watch,
    left: u64,
    limit: impl Future<Output = ()>,
    rows: &mut Rows,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut limit = std::pin::pin!(limit);
    // In a separate task: neither keys nor the clock interrupt a reconnection attempt.
    let (sender, mut steps) = channel(64);
    tokio::spawn(async move {
        loop {
            let step = watch.next_step().await;
            let is_last = step.is_err();
            if sender.send(step).await.is_err() || is_last {
                return;
            }
        }
    });
    // Ages are updated while nothing happens.
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    while rows.told < left {
        screen.draw(|frame| rows.draw(frame, age::now()))?;
        tokio::select! {
            Some(step) = steps.recv() => match step? {
                WatchStep::Event(event) => rows.tell(*event, age::now()),
                WatchStep::Lost(reason) => rows.away = Some(reason.to_string()),
                WatchStep::Back => rows.away = None,
            },
            event = screen.event() => match event {
                Event::Resized => {}
                Event::End => break,
                Event::Key(key) => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => break,
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => break,
                    _ => {}
                },
            },
            () = &mut limit => break,
            _ = ticks.tick() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_one_row_and_what_changed_last_is_on_top() {
        let event = |id: &str, status: &str, is_deletion| WatchEvent {
            id: String::new(),
            operation: Operation { id: id.to_owned(), status: status.to_owned(), ..Operation::default() },
            is_deletion,
            data: String::new(),
        };
        let mut rows = Rows::default();
        let now = Timestamp::from_millis(0);
        for (id, status) in [("1", "PENDING"), ("2", "PENDING"), ("1", "RUNNING")] {
            rows.tell(event(id, status, false), now);
        }
        rows.tell(event("2", "", true), now);
        let told: Vec<_> = rows.rows.iter().map(|(_, of, gone)| (of.id.as_str(), of.status.as_str(), *gone)).collect();
        assert_eq!(told, [("2", "PENDING", true), ("1", "RUNNING", false)]);
        assert_eq!(rows.told, 4);
        for n in 0..300 {
            rows.tell(event(&n.to_string(), "PENDING", false), now);
        }
        assert_eq!(rows.rows.len(), REMEMBERED);
    }
}
