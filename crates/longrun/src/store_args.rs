//! Which store a command works on that needs no server: `token`, `doctor`, `migrate`.

use std::path::{Path, PathBuf};

use crate::config::ConfigArgs;
use crate::connection::DEV_FOLDER;
use crate::exit::{Hint, failure};
use crate::node;
use store::SqliteStore;

/// The store's file within the folder of `longrun dev`.
pub const DEV_STORE: &str = "longrun.db";

/// The store: named by one of these, else the configuration's, else that of `longrun dev` in this folder.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// The store, e.g. sqlite:longrun.db
    #[arg(long, value_name = "sqlite:PATH", conflicts_with = "data_dir")]
    store: Option<String>,
    /// Configuration file that names the store
    #[arg(long, env = "LONGRUN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of `longrun dev`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The store's file. It need not exist.
    ///
    /// # Errors
    /// When the configuration has problems.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.join(DEV_STORE));
        }
        let args = ConfigArgs { config: self.config.clone(), store: self.store.clone(), ..ConfigArgs::default() };
        let loaded = args.load().hint("name the store with --store sqlite:PATH")?;
        let is_named = loaded.entries.get("store").is_some_and(|(_, origin)| *origin != crate::config::Origin::Default);
        let path = loaded.config.sqlite_path().expect("a loaded configuration has been validated");
        let dev = Path::new(DEV_FOLDER).join(DEV_STORE);
        Ok(if !is_named && !path.exists() && dev.exists() { dev } else { path })
    }

    /// Opens the store, which must exist: a mistyped path shall not make an empty one.
    ///
    /// # Errors
    /// When there is none or it cannot be used.
    pub async fn open_existing(&self) -> anyhow::Result<SqliteStore> {
        let path = self.path()?;
        if !path.exists() {
            let message = format!("there is no store at {}", path.display());
            return Err(failure(message, "name it with --store, --config or --data-dir"));
        }
        node::open(&path).await
    }

    /// Opens the store, or makes it: tokens can be made before the first start of a server.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(&self) -> anyhow::Result<SqliteStore> {
        node::open(&self.path()?).await
    }
}
