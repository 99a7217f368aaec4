//! `longrun migrate`: brings the store's database up to this version. Servers do the same when they start.

use anyhow::Context;
use store::StoreUrl;

use crate::exit::Exit;
use crate::node::{self, StoreLock};
use crate::progress::Spinner;
use crate::render;
use crate::store_args::StoreArgs;

/// What `longrun migrate` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

/// Migrates, with no server on the store.
///
/// # Errors
/// When a server uses the store, or it is newer than this program.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let url = args.store.url()?;
    let lock = match &url {
        StoreUrl::Sqlite(path) => Some(StoreLock::acquire(path)?),
        StoreUrl::Postgres(_) => None,
    };
    let spinner = Spinner::start("migrating");
    node::open(&url).await.context("the migration failed")?.close().await;
    drop(spinner);
    drop(lock);
    render::write(format!("{url} is up to date\n"))?;
    Ok(Exit::Done)
}
