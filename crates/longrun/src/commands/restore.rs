//! `longrun restore`: restores a backup to a location that has no store, and checks the result.

use std::path::{Path, PathBuf};

use anyhow::Context;
use store::{PostgresStore, SqliteStore, Store, StoreUrl};

use super::backup::content::{self, Content};
use super::backup::manifest::{self, Engine, Manifest};
use super::backup::{CONTENT, SHOWN, postgres};
use crate::evidence_place::{EvidencePlace, folder_beside};
use crate::exit::{Exit, failure, warn};
use crate::node::StoreLock;
use crate::progress::Spinner;
use crate::render;
use crate::store_args::StoreArgs;

/// What `longrun restore` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder created by `longrun backup`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Folder to put the evidence into; default: `evidence` next to the file of --store sqlite:PATH, else the one in
    /// the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Restores a backup.
///
/// # Errors
/// When there is a store already, the backup is damaged, or the restored data differs from what was backed up.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let folder = &args.folder;
    let manifest = Manifest::read(folder)?;
    let census = manifest.census()?;
    let settings = args.store.settings()?;
    let url = settings.single_url()?;
    // The configuration, if there is one, may belong to a server with different evidence.
    let beside = match url {
        StoreUrl::Sqlite(path) if args.evidence.is_none() && args.store.names_store() => Some(folder_beside(path)),
        _ => None,
    };
    let evidence = match settings.evidence(args.evidence.or_else(|| beside.clone())) {
        EvidencePlace::Folder(folder) => folder,
        // A backup of such a store contains no evidence.
        EvidencePlace::Bucket(_) if manifest.content.files == 0 => PathBuf::new(),
        EvidencePlace::Bucket(url) => {
            let message = format!(
                "the backup has {}, which cannot be restored into {url}",
                render::pieces(manifest.content.files)
            );
            return Err(failure(
                message,
                "name a folder for it with --evidence, and then copy its content into the bucket",
            ));
        }
    };
    let copy = folder.join(manifest.engine.file());

    let spinner = Spinner::start("restoring");
    match (url, manifest.engine) {
        (StoreUrl::Sqlite(path), Engine::Sqlite) => {
            let lock = StoreLock::acquire_place(path)?;
            refuse_existing(path)?;
            if let Some(folder) = &beside {
                refuse_used(folder)?;
            }
            put_evidence(&manifest, folder, &evidence).await?;
            restore_sqlite(&copy, path, &manifest, &evidence).await?;
            drop(lock);
        }
        (StoreUrl::Postgres(url), Engine::Postgres) => {
            let url = url.expose();
            if PostgresStore::is_there(url).await? {
                return Err(failure(
                    "the database already has a schema \"longrun\"",
                    "restore into a database without it; to discard it with all its content: DROP SCHEMA longrun CASCADE",
                ));
            }
            put_evidence(&manifest, folder, &evidence).await?;
            postgres::restore(url, &copy).await?;
            check_postgres(url, &manifest, &evidence).await?;
        }
        _ => {
            return Err(failure(
                format!("{} is a backup of a different database engine than {url}", folder.display()),
                "restore it into a store of the same engine; `longrun migrate --from sqlite:… --to postgres://…` can move that",
            ));
        }
    }
    drop(spinner);
    let place = if manifest.content.files == 0 {
        String::new()
    } else {
        // As an absolute path: a folder in the configuration is relative to where the command was run.
        let evidence = std::path::absolute(&evidence).unwrap_or(evidence);
        format!("; evidence in {}", evidence.display())
    };
    render::write(format!(
        "restored {} to {url}: {}{place}\n",
        folder.display(),
        manifest::summary(&census, manifest.content)
    ))?;
    Ok(Exit::Done)
}

/// Refuses a folder that was not named explicitly and is in use.
fn refuse_used(folder: &Path) -> anyhow::Result<()> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failure(
            format!("the evidence would be restored into {}, which is not empty", folder.display()),
            "name a folder for it with --evidence DIR; existing files in it are kept",
        ));
    }
    Ok(())
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        return Err(failure(
            format!("there is already a store at {}", path.display()),
            "move it away, or choose another location with --store or --data-dir",
        ));
    }
    Ok(())
}

async fn put_evidence(manifest: &Manifest, folder: &Path, evidence: &Path) -> anyhow::Result<()> {
    if evidence.as_os_str().is_empty() {
        return Ok(());
    }
    let content = Content::copy(&folder.join(CONTENT), evidence).await?;
    if content != manifest.content {
        let message =
            format!("the backup has {}, its manifest lists {}", render::pieces(content.files), manifest.content.files);
        return Err(failure(message, "the backup is damaged or was changed; use another one"));
    }
    Ok(())
}

/// Says which evidence the restored store refers to that is not there. Older backups may lack evidence that was deleted
/// while they were made; everything else in them is whole.
async fn warn_of_missing(store: &dyn Store, manifest: &Manifest, evidence: &Path) -> anyhow::Result<()> {
    // The evidence was in a bucket, or there is none.
    if manifest.content.files == 0 {
        return Ok(());
    }
    let content = EvidencePlace::Folder(evidence.to_owned()).open(u64::MAX)?;
    let missing = content.missing(store, SHOWN).await?;
    if !missing.is_empty() {
        warn(format!(
            "the restored store refers to evidence that the backup does not have: {}; send it again, or delete it",
            missing.join(", ")
        ));
    }
    Ok(())
}

/// Copies the file to a temporary name next to its destination, checks the copy, and only then renames it.
async fn restore_sqlite(copy: &Path, path: &Path, manifest: &Manifest, evidence: &Path) -> anyhow::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let working = tempfile::Builder::new().prefix(".longrun-restore-").tempdir_in(parent);
    let working = working.with_context(|| format!("cannot write to {}", parent.display()))?;
    let file = working.path().join(Engine::Sqlite.file());
    std::fs::copy(copy, &file).with_context(|| format!("cannot copy {}", copy.display()))?;
    let store = SqliteStore::open(&file).await?;
    let examined = async {
        manifest::agree(&manifest.census()?, &store.census().await?)?;
        manifest::sound(&store.doctor().await?)?;
        warn_of_missing(&store, manifest, evidence).await?;
        store.renew_position_key().await.map_err(anyhow::Error::from)
    };
    let examined = examined.await;
    // Moves the content of the write-ahead log into the file.
    store.close().await;
    examined?;
    std::fs::File::open(&file).and_then(|file| file.sync_all()).context("cannot write the store to disk")?;
    std::fs::rename(&file, path).with_context(|| format!("cannot create {}", path.display()))?;
    content::sync_folder(parent)
}

async fn check_postgres(url: &str, manifest: &Manifest, evidence: &Path) -> anyhow::Result<()> {
    // Also migrates the schema of an older backup to this version.
    let store = PostgresStore::connect(url, 2).await?;
    let examined = async {
        manifest::agree(&manifest.census()?, &store.snapshot().await?.census)?;
        manifest::sound(&store.doctor().await?)?;
        warn_of_missing(&store, manifest, evidence).await?;
        store.renew_position_key().await.map_err(anyhow::Error::from)
    };
    let examined = examined.await;
    store.close().await;
    examined
}
