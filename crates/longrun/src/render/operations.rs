//! Operations as tables.

use std::io;

use longrun_client::{BulkAnswer, CreatedOperations, History, Operation, OperationAnswer, OperationPage};
use operations::Timestamp;

use super::{Answer, Column, Style, count, printable, table};

/// How many characters of an error message a table on a terminal shows; tables elsewhere and `-o json` show all of it.
const SHOWN_CHARS: usize = 60;

const COLUMNS: [Column; 6] = [
    Column::whole("ID"),
    Column::shortened("KIND", 10),
    Column::whole("STATUS"),
    Column::shortened("RESOURCE", 12).dropped(2),
    Column::whole("CREATED").dropped(1),
    Column::whole("TOOK").dropped(3),
];
const ERROR: Column = Column::shortened("ERROR", 10);

fn row(style: Style, operation: &Operation) -> [String; 6] {
    let resource = match operation.resource_type.as_str() {
        "" => String::new(),
        resource_type => format!("{resource_type}/{}", shortened(style, &operation.resource_id)),
    };
    [
        operation.id.clone(),
        operation.kind.clone(),
        operation.short_status().to_owned(),
        resource,
        style.when(operation.created_at.as_deref().unwrap_or_default()),
        took(operation).unwrap_or_default(),
    ]
}

/// Digests are as long as a line; on a terminal, twelve digits are enough to distinguish them.
fn shortened(style: Style, resource_id: &str) -> String {
    match resource_id.strip_prefix("sha256:") {
        Some(hex) if style.width().is_some() && hex.len() > 12 && hex.is_ascii() => format!("sha256:{}…", &hex[..12]),
        _ => resource_id.to_owned(),
    }
}

/// How long the latest attempt took.
fn took(operation: &Operation) -> Option<String> {
    let millis = |time: &Option<String>| Some(time.as_ref()?.parse::<Timestamp>().ok()?.as_millis());
    let duration = u64::try_from(millis(&operation.finished_at)? - millis(&operation.started_at)?).ok()?;
    Some(humantime::format_duration(std::time::Duration::from_millis(duration)).to_string())
}

/// The beginning of an error message's first line on a terminal; elsewhere the whole message, escaped to one line.
fn excerpt(style: Style, message: &str) -> String {
    if style.width().is_none() {
        return message.to_owned();
    }
    let line = message.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// A table of operations, with a column for errors if one has failed.
pub fn operations_table<'a>(style: Style, operations: impl IntoIterator<Item = &'a Operation>) -> String {
    let operations: Vec<&Operation> = operations.into_iter().collect();
    if operations.iter().all(|operation| operation.error_message.is_empty()) {
        return table(style, COLUMNS, operations.into_iter().map(|operation| row(style, operation)));
    }
    let [a, b, c, d, e, f] = COLUMNS;
    let rows = operations.into_iter().map(|operation| {
        let [a, b, c, d, e, f] = row(style, operation);
        [a, b, c, d, e, f, excerpt(style, &operation.error_message)]
    });
    table(style, [a, b, c, d, e, f, ERROR], rows)
}

impl Answer for longrun_client::Answer<BulkAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let BulkAnswer { matching_count, count_is_exact, operation } = &self.value;
        let at_least = if *count_is_exact { "" } else { "at least " };
        let footer = match matching_count {
            1 => format!("{at_least}1 operation matches\n"),
            n => format!("{at_least}{n} operations match\n"),
        };
        let begun = operation.as_ref().map_or_else(String::new, |operation| operations_table(style, [operation]));
        begun + &style.faint(&footer)
    }

    fn ids(&self) -> Vec<String> {
        self.value.operation.iter().map(|operation| operation.id.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<OperationPage> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let OperationPage { operations, pagination } = &self.value;
        let (total, pages) = (pagination.total_count, pagination.total_pages);
        let count = |number: i32, noun: &str| count(number.unsigned_abs().into(), noun);
        let footer =
            format!("{} in all; page {} of {}\n", count(total, "operation"), pagination.page, count(pages, "page"));
        let listed = if operations.is_empty() { String::new() } else { operations_table(style, operations) };
        listed + &style.faint(&footer)
    }

    fn ids(&self) -> Vec<String> {
        self.value.operations.iter().map(|operation| operation.id.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<OperationAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        operations_table(style, [&self.value.operation])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.operation.id.clone()]
    }
}

