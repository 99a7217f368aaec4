//! `longrun migrate`: brings the store's database up to this version. Servers do the same when they start.

use anyhow::Context;

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
    let path = args.store.path()?;
    let lock = StoreLock::acquire(&path)?;
    let spinner = Spinner::start("migrating");
    node::open(&path).await.context("the migration failed")?;
    drop(spinner);
    drop(lock);
    render::write(format!("{} is up to date\n", path.display()))?;
    Ok(Exit::Done)
}
