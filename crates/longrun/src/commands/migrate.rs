//! `longrun migrate`: migrates the store's database to this version (servers do the same when they start), moves an
//! embedded store into PostgreSQL, or moves an organization to another cell.

use anyhow::Context;
use store::{MoveError, Moved, Open, PostgresStore, SqliteStore, Store, StoreUrl, TransferError};

use crate::config::{Unseen, store_url};
use crate::exit::{Exit, Hint, failure, missing};
use crate::node::{self, StoreLock};
use crate::progress::Spinner;
use crate::render::{self, count};
use crate::store_args::StoreArgs;

/// Connections of a move: it writes one batch at a time, while the store folds counters concurrently.
const CONNECTIONS: u32 = 4;

/// What `longrun migrate` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Store to move: sqlite:PATH. No server may use it; its content is kept
    #[arg(long, value_name = "URL", requires = "to", value_parser = Unseen(store_url))]
    from: Option<StoreUrl>,
    /// Database to move it to, which must not contain operations: postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", requires = "from", value_parser = Unseen(store_url))]
    to: Option<StoreUrl>,
    /// Move this organization to another cell of the configuration, while servers run; its calls are answered with 503
    /// during the move. The same command resumes an interrupted move
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "to"])]
    organization: Option<String>,
    /// The cell to move it to
    #[arg(long, value_name = "CELL", requires = "organization")]
    to_cell: Option<String>,
    /// Abort an interrupted move of the organization: it stays where it was
    #[arg(long, requires = "organization", conflicts_with = "to_cell")]
    abort: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Migrates; no server may use the store.
///
/// # Errors
/// When a server uses the store, it is newer than this program, or the target of a move is not empty.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    if let (Some(from), Some(to)) = (args.from, args.to) {
        return transfer(from, to).await;
    }
    if let Some(organization) = args.organization {
        return move_organization(&args.store, &organization, args.to_cell.as_deref(), args.abort).await;
    }
    let settings = args.store.settings()?;
    let lock = StoreLock::acquire_for(&settings.url)?;
    let spinner = Spinner::start("migrating");
    settings.open_as(Open::Create).await.context("the migration failed")?.close().await;
    drop(spinner);
    drop(lock);
    render::write(format!("{} is up to date\n", settings.url))?;
    Ok(Exit::Done)
}

async fn move_organization(
    store: &StoreArgs,
    organization: &str,
    to: Option<&str>,
    abort: bool,
) -> anyhow::Result<Exit> {
    let settings = store.settings()?;
    let cells = settings.cells();
    if cells.is_empty() {
        let hint = "name the configuration of the servers with --config; docs/scaling.md describes cells";
        return Err(failure("the configuration has no cells to move an organization between", hint));
    }
    if to.is_none() && !abort {
        let hint = "--to-cell CELL moves it there, --abort aborts an interrupted move";
        return Err(failure("neither --to-cell nor --abort was given for the organization", hint));
    }
    let cells = node::open_cells(&settings.url, cells, Open::Existing).await?;
    let spinner = Spinner::start("moving");
    let mut rows = 0;
    let done = match to {
        Some(to) => cells
            .move_organization(organization, to, |more| {
                rows += more;
                spinner.say(format!("moving: {}", count(rows, "row")));
            })
            .await
            .map(Some),
        None => cells.abort_move(organization).await.map(|()| None),
    };
    cells.close().await;
    drop(spinner);
    let hint = match &done {
        Err(MoveError::Store(_)) => {
            "run the same command again to resume; --abort is possible until the directory names the other cell"
        }
        Err(MoveError::UnderWay) => "if that process died, the database notices it after a while",
        _ => "`longrun config show` lists the cells, `longrun organizations list` the organizations",
    };
    let text = match (done.hint(hint)?, to) {
        (Some(Moved { rows: Some(rows), stood_still }), Some(to)) => format!(
            "moved {organization} to the cell {to}: {}; checked; it was unavailable for {} s\n",
            count(rows, "row"),
            stood_still.as_secs()
        ),
        (Some(_), Some(to)) => format!("{organization} is in the cell {to}\n"),
        _ => format!("{organization} stays where it was\n"),
    };
    render::write(text)?;
    Ok(Exit::Done)
}

async fn transfer(from: StoreUrl, to: StoreUrl) -> anyhow::Result<Exit> {
    let (StoreUrl::Sqlite(path), StoreUrl::Postgres(target)) = (&from, &to) else {
        return Err(failure(
            "only a SQLite store can be moved, and only to PostgreSQL",
            "--from sqlite:PATH --to postgres://…",
        ));
    };
    // Nothing is created at the source, so that a mistyped name, or one that belongs to something else, is noticed.
    if !path.exists() {
        return Err(missing(format!("there is no store at {}", path.display()), "name it with --from sqlite:PATH"));
    }
    let _lock = StoreLock::acquire(path)?;
    let source = node::opened(&from, SqliteStore::open_as(path, Open::Existing).await)?;
    let target = node::opened(&to, PostgresStore::connect(target.expose(), CONNECTIONS).await)?;
    let spinner = Spinner::start("moving");
    let mut rows = 0;
    let moved = store::transfer(&source, &target, |more| {
        rows += more;
        spinner.say(format!("moving: {}", count(rows, "row")));
    })
    .await;
    source.close().await;
    target.close().await;
    drop(spinner);
    let census = match moved {
        Err(error @ TransferError::NotEmpty { .. }) => Err(error).hint(
            "move to a database without a store; to discard the store in it with all its content: DROP SCHEMA longrun CASCADE",
        )?,
        moved => {
            moved.hint("the source is unchanged; before trying again, run DROP SCHEMA longrun CASCADE in the target")?
        }
    };
    render::write(format!(
        "moved {from} to {to}: {} of {}, {}; checked\n",
        count(census.total(), "operation"),
        count(census.organizations.len() as u64, "organization"),
        count(census.tokens, "token")
    ))?;
    Ok(Exit::Done)
}
