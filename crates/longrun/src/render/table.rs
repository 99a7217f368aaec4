//! Tables for people: columns without lines, so that they can be copied and cut.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, Table};

use super::style::{Style, printable};

/// A table with a heading and rows; ends with a line end. Cells that name a state are coloured.
pub fn table<const N: usize>(style: Style, heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    if style.is_coloured() {
        table.enforce_styling();
    }
    table.set_header(heading.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.map(|text| {
            let cell = Cell::new(printable(&text));
            match colour(&text) {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
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

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let text = table(
            Style::PLAIN,
            ["ID", "STATUS"],
            [["1".to_owned(), "COMPLETED".to_owned()], ["22\n".to_owned(), String::new()]],
        );
        assert_eq!(text, "ID    STATUS\n1     COMPLETED\n22\\n\n");
    }
}
