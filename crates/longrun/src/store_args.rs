//! Which store a command that needs no server works on: `token`, `doctor`, `migrate`, `backup`, `restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, ConfigArgs, Hidden, Loaded, Origin};
use crate::connection::DEV_FOLDER;
use crate::environment::file_variable;
use crate::evidence_place::EvidencePlace;
use crate::exit::{Hint, failure, note};
use crate::node::{self, StoreLock};
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

/// The store of a command, and what the configuration says about it, which was read once.
pub struct StoreSettings {
    /// The store. It need not exist.
    pub url: StoreUrl,
    evidence: EvidencePlace,
    config: Config,
}

impl StoreArgs {
    /// Whether a flag or a variable names a store, or a configuration that does.
    pub fn is_named(&self) -> bool {
        let names_file = || self.config.is_some() || file_variable("LONGRUN_CONFIG").is_some();
        self.store.is_some() || self.data_dir.is_some() || names_file()
    }

    /// Whether `--store` names the store.
    pub const fn names_store(&self) -> bool {
        self.store.is_some()
    }

    /// Finds the store, and reads the configuration.
    ///
    /// # Errors
    /// When the configuration has problems.
    pub fn settings(&self) -> anyhow::Result<StoreSettings> {
        if let Some(folder) = &self.data_dir {
            return Ok(StoreSettings::of_dev(folder, Config::default()));
        }
        let args = ConfigArgs { config: self.config.clone(), store: self.store.clone(), ..ConfigArgs::default() };
        let Loaded { config, entries, .. } = args.load().hint("name the store with --store URL")?;
        let is_named = entries.get("store").is_some_and(|(_, origin)| *origin != Origin::Default);
        let url = config.store_url()?;
        let is_there = matches!(&url, StoreUrl::Sqlite(path) if path.exists());
        let dev = Path::new(DEV_FOLDER);
        if !is_named && !is_there && dev.join(DEV_STORE).exists() {
            return Ok(StoreSettings::of_dev(dev, config));
        }
        Ok(StoreSettings { url, evidence: EvidencePlace::of(&config.evidence), config })
    }
}

impl StoreSettings {
    fn of_dev(folder: &Path, config: Config) -> StoreSettings {
        let evidence = EvidencePlace::Folder(folder.join(DEV_EVIDENCE));
        StoreSettings { url: StoreUrl::Sqlite(folder.join(DEV_STORE)), evidence, config }
    }

    /// Where the evidence of the store is: in the given folder, or as the configuration says.
    pub fn evidence(&self, named: Option<PathBuf>) -> EvidencePlace {
        named.map_or_else(|| self.evidence.clone(), EvidencePlace::Folder)
    }

    /// The kinds that the configuration declares, and the built-in ones.
    pub fn kinds(&self) -> Vec<String> {
        node::known_kinds(&self.config)
    }

    /// The keys with which content of the store is encrypted.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn keyring(&self) -> anyhow::Result<Keyring> {
        self.config.encryption.keyring().map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))
    }

    /// The cells of the configuration; empty when everything is in the store.
    pub fn cells(&self) -> Vec<CellUrl> {
        self.config.cell_urls()
    }

    /// The store, for commands that work on a single database.
    ///
    /// # Errors
    /// When the configuration has cells.
    pub fn single_url(&self) -> anyhow::Result<&StoreUrl> {
        if !self.cells().is_empty() {
            let hint =
                "name one database at a time with --store URL and without --config: the directory, and each cell";
            return Err(failure("the configuration has cells, each with a database of its own", hint));
        }
        Ok(&self.url)
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
        match self.cells() {
            cells if cells.is_empty() => node::open(&self.url, how).await,
            cells => Ok(Arc::new(node::open_cells(&self.url, cells, how).await?)),
        }
    }

    /// Like [`StoreSettings::open_existing`], but creates the store if there is none, and reports it: tokens can be
    /// created before the first start of a server.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open_or_make(&self) -> anyhow::Result<Arc<dyn Store>> {
        match self.open_existing().await {
            Err(error)
                if matches!(error.chain().find_map(|cause| cause.downcast_ref()), Some(StoreError::Missing(_))) =>
            {
                let lock = StoreLock::acquire_for(&self.url)?;
                self.open_as(Open::Create).await?.close().await;
                drop(lock);
                note(format!("there was no store at {}: created a new one", self.url));
                self.open_existing().await
            }
            opened => opened,
        }
    }
}
