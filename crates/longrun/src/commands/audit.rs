//! `longrun audit`: who called what, read from a server or directly from the store; and how commands are recorded.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use longrun_client::{AuditRequest, Page};
use operations::{Timestamp, check_name};
use serde_json::{Value, json};
use store::{Actor, ActorKind, AuditCall, AuditEntry, AuditFilter, Store};

use super::times::Past;
use crate::connection::OutputArgs;
use crate::exit::Exit;
use crate::place::{self, Place, PlaceArgs};
use crate::render::{self, Answer, Style, age, table};

/// How many entries are read at a time.
const PART: u32 = 1_000;

/// Selects audit entries.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// The audit log of this organization; default: at a server, that of the token's organization; in a store, that of
    /// the instance
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    /// Only calls by this actor: the id of a token, or a user of the command line
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only this action, e.g. tokens.create; a prefix such as tokens. selects all actions on tokens
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only calls on this target, e.g. tokens/tok_1, operations/ID, organizations/NAME
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only from this time on: a time such as 2026-01-31T12:00:00Z, or how long ago, e.g. 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time, in the same formats
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What `longrun audit list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun audit export` takes.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A handle to the store that records everything written through it as a command of this user, in the audit log of an
/// organization, or with an empty name in that of the instance.
pub fn recorded(
    store: &dyn Store,
    organization: &str,
    action: impl Into<Cow<'static, str>>,
    targets: Vec<String>,
) -> Arc<dyn Store> {
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let id = user.filter(|user| check_name("user", user).is_ok()).unwrap_or_else(|| "unknown".to_owned());
    store.on_behalf_of(AuditCall {
        organization: organization.to_owned(),
        actor: Actor { kind: ActorKind::CommandLine, id, name: String::new() },
        action: action.into(),
        targets,
        address: String::new(),
        request_id: String::new(),
    })
}

impl FilterArgs {
    fn filter(&self, now: Timestamp) -> anyhow::Result<AuditFilter> {
        let time = |flag: &str, text: &Option<String>| {
            text.as_ref().map(|text| Ok::<_, anyhow::Error>(Past::parse(flag, text)?.before(now))).transpose()
        };
        Ok(AuditFilter {
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.target.clone(),
            since: time("--since", &self.since)?,
            until: time("--until", &self.until)?,
        })
    }

    /// Calls `take` with the entries, batch by batch, until it returns `false`.
    async fn read(
        &self,
        place: &Place,
        mut take: impl FnMut(Vec<AuditEntry>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        match place {
            Place::Store(store) => {
                let (filter, mut before) = (self.filter(store.now())?, None);
                let organization = self.organization.as_deref().unwrap_or_default();
                loop {
                    let page = store.audit(organization, &filter, before, PART).await?;
                    before = page.next;
                    if !take(page.entries)? || before.is_none() {
                        return Ok(());
                    }
                }
            }
            Place::Server(client) => {
                let mut request = self.request()?;
                loop {
                    let page = client.audit(&request).await?.value;
                    let entries = page.entries.into_iter().map(told).collect::<anyhow::Result<_>>()?;
                    request.page.token = page.next_page_token;
                    if !take(entries)? || request.page.token.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The request to a server.
    fn request(&self) -> anyhow::Result<AuditRequest> {
        let AuditFilter { actor, action, target, since, until } = self.filter(age::now())?;
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        Ok(AuditRequest {
            actor: actor.unwrap_or_default(),
            action: action.unwrap_or_default(),
            target: target.unwrap_or_default(),
            since: time(since),
            until: time(until),
            organization: self.organization.clone().unwrap_or_default(),
            page: Page { size: Some(PART), token: String::new() },
        })
    }
}

/// An entry that a server has reported.
fn told(entry: longrun_client::AuditEntry) -> anyhow::Result<AuditEntry> {
    let kind =
        serde_json::from_value(Value::from(entry.actor.kind)).context("the server sent an unknown kind of actor")?;
    Ok(AuditEntry {
        number: entry.number,
        at: place::time(&entry.time)?,
        organization: entry.organization,
        actor: Actor { kind, id: entry.actor.id, name: entry.actor.name },
        action: entry.action,
        targets: entry.targets,
        address: entry.address,
        request_id: entry.request_id,
        code: entry.code,
    })
}

/// Lists entries, newest first.
///
/// # Errors
/// When a time is invalid, or the store cannot be used.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let place = args.place.open().await?;
    let (mut entries, limit) = (Vec::new(), args.limit as usize);
    let take = |part: Vec<AuditEntry>| {
        entries.extend(part);
        entries.truncate(limit);
        Ok(entries.len() < limit)
    };
    args.filter.read(&place, take).await?;
    render::print(args.output.format, &Entries(entries))?;
    Ok(Exit::Done)
}

/// Writes entries as JSON lines, newest first.
///
/// # Errors
/// When a time is invalid, or the store cannot be used.
pub async fn export(args: ExportArgs) -> anyhow::Result<Exit> {
    let place = args.place.open().await?;
    let take = |part: Vec<AuditEntry>| {
        render::stream(part.iter().map(|entry| format!("{}\n", json(entry))).collect::<String>())?;
        Ok(true)
    };
    args.filter.read(&place, take).await?;
    Ok(Exit::Done)
}

/// In the format of the API.
fn json(entry: &AuditEntry) -> Value {
    let AuditEntry { number, at, organization, actor, action, targets, address, request_id, code } = entry;
    json!({
        "number": number, "time": at.to_string(), "organization": organization,
        "actor": { "kind": actor.kind.name(), "id": actor.id, "name": actor.name }, "action": action,
        "targets": targets, "address": address, "request_id": request_id, "code": code,
    })
}

struct Entries(Vec<AuditEntry>);

impl Answer for Entries {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(Value::from(self.0.iter().map(json).collect::<Vec<_>>()).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|entry| {
            let name = if entry.actor.name.is_empty() { String::new() } else { format!(" {}", entry.actor.name) };
            let targets = match entry.targets.as_slice() {
                [] => String::new(),
                [target] => target.clone(),
                [target, rest @ ..] => format!("{target} and {} more", rest.len()),
            };
            [
                entry.number.to_string(),
                entry.at.to_string(),
                format!("{}{name} ({})", entry.actor.id, entry.actor.kind.name()),
                entry.action.clone(),
                targets,
                entry.address.clone(),
                if entry.code == 0 { "done".to_owned() } else { format!("refused ({})", entry.code) },
            ]
        });
        table(style, ["NUMBER", "TIME", "WHO", "ACTION", "ON", "FROM", "ANSWER"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|entry| entry.number.to_string()).collect()
    }
}
