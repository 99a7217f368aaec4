//! `longrun operations list`: one page, or as many as requested.

use std::collections::HashSet;
use std::io;

use longrun_client::{Client, ListRequest, Operation, SearchRequest};
use operations::Search;
use operations::search::Set;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::operations::StatusName;
use super::search::LARGE_PAGE;
use super::times::Past;
use crate::config::nearest;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, failure, note};
use crate::render::operations::operations_table;
use crate::render::{self, Format, Style, count};

/// What `longrun operations list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only operations with this status; may be given several times to match any of them
    #[arg(long, value_enum, ignore_case = true)]
    status: Vec<StatusName>,
    /// Only operations created at this time or later: RFC 3339, or how long ago, e.g. 1h
    #[arg(long, value_name = "TIME", conflicts_with = "page")]
    since: Option<String>,
    /// Only operations of this kind
    #[arg(long, add = clap_complete::ArgValueCompleter::new(crate::completing::kinds))]
    kind: Option<String>,
    /// Only operations about a resource of this type
    #[arg(long, value_name = "TYPE", requires = "resource_id")]
    resource_type: Option<String>,
    /// Only operations about this resource
    #[arg(long, value_name = "ID", requires = "resource_type")]
    resource_id: Option<String>,
    /// Show the newest N, from as many pages as needed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "page")]
    limit: Option<u32>,
    /// Show all of them, from all pages
    #[arg(long, conflicts_with_all = ["page", "limit"])]
    all: bool,
    /// Show a single page; the first is 0
    #[arg(long, value_name = "N")]
    page: Option<i32>,
    /// Entries per page; the server has a maximum, usually 100
    #[arg(long, value_name = "N")]
    page_size: Option<i32>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Lists operations, and reports when there are more than were shown.
///
/// # Errors
/// When one of the calls fails.
pub async fn run(args: ListArgs) -> anyhow::Result<Exit> {
    if args.since.is_some() || args.status.len() > 1 {
        return search(args).await;
    }
    let request = ListRequest {
        page: args.page,
        page_size: args.page_size,
        status: args.status.first().map(|status| status.wire_name().to_owned()),
        kind: args.kind,
        resource_type: args.resource_type,
        resource_id: args.resource_id,
    };
    let client = args.server.client()?;
    let format = args.output.format;
    let wanted = match (args.limit, args.all) {
        (Some(limit), _) => limit as usize,
        (None, true) => usize::MAX,
        (None, false) => {
            let answer = client.list(&request).await?;
            render::print(format, &answer)?;
            if answer.value.pagination.total_count == 0 {
                suggest_kind(&client, request.kind.as_deref()).await;
            }
            say_if_more(answer.value.operations.len(), answer.value.pagination.total_count);
            return Ok(Exit::Done);
        }
    };
    let size = args.page_size.or_else(|| Some(i32::try_from(wanted).unwrap_or(LARGE_PAGE).min(LARGE_PAGE)));
    pages(&client, ListRequest { page_size: size, ..request }, wanted, format).await
}

/// Conditions that the list has no parameter for are searched for with a filter.
async fn search(args: ListArgs) -> anyhow::Result<Exit> {
    if args.page.is_some() {
        return Err(failure(
            "a single page cannot be shown for several statuses",
            "use --limit N or --all, or one --status",
        ));
    }
    let mut wanted = Search::default();
    let one = |text: Option<String>| text.map_or_else(Set::default, |text| Set::among([text]));
    if !args.status.is_empty() {
        wanted.status = Set::among(args.status.iter().map(|status| status.status()));
    }
    wanted.kind = one(args.kind);
    wanted.resource_type = one(args.resource_type);
    wanted.resource_id = one(args.resource_id);
    let mut filter = wanted.to_string();
    if let Some(since) = &args.since {
        let from = match Past::parse("--since", since)? {
            Past::At(time) => time.to_string(),
            // The server computes when that was: its clock counts.
            Past::Ago(time) => format!("-{}s", time.as_secs()),
        };
        let and = if filter.is_empty() { "" } else { " AND " };
        filter.push_str(&format!("{and}created_at >= \"{from}\""));
    }
    let limit = args.limit.map(|limit| limit as usize).or_else(|| args.all.then_some(usize::MAX));
    let page_size = args.page_size.or_else(|| limit.map(|_| LARGE_PAGE));
    let request = SearchRequest { filter, page_size, ..SearchRequest::default() };
    super::search::show(&args.server.client()?, request, limit.unwrap_or(1), args.output.format).await
}

