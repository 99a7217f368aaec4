//! Where a management command works: at a running server, or directly on the store.
//!
//! A command calls a server if `--url` or `--context` names one, or if `LONGRUN_URL` does and nothing names a store
//! (`--store`, `--data-dir`, `--config`, or `LONGRUN_STORE` and `LONGRUN_CONFIG`); otherwise it works on the store,
//! with full rights. At a server, the token decides what is allowed. The current context does not turn a command that
//! works on a store into one that calls a server.

use std::path::PathBuf;
use std::sync::Arc;

use longrun_client::Client;
use operations::Timestamp;
use store::Store;

use crate::connection::ClientArgs;
use crate::environment::variable;
use crate::exit::failure;
use crate::store_args::StoreArgs;

/// Where to work.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// Address of a server to call; default: LONGRUN_URL, unless a store is named
    #[arg(long, value_name = "URL", help_heading = "Server", conflicts_with_all = ["store", "data_dir"])]
    url: Option<String>,
    /// File that contains the token for the server; default: the environment variable LONGRUN_TOKEN_FILE, or the token
    /// in LONGRUN_TOKEN
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    token_file: Option<PathBuf>,
    /// Call the server of this context (see `longrun login`)
    #[arg(long, value_name = "NAME", help_heading = "Server", conflicts_with_all = ["url", "store", "data_dir"])]
    context: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What a command works on.
pub enum Place {
    /// A running server.
    Server(Client),
    /// A store.
    Store(Arc<dyn Store>),
}

impl PlaceArgs {
    /// The server, if one is to be called.
    ///
    /// # Errors
    /// When no token is found, or the address or the token cannot be used.
    pub fn server(&self) -> anyhow::Result<Option<Client>> {
        let names_store = || self.store.is_named() || variable("LONGRUN_STORE").is_some();
        let url = self.url.clone();
        if self.context.is_none() && url.is_none() && (variable("LONGRUN_URL").is_none() || names_store()) {
            return Ok(None);
        }
        let server = ClientArgs { url, token_file: self.token_file.clone(), context: self.context.clone() };
        server.client().map(Some)
    }

    /// The server, or the store, which must exist.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(&self) -> anyhow::Result<Place> {
        Ok(match self.server()? {
            Some(client) => Place::Server(client),
            None => Place::Store(self.store.settings()?.open_existing().await?),
        })
    }

    /// The server, or the store, which is created if it does not exist.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_or_make(&self) -> anyhow::Result<Place> {
        Ok(match self.server()? {
            Some(client) => Place::Server(client),
            None => Place::Store(self.store.settings()?.open_or_make().await?),
        })
    }
}

/// A time that a server has reported.
///
/// # Errors
/// When it is invalid.
pub fn time(text: &str) -> anyhow::Result<Timestamp> {
    text.parse().map_err(|_| failure("the server sent an invalid time", "is it a longrun server of this version?"))
}
