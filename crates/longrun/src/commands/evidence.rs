//! `longrun evidence put`, `get`, `list`, `delete` and `reevaluate`: stored evidence.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures_util::TryStreamExt;
use longrun_client::{
    Client, EvidenceList, EvidenceRequest, ListedEvidence, Page, ReevaluateRequest, StartedEvaluation, StoredEvidence,
};
use serde_json::json;
use store::Digest;
use tokio::io::AsyncWriteExt;

use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, Tally, failure, note};
use crate::progress::Spinner;
use crate::render::{self, Answer, Column, Format, Style, table};

/// What `longrun evidence put` takes.
#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the evidence, for a single file; default: the name of the file
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun evidence get` takes.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// Digest of the evidence: sha256:…
    digest: String,
    /// File to write it to; default: standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun evidence list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only evidence of this material type
    #[arg(long, value_name = "KIND", default_value = "", hide_default_value = true)]
    kind: String,
    /// Only evidence with this name
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Only evidence whose digest begins with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    digest: String,
    /// Maximum number of entries, newest first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun evidence delete` takes.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Digests of the evidence: sha256:…
    #[arg(required = true, value_name = "DIGEST")]
    digests: Vec<String>,
    #[command(flatten)]
    server: ClientArgs,
}

/// Lists stored evidence, newest first.
///
/// # Errors
/// When one of the calls fails.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let ListArgs { kind, name, digest, .. } = args;
    let mut request = EvidenceRequest { kind, name, digest, page: Page::default() };
    let mut listed = EvidenceList::default();
    loop {
        let left = args.limit.saturating_sub(u32::try_from(listed.evidence.len()).unwrap_or(u32::MAX));
        request.page.size = Some(left.min(100));
        let page = client.evidence(&request).await?.value;
        listed.evidence.extend(page.evidence);
        request.page.token.clone_from(&page.next_page_token);
        listed = EvidenceList { evidence: listed.evidence, ..page };
        if request.page.token.is_empty() || listed.evidence.len() >= args.limit as usize {
            break;
        }
    }
    let (shown, format) = (listed.evidence.len() as u64, args.output.format);
    let totals = (listed.total_count, listed.total_bytes, listed.max_bytes);
    render::print(format, &Listed(listed))?;
    if format == Format::Table {
        let limit = if totals.2 > 0 { format!(" of at most {}", totals.2) } else { String::new() };
        let all = render::count(totals.0, "piece");
        note(format!("{shown} shown; the organization has {all} with {} bytes{limit}", totals.1));
    }
    Ok(Exit::Done)
}

/// Deletes pieces of evidence; each is tried, whatever the result of the others.
///
/// # Errors
/// When the server cannot be used; the errors of the calls are reported.
pub async fn delete(args: DeleteArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let mut tally = Tally::new();
    for digest in &args.digests {
        match client.delete_evidence(digest).await.with_context(|| format!("cannot delete {digest}")) {
            Ok(_) => note(format!("{digest} was deleted")),
            Err(error) => tally.failed(&error),
        }
    }
    Ok(tally.exit())
}

/// What `longrun evidence reevaluate` takes.
#[derive(Debug, clap::Args)]
pub struct ReevaluateArgs {
    /// Evidence that was evaluated against this policy
    #[arg(long, default_value = "", hide_default_value = true)]
    policy: String,
    /// This piece of evidence
    #[arg(long, default_value = "", hide_default_value = true)]
    digest: String,
    /// Evidence that was stored or evaluated within this number of days
    #[arg(long, value_name = "DAYS")]
    newest_days: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// Starts a reevaluation.
///
/// # Errors
/// When the call fails.
pub async fn reevaluate(args: ReevaluateArgs) -> anyhow::Result<Exit> {
    let ReevaluateArgs { policy, digest, newest_days, output, server } = args;
    let request = ReevaluateRequest { policy, digest, newest_days };
    render::print(output.format, &Begun(server.client()?.reevaluate_evidence(&request).await?))?;
    Ok(Exit::Done)
}

struct Begun(longrun_client::Answer<StartedEvaluation>);

impl Answer for Begun {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.0.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        table(style, ["OPERATION"], [[self.0.value.operation_id.clone()]])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.0.value.operation_id.clone()]
    }
}

