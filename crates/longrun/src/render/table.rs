//! Tables for people: columns without lines, so that they can be copied and cut.
//!
//! On a terminal, a table is as wide as the terminal: first the texts of shortenable columns are shortened, then
//! columns are left out in their given order. An id is never shortened, and no cell is wrapped. Elsewhere, a table is
//! complete.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, Table};
use ratatui::text::Span;

use super::style::{Style, printable};

/// The gap between two columns.
const GAP: usize = 2;
/// The minimum width of a column, unless it specifies another one.
const USUAL_LEAST: usize = 10;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    /// The minimum width; `None` if it must not be shortened.
    least: Option<usize>,
    /// When it is left out: the highest number first, 0 never.
    dropped: u8,
}

impl Column {
    /// A column that is neither shortened nor left out: it identifies the row, or is essential.
    pub const fn whole(name: &'static str) -> Column {
        Column { name, least: None, dropped: 0 }
    }

    /// A column that may be shortened to this many characters.
    pub const fn shortened(name: &'static str, least: usize) -> Column {
        Column { name, least: Some(least), dropped: 0 }
    }

    /// Left out if there is no space; columns with the highest number first.
    pub const fn dropped(self, order: u8) -> Column {
        Column { dropped: order, ..self }
    }
}

impl From<&'static str> for Column {
    /// Ids and names are never shortened, other columns may be.
    fn from(name: &'static str) -> Column {
        if ["ID", "NAME", "DIGEST", "KEY", ""].contains(&name) {
            return Column::whole(name);
        }
        Column::shortened(name, USUAL_LEAST.max(name.len()))
    }
}

/// A table with a heading and rows; ends with a line break. Cells that name a state are colored.
pub fn table<const N: usize>(
    style: Style,
    columns: [impl Into<Column>; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let columns = columns.map(Into::into);
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|text| printable(&text))).collect();
    let widths: [usize; N] = std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| width(&row[at]));
        cells.chain([columns[at].name.len()]).max().unwrap_or(0)
    });
    let widths = match style.width() {
        Some(available) => fitting(&columns, widths, available),
        None => widths.map(Some),
    };
    let shown = |row: [String; N]| {
        let cells = row.into_iter().zip(widths);
        cells.filter_map(|(text, width)| Some(cut(text, width?))).collect::<Vec<String>>()
    };
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    if style.is_coloured() {
        table.enforce_styling();
    }
    let heading = shown(columns.map(|column| column.name.to_owned()));
    table.set_header(heading.into_iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(shown(row).into_iter().map(|text| match colour(&text) {
            Some(colour) => Cell::new(text).fg(colour),
            None => Cell::new(text),
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP as u16));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The widths of the columns so that everything fits, `None` for one that is left out. If it cannot fit, every column
/// has its minimum width.
fn fitting<const N: usize>(columns: &[Column; N], full: [usize; N], available: usize) -> [Option<usize>; N] {
    let mut widths = full.map(Some);
    let sum = |widths: &[Option<usize>; N]| {
        let shown = widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
    };
    let least = |at: usize| columns[at].least.map_or(full[at], |least| least.min(full[at]));
    loop {
        let narrowest: [Option<usize>; N] = std::array::from_fn(|at| widths[at].map(|_| least(at)));
        if sum(&narrowest) <= available {
            break;
        }
        let candidates = (0..N).filter(|at| widths[*at].is_some() && columns[*at].dropped > 0);
        let Some(next) = candidates.max_by_key(|at| columns[*at].dropped) else { return narrowest };
        widths[next] = None;
    }
    while sum(&widths) > available {
        let longer = (0..N).filter(|at| widths[*at].is_some_and(|width| width > least(*at)));
        let Some(widest) = longer.max_by_key(|at| widths[*at]) else { break };
        widths[widest] = widths[widest].map(|width| width - 1);
    }
    widths
}

/// The number of terminal columns that a text takes.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The part of a text that fits.
fn cut(text: String, room: usize) -> String {
    if width(&text) <= room {
        return text;
    }
    let (mut kept, mut taken) = (String::new(), 1);
    for c in text.chars() {
        taken += width(c.encode_utf8(&mut [0; 4]));
        if taken > room {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

fn colour(text: &str) -> Option<Color> {
    match text {
        "COMPLETED" | "passed" | "valid" => Some(Color::Green),
        "FAILED" | "failed" | "revoked" | "expired" => Some(Color::Red),
        "RUNNING" | "skipped" => Some(Color::Yellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::whole("ID"),
        Column::shortened("KIND", 6),
        Column::whole("TOOK").dropped(2),
        Column::shortened("ERROR", 8).dropped(1),
    ];

    fn shown(width: Option<usize>) -> String {
        let row = ["0199f0d1-0000", "a-long-kind", "12s", "größer als 日本日本"].map(str::to_owned);
        table(Style::PLAIN.within(width), COLUMNS, [row])
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let text = table(
            Style::PLAIN,
            ["ID", "STATUS"],
            [["1".to_owned(), "COMPLETED".to_owned()], ["22\n".to_owned(), String::new()]],
        );
        assert_eq!(text, "ID    STATUS\n1     COMPLETED\n22\\n\n");
    }

    #[test]
    fn a_table_is_whole_where_there_is_no_terminal() {
        assert!(shown(None).contains("a-long-kind  12s   größer als 日本日本"), "{}", shown(None));
    }

    #[test]
    fn on_a_terminal_texts_are_shortened_and_then_columns_left_out_but_ids_are_whole() {
        let at_50 = shown(Some(50));
        assert!(at_50.contains("a-long-kind  12s   größer als 日本…"), "{at_50}");
        let at_40 = shown(Some(40));
        assert!(at_40.contains("0199f0d1-0000  a-long-k…  12s   größer …"), "{at_40}");
        let at_32 = shown(Some(33));
        assert!(!at_32.contains("TOOK") && at_32.contains("0199f0d1-0000  a-long-…  größer …"), "{at_32}");
        let at_20 = shown(Some(20));
        assert!(!at_20.contains("ERROR") && at_20.contains("0199f0d1-0000  a-lon…"), "{at_20}");
        for (text, most) in [(at_50, 50), (at_40, 40), (at_32, 33)] {
            assert!(text.lines().all(|line| width(line) <= most), "{text}");
        }
    }
}
