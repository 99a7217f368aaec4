//! Which store a command that needs no server works on: `token`, `doctor`, `migrate`, `backup`, `restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, ConfigArgs, Hidden, Loaded};
use crate::connection::DEV_FOLDER;
use crate::environment::file_variable;
use crate::evidence_place::EvidencePlace;
use crate::exit::{Hint, failure};
use crate::node::{self, StoreLock, complain};
use crate::render::Style;
use store::{CellUrl, Keyring, Open, Store, StoreError, StoreUrl};

/// The store's file within the folder of `longrun dev`.
pub const DEV_STORE: &str = "longrun.db";
/// The evidence within the folder of `longrun dev`.
pub const DEV_EVIDENCE: &str = "evidence";

/// The store: named by one of these flags, else by the configuration, else that of `longrun dev` in this folder.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Store")]
pub struct StoreArgs {
    /// The store: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL", conflicts_with = "data_dir")]
    store: Option<Hidden>,
    /// Configuration file that names the store; default: the environment variable LONGRUN_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of `longrun dev`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The store. It need not exist.
    ///
    /// # Errors
    /// When the configuration has problems.
    pub fn url(&self) -> anyhow::Result<StoreUrl> {
        Ok(self.places()?.0)
    }

    /// Whether a flag or a variable names a store, or a configuration that does.
    pub fn is_named(&self) -> bool {
        let names_file = || self.config.is_some() || file_variable("LONGRUN_CONFIG").is_some();
        self.store.is_some() || self.data_dir.is_some() || names_file()
    }

    /// Whether `--store` names the store.
    pub const fn names_store(&self) -> bool {
        self.store.is_some()
    }

    /// Where the evidence of the store is: in the given folder, or as the configuration says.
    ///
    /// # Errors
    /// As [`StoreArgs::url`].
    pub fn evidence(&self, named: Option<PathBuf>) -> anyhow::Result<EvidencePlace> {
        named.map_or_else(|| Ok(self.places()?.1), |folder| Ok(EvidencePlace::Folder(folder)))
    }

    /// The kinds that the configuration declares, and the built-in ones.
    ///
    /// # Errors
    /// As [`StoreArgs::url`].
    pub fn kinds(&self) -> anyhow::Result<Vec<String>> {
        let config = match &self.data_dir {
            Some(_) => Config::default(),
            None => self.load()?.config,
        };
        Ok(node::known_kinds(&config))
    }

    /// The keys with which content of the store is encrypted.
    ///
    /// # Errors
    /// As [`StoreArgs::url`].
    pub fn keyring(&self) -> anyhow::Result<Keyring> {
        if self.data_dir.is_some() {
            return Ok(Keyring::default());
        }
        let keyring = self.load()?.config.encryption.keyring();
        keyring.map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))
    }

    fn load(&self) -> anyhow::Result<Loaded> {
        let args = ConfigArgs { config: self.config.clone(), store: self.store.clone(), ..ConfigArgs::default() };
        args.load().hint("name the store with --store URL")
    }

    /// The store and its evidence.
    fn places(&self) -> anyhow::Result<(StoreUrl, EvidencePlace)> {
        let of_dev = |folder: &Path| {
            (StoreUrl::Sqlite(folder.join(DEV_STORE)), EvidencePlace::Folder(folder.join(DEV_EVIDENCE)))
        };
        if let Some(folder) = &self.data_dir {
            return Ok(of_dev(folder));
        }
        let loaded = self.load()?;
        let is_named = loaded.entries.get("store").is_some_and(|(_, origin)| *origin != crate::config::Origin::Default);
        let url = loaded.config.store_url()?;
        let dev = of_dev(Path::new(DEV_FOLDER));
        let is_there = |url: &StoreUrl| matches!(url, StoreUrl::Sqlite(path) if path.exists());
        let of_configuration = (url, EvidencePlace::of(&loaded.config.evidence));
        Ok(if !is_named && !is_there(&of_configuration.0) && is_there(&dev.0) { dev } else { of_configuration })
    }

    /// Opens the store, which must exist and have this version's schema: a mistyped name must not create an empty
    /// store, and a store in use by a server is not migrated.
    ///
    /// # Errors
    /// When there is none or it cannot be used.
    pub async fn open_existing(&self) -> anyhow::Result<Arc<dyn Store>> {
        self.open_as(Open::Existing).await
    }

    /// Opens the store, with its cells if the configuration has some.
    ///
    /// # Errors
    /// As [`node::open`] and [`node::open_cells`].
    pub async fn open_as(&self, how: Open) -> anyhow::Result<Arc<dyn Store>> {
        let url = self.url()?;
        match self.cells()? {
            cells if cells.is_empty() => node::open(&url, how).await,
            cells => Ok(Arc::new(node::open_cells(&url, cells, how).await?)),
        }
    }

    /// The store, for commands that work on a single database.
    ///
    /// # Errors
    /// As [`StoreArgs::url`], and when the configuration has cells.
    pub fn single_url(&self) -> anyhow::Result<StoreUrl> {
        if !self.cells()?.is_empty() {
            let hint =
                "name one database at a time with --store URL and without --config: the directory, and each cell";
            return Err(failure("the configuration has cells, each with a database of its own", hint));
        }
        self.url()
    }

    /// The cells of the configuration; empty when everything is in the store.
    ///
    /// # Errors
    /// As [`StoreArgs::url`].
    pub fn cells(&self) -> anyhow::Result<Vec<CellUrl>> {
        if self.data_dir.is_some() { Ok(Vec::new()) } else { Ok(self.load()?.config.cell_urls()) }
    }

    /// Like [`StoreArgs::open_existing`], but creates the store if there is none, and reports it: tokens can be created
    /// before the first start of a server.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_or_make(&self) -> anyhow::Result<Arc<dyn Store>> {
        let url = self.url()?;
        match self.open_existing().await {
            Err(error)
                if matches!(error.chain().find_map(|cause| cause.downcast_ref()), Some(StoreError::Missing(_))) =>
            {
                let lock = StoreLock::acquire_for(&url)?;
                self.open_as(Open::Create).await?.close().await;
                drop(lock);
                complain(format_args!(
                    "{} there was no store at {url}: created a new one",
                    Style::of_stderr().notable("note:")
                ));
                self.open_existing().await
            }
            opened => opened,
        }
    }
}