/// Shows the newest `wanted` operations, page by page.
///
/// Pages are counted from the newest operation: when operations are created meanwhile, entries move to later pages.
/// Entries that were already shown are not shown again.
async fn pages(client: &Client, mut request: ListRequest, wanted: usize, format: Format) -> anyhow::Result<Exit> {
    let mut shown = HashSet::new();
    let mut rows: Vec<Operation> = Vec::new();
    let mut first_page = None;
    let total = loop {
        let mut answer = client.list(&request).await?;
        let pagination = answer.value.pagination;
        let received = answer.value.operations.len();
        let is_new: Vec<bool> = answer
            .value
            .operations
            .iter()
            .map(|operation| shown.len() < wanted && shown.insert(operation.id.clone()))
            .collect();
        let mut kept = is_new.iter();
        answer.value.operations.retain(|_| kept.next().is_some_and(|is_new| *is_new));
        if format == Format::Table {
            // A single table, as wide as its widest row. Its rows do not show outputs.
            rows.extend(answer.value.operations.into_iter().map(|row| Operation { output: String::new(), ..row }));
        } else {
            if answer.value.operations.len() < received {
                answer.body = without(&answer.body, &is_new)?.into();
            }
            render::stream(render::rendered(format, &answer)?)?;
        }
        // Whether pages are counted from 0 or from 1 is a setting of the server.
        let first = *first_page.get_or_insert(pagination.page);
        let is_last = received == 0 || pagination.page - first + 1 >= pagination.total_pages;
        if is_last || shown.len() >= wanted {
            break pagination.total_count;
        }
        request.page = Some(pagination.page + 1);
    };
    if format == Format::Table {
        let style = Style::of_stdout();
        let table = if rows.is_empty() { String::new() } else { operations_table(style, &rows) };
        // If there are more, the note says so, and how to get them.
        let is_all = usize::try_from(total).is_ok_and(|total| rows.len() >= total);
        let all = || style.faint(&format!("{}\n", count(rows.len() as u64, "operation")));
        render::write(table + &if is_all { all() } else { String::new() })?;
    }
    say_if_more(shown.len(), total);
    Ok(Exit::Done)
}

/// Suggests on standard error a kind that may have been meant, when there are no operations of the given one.
pub async fn suggest_kind(client: &Client, kind: Option<&str>) {
    let Some(kind) = kind else { return };
    let Ok(counts) = client.count("", &["kind"]).await else { return };
    let kinds: Vec<&str> = counts.value.groups.iter().filter_map(|group| group.kind.as_deref()).collect();
    if kinds.contains(&kind) {
        return;
    }
    if let Some(meant) = nearest(kind, kinds) {
        note(format!("there are no operations of the kind {kind:?}; did you mean {meant:?}?"));
    }
}

/// The page as the server sent it, without entries that were already shown.
fn without(body: &[u8], is_new: &[bool]) -> io::Result<Vec<u8>> {
    /// The operations in their original form.
    #[derive(Deserialize, Serialize)]
    struct Page<'p> {
        #[serde(borrow)]
        operations: Vec<&'p RawValue>,
        #[serde(borrow)]
        pagination: &'p RawValue,
    }
    let mut page: Page<'_> = serde_json::from_slice(body)?;
    let mut kept = is_new.iter();
    page.operations.retain(|_| kept.next().is_some_and(|is_new| *is_new));
    Ok(serde_json::to_vec(&page)?)
}

fn say_if_more(shown: usize, total: i32) {
    if usize::try_from(total).is_ok_and(|total| shown < total) {
        note(format!("{shown} of {total} operations are shown; --limit N shows the newest N, --all shows all"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_page_is_as_it_was_written() {
        let body = br#"{"operations":[{"id":"1","n":1.0},{"id":"2", "output":"\u00e9"}],"pagination":{"page":3}}"#;
        let left = without(body, &[false, true]).expect("a page");
        assert_eq!(
            String::from_utf8_lossy(&left),
            r#"{"operations":[{"id":"2", "output":"\u00e9"}],"pagination":{"page":3}}"#
        );
    }
}
