//! `longrun waiver`: violations that an organization accepts.

use std::io;

use longrun_client::{NewWaiver, Waiver, WaiverAnswer, WaiverList};

use super::operations::seconds;
use crate::config::Span;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, note};
use crate::render::{self, Answer, Column, Style, table};

/// What `longrun waiver add` takes.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Name of the policy whose violations the waiver covers
    policy: String,
    /// Violations that it covers: a whole message, or an identifier such as CVE-2026-0001; default: all of the policy
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "vex")]
    finding: String,
    /// Instead, cover violations that name a vulnerability which, according to this VEX document, does not affect the
    /// product or is fixed; the document is stored evidence, given by its digest, sha256:…
    #[arg(long, value_name = "DIGEST", requires = "subject")]
    vex: Option<String>,
    /// Evidence that it covers: its digest or the id of its project, and outside of projects its name or the name of
    /// its project; default: all
    #[arg(long, default_value = "", hide_default_value = true)]
    subject: String,
    /// Reason for accepting the violations
    #[arg(long)]
    reason: String,
    /// How long the waiver has an effect, e.g. 30d; by default, until it is removed
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Span>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun waiver list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun waiver remove` takes.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Id of the waiver
    id: String,
    #[command(flatten)]
    server: ClientArgs,
}

/// Adds a waiver.
///
/// # Errors
/// When the call fails.
pub async fn add(args: AddArgs) -> anyhow::Result<Exit> {
    let AddArgs { policy, finding, vex, subject, reason, expires_in, output, server } = args;
    let finding = vex.map_or(finding, |digest| format!("{}{digest}", store::VEX_PREFIX));
    let expires_in = expires_in.map(seconds);
    let new = NewWaiver { policy, finding, subject, reason, expires_in };
    render::print(output.format, &server.client()?.create_waiver(&new).await?)?;
    Ok(Exit::Done)
}

/// Lists waivers.
///
/// # Errors
/// When the call fails.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    render::print(args.output.format, &args.server.client()?.waivers().await?)?;
    Ok(Exit::Done)
}

/// Removes a waiver.
///
/// # Errors
/// When there is no such waiver, or the call fails.
pub async fn remove(args: RemoveArgs) -> anyhow::Result<Exit> {
    args.server.client()?.delete_waiver(&args.id).await?;
    note(format!("the waiver {} was removed", render::printable(&args.id)));
    Ok(Exit::Done)
}

fn waivers_table<'a>(style: Style, waivers: impl IntoIterator<Item = &'a Waiver>) -> String {
    let rows = waivers.into_iter().map(|waiver| {
        let until = match (&waiver.expires_at, waiver.active) {
            (None, _) => String::new(),
            (Some(end), true) => end.clone(),
            (Some(_), false) => "expired".to_owned(),
        };
        let Waiver { id, policy, finding, subject, reason, created_by, .. } = waiver.clone();
        [policy, finding, subject, reason, created_by, until, id]
    });
    let columns = [
        Column::whole("POLICY"),
        Column::shortened("FINDING", 20),
        Column::shortened("SUBJECT", 20),
        Column::shortened("REASON", 20),
        Column::whole("BY").dropped(2),
        Column::whole("UNTIL"),
        Column::whole("ID").dropped(1),
    ];
    table(style, columns, rows)
}

impl Answer for longrun_client::Answer<WaiverList> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        waivers_table(style, &self.value.waivers)
    }

    fn ids(&self) -> Vec<String> {
        self.value.waivers.iter().map(|waiver| waiver.id.clone()).collect()
    }
}

impl Answer for longrun_client::Answer<WaiverAnswer> {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(self.body.to_vec())
    }

    fn table(&self, style: Style) -> String {
        waivers_table(style, [&self.value.waiver])
    }

    fn ids(&self) -> Vec<String> {
        vec![self.value.waiver.id.clone()]
    }
}
