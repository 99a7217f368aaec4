//! The view state of `longrun top`: which list and which row are selected, the sort order, the filter; and how keys
//! change it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use longrun_client::OperationDetail;

use super::data::{Queue, Seen};

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Queues,
    Workers,
    Failures,
}

/// The sort order of the queues; numbers are sorted with the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Pending,
    Oldest,
    Running,
    Failed,
    Kind,
}

impl Sort {
    /// The name shown in the line of keys.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Pending => "pending",
            Sort::Oldest => "oldest",
            Sort::Running => "running",
            Sort::Failed => "failed",
            Sort::Kind => "kind",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Pending => Sort::Oldest,
            Sort::Oldest => Sort::Running,
            Sort::Running => Sort::Failed,
            Sort::Failed => Sort::Kind,
            Sort::Kind => Sort::Pending,
        }
    }
}

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Lists,
    /// The lists, while the filter is typed.
    Filter,
    /// One operation.
    One {
        text: String,
        scrolled: u16,
    },
}

/// An action that the view cannot do itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Quit,
    /// Show the operation with this id.
    Show(String),
}

/// The state of the screen.
#[derive(Debug)]
pub struct View {
    pub url: String,
    pub seen: Seen,
    pub mode: Mode,
    pub pane: Pane,
    pub sort: Sort,
    /// Part of a kind's name; empty: every kind.
    pub filter: String,
    /// The screen does not change.
    pub paused: bool,
    /// Why the screen is not up to date.
    pub problem: Option<String>,
    /// For each list, the selected row and the first row on the screen.
    places: [(usize, usize); 3],
}

impl View {
    /// The view of a server, at the start.
    pub fn new(url: String) -> View {
        View {
            url,
            seen: Seen::default(),
            mode: Mode::Lists,
            pane: Pane::Queues,
            sort: Sort::Pending,
            filter: String::new(),
            paused: false,
            problem: None,
            places: [(0, 0); 3],
        }
    }

    fn shows(&self, kind: &str) -> bool {
        kind.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// The queues to show, in order.
    pub fn queues(&self) -> Vec<&Queue> {
        let mut queues: Vec<&Queue> = self.seen.queues.iter().filter(|queue| self.shows(&queue.kind)).collect();
        match self.sort {
            Sort::Pending => queues.sort_by_key(|queue| std::cmp::Reverse(queue.pending)),
            Sort::Oldest => queues.sort_by_key(|queue| match &queue.oldest {
                Some((_, since)) => (0, *since),
                None => (1, operations::Timestamp::from_millis(0)),
            }),
            Sort::Running => queues.sort_by_key(|queue| std::cmp::Reverse(queue.running)),
            Sort::Failed => queues.sort_by(|a, b| b.rates.failed.total_cmp(&a.rates.failed)),
            Sort::Kind => queues.sort_by(|a, b| a.kind.cmp(&b.kind)),
        }
        queues
    }

    /// The operations of each worker to show, with the number of operations of the worker.
    pub fn held(&self) -> Vec<(&str, usize, &OperationDetail)> {
        let each = self
            .seen
            .workers
            .iter()
            .flat_map(|worker| worker.holds.iter().map(|found| (worker.name.as_str(), worker.holds.len(), found)));
        each.filter(|(_, _, found)| self.shows(&found.operation.kind)).collect()
    }

    /// The failures to show.
    pub fn failures(&self) -> Vec<&OperationDetail> {
        self.seen.failures.iter().filter(|found| self.shows(&found.operation.kind)).collect()
    }

    /// The selected row of a list.
    pub fn chosen(&self, pane: Pane) -> usize {
        self.places[pane as usize].0
    }

    /// The first row of a list on the screen.
    pub fn offset(&self, pane: Pane) -> usize {
        self.places[pane as usize].1
    }

    /// Remembers how far a list is scrolled.
    pub fn scrolled(&mut self, pane: Pane, offset: usize) {
        self.places[pane as usize].1 = offset;
    }

    fn rows(&self) -> usize {
        match self.pane {
            Pane::Queues => self.queues().len(),
            Pane::Workers => self.held().len(),
            Pane::Failures => self.failures().len(),
        }
    }

    /// The selected operation; for a queue, the one that has waited longest.
    fn chosen_operation(&self) -> Option<String> {
        let row = self.chosen(self.pane).min(self.rows().checked_sub(1)?);
        match self.pane {
            Pane::Queues => Some(self.queues().get(row)?.oldest.as_ref()?.0.clone()),
            Pane::Workers => Some(self.held().get(row)?.2.operation.id.clone()),
            Pane::Failures => Some(self.failures().get(row)?.operation.id.clone()),
        }
    }

    fn go(&mut self, rows: isize) {
        if let Mode::One { scrolled, .. } = &mut self.mode {
            *scrolled = scrolled.saturating_add_signed(i16::try_from(rows).unwrap_or(i16::MAX));
            return;
        }
        let last = self.rows().saturating_sub(1);
        let row = &mut self.places[self.pane as usize].0;
        *row = (*row).min(last).saturating_add_signed(rows).min(last);
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::Quit } else { Wish::Nothing };
        }
        if self.mode == Mode::Filter {
            match key.code {
                KeyCode::Enter => self.mode = Mode::Lists,
                KeyCode::Esc => {
                    self.filter.clear();
                    self.mode = Mode::Lists;
                }
                KeyCode::Backspace => _ = self.filter.pop(),
                KeyCode::Char(c) => self.filter.push(c),
                _ => {}
            }
            return Wish::Nothing;
        }
        let is_one = matches!(self.mode, Mode::One { .. });
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-10),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(10),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Enter if is_one => self.mode = Mode::Lists,
            _ if is_one => {}
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right => {
                self.pane = match self.pane {
                    Pane::Queues => Pane::Workers,
                    Pane::Workers => Pane::Failures,
                    Pane::Failures => Pane::Queues,
                }
            }
            KeyCode::BackTab | KeyCode::Left => {
                self.pane = match self.pane {
                    Pane::Queues => Pane::Failures,
                    Pane::Workers => Pane::Queues,
                    Pane::Failures => Pane::Workers,
                }
            }
            KeyCode::Enter => return self.chosen_operation().map_or(Wish::Nothing, Wish::Show),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p') => self.paused = !self.paused,
            _ => {}
        }
        Wish::Nothing
    }
}
