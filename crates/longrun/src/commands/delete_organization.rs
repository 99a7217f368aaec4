//! `longrun organizations delete`: an organization with all that is its own, directly in the store. May run beside
//! servers.

use std::path::PathBuf;

use anyhow::Context;
use operations::check_name;
use store::{ContentStore, Contents, go_on_deleting};

use super::audit::recorded;
use crate::exit::{Exit, Hint, failure};
use crate::progress::Spinner;
use crate::render::{self, printable};
use crate::store_args::StoreArgs;

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
    let target = vec![format!("organizations/{name}")];
    let recorded = recorded(&*store, "", "organizations.delete", target);
    let unfinished = recorded.begin_deletion(name, gives_up).await?;
    if unfinished > 0 && !gives_up {
        let message = format!("{shown} has {unfinished} operations that have not ended; nothing was changed");
        return Err(failure(message, "let them end, cancel them, or give them up with --force"));
    }
    let spinner = Spinner::start("deleting");
    let content = if folder.exists() {
        let opened = ContentStore::local(&folder, u64::MAX);
        Some(opened.with_context(|| format!("cannot use the evidence folder {}", folder.display()))?)
    } else {
        None
    };
    let say = |rows| spinner.say(format!("deleting: {rows} rows"));
    let deleted = go_on_deleting(&*store, content.as_ref(), name, None, say).await;
    drop(spinner);
    deleted.hint("the organization is closed already; the same command goes on where this one broke off")?;
    render::write(format!("deleted {shown}: {what}\n"))?;
    Ok(Exit::Done)
}

fn told(contents: &Contents) -> String {
    let Contents { unfinished, ended, tokens, evidence, evidence_bytes, .. } = contents;
    format!(
        "{unfinished} operations that have not ended, {ended} that have, {tokens} tokens, {evidence} pieces of evidence ({evidence_bytes} bytes)"
    )
}
