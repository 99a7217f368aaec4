//! `longrun organizations delete`: deletes an organization with everything that belongs to it, at a server or directly
//! in the store. Servers may run at the same time.

use std::path::PathBuf;

use longrun_client::Client;
use operations::check_name;
use store::{Contents, go_on_deleting};

use super::audit::recorded;
use crate::exit::{Exit, Hint, failure};
use crate::place::PlaceArgs;
use crate::progress::Spinner;
use crate::render::{self, count, pieces, printable};

/// What `longrun organizations delete` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The organization
    #[arg(value_name = "ORG")]
    organization: String,
    /// Delete it. Without this flag, the command only shows what would be deleted
    #[arg(long)]
    yes: bool,
    /// Also delete it when operations are pending or running, and at a server when it contains anything; running
    /// operations are abandoned
    #[arg(long)]
    force: bool,
    /// Folder of the evidence of a store; default: the one in the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Deletes an organization, or shows what that would delete.
///
/// # Errors
/// When there is no such organization, it has operations that have not ended, or the store or the evidence cannot be
/// used. Calling it again resumes the deletion where it was interrupted.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    check_name("ORG", &args.organization)?;
    if let Some(client) = args.place.server()? {
        return at_server(&client, &args).await;
    }
    let settings = args.place.store.settings()?;
    let store = settings.open_existing().await?;
    let (name, shown) = (args.organization.as_str(), printable(&args.organization).to_string());
    let Some(contents) = store.contents(name).await? else {
        let hint = "`longrun organizations list` shows the existing ones";
        return Err(failure(format!("there is no organization {shown}"), hint));
    };
    let place = settings.evidence(args.evidence);
    let (what, gives_up) = (told(&contents), args.force || contents.is_being_deleted);
    if !args.yes {
        let state = if contents.is_being_deleted { " (its deletion has started)" } else { "" };
        let force = if contents.unfinished > 0 && !contents.is_being_deleted { " --force" } else { "" };
        render::write(format!(
            "{shown}{state} has {what}\nnothing was changed; to delete all of it permanently, run the same command with --yes{force}\n"
        ))?;
        return Ok(Exit::Done);
    }
    if contents.evidence > 0 && !place.exists() {
        let message = format!("the store refers to evidence of {shown}, but {place} does not exist");
        return Err(failure(message, "name the evidence folder with --evidence or --config; nothing was changed"));
    }
    let target = vec![format!("organizations/{name}")];
    let recorded = recorded(&*store, "", "organizations.delete", target);
    let unfinished = recorded.begin_deletion(name, gives_up).await?;
    if unfinished > 0 && !gives_up {
        let (what, verb) = (count(unfinished, "operation"), if unfinished == 1 { "has" } else { "have" });
        let message = format!("{shown} has {what} that {verb} not ended; nothing was changed");
        return Err(failure(message, "let them end, cancel them, or abandon them with --force"));
    }
    let spinner = Spinner::start("deleting");
    let content = if place.exists() { Some(place.open(u64::MAX)?) } else { None };
    let say = |rows| spinner.say(format!("deleting: {}", count(rows, "row")));
    let deleted = go_on_deleting(&*store, content.as_ref(), name, None, say).await;
    drop(spinner);
    deleted.hint("the organization is already closed; run the same command again to resume the deletion")?;
    render::write(format!("deleted {shown}: {what}\n"))?;
    Ok(Exit::Done)
}

/// Lets a server delete it; a large organization takes several calls.
async fn at_server(client: &Client, args: &Args) -> anyhow::Result<Exit> {
    let (name, shown) = (args.organization.as_str(), printable(&args.organization).to_string());
    if !args.yes {
        client.organization(name).await?;
        render::write(format!(
            "nothing was changed; to delete {shown} permanently, run the same command with --yes, and with --force if it has \
             operations or evidence\n"
        ))?;
        return Ok(Exit::Done);
    }
    let spinner = Spinner::start("deleting");
    let mut rows = 0;
    loop {
        let deletion = client.delete_organization(name, args.force).await;
        let deletion = deletion.hint("run the same command again to resume the deletion")?.value;
        rows += deletion.removed_rows;
        if deletion.done {
            break;
        }
        spinner.say(format!("deleting: {}", count(rows, "row")));
    }
    drop(spinner);
    render::write(format!("deleted {shown}: {}\n", count(rows, "row")))?;
    Ok(Exit::Done)
}

fn told(contents: &Contents) -> String {
    let Contents { unfinished, ended, tokens, evidence, evidence_bytes, .. } = contents;
    let (unfinished, verb) = (count(*unfinished, "operation"), if *unfinished == 1 { "has" } else { "have" });
    let (tokens, pieces) = (count(*tokens, "token"), pieces(*evidence));
    format!(
        "{unfinished} that {verb} not ended, {ended} ended, {tokens}, {pieces} ({})",
        count(*evidence_bytes, "byte")
    )
}
