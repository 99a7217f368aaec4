//! `longrun views`: named filters.

use std::io;

use clap::ValueEnum;
use longrun_client::{Client, NewView, SearchRequest, View, ViewAnswer, ViewList};

use crate::config::nearest;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, missing, note};
use crate::render::{self, Answer, Column, Format, Style, table};

/// The fields of an operation that a column can show, in addition to `labels.KEY`. The API accepts other names too: a
/// client that shows a view may have columns of its own.
const KNOWN_COLUMNS: [&str; 18] = [
    "id",
    "kind",
    "status",
    "resource_type",
    "resource_id",
    "project_id",
    "project_version_id",
    "created_at",
    "started_at",
    "finished_at",
    "error_message",
    "output",
    "input",
    "priority",
    "attempts",
    "worker",
    "progress",
    "schedule",
];

/// Who can see a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Visibility {
    /// Only the token that creates it
    #[default]
    Private,
    /// Everybody who can see the whole organization
    Shared,
}

/// What `longrun views list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun views create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Name of the view
    name: String,
    /// Filter of the view, e.g. 'status = FAILED AND created_at >= "-24h"'; default: everything
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// Columns, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Who can see it
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun views show` takes.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Show the newest N operations of the view; 0: only the view itself. -o json and -o yaml print only the view
    /// itself
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1_000))]
    limit: u32,
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `longrun views delete` takes.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// Name or id of the view; if a private and a shared view have the same name, the private one
    #[arg(add = clap_complete::ArgValueCompleter::new(crate::completing::views))]
    name: String,
    #[command(flatten)]
    server: ClientArgs,
}

/// Lists views with their counts.
///
/// # Errors
/// When the call fails.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    render::print(args.output.format, &args.server.client()?.views().await?)?;
    Ok(Exit::Done)
}

/// Creates a view.
///
/// # Errors
/// When the call fails.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    let visibility = if args.visibility == Visibility::Shared { "shared" } else { "private" };
    let view = NewView {
        name: args.name,
        filter: args.filter,
        columns: args.columns,
        visibility: Some(visibility.to_owned()),
    };
    let answer = args.server.client()?.create_view(&view).await?;
    render::print(args.output.format, &answer)?;
    for column in view.columns.iter().filter(|column| !KNOWN_COLUMNS.contains(&column.as_str())) {
        if let Some(meant) = nearest(column, KNOWN_COLUMNS) {
            note(format!("operations have no {column:?}; did you mean {meant:?}?"));
        }
    }
    Ok(Exit::Done)
}

/// Shows a view with its count, and for people also the newest operations that match it.
///
/// # Errors
/// When there is no such view, or one of the calls fails.
pub async fn show(ShowArgs { limit, of: args, output }: ShowArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let view = find(&client, &args.name).await?;
    let answer = client.view(&view.id).await?;
    render::print(output.format, &answer)?;
    if limit == 0 || output.format != Format::Table {
        return Ok(Exit::Done);
    }
    render::write("\n")?;
    let filter = answer.value.view.filter;
    let request = SearchRequest { filter, page_size: i32::try_from(limit).ok(), ..SearchRequest::default() };
    super::search::show(&client, request, limit as usize, Format::Table).await
}

/// Deletes a view.
///
/// # Errors
/// When there is no such view, or one of the calls fails.
pub async fn delete(args: NameArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let view = find(&client, &args.name).await?;
    client.delete_view(&view.id).await?;
    note(format!("the {} view {} was deleted", view.visibility, render::printable(&view.name)));
    Ok(Exit::Done)
}

/// The view with this id, else the private one with this name, else the shared one.
async fn find(client: &Client, name: &str) -> anyhow::Result<View> {
    let mut views = client.views().await?.value.views;
    views.sort_by_key(|view| (view.id != name, view.visibility == "shared"));
    let meant = nearest(name, views.iter().map(|view| view.name.as_str()));
    let hint = match meant {
        Some(meant) => format!("did you mean {}?", render::printable(meant)),
        None => "`longrun views list` lists the views".to_owned(),
    };
    let found = views.into_iter().find(|view| view.id == name || view.name == name);
    found.ok_or_else(|| missing(format!("there is no view {name:?}"), hint))
}

fn views_table<'a>(style: Style, views: impl IntoIterator<Item = &'a View>) -> String {
    let rows = views.into_iter().map(|view| {
        let count = match (view.count, view.count_is_exact) {
            (Some(count), Some(false)) => format!("{count}+"),
            (Some(count), _) => count.to_string(),
            (None, _) => String::new(),
        };
        [
            view.name.clone(),
            view.visibility.clone(),
            count,
            view.filter.clone(),
            view.columns.join(","),
            view.id.clone(),
        ]
    });
    let columns = [
        Column::whole("NAME"),
        Column::whole("VISIBILITY").dropped(2),
        Column::whole("COUNT"),
        Column::shortened("FILTER", 20),
        Column::shortened("COLUMNS", 10).dropped(3),
        Column::whole("ID").dropped(1),
    ];
    table(style, columns, rows)
}

impl Answer for longrun_client::Answer<ViewList> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        views_table(style, &self.value.views)
    }

    fn ids(&self) -> Vec<String> {
        self.value.views.iter().map(|view| view.id.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<ViewAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        views_table(style, [&self.value.view])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.view.id.clone()]
    }
}
