//! `longrun organizations delete`: an organization with all that is its own, directly in the store. May run beside
//! servers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use operations::check_name;
use store::{ContentStore, Contents, Store, StoreError};

use crate::exit::{Exit, Hint, failure};
use crate::progress::Spinner;
use crate::render::{self, printable};
use crate::store_args::StoreArgs;

/// Rows that one transaction removes: those of other organizations wait for no longer.
const PART: u32 = 1_000;
/// How often a part is tried again that another transaction got in the way of, and after what time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What `longrun organizations delete` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The organization
    #[arg(value_name = "ORG")]
    organization: String,
    /// Do it. Without this flag only what would be deleted is told
    #[arg(long)]
    yes: bool,
    /// Also when operations wait or run; what runs is given up
    #[arg(long)]
    force: bool,
    /// Folder of the evidence; without it, the configuration's
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Deletes an organization, or tells what that would mean.
///
/// # Errors
/// When there is no such organization, it has something to do still, or the store or the evidence cannot be used. To
/// call it again goes on where it broke off.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    check_name("ORG", &args.organization)?;
    let store = args.store.open_existing().await?;
    let (name, shown) = (args.organization.as_str(), printable(&args.organization).to_string());
    let Some(contents) = store.contents(name).await? else {
        let hint = "`longrun organizations list` shows those that there are";
        return Err(failure(format!("there is no organization {shown}"), hint));
    };
    let folder = args.evidence.map_or_else(|| args.store.evidence_folder(), Ok)?;
    let (what, gives_up) = (told(&contents), args.force || contents.is_being_deleted);
    if !args.yes {
        let state = if contents.is_being_deleted { " (its deletion has begun)" } else { "" };
        let force = if contents.unfinished > 0 && !contents.is_being_deleted { " --force" } else { "" };
        render::write(format!(
            "{shown}{state} has {what}\nnothing was changed; to delete all of it for good: the same command with --yes{force}\n"
        ))?;
        return Ok(Exit::Done);
    }
    if contents.evidence > 0 && !folder.exists() {
        let message = format!("the store knows of evidence of {shown}, and there is no folder {}", folder.display());
        return Err(failure(message, "name the evidence folder with --evidence or --config; nothing was changed"));
    }
    let unfinished = store.begin_deletion(name, gives_up).await?;
    if unfinished > 0 && !gives_up {
        let message = format!("{shown} has {unfinished} operations that have not ended; nothing was changed");
        return Err(failure(message, "let them end, cancel them, or give them up with --force"));
    }
    let spinner = Spinner::start("deleting");
    let again = "the organization is closed already; the same command goes on where this one broke off";
    remove_rows(&*store, name, &spinner).await.hint(again)?;
    if folder.exists() {
        let content = ContentStore::local(&folder, u64::MAX);
        let removed = async { content?.remove_all(name).await };
        removed.await.with_context(|| format!("cannot remove evidence from {}", folder.display())).hint(again)?;
    }
    // What began before may have come to be seen since.
    let mut tries = 0;
    while let Err(error) = store.end_deletion(name).await {
        tries += 1;
        if tries >= TRIES || !matches!(error, StoreError::Unavailable(_)) {
            return Err(error).hint(again);
        }
        remove_rows(&*store, name, &spinner).await.hint(again)?;
    }
    drop(spinner);
    render::write(format!("deleted {shown}: {what}\n"))?;
    Ok(Exit::Done)
}

async fn remove_rows(store: &dyn Store, name: &str, spinner: &Spinner) -> Result<(), StoreError> {
    let (mut rows, mut tries) = (0, 0);
    loop {
        match store.delete_part(name, PART).await {
            Ok(0) => return Ok(()),
            Ok(removed) => {
                (rows, tries) = (rows + removed, 0);
                spinner.say(format!("deleting: {rows} rows"));
            }
            Err(StoreError::Unavailable(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn told(contents: &Contents) -> String {
    let Contents { unfinished, ended, tokens, evidence, evidence_bytes, .. } = contents;
    format!(
        "{unfinished} operations that have not ended, {ended} that have, {tokens} tokens, {evidence} pieces of evidence ({evidence_bytes} bytes)"
    )
}