struct Listed(EvidenceList);

impl Answer for Listed {
    fn json(&self) -> io::Result<Vec<u8>> {
        let piece = |piece: &ListedEvidence| {
            let last = piece.last_operation.as_ref().map(|last| {
                json!({"id": last.id, "status": last.status, "finished_at": last.finished_at, "verdict": last.verdict})
            });
            json!({"digest": piece.digest, "size": piece.size, "kind": piece.kind, "name": piece.name,
                "created_at": piece.created_at, "last_used_at": piece.last_used_at, "last_operation": last})
        };
        let EvidenceList { evidence, total_count, total_bytes, max_bytes, .. } = &self.0;
        let evidence: Vec<_> = evidence.iter().map(piece).collect();
        let list = json!({"evidence": evidence, "total_count": total_count, "total_bytes": total_bytes,
            "max_bytes": max_bytes});
        Ok(list.to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.evidence.iter().map(|piece| {
            let last = piece.last_operation.as_ref();
            let verdict = last.and_then(|last| last.verdict.clone()).unwrap_or_default();
            let size = piece.size.to_string();
            [piece.digest.clone(), piece.kind.clone(), piece.name.clone(), size, piece.last_used_at.clone(), verdict]
        });
        let columns = [
            Column::whole("DIGEST"),
            Column::whole("KIND"),
            Column::shortened("NAME", 20),
            Column::whole("SIZE"),
            Column::whole("LAST USED").dropped(1),
            Column::whole("VERDICT"),
        ];
        table(style, columns, rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.evidence.iter().map(|piece| piece.digest.clone()).collect()
    }
}

/// Stores files; each is tried, whatever the result of the others.
///
/// # Errors
/// When the answer cannot be written; the errors of the calls are reported.
pub async fn put(args: PutArgs) -> anyhow::Result<Exit> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(failure("--name needs exactly one file", "store files with their own names one by one"));
    }
    let client = args.server.client()?;
    let mut tally = Tally::new();
    for file in &args.files {
        let name = args.name.clone().or_else(|| Some(file.file_name()?.to_str()?.to_owned()));
        match upload(&client, file, name.as_deref()).await {
            Ok(stored) => render::print(args.output.format, &stored)?,
            Err(error) => tally.failed(&error),
        }
    }
    Ok(tally.exit())
}

/// Fetches evidence. A broken connection leaves no file behind that looks complete.
///
/// # Errors
/// When the call fails, or the content cannot be written.
pub async fn get(args: GetArgs) -> anyhow::Result<Exit> {
    if args.digest.parse::<Digest>().is_err() {
        let hint = "a digest is sha256: and 64 hexadecimal digits in lower case, as `longrun evidence put` prints it";
        return Err(failure(format!("{:?} is not a digest", args.digest), hint));
    }
    let spinner = args.to.is_some().then(|| Spinner::start(format!("fetching {}", args.digest)));
    let mut content = args.server.client()?.get_evidence(&args.digest).await?;
    let Some(path) = &args.to else {
        while let Some(chunk) = content.try_next().await? {
            render::stream(chunk)?;
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

/// The path next to `path` where the download is written.
fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Uploads a file and shows the progress.
///
/// # Errors
/// When the call fails.
pub async fn upload(
    client: &Client,
    file: &Path,
    name: Option<&str>,
) -> anyhow::Result<longrun_client::Answer<StoredEvidence>> {
    let metadata = tokio::fs::metadata(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    if metadata.is_dir() {
        return Err(failure(format!("{} is a folder", file.display()), "give the files in it"));
    }
    let size = metadata.len();
    let bar = Spinner::bytes(size, format!("sending {}", file.display()));
    let stored = client.put_evidence_file(file, name, bar.counter()).await;
    stored.with_context(|| format!("cannot store {}", file.display()))
}

impl Answer for longrun_client::Answer<StoredEvidence> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        let StoredEvidence { digest, size, kind, .. } = self.value.clone();
        table(style, ["DIGEST", "KIND", "SIZE"], [[digest, kind, size.to_string()]])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.digest.clone()]
    }
}
