//! `longrun backup`: copies the store and its evidence into one folder. Servers may run at the same time.
//!
//! The folder appears all at once, when everything in it is on disk. The store is copied before the evidence, which is
//! never changed: every piece of evidence that the copy of the store refers to still exists when the evidence is
//! copied.

pub mod content;
pub mod manifest;
pub mod postgres;

use std::path::{Path, PathBuf};

use anyhow::Context;
use store::{Census, Open, PostgresStore, SqliteStore, Store, StoreUrl};

use crate::evidence_place::EvidencePlace;
use crate::exit::{Exit, failure, note};
use crate::node;
use crate::progress::Spinner;
use crate::render;
use crate::store_args::StoreArgs;
use content::Content;
use manifest::{Engine, Manifest};

/// The evidence folder within a backup.
pub const CONTENT: &str = "evidence";

/// What `longrun backup` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to create; it must not exist, or be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Folder of the evidence; default: the one in the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Backs the store up.
///
/// # Errors
/// When the folder is in use, the store or a piece of evidence cannot be read, or `pg_dump` is missing or fails.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let folder = &args.folder;
    let url = args.store.single_url()?;
    let evidence = args.store.evidence(args.evidence)?;
    if folder.exists() && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failure(format!("{} is not empty", folder.display()), "write the backup to a new or empty folder"));
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).with_context(|| format!("cannot create the folder {}", parent.display()))?;
    // In the same parent folder, and readable by its user only: it contains hashes of tokens.
    let working = tempfile::Builder::new().prefix(".longrun-backup-").tempdir_in(&parent);
    let working = working.with_context(|| format!("cannot write to {}", parent.display()))?;

    let spinner = Spinner::start("copying the store");
    let (engine, engine_version, census) = match &url {
        StoreUrl::Sqlite(path) => {
            let store = node::opened(&url, SqliteStore::open_as(path, Open::Existing).await)?;
            copy_sqlite(store, working.path()).await?
        }
        StoreUrl::Postgres(database) => {
            let database = database.expose();
            let store = node::opened(&url, PostgresStore::connect_as(database, Open::Existing, 2).await)?;
            dump_postgres(store, database, working.path()).await?
        }
    };
    let content = match &evidence {
        EvidencePlace::Folder(folder) => {
            spinner.say("copying the evidence");
            let content = Content::copy(folder, &working.path().join(CONTENT)).await?;
            if content.files < census.evidence {
                let (known, place) = (render::pieces(census.evidence), folder.display());
                return Err(failure(
                    format!("the store refers to {known}, but {place} has {}", content.files),
                    "name the evidence folder with --evidence or --config; if evidence was deleted during the backup, repeat the backup",
                ));
            }
            content
        }
        // A bucket has versioning and replication of its own.
        EvidencePlace::Bucket(url) => {
            note(format!(
                "the evidence in {url} is not copied: replicate the bucket, or copy it with the provider's tools"
            ));
            Content::default()
        }
    };
    let summary = manifest::summary(&census, content);
    Manifest::new(engine, engine_version, &census, content).write(working.path())?;
    let working = working.keep();
    std::fs::rename(&working, folder).with_context(|| {
        let _ = std::fs::remove_dir_all(&working);
        format!("cannot create {}", folder.display())
    })?;
    content::sync_folder(&parent)?;
    drop(spinner);
    render::write(format!("backed up {url} to {}: {summary}\n", folder.display()))?;
    Ok(Exit::Done)
}

/// Copies the file, and checks the copy.
async fn copy_sqlite(store: SqliteStore, working: &Path) -> anyhow::Result<(Engine, String, Census)> {
    let copy = working.join(Engine::Sqlite.file());
    let copied = store.copy_to(&copy).await;
    store.close().await;
    copied.context("the store cannot be copied")?;
    let copy = SqliteStore::open_as(&copy, Open::Existing).await?;
    let (version, census, report) = (copy.engine_version().await?, copy.census().await?, copy.doctor().await?);
    copy.close().await;
    manifest::sound(&report)?;
    Ok((Engine::Sqlite, version, census))
}

/// Lets `pg_dump` write one snapshot, and counts the rows of the same snapshot.
async fn dump_postgres(store: PostgresStore, url: &str, working: &Path) -> anyhow::Result<(Engine, String, Census)> {
    let version = store.engine_version().await?;
    let snapshot = store.snapshot().await?;
    let dumped = postgres::dump(url, &snapshot.id, &working.join(Engine::Postgres.file())).await;
    let census = snapshot.census.clone();
    drop(snapshot);
    store.close().await;
    dumped?;
    Ok((Engine::Postgres, version, census))
}
