//! `longrun token`: makes, lists and revokes API tokens, directly in the store. May run beside a server.

use std::collections::BTreeSet;
use std::io;

use anyhow::Context;
use operations::{Access, Timestamp, check_name, check_text};
use serde_json::{Value, json};
use server::auth::Secret;
use store::{NewToken, Scope, Store, Token};

use crate::config::{Span, nearest};
use crate::connection::OutputArgs;
use crate::exit::{Exit, failure};
use crate::node::complain;
use crate::render::{self, Answer, Style, printable, table};
use crate::store_args::StoreArgs;

/// What `longrun token create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The organization that the token belongs to
    #[arg(long, value_name = "ORG")]
    organization: String,
    /// Make the organization if it is new; the first one of a store is made without this flag
    #[arg(long)]
    create_organization: bool,
    /// What the token is for, for people
    #[arg(long)]
    name: String,
    /// What it may do: operations:read, operations:write, operations:work, evidence:read, evidence:write, admin
    #[arg(long, value_delimiter = ',', required = true, value_name = "SCOPE,…")]
    scopes: Vec<Scope>,
    /// Only operations of these projects; without it, all of the organization
    #[arg(long, value_delimiter = ',', value_name = "ID,…")]
    projects: Vec<String>,
    /// When it ceases to be valid, e.g. 90d; without it, never
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Span>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What `longrun token list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only tokens of this organization
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// What `longrun token revoke` takes.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// The token's id, as `longrun token list` shows it; or its secret, which is not repeated
    #[arg(value_name = "ID")]
    token: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Makes a token. With `-o id`, standard output is the secret and nothing else.
///
/// # Errors
/// When a name is none, or the store cannot be used.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    check_name("--organization", &args.organization)?;
    check_name("--name", &args.name)?;
    for project in &args.projects {
        check_text("--projects", project)?;
    }
    if args.projects.iter().any(String::is_empty) {
        return Err(failure("--projects names an empty project", "separate the ids of projects with single commas"));
    }
    let organization = args.organization.clone();
    let access = if args.projects.is_empty() {
        Access::organization(args.organization)
    } else {
        Access::projects(args.organization, args.projects)
    };
    let store = args.store.open_or_make().await?;
    let is_new = is_new(store.as_ref(), &organization, args.create_organization).await?;
    let expires_at = args.expires_in.map(|Span(valid)| store.now().after(valid));
    let scopes = args.scopes.into_iter().collect();
    let (token, secret) = make(store.as_ref(), args.name, access, scopes, expires_at).await?;
    if is_new {
        let note = format!("the organization {} is new", printable(&organization));
        complain(format_args!("{} {note}", Style::of_stderr().notable("note:")));
    }
    render::print(args.output.format, &Created { token: Row::of(&token, store.now()), secret })?;
    Ok(Exit::Done)
}

/// Whether a token makes its organization; a mistyped name shall not.
async fn is_new(store: &dyn Store, organization: &str, may_be_new: bool) -> anyhow::Result<bool> {
    let there = store.organizations().await?;
    let shown = printable(organization);
    if let Some(found) = there.iter().find(|found| found.name == organization) {
        if found.is_being_deleted {
            let hint = format!("`longrun organizations delete {shown} --yes` ends its deletion");
            return Err(failure(format!("the organization {shown} is being deleted"), hint));
        }
        return Ok(false);
    }
    if !may_be_new && !there.is_empty() {
        let meant = nearest(organization, there.iter().map(|found| found.name.as_str()));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {}?", printable(meant)));
        let hint = "to make it, add --create-organization; `longrun organizations list` shows those that there are";
        return Err(failure(format!("there is no organization {shown}{meant}"), hint));
    }
    Ok(true)
}

/// Makes a token and its secret.
///
/// # Errors
/// When the system has no randomness or the store cannot be used.
pub async fn make(
    store: &dyn Store,
    name: String,
    access: Access,
    scopes: BTreeSet<Scope>,
    expires_at: Option<Timestamp>,
) -> anyhow::Result<(Token, Secret)> {
    let secret = Secret::generate().context("the system gives no random numbers")?;
    let token = store.create_token(NewToken { hash: secret.hash(), name, access, scopes, expires_at, instance: None }).await?;
    Ok((token, secret))
}

/// Lists tokens, oldest first.
///
/// # Errors
/// When the store cannot be used.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let store = args.store.open_existing().await?;
    let now = store.now();
    let tokens = store.tokens(args.organization.as_deref()).await?;
    render::print(args.output.format, &Tokens(tokens.iter().map(|token| Row::of(token, now)).collect()))?;
    Ok(Exit::Done)
}

/// Revokes a token, by its id or by its secret: whoever finds a leaked secret has nothing else. A running server
/// refuses it from then on. The secret is never repeated.
///
/// # Errors
/// When there is no such token, or the store cannot be used.
pub async fn revoke(args: RevokeArgs) -> anyhow::Result<Exit> {
    const HINT: &str = "`longrun token list` shows the ids";
    let text = args.token.trim();
    let secret = Secret::parse(text);
    if secret.is_none() && text.starts_with("lrn_") {
        let message = "this looks like the secret of a token, but it is not whole or has been mistyped";
        return Err(failure(message, format!("give the whole secret, or the token's id; {HINT}")));
    }
    let store = args.store.open_existing().await?;
    let id = match secret {
        None => text.to_owned(),
        Some(secret) => match store.find_token(&secret.hash()).await? {
            Some(token) => token.id,
            None => return Err(failure("no token of this store has this secret", HINT)),
        },
    };
    if !store.revoke_token(&id).await? {
        return Err(failure(format!("there is no token with the id {}", printable(&id)), HINT));
    }
    render::write(format!("revoked {}\n", printable(&id)))?;
    Ok(Exit::Done)
}

/// A token as it is shown.
struct Row {
    id: String,
    organization: String,
    name: String,
    scopes: Vec<&'static str>,
    projects: Option<Vec<String>>,
    state: &'static str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl Row {
    fn of(token: &Token, now: Timestamp) -> Row {
        Row {
            id: token.id.clone(),
            organization: token.access.organization.clone(),
            name: token.name.clone(),
            scopes: token.scopes.iter().map(|scope| scope.name()).collect(),
            projects: token.projects().map(|projects| projects.iter().cloned().collect()),
            state: match token {
                token if token.revoked_at.is_some() => "revoked",
                token if token.is_valid(now) => "valid",
                _ => "expired",
            },
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }

    fn json(&self) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        json!({
            "id": self.id, "organization": self.organization, "name": self.name, "scopes": self.scopes,
            "projects": self.projects, "state": self.state, "created_at": self.created_at.to_string(),
            "expires_at": time(self.expires_at), "last_used_at": time(self.last_used_at),
        })
    }
}

struct Tokens(Vec<Row>);

impl Answer for Tokens {
    fn json(&self) -> io::Result<Vec<u8>> {
        Ok(Value::from(self.0.iter().map(Row::json).collect::<Vec<_>>()).to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| time.to_string());
        let rows = self.0.iter().map(|row| {
            [
                row.id.clone(),
                row.organization.clone(),
                row.name.clone(),
                row.scopes.join(","),
                row.projects.as_ref().map_or_else(|| "all".to_owned(), |projects| projects.join(",")),
                row.state.to_owned(),
                time(row.expires_at),
                time(row.last_used_at),
            ]
        });
        table(style, ["ID", "ORGANIZATION", "NAME", "SCOPES", "PROJECTS", "STATE", "EXPIRES", "LAST USED"], rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|row| row.id.clone()).collect()
    }
}

struct Created {
    token: Row,
    secret: Secret,
}

impl Answer for Created {
    fn json(&self) -> io::Result<Vec<u8>> {
        let mut token = self.token.json();
        token["secret"] = Value::from(self.secret.expose());
        Ok(token.to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let Row { id, organization, .. } = &self.token;
        let note =
            format!("token {id} of {}; this is the only time that its secret is shown:", printable(organization));
        format!("{note}\n{}\n", style.strong(self.secret.expose()))
    }

    /// The secret, so that `TOKEN=$(longrun token create … -o id)` works.
    fn ids(&self) -> Vec<String> {
        vec![self.secret.expose().to_owned()]
    }
}
