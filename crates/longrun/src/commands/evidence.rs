//! `longrun evidence put` and `get`: storing and fetching.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::TryStreamExt;
use longrun_client::{Client, StoredEvidence};
use store::Digest;
use tokio::io::AsyncWriteExt;

use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, Tally, failure};
use crate::progress::Spinner;
use crate::render::{self, Answer, Style, table};

/// What `longrun evidence put` takes.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// Which files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun evidence get` takes.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// Which evidence: sha256:…
    digest: String,
    /// Write into this file instead of to standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    server: ClientArgs,
}

/// Stores files, each whatever becomes of the others.
///
/// # Errors
/// When the answer cannot be written; what the calls fail with is told.
pub async fn put(args: PutArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let mut tally = Tally::new();
    for file in &args.files {
        match upload(&client, file).await {
            Ok(stored) => render::print(args.output.format, &stored)?,
            Err(error) => tally.failed(&error),
        }
    }
    Ok(tally.exit())
}

/// Fetches evidence. A broken connection leaves no file behind that looks whole.
///
/// # Errors
/// What the call may fail with, and when the content cannot be written.
pub async fn get(args: GetArgs) -> anyhow::Result<Exit> {
    if args.digest.parse::<Digest>().is_err() {
        let hint = "a digest is sha256: and 64 hexadecimal digits in lower case, as `longrun evidence put` answers";
        return Err(failure(format!("{:?} is not a digest", args.digest), hint));
    }
    let spinner = args.to.is_some().then(|| Spinner::start(format!("fetching {}", args.digest)));
    let mut content = args.server.client()?.get_evidence(&args.digest).await?;
    let Some(path) = &args.to else {
        while let Some(chunk) = content.try_next().await? {
            render::write(chunk)?;
        }
        return Ok(Exit::Done);
    };
    let partial = partial_path(path);
    let written = async {
        let mut file = tokio::fs::File::create(&partial).await?;
        while let Some(chunk) = content.try_next().await? {
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        tokio::fs::rename(&partial, path).await?;
        anyhow::Ok(())
    };
    let result = written.await.with_context(|| format!("cannot write {}", path.display()));
    if result.is_err() {
        // Best effort: the error itself is what matters.
        let _ = tokio::fs::remove_file(&partial).await;
    }
    drop(spinner);
    result.map(|()| Exit::Done)
}

/// The place beside `path` where it grows.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Stores a file and shows how it goes.
///
/// # Errors
/// What the call may fail with.
pub async fn upload(client: &Client, file: &Path) -> anyhow::Result<longrun_client::Answer<StoredEvidence>> {
    let size = tokio::fs::metadata(file).await.with_context(|| format!("cannot read {}", file.display()))?.len();
    let bar = Spinner::bytes(size, format!("sending {}", file.display()));
    let stored = client.put_evidence_file(file, bar.counter()).await;
    stored.with_context(|| format!("cannot store {}", file.display()))
}

impl Answer for longrun_client::Answer<StoredEvidence> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let StoredEvidence { digest, size, kind } = self.value.clone();
        table(style, ["DIGEST", "KIND", "SIZE"], [[digest, kind, size.to_string()]])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.digest.clone()]
    }
}
