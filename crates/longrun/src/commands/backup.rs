//! `longrun backup`: copies the store and its evidence into one folder. Servers may run at the same time.
//!
//! The folder appears all at once, when everything in it is on disk. The store is copied before the evidence, which is
//! never changed but may be removed meanwhile. So every piece that the copy of the store refers to is looked for in the
//! copy of the evidence; if one is not there, the store is copied again, since it no longer refers to a piece that was
//! removed, and so is the evidence that was stored since.

pub mod content;
pub mod manifest;
pub mod postgres;

use std::path::{Path, PathBuf};

use anyhow::Context;
use store::{Census, NamedEvidence, Open, PostgresStore, SqliteStore, Store, StoreUrl};

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
/// How many times the store is copied because evidence was removed meanwhile.
const TRIES: u32 = 5;
/// How many missing pieces are reported one by one.
pub const SHOWN: usize = 20;

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
    let settings = args.store.settings()?;
    let (url, evidence) = (settings.single_url()?, settings.evidence(args.evidence));
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
    let mut copied = copy_store(url, working.path()).await?;
    let content = match &evidence {
        EvidencePlace::Folder(folder) => {
            spinner.say("copying the evidence");
            let target = working.path().join(CONTENT);
            let mut content = Content::copy(folder, &target).await?;
            let (mut missing, mut tries) = (lacking(&copied, &target).await?, 1);
            while !missing.is_empty() {
                spinner.say("copying the store again, since evidence was removed");
                copied = copy_store(url, working.path()).await?;
                content = content.and(Content::copy_new(folder, &target).await?);
                tries += 1;
                let still = lacking(&copied, &target).await?;
                // What the store refers to after that was not removed, but lost.
                let is_lost = still.iter().any(|piece| missing.contains(piece));
                if is_lost || (tries == TRIES && !still.is_empty()) {
                    return Err(incomplete(&still, folder));
                }
                missing = still;
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
    let Copied { engine, version, census, .. } = copied;
    let summary = manifest::summary(&census, content);
    Manifest::new(engine, version, &census, content).write(working.path())?;
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

/// A copy of the store.
struct Copied {
    engine: Engine,
    version: String,
    census: Census,
    /// What it refers to.
    evidence: Vec<NamedEvidence>,
}

/// Copies the store, in place of an earlier copy.
async fn copy_store(url: &StoreUrl, working: &Path) -> anyhow::Result<Copied> {
    match url {
        StoreUrl::Sqlite(path) => {
            let store = node::opened(url, SqliteStore::open_as(path, Open::Existing).await)?;
            copy_sqlite(store, working).await
        }
        StoreUrl::Postgres(database) => {
            let database = database.expose();
            let store = node::opened(url, PostgresStore::connect_as(database, Open::Existing, 2).await)?;
            dump_postgres(store, database, working).await
        }
    }
}

/// Which evidence the copy of the store refers to that the copy of the evidence does not have, or not whole.
async fn lacking(copied: &Copied, evidence: &Path) -> anyhow::Result<Vec<NamedEvidence>> {
    let mut lacking = Vec::new();
    if copied.evidence.is_empty() {
        return Ok(lacking);
    }
    let content = EvidencePlace::Folder(evidence.to_owned()).open(u64::MAX)?;
    for piece in &copied.evidence {
        if !content.is_there(&piece.organization, &piece.digest, piece.size).await? {
            lacking.push(piece.clone());
        }
    }
    Ok(lacking)
}

fn incomplete(missing: &[NamedEvidence], folder: &Path) -> anyhow::Error {
    let shown: Vec<String> =
        missing.iter().take(SHOWN).map(|piece| format!("{} {}", piece.organization, piece.digest)).collect();
    let more = if missing.len() > SHOWN { ", …" } else { "" };
    let (pieces, folder, shown) = (render::pieces(missing.len() as u64), folder.display(), shown.join(", "));
    failure(
        format!("the store refers to {pieces} that {folder} does not have: {shown}{more}"),
        "name the evidence folder with --evidence or --config; send evidence again that was lost; if much evidence is being deleted, repeat the backup later",
    )
}

/// Copies the file, and checks the copy.
async fn copy_sqlite(store: SqliteStore, working: &Path) -> anyhow::Result<Copied> {
    let copy = working.join(Engine::Sqlite.file());
    if copy.exists() {
        std::fs::remove_file(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    let copied = store.copy_to(&copy).await;
    store.close().await;
    copied.context("the store cannot be copied")?;
    let copy = SqliteStore::open_as(&copy, Open::Existing).await?;
    let (version, census, report) = (copy.engine_version().await?, copy.census().await?, copy.doctor().await?);
    let evidence = copy.named_evidence().await?;
    copy.close().await;
    manifest::sound(&report)?;
    Ok(Copied { engine: Engine::Sqlite, version, census, evidence })
}

/// Lets `pg_dump` write one snapshot, and counts the rows of the same snapshot.
async fn dump_postgres(store: PostgresStore, url: &str, working: &Path) -> anyhow::Result<Copied> {
    let version = store.engine_version().await?;
    let mut snapshot = store.snapshot().await?;
    let evidence = snapshot.named_evidence().await?;
    let dumped = postgres::dump(url, &snapshot.id, &working.join(Engine::Postgres.file())).await;
    let census = snapshot.census.clone();
    drop(snapshot);
    store.close().await;
    dumped?;
    Ok(Copied { engine: Engine::Postgres, version, census, evidence })
}
