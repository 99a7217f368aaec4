//! `longrun sessions`: lists and ends the sessions of signed-in users, at a server or directly in the store.

use std::io;

use operations::Timestamp;
use serde_json::{Value, json};
use store::Session;

use super::audit::recorded;
use crate::connection::OutputArgs;
use crate::exit::{Exit, failure};
use crate::place::{self, Place, PlaceArgs};
use crate::render::{self, Answer, Style, printable, table};

/// How many sessions are read from a store at a time.
const PART: u32 = 1_000;

/// What `longrun sessions list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// The organization; default at a server: that of the token
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun sessions revoke` takes.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// The session's id, as `longrun sessions list` shows it
    #[arg(value_name = "ID")]
    id: String,
    /// The organization; default at a server: that of the token
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// The organization, which is required for a store.
fn named(organization: Option<&str>) -> anyhow::Result<&str> {
    let hint = "`longrun organizations list` shows the existing ones";
    organization.ok_or_else(|| failure("--organization is required for a store", hint))
}

/// Lists sessions, oldest first.
///
/// # Errors
/// When the server or the store cannot be used.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let organization = args.organization.as_deref();
    let mut rows = Vec::new();
    match args.place.open().await? {
        Place::Server(client) => {
            let mut page = longrun_client::Page::default();
            loop {
                let part = client.sessions(organization, &page).await?.value;
                for session in part.sessions {
                    rows.push(Row::told(session)?);
                }
                if part.next_page_token.is_empty() {
                    break;
                }
                page.token = part.next_page_token;
            }
        }
        Place::Store(store) => {
            let (organization, now, mut after) = (named(organization)?, store.now(), None);
            loop {
                let part = store.sessions(organization, after, PART).await?;
                let is_last = part.len() < PART as usize;
                after = part.last().map(|session| (session.begun_at, session.id.clone()));
                rows.extend(part.into_iter().map(|session| Row::of(session, now)));
                if is_last {
                    break;
                }
            }
        }
    }
    render::print(args.output.format, &Rows(rows))?;
    Ok(Exit::Done)
}

/// Ends a session permanently, on all servers.
///
/// # Errors
/// When there is no such session, or the server or the store cannot be used.
pub async fn revoke(args: RevokeArgs) -> anyhow::Result<Exit> {
    let (id, organization) = (args.id.as_str(), args.organization.as_deref());
    match args.place.open().await? {
        Place::Server(client) => drop(client.revoke_session(organization, id).await?),
        Place::Store(store) => {
            let organization = named(organization)?;
            let store = recorded(&*store, organization, "sessions.revoke", vec![format!("sessions/{id}")]);
            if !store.revoke_session(organization, id).await? {
                let hint = "`longrun sessions list` shows the ids";
                return Err(failure(format!("there is no session with the id {}", printable(id)), hint));
            }
        }
    }
    render::write(format!("revoked {}\n", printable(id)))?;
    Ok(Exit::Done)
}

/// A session and its state.
struct Row(Session, String);

impl Row {
    fn of(session: Session, now: Timestamp) -> Row {
        let state = match session.revoked_at {
            Some(_) => "revoked",
            None if session.expires_at <= now => "expired",
            None => "valid",
        };
        Row(session, state.to_owned())
    }

    /// Converts a session reported by a server.
    fn told(session: longrun_client::Session) -> anyhow::Result<Row> {
        let stored = Session {
            id: session.id,
            organization: session.organization,
            subject: session.subject,
            name: session.name,
            begun_at: place::time(&session.begun_at)?,
            expires_at: place::time(&session.expires_at)?,
            revoked_at: session.revoked_at.as_deref().map(place::time).transpose()?,
        };
        Ok(Row(stored, session.state))
    }

    fn json(&self) -> Value {
        let Row(Session { id, organization, subject, name, begun_at, expires_at, revoked_at }, state) = self;
        json!({
            "id": id, "organization": organization, "subject": subject, "name": name, "state": state,
            "begun_at": begun_at.to_string(), "expires_at": expires_at.to_string(),
            "revoked_at": revoked_at.map(|time| time.to_string()),
        })
    }
}

struct Rows(Vec<Row>);

impl Answer for Rows {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(Value::from(self.0.iter().map(Row::json).collect::<Vec<_>>()).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let rows = self.0.iter().map(|Row(session, state)| {
            [
                session.id.clone(),
                session.subject.clone(),
                session.name.clone(),
                state.clone(),
                style.when(&session.begun_at.to_string()),
                style.when(&session.expires_at.to_string()),
            ]
        });
        table(style, ["ID", "SUBJECT", "NAME", "STATE", "BEGAN", "EXPIRES"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|Row(session, _)| session.id.clone()).collect()
    }
}
