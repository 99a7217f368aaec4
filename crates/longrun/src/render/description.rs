//! One operation, described for people: what it is, its status, and since when.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use longrun_client::{Operation, OperationDetail, OperationDetailAnswer};
use operations::Timestamp;

use super::{Answer, Style, age, printable};

/// Maximum number of lines of an input or an output that are shown; `-o json --full` shows all of them.
const SHOWN_LINES: usize = 20;
/// Maximum number of characters of a line that are shown.
const SHOWN_CHARS: usize = 160;
/// The width of the column of field names.
const NAME_WIDTH: usize = 12;

/// How long ago a time is, in its two largest units, e.g. `3m 5s ago`: more exact than [`age::ago`].
fn exactly_ago(time: Timestamp, now: Timestamp) -> String {
    let millis = now.as_millis() - time.as_millis();
    let seconds = Duration::from_secs(millis.unsigned_abs() / 1_000);
    let text = humantime::format_duration(seconds).to_string();
    let largest = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
    match (seconds.is_zero(), millis < 0) {
        (true, _) => "now".to_owned(),
        (false, true) => format!("in {largest}"),
        (false, false) => format!("{largest} ago"),
    }
}

/// A text of several lines, shortened if it is long.
fn folded(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = String::new();
    for line in lines.iter().take(SHOWN_LINES) {
        let cut = line.char_indices().nth(SHOWN_CHARS).map_or(line.len(), |(end, _)| end);
        let more = if cut < line.len() { "…" } else { "" };
        let _ = write!(shown, "\n    {}{more}", printable(&line[..cut]));
    }
    if lines.len() > SHOWN_LINES {
        let _ = write!(shown, "\n    … {} more lines (-o json --full shows all)", lines.len() - SHOWN_LINES);
    }
    shown
}

/// JSON formatted on several lines; other text is unchanged.
fn pretty(text: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| text.to_owned())
}

/// The description, at this time.
pub fn describe(style: Style, detail: &OperationDetail, now: Timestamp) -> String {
    let Operation { id, kind, error_message, output, .. } = &detail.operation;
    let operation = &detail.operation;
    let mut text = format!("{}\n", style.strong(&printable(id)));
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<NAME_WIDTH$}{value}");
        }
    };
    let time = |time: &Option<String>| time.as_ref().and_then(|time| time.parse::<Timestamp>().ok());
    let aged = |at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("{at} ({})", exactly_ago(at, now)));
    let status = match operation.short_status() {
        status @ "COMPLETED" => style.good(status),
        status @ "FAILED" => style.bad(status),
        status => style.notable(&printable(status)),
    };
    let asked = if detail.cancel_requested { ", asked to stop" } else { "" };
    line("Kind", printable(kind));
    line("Status", format!("{status}, {} of {} attempts{asked}", detail.attempts, detail.max_attempts));
    if !operation.resource_type.is_empty() {
        line("Resource", printable(&format!("{}/{}", operation.resource_type, operation.resource_id)));
    }
    let version = match operation.project_version_id.as_str() {
        "" => String::new(),
        version => format!(", version {version}"),
    };
    if !operation.project_id.is_empty() {
        line("Project", printable(&format!("{}{version}", operation.project_id)));
    }
    let labels: Vec<String> = detail.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    line("Labels", printable(&labels.join(", ")));
    line("Unique key", printable(&detail.unique_key));
    if let Some(limit) = detail.concurrency_limit {
        line("Concurrency", format!("{}, {limit} at a time", printable(&detail.concurrency_key)));
    }
    line("Schedule", printable(&detail.schedule));
    if detail.priority != 0 {
        line("Priority", detail.priority.to_string());
    }
    line("Timeout", printable(detail.timeout.as_deref().unwrap_or_default()));
    line("Created", aged(time(&operation.created_at)));
    line("Run after", aged(time(&detail.run_after)));
    line("Started", aged(time(&operation.started_at)));
    let (started, ended) = (time(&operation.started_at), time(&operation.finished_at));
    let took = started.zip(ended).and_then(|(from, to)| u64::try_from(to.as_millis() - from.as_millis()).ok());
    let took = took.map(|millis| format!(", took {}", humantime::format_duration(Duration::from_millis(millis))));
    line("Ended", ended.map_or_else(String::new, |_| format!("{}{}", aged(ended), took.unwrap_or_default())));
    line("Worker", printable(&detail.worker));
    line("Progress", printable(&detail.progress));
    if !error_message.is_empty() {
        line("Error", folded(error_message));
    }
    if !detail.input.is_null() {
        line("Input", folded(&serde_json::to_string_pretty(&detail.input).unwrap_or_default()));
    }
    if !output.is_empty() {
        line("Output", folded(&pretty(output)));
    }
    text
}

impl Answer for longrun_client::Answer<OperationDetailAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        describe(style, &self.value.operation, age::now())
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.operation.operation.id.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_described_with_what_it_has_and_nothing_else() {
        let at = |second: i64| Some(Timestamp::from_millis(second * 1_000).to_string());
        let bare = Operation {
            id: "0199".to_owned(),
            kind: "scan".to_owned(),
            status: "ASYNC_OPERATION_STATUS_PENDING".to_owned(),
            created_at: at(0),
            ..Operation::default()
        };
        let now = Timestamp::from_millis(3_725_000);
        let detail = OperationDetail { operation: bare.clone(), max_attempts: 5, ..OperationDetail::default() };
        assert_eq!(
            describe(Style::PLAIN, &detail, now),
            "0199\n  Kind        scan\n  Status      PENDING, 0 of 5 attempts\n  Created     1970-01-01T00:00:00.000Z (1h 2m ago)\n"
        );
        let ended = Operation {
            status: "ASYNC_OPERATION_STATUS_FAILED".to_owned(),
            resource_type: "repo".to_owned(),
            resource_id: "r".to_owned(),
            started_at: at(1),
            finished_at: at(3),
            error_message: "no\u{1b}[31mluck".to_owned(),
            ..bare
        };
        let detail = OperationDetail {
            operation: ended,
            input: serde_json::json!({"n": [1, 2]}),
            labels: [("team", "search"), ("deploy", "42")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            attempts: 2,
            max_attempts: 2,
            worker: "w".to_owned(),
            ..OperationDetail::default()
        };
        let text = describe(Style::PLAIN, &detail, now);
        for shown in [
            "FAILED, 2 of 2 attempts\n",
            "Resource    repo/r\n",
            "Labels      deploy=42, team=search\n",
            "(1h 2m ago), took 2s\n",
            "Input       \n    {\n      \"n\": [\n",
        ] {
            assert!(text.contains(shown), "{shown:?} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_is_long_is_folded() {
        let text = folded(&"line\n".repeat(25));
        assert!(text.ends_with("\n    … 5 more lines (-o json --full shows all)"), "{text}");
        assert!(folded(&"x".repeat(1_000)).ends_with(&format!("{}…", "x".repeat(SHOWN_CHARS))));
    }
}
