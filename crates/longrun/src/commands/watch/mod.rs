//! `longrun operations watch`: transitions as they happen, one per line, or as a live table on a terminal.

mod live;

use std::time::Duration;

use anyhow::Context;
use longrun_client::{WatchEvent, WatchRequest, WatchStep};
use operations::Timestamp;

use super::operations::StatusName;
use crate::config::Span;
use crate::connection::{ClientArgs, OutputArgs, ReconnectArgs, back, lost};
use crate::exit::Exit;
use crate::render::{self, Format, Style, age};
use crate::terminal;

/// What `longrun operations watch` takes.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Only transitions to this status
    #[arg(long, value_enum, ignore_case = true)]
    status: Option<StatusName>,
    /// Only operations of this kind
    #[arg(long, add = clap_complete::ArgValueCompleter::new(crate::completing::kinds))]
    kind: Option<String>,
    /// Only operations about a resource of this type
    #[arg(long, value_name = "TYPE", requires = "resource_id")]
    resource_type: Option<String>,
    /// Only operations about the resource with this id
    #[arg(long, value_name = "ID", requires = "resource_type")]
    resource_id: Option<String>,
    /// Start after this event; event ids are printed with --show-ids, and with -o json
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
    /// Print the id of each event at the beginning of its line
    #[arg(long)]
    show_ids: bool,
    /// Print one line per transition on a terminal too, instead of a live table
    #[arg(long)]
    lines: bool,
    /// Exit after this many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Exit after this time, e.g. 5m
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    #[command(flatten)]
    reconnect: ReconnectArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Prints transitions until it is interrupted, or has printed enough. When the connection breaks, it reconnects and
/// continues with what happened meanwhile.
///
/// # Errors
/// When the call fails.
pub async fn run(args: WatchArgs) -> anyhow::Result<Exit> {
    let request = WatchRequest {
        status: args.status.map(|status| status.wire_name().to_owned()),
        kind: args.kind,
        resource_type: args.resource_type,
        resource_id: args.resource_id,
        last_event_id: args.after,
    };
    let limit = args.timeout.map_or(Duration::MAX, |Span(limit)| limit);
    let client = args.server.client_with(args.reconnect.settings())?;
    let url = client.url();
    // The table has no column for event ids.
    let as_table = args.output.format == Format::Table && !args.lines && !args.show_ids;
    if as_table && terminal::is_there() {
        live::show(client.watch(&request).await?, args.limit.unwrap_or(u64::MAX), tokio::time::sleep(limit)).await?;
        return Ok(Exit::Done);
    }
    let print = async {
        let mut watch = client.watch(&request).await?;
        let mut left = args.limit.unwrap_or(u64::MAX);
        while left > 0 {
            match watch.next_step().await? {
                WatchStep::Event(event) => {
                    render::stream(line(args.output.format, args.show_ids, &event, age::now())?)?;
                    left -= 1;
                }
                WatchStep::Lost(reason) => lost(&url, reason),
                WatchStep::Back => back(&url),
            }
        }
        Ok(Exit::Done)
    };
    tokio::select! {
        printed = print => printed,
        () = tokio::time::sleep(limit) => Ok(Exit::Done),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("cannot receive SIGINT")?;
            Ok(Exit::Done)
        }
    }
}

/// The event as the server sent it, preceded by its id.
fn json(event: &WatchEvent) -> String {
    if event.is_deletion {
        return serde_json::json!({ "id": event.id, "deleted": event.operation.id }).to_string();
    }
    format!("{{\"id\":\"{}\",{}", event.id, event.data.trim_start_matches('{'))
}

/// The output for an event that was reported at this time. The stream does not say when an event happened, and the
/// times of an operation are not those of its transitions: one that waits for another attempt was created long before.
fn line(format: Format, show_ids: bool, event: &WatchEvent, told: Timestamp) -> anyhow::Result<String> {
    let operation = &event.operation;
    let text = match format {
        Format::Json => return Ok(format!("{}\n", json(event))),
        Format::Yaml => return Ok(render::yaml(json(event).as_bytes())?),
        Format::Id => operation.id.clone(),
        Format::Table if event.is_deletion => format!("{told}  {}  DELETED", operation.id),
        Format::Table => {
            let told = told.to_string();
            let error = operation.error_message.lines().next().unwrap_or_default();
            let parts = [told.as_str(), &operation.id, operation.short_status(), &operation.kind, error];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
        }
    };
    let id =
        if show_ids { Style::of_stdout().faint(&format!("{}  ", render::printable(&event.id))) } else { String::new() };
    Ok(format!("{id}{}\n", render::printable(&text)))
}

#[cfg(test)]
mod tests {
    use longrun_client::Operation;

    use super::*;

    fn told() -> Timestamp {
        "2026-01-23T04:59:00.000Z".parse().expect("a time")
    }

    #[test]
    fn a_line_says_what_happened() {
        let operation = Operation {
            id: "0199".to_owned(),
            kind: "scan".to_owned(),
            status: "ASYNC_OPERATION_STATUS_FAILED".to_owned(),
            created_at: Some("2026-01-23T04:56:07.000Z".to_owned()),
            finished_at: Some("2026-01-23T04:56:08.000Z".to_owned()),
            error_message: "no\u{1b}[31m\nmore".to_owned(),
            ..Operation::default()
        };
        let data = "{\"operation\":{}}".to_owned();
        let event = WatchEvent { id: "1-2-3".to_owned(), operation, is_deletion: false, data };
        let shown = |format, ids| line(format, ids, &event, told()).expect("a line");
        assert_eq!(shown(Format::Table, false), "2026-01-23T04:59:00.000Z  0199  FAILED  scan  no\\u{1b}[31m\n");
        assert_eq!(shown(Format::Id, true), "1-2-3  0199\n");
        assert_eq!(shown(Format::Json, false), "{\"id\":\"1-2-3\",\"operation\":{}}\n");
        let gone = Operation { id: "0199".to_owned(), ..Operation::default() };
        let data = "{\"id\":\"0199\"}".to_owned();
        let event = WatchEvent { id: "1-2-4".to_owned(), operation: gone, is_deletion: true, data };
        let shown = |format| line(format, false, &event, told()).expect("a line");
        assert_eq!(shown(Format::Table), "2026-01-23T04:59:00.000Z  0199  DELETED\n");
        assert_eq!(shown(Format::Json), "{\"deleted\":\"0199\",\"id\":\"1-2-4\"}\n");
    }

    #[test]
    fn what_waits_for_another_attempt_has_not_the_time_of_its_creation() {
        let operation = Operation {
            id: "0199".to_owned(),
            status: "ASYNC_OPERATION_STATUS_PENDING".to_owned(),
            created_at: Some("2026-01-23T04:56:07.000Z".to_owned()),
            ..Operation::default()
        };
        let event = WatchEvent { id: String::new(), operation, is_deletion: false, data: String::new() };
        let shown = line(Format::Table, false, &event, told()).expect("a line");
        assert_eq!(shown, "2026-01-23T04:59:00.000Z  0199  PENDING\n");
    }
}
