//! Colors, on a terminal only, and text that is safe to show on one.

use std::fmt::Write as _;
use std::io::IsTerminal;

use super::age;

/// Whether to use colors, and how wide the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
    /// In columns; `None` if there is no terminal.
    width: Option<usize>,
}

impl Style {
    /// Without colors.
    pub const PLAIN: Style = Style { coloured: false, width: None };

    /// With colors if standard output is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
    pub fn of_stdout() -> Style {
        let is_terminal = std::io::stdout().is_terminal();
        Style { coloured: is_terminal && !no_color(), width: is_terminal.then(terminal_width).flatten() }
    }

    /// The same for standard error.
    pub fn of_stderr() -> Style {
        Style { coloured: std::io::stderr().is_terminal() && !no_color(), width: None }
    }

    /// The same for a terminal of this width, or for no terminal.
    #[cfg(test)]
    pub fn within(self, width: Option<usize>) -> Style {
        Style { width, ..self }
    }

    /// The width of the terminal in columns; `None` if there is no terminal.
    pub fn width(self) -> Option<usize> {
        self.width
    }

    /// A time as a table shows it: its age on a terminal, else as the API reports it.
    pub fn when(self, time: &str) -> String {
        match (self.width, time.parse()) {
            (Some(_), Ok(time)) => age::ago(time, age::now()),
            _ => time.to_owned(),
        }
    }

    /// Whether to use colors.
    pub fn is_coloured(self) -> bool {
        self.coloured
    }

    /// Good states.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad states.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Things in progress or in need of attention.
    pub fn notable(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Headings.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less important text.
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The width given by `COLUMNS`, or that of the terminal.
fn terminal_width() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    columns
        .or_else(|| crossterm::terminal::size().ok().map(|(columns, _)| columns.into()).filter(|columns| *columns > 0))
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A number of things: `1 operation`, `2 operations`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A number of pieces of evidence.
pub fn pieces(number: u64) -> String {
    format!("{} of evidence", count(number, "piece"))
}

/// Text from elsewhere, with its control characters escaped, so that it can neither control a terminal nor forge lines.
/// Characters that reverse the writing direction are escaped too: they make text look like other text.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{202e}");
        assert_eq!(printable("größer – 日本 🎉"), "größer – 日本 🎉");
    }

    #[test]
    fn plain_is_plain() {
        assert_eq!(Style::PLAIN.bad("x"), "x");
        assert_eq!(Style { coloured: true, width: None }.bad("x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
