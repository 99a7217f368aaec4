//! `longrun views`: names for filters.

use std::io;

use clap::ValueEnum;
use longrun_client::{Client, NewView, View, ViewAnswer, ViewList};

use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, failure, note};
use crate::render::{self, Answer, Style, table};

/// Who has a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Visibility {
    /// Only the token that makes it
    #[default]
    Private,
    /// Everybody who sees the whole organization
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
    /// The name
    name: String,
    /// What it shows, e.g. 'status = FAILED AND created_at >= "-24h"'; without it, everything
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// The columns, with commas in between
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// Who has it
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun views show` and `longrun views delete` take.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// The name, or the id; of two with a name, the private one
    #[arg(add = clap_complete::ArgValueCompleter::new(crate::completing::views))]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Lists views with their counts.
///
/// # Errors
/// What the call may fail with.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    render::print(args.output.format, &args.server.client()?.views().await?)?;
    Ok(Exit::Done)
}

/// Makes a view.
///
/// # Errors
/// What the call may fail with.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    let visibility = if args.visibility == Visibility::Shared { "shared" } else { "private" };
    let view = NewView {
        name: args.name,
        filter: args.filter,
        columns: args.columns,
        visibility: Some(visibility.to_owned()),
    };
    render::print(args.output.format, &args.server.client()?.create_view(&view).await?)?;
    Ok(Exit::Done)
}

/// Shows a view with its count.
///
/// # Errors
/// When there is no such view, and what the calls may fail with.
pub async fn show(args: NameArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let view = find(&client, &args.name).await?;
    render::print(args.output.format, &client.view(&view.id).await?)?;
    Ok(Exit::Done)
}

/// Deletes a view.
///
/// # Errors
/// When there is no such view, and what the calls may fail with.
pub async fn delete(args: NameArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let view = find(&client, &args.name).await?;
    client.delete_view(&view.id).await?;
    note(format!("the {} view {} is deleted", view.visibility, render::printable(&view.name)));
    Ok(Exit::Done)
}

/// The view of this id, else the private one of this name, else the shared one.
async fn find(client: &Client, name: &str) -> anyhow::Result<View> {
    let mut views = client.views().await?.value.views;
    views.sort_by_key(|view| (view.id != name, view.visibility == "shared"));
    let found = views.into_iter().find(|view| view.id == name || view.name == name);
    found.ok_or_else(|| failure(format!("there is no view {name:?}"), "`longrun views list` shows them"))
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
    table(style, ["NAME", "VISIBILITY", "COUNT", "FILTER", "COLUMNS", "ID"], rows)
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
