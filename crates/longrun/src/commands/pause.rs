//! `longrun organizations` and `longrun kinds`: pausing and resuming. Servers may run at the same time; they respect it
//! from then on. Organizations are managed at a server or directly in the store; kinds, which may be paused for
//! everybody, in the store.

use std::io;
use std::sync::Arc;

use longrun_client::{Client, Page};
use operations::{Timestamp, check_kind, check_name};
use serde_json::{Value, json};
use store::{Organization, Pausable, Paused, Store};

use super::audit::recorded;
use crate::config::nearest;
use crate::connection::OutputArgs;
use crate::exit::{Exit, failure, warn};
use crate::place::{self, Place, PlaceArgs};
use crate::render::{self, Answer, Style, printable, table};
use crate::store_args::StoreArgs;

/// What `longrun organizations list` takes.
#[derive(Debug, clap::Args)]
pub struct OrganizationsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun organizations pause` and `resume` take.
#[derive(Debug, clap::Args)]
pub struct OrganizationArgs {
    /// The organization
    #[arg(value_name = "ORG")]
    organization: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun kinds list` takes.
#[derive(Debug, clap::Args)]
pub struct KindsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What `longrun kinds pause` and `resume` take.
#[derive(Debug, clap::Args)]
pub struct KindArgs {
    /// The kind
    kind: String,
    /// Only in this organization; without it, in all
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Lists organizations with their pending and running operations.
///
/// # Errors
/// When the store cannot be used.
pub async fn organizations(args: OrganizationsArgs) -> anyhow::Result<Exit> {
    let rows = match args.place.open().await? {
        Place::Server(client) => told(&client).await?,
        Place::Store(store) => {
            let (organizations, paused) = (store.organizations().await?, store.paused().await?);
            let since = |name: &str| {
                let of = |paused: &&Paused| paused.what == Pausable::Organization(name.to_owned());
                paused.iter().find(of).map(|paused| paused.since)
            };
            organizations.into_iter().map(|one| (since(&one.name), one)).collect()
        }
    };
    render::print(args.output.format, &Organizations(rows))?;
    Ok(Exit::Done)
}

/// All organizations, as reported by a server.
async fn told(client: &Client) -> anyhow::Result<Vec<(Option<Timestamp>, Organization)>> {
    let (mut rows, mut page) = (Vec::new(), Page::default());
    loop {
        let part = client.organizations(&page).await?.value;
        for one in part.organizations {
            let since = one.paused_since.as_deref().map(place::time).transpose()?;
            let organization = Organization {
                name: one.name,
                created_at: place::time(&one.created_at)?,
                pending: one.pending,
                running: one.running,
                is_being_deleted: one.being_deleted,
            };
            rows.push((since, organization));
        }
        if part.next_page_token.is_empty() {
            return Ok(rows);
        }
        page.token = part.next_page_token;
    }
}

/// Pauses an organization: no server starts any more of its operations.
///
/// # Errors
/// When there is no such organization, or the store cannot be used.
pub async fn pause_organization(args: OrganizationArgs) -> anyhow::Result<Exit> {
    check_name("ORG", &args.organization)?;
    match args.place.open().await? {
        Place::Server(client) => {
            client.pause_organization(&args.organization).await?;
            render::write(format!("paused: organization {}\n", printable(&args.organization)))?;
            Ok(Exit::Done)
        }
        Place::Store(store) => pause(store.as_ref(), Pausable::Organization(args.organization)).await,
    }
}

/// Resumes an organization.
///
/// # Errors
/// When it is not paused, or the store cannot be used.
pub async fn resume_organization(args: OrganizationArgs) -> anyhow::Result<Exit> {
    match args.place.open().await? {
        Place::Server(client) => {
            client.resume_organization(&args.organization).await?;
            render::write(format!("resumed: organization {}\n", printable(&args.organization)))?;
            Ok(Exit::Done)
        }
        Place::Store(store) => resume(store.as_ref(), Pausable::Organization(args.organization)).await,
    }
}

/// Lists the kinds that are paused.
///
/// # Errors
/// When the store cannot be used.
pub async fn kinds(args: KindsArgs) -> anyhow::Result<Exit> {
    let store = args.store.settings()?.open_existing().await?;
    let kinds = store.paused().await?.into_iter().filter_map(|paused| match paused.what {
        Pausable::Organization(_) => None,
        Pausable::Kind(kind) => Some((kind, None, paused.since)),
        Pausable::KindOf { organization, kind } => Some((kind, Some(organization), paused.since)),
    });
    render::print(args.output.format, &Kinds(kinds.collect()))?;
    Ok(Exit::Done)
}

/// Pauses a kind: no server starts any more of its operations.
///
/// # Errors
/// When there is no such organization, or the store cannot be used.
pub async fn pause_kind(args: KindArgs) -> anyhow::Result<Exit> {
    check_kind("KIND", &args.kind)?;
    let settings = args.store.settings()?;
    let store = settings.open_existing().await?;
    let mut known = settings.kinds();
    known.extend(store.kinds(None).await?);
    if !known.contains(&args.kind) {
        let meant = nearest(&args.kind, known.iter().map(String::as_str));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
        let kind = printable(&args.kind);
        warn(format!(
            "there has been no operation of the kind {kind}, and the configuration does not declare it{meant}"
        ));
    }
    pause(store.as_ref(), what(args.kind, args.organization)).await
}

/// Resumes a kind.
///
/// # Errors
/// When it is not paused, or the store cannot be used.
pub async fn resume_kind(args: KindArgs) -> anyhow::Result<Exit> {
    let store = args.store.settings()?.open_existing().await?;
    resume(store.as_ref(), what(args.kind, args.organization)).await
}

fn what(kind: String, organization: Option<String>) -> Pausable {
    match organization {
        Some(organization) => Pausable::KindOf { organization, kind },
        None => Pausable::Kind(kind),
    }
}

fn shown(what: &Pausable) -> String {
    match what {
        Pausable::Organization(name) => format!("organization {}", printable(name)),
        Pausable::Kind(kind) => format!("kind {}", printable(kind)),
        Pausable::KindOf { organization, kind } => {
            format!("kind {} in {}", printable(kind), printable(organization))
        }
    }
}

/// The organization concerned; empty for all.
fn organization_of(what: &Pausable) -> String {
    match what {
        Pausable::Organization(name) | Pausable::KindOf { organization: name, .. } => printable(name),
        Pausable::Kind(_) => String::new(),
    }
}

/// A handle to the store that records the call in the audit log of the organization concerned, or of the instance.
fn as_call(store: &dyn Store, what: &Pausable, verb: &str) -> Arc<dyn Store> {
    let (organization, of, target) = match what {
        Pausable::Organization(name) => (name.as_str(), "organizations", format!("organizations/{name}")),
        Pausable::Kind(kind) => ("", "kinds", format!("kinds/{kind}")),
        Pausable::KindOf { organization, kind } => (organization.as_str(), "kinds", format!("kinds/{kind}")),
    };
    recorded(store, organization, format!("{of}.{verb}"), vec![target])
}

async fn pause(store: &dyn Store, what: Pausable) -> anyhow::Result<Exit> {
    let name = shown(&what);
    let before = store.paused().await?.into_iter().find(|paused| paused.what == what);
    if let Some(Paused { since, .. }) = before {
        render::write(format!("nothing was changed: {name} has been paused since {since}\n"))?;
        return Ok(Exit::Done);
    }
    if !as_call(store, &what, "pause").pause(what.clone()).await? {
        let hint = "`longrun organizations list` shows the existing ones";
        return Err(failure(format!("there is no organization {}", organization_of(&what)), hint));
    }
    render::write(format!("paused: {name}\n"))?;
    Ok(Exit::Done)
}

async fn resume(store: &dyn Store, what: Pausable) -> anyhow::Result<Exit> {
    let name = shown(&what);
    if !as_call(store, &what, "resume").resume(what).await? {
        let hint = "`longrun organizations list` and `longrun kinds list` show what is paused";
        return Err(failure(format!("{name} is not paused"), hint));
    }
    render::write(format!("resumed: {name}\n"))?;
    Ok(Exit::Done)
}

fn time(since: Option<Timestamp>) -> String {
    since.map_or_else(|| "no".to_owned(), |since| format!("since {since}"))
}

/// Each organization with the time since when it has been paused.
struct Organizations(Vec<(Option<Timestamp>, Organization)>);

impl Answer for Organizations {
    fn json(&self) -> io::Result<Vec<u8>> {
        let rows = self.0.iter().map(|(since, one)| {
            json!({
                "name": one.name, "created_at": one.created_at.to_string(), "pending": one.pending,
                "running": one.running, "paused_since": since.map(|since| since.to_string()),
                "deleting": one.is_being_deleted,
            })
        });
        Ok(Value::from(rows.collect::<Vec<_>>()).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|(since, one)| {
            [
                one.name.clone(),
                one.created_at.to_string(),
                one.pending.to_string(),
                one.running.to_string(),
                if one.is_being_deleted { "being deleted".to_owned() } else { time(*since) },
            ]
        });
        table(style, ["NAME", "CREATED", "PENDING", "RUNNING", "PAUSED"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|(_, one)| one.name.clone()).collect()
    }
}

/// Paused kinds, each with the organization if it is paused in only one, and since when.
struct Kinds(Vec<(String, Option<String>, Timestamp)>);

impl Answer for Kinds {
    fn json(&self) -> io::Result<Vec<u8>> {
        let rows = self.0.iter().map(|(kind, organization, since)| {
            json!({ "kind": kind, "organization": organization, "paused_since": since.to_string() })
        });
        Ok(Value::from(rows.collect::<Vec<_>>()).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|(kind, organization, since)| {
            [kind.clone(), organization.clone().unwrap_or_else(|| "all".to_owned()), time(Some(*since))]
        });
        table(style, ["KIND", "ORGANIZATION", "PAUSED"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|(kind, ..)| kind.clone()).collect()
    }
}
