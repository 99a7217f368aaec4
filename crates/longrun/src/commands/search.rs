//! `longrun operations search` and `count`: with a filter.

use longrun_client::{Answer, Client, Operation, OperationCounts, SearchPage, SearchRequest, short_status};

use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, note};
use crate::render::operations::operations_table;
use crate::render::{self, Format, Style, table};

/// The page size requested when many entries are wanted; servers usually return fewer.
pub const LARGE_PAGE: i32 = 1_000;

/// What `longrun operations search` takes.
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// Filter that selects the operations, e.g. 'status = FAILED AND created_at >= "-24h"'
    #[arg(value_name = "FILTER")]
    filter: String,
    /// Show the first N, from as many pages as needed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Show all of them, from all pages
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun operations count` takes.
#[derive(Debug, clap::Args)]
pub struct CountArgs {
    /// Filter that selects the operations; default: all of them
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
    /// Fields to group the counts by
    #[arg(long, value_name = "FIELD", value_delimiter = ',', value_parser = ["status", "kind", "project_id"])]
    group_by: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Shows the operations that match a filter, and reports when there are more than were shown.
///
/// # Errors
/// When one of the calls fails.
pub async fn search(args: SearchArgs) -> anyhow::Result<Exit> {
    let wanted = match (args.limit, args.all) {
        (Some(limit), _) => Some(limit as usize),
        (None, true) => Some(usize::MAX),
        (None, false) => None,
    };
    let page_size = wanted.map(|wanted| i32::try_from(wanted).unwrap_or(LARGE_PAGE).min(LARGE_PAGE));
    let request =
        SearchRequest { filter: args.filter, page_size, page_token: String::new(), oldest_first: args.oldest_first };
    show(&args.server.client()?, request, wanted.unwrap_or(1), args.output.format).await
}

/// Shows pages until `wanted` operations have been shown; each page as a whole.
///
/// # Errors
/// When one of the calls fails.
pub async fn show(client: &Client, mut request: SearchRequest, wanted: usize, format: Format) -> anyhow::Result<Exit> {
    let mut rows: Vec<Operation> = Vec::new();
    let mut shown = 0;
    let page = loop {
        // The last page has only as many as are still wanted.
        let left = i32::try_from(wanted.saturating_sub(shown)).unwrap_or(LARGE_PAGE);
        request.page_size = request.page_size.map(|size| size.min(left));
        let mut answer = client.search(&request).await?;
        shown += answer.value.operations.len();
        if format == Format::Table {
            // A single table, as wide as its widest row. Its rows do not show outputs.
            let found = std::mem::take(&mut answer.value.operations).into_iter().map(|found| found.operation);
            rows.extend(found.map(|row| Operation { output: String::new(), ..row }));
        } else {
            render::stream(render::rendered(format, &answer)?)?;
        }
        if answer.value.next_page_token.is_empty() || shown >= wanted {
            break answer.value;
        }
        request.page_token = answer.value.next_page_token;
    };
    let total = counted(page.total_count, page.total_is_exact);
    if format == Format::Table {
        let style = Style::of_stdout();
        let table = if rows.is_empty() { String::new() } else { operations_table(style, &rows) };
        render::write(table + &style.faint(&format!("{shown} of {total}\n")))?;
    }
    if !page.next_page_token.is_empty() {
        note(format!("{shown} of {total} are shown; --limit N shows the first N, --all shows all"));
    }
    Ok(Exit::Done)
}

/// `3 operations`, or `at least 3 operations`.
fn counted(total: u64, is_exact: bool) -> String {
    let least = if is_exact { "" } else { "at least " };
    format!("{least}{}", render::count(total, "operation"))
}

/// Counts the operations that match a filter.
///
/// # Errors
/// When the call fails.
pub async fn count(args: CountArgs) -> anyhow::Result<Exit> {
    let fields: Vec<&str> = args.group_by.iter().map(String::as_str).collect();
    let answer = args.server.client()?.count(&args.filter, &fields).await?;
    if answer.value.groups_left_out > 0 {
        note(format!("{} groups with fewer operations are not shown", answer.value.groups_left_out));
    }
    render::print(args.output.format, &answer)?;
    Ok(Exit::Done)
}

impl render::Answer for Answer<SearchPage> {
    fn json(&self) -> std::io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        operations_table(style, self.value.operations.iter().map(|found| &found.operation))
    }

    fn ids(&self) -> Vec<String> {
        self.value.operations.iter().map(|found| found.operation.id.clone()).collect()
    }
}

impl render::Answer for Answer<OperationCounts> {
    fn json(&self) -> std::io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let OperationCounts { groups, total_count, total_is_exact, .. } = &self.value;
        let footer = format!("{} in all\n", counted(*total_count, *total_is_exact));
        let rows = groups.iter().map(|group| {
            let status = group.status.as_deref().map(short_status).unwrap_or_default().to_owned();
            [
                status,
                group.kind.clone().unwrap_or_default(),
                group.project_id.clone().unwrap_or_default(),
                group.count.to_string(),
            ]
        });
        let is_grouped = groups.iter().any(|of| of.status.is_some() || of.kind.is_some() || of.project_id.is_some());
        let groups =
            if is_grouped { table(style, ["STATUS", "KIND", "PROJECT", "COUNT"], rows) } else { String::new() };
        groups + &style.faint(&footer)
    }

    /// The number, for use in scripts.
    fn ids(&self) -> Vec<String> {
        vec![self.value.total_count.to_string()]
    }
}