impl Answer for longrun_client::Answer<CreatedOperations> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        operations_table(style, &self.value.operations)
    }

    fn ids(&self) -> Vec<String> {
        self.value.operations.iter().map(|operation| operation.id.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<History> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.value.events.iter().map(|event| {
            let attempt = if event.attempt > 0 { event.attempt.to_string() } else { String::new() };
            [event.time.clone(), event.r#type.clone(), attempt, event.worker.clone(), excerpt(style, &event.message)]
        });
        let columns = [
            Column::whole("TIME"),
            Column::whole("EVENT"),
            Column::whole("ATTEMPT").dropped(2),
            Column::shortened("WORKER", 10).dropped(1),
            Column::shortened("MESSAGE", 12),
        ];
        table(style, columns, rows)
    }

    /// Events have no ids; their types are the most useful output for scripts.
    fn ids(&self) -> Vec<String> {
        self.value.events.iter().map(|event| event.r#type.clone()).collect()
    }
}

/// A deleted operation, with the API's answer, which does not name it.
#[derive(Debug)]
pub struct Deleted<'d> {
    /// The id of the operation.
    pub id: &'d str,
    /// The API's answer.
    pub answer: &'d longrun_client::Answer<longrun_client::Deleted>,
}

impl Answer for Deleted<'_> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.answer.body.to_vec())
    }

    fn table(&self, _: Style) -> String {
        format!("deleted {}\n", printable(self.id))
    }

    fn ids(&self) -> Vec<String> {
        vec![self.id.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(error_message: &str) -> Operation {
        Operation {
            id: "0199".to_owned(),
            kind: "scan".to_owned(),
            status: "ASYNC_OPERATION_STATUS_FAILED".to_owned(),
            resource_type: "evidence".to_owned(),
            resource_id: format!("sha256:{}", "a".repeat(64)),
            created_at: Some("2026-01-23T04:56:07.000Z".to_owned()),
            started_at: Some("2026-01-23T04:56:07.100Z".to_owned()),
            finished_at: Some("2026-01-23T04:56:08.350Z".to_owned()),
            error_message: error_message.to_owned(),
            ..Operation::default()
        }
    }

    /// A terminal that is wide enough for everything.
    fn wide() -> Style {
        Style::PLAIN.within(Some(1_000))
    }

    fn cells(text: &str) -> Vec<&str> {
        let line = text.lines().nth(1).expect("a row");
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn a_row_says_what_matters() {
        let text = operations_table(Style::PLAIN, [&operation("")]);
        let resource = format!("evidence/sha256:{}", "a".repeat(64));
        assert_eq!(cells(&text), ["0199", "scan", "FAILED", &resource, "2026-01-23T04:56:07.000Z", "1s 250ms"]);
        let text = operations_table(wide(), [&operation("")]);
        assert_eq!(cells(&text)[3], "evidence/sha256:aaaaaaaaaaaa…");
    }

    #[test]
    fn errors_get_a_column_and_stay_on_one_line() {
        let failed = operation(&format!("{}\nmore", "x".repeat(100)));
        let piped = operations_table(Style::PLAIN, [&failed]);
        assert!(piped.lines().next().expect("a heading").ends_with("ERROR"));
        assert!(piped.ends_with(&format!("  {}\\nmore\n", "x".repeat(100))), "whole: {piped}");
        assert_eq!(piped.lines().count(), 2, "{piped}");
        let shown = operations_table(wide(), [&failed]);
        assert!(shown.ends_with(&format!("  {}…\n", "x".repeat(SHOWN_CHARS))), "{shown}");
    }
}
