//! `longrun token`: creates, lists, rotates and revokes API tokens, at a server or directly in the store, also while
//! servers are running.

use std::collections::BTreeSet;
use std::io;

use anyhow::Context;
use longrun_client::{ApiToken, IssuedToken, NewApiToken, Page};
use operations::{Timestamp, Violation};
use serde_json::{Value, json};
use server::auth::Secret;
use store::{Scope, Store, Token, TokenError, TokenReach, TokenRotation, TokenWish};

use super::audit::recorded;
use super::operations::seconds;
use crate::config::{Span, nearest};
use crate::connection::OutputArgs;
use crate::exit::{Exit, failure, note};
use crate::place::{Place, PlaceArgs, time};
use crate::render::{self, Answer, Column, Style, printable, table};

/// Where to find the ids of tokens.
const HINT: &str = "`longrun token list` shows the ids";

/// What `longrun token create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The organization that the token belongs to; default at a server: that of the token used for the call
    #[arg(long, value_name = "ORG")]
    organization: Option<String>,
    /// Create a token of the instance: it belongs to no organization, and manages organizations and their tokens
    /// (admin) or works for several of them (operations:work)
    #[arg(long, conflicts_with_all = ["organization", "create_organization", "projects"])]
    instance: bool,
    /// Organizations to which a token of the instance is limited; default: all
    #[arg(long, value_delimiter = ',', value_name = "ORG,…", requires = "instance")]
    organizations: Vec<String>,
    /// Create the organization in the store if it is new; the first one of a store is created without this flag
    #[arg(long)]
    create_organization: bool,
    /// Name that tells people what the token is for
    #[arg(long)]
    name: String,
    /// What the token may do: operations:read, operations:write, operations:work, evidence:read, evidence:write, admin
    #[arg(long, value_delimiter = ',', required = true, value_name = "SCOPE,…")]
    scopes: Vec<Scope>,
    /// Projects to which the token is limited; default: all of the organization
    #[arg(long, value_delimiter = ',', value_name = "ID,…")]
    projects: Vec<String>,
    /// When the token expires, e.g. 90d; by default, never
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Span>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
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
    place: PlaceArgs,
}

/// What `longrun token revoke` takes.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// The token's id, as shown by `longrun token list`; or its secret, which is never printed
    #[arg(value_name = "ID")]
    token: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun token rotate` takes.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// The token's id, as shown by `longrun token list`; or its secret, which is never printed
    #[arg(value_name = "ID")]
    token: String,
    /// How long the old secret stays valid, at most 30d
    #[arg(long, value_name = "DURATION", default_value = "1d")]
    overlap: Span,
    /// When the new token expires; default: after the same lifetime as that of the old one, if that expires
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Span>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Creates a token. With `-o id`, standard output is the secret and nothing else.
///
/// # Errors
/// When a name is invalid, or the store cannot be used.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    if args.projects.iter().any(String::is_empty) {
        return Err(failure("--projects names an empty project", "separate the ids of projects with single commas"));
    }
    let wish = TokenWish {
        name: args.name,
        organization: args.organization,
        projects: args.projects.into_iter().collect(),
        organizations: args.organizations.into_iter().collect(),
        scopes: args.scopes.into_iter().collect(),
        expires_in: args.expires_in.map(|Span(valid)| valid),
    };
    if let Some(client) = args.place.server()? {
        if args.create_organization {
            let hint = "`longrun organizations create` creates an organization at a server";
            return Err(failure("--create-organization only works with a store", hint));
        }
        let created = Created::of(client.create_token(&wanted(wish, args.instance)).await?.value)?;
        render::print(args.output.format, &created)?;
        return Ok(Exit::Done);
    }
    if wish.organization.is_none() && !args.instance {
        let hint = "name the organization of the token; --instance creates a token that belongs to none";
        return Err(failure("--organization is required for a store", hint));
    }
    // Before a store is created for it.
    wish.check().map_err(invalid)?;
    let store = args.place.store.settings()?.open_or_make().await?;
    let new = match &wish.organization {
        Some(organization) => {
            is_new(store.as_ref(), organization, args.create_organization).await?.then_some(organization)
        }
        None => None,
    };
    let (token, secret) = make(store.as_ref(), &wish).await?;
    if let Some(organization) = new {
        note(format!("the organization {organization} is new"));
    }
    render::print(args.output.format, &Created { token: Row::of(&token, store.now()), secret })?;
    Ok(Exit::Done)
}

/// The requested token in the format of the API.
fn wanted(wish: TokenWish, instance: bool) -> NewApiToken {
    NewApiToken {
        name: wish.name,
        scopes: wish.scopes.iter().map(|scope| scope.name().to_owned()).collect(),
        projects: wish.projects.into_iter().collect(),
        expires_in: wish.expires_in.map(Span).map(seconds),
        organization: wish.organization,
        instance,
        organizations: wish.organizations.into_iter().collect(),
    }
}

/// The problems of a request, in terms of the command's flags.
fn invalid(violations: Vec<Violation>) -> anyhow::Error {
    let told = violations.into_iter().map(|Violation { field, description }| {
        let flag = field.replace('_', "-");
        format!("--{flag} {description}")
    });
    anyhow::anyhow!(told.collect::<Vec<_>>().join("; "))
}

/// The error for a failed management call.
fn refused(error: TokenError, id: &str) -> anyhow::Error {
    match error {
        TokenError::Invalid(violations) => invalid(violations),
        TokenError::NotFound => failure(format!("there is no token with the id {}", printable(id)), HINT),
        other => other.into(),
    }
}

/// Whether the token's organization has to be created; a mistyped name must not create one.
async fn is_new(store: &dyn Store, organization: &str, may_be_new: bool) -> anyhow::Result<bool> {
    let there = store.organizations().await?;
    let shown = printable(organization);
    if let Some(found) = there.iter().find(|found| found.name == organization) {
        if found.is_being_deleted {
            let hint = format!("`longrun organizations delete {shown} --yes` completes its deletion");
            return Err(failure(format!("the organization {shown} is being deleted"), hint));
        }
        return Ok(false);
    }
    if !may_be_new && !there.is_empty() {
        let meant = nearest(organization, there.iter().map(|found| found.name.as_str()));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {}?", printable(meant)));
        let hint = "to create it, add --create-organization; `longrun organizations list` shows the existing ones";
        return Err(failure(format!("there is no organization {shown}{meant}"), hint));
    }
    Ok(true)
}

/// Creates a token and its secret.
///
/// # Errors
/// When the system has no randomness or the store cannot be used.
pub async fn make(store: &dyn Store, wish: &TokenWish) -> anyhow::Result<(Token, Secret)> {
    let secret = Secret::generate().context("the system provides no random numbers")?;
    let store = recorded(store, wish.organization.as_deref().unwrap_or_default(), "tokens.create", Vec::new());
    let token = store::create_token(&*store, None, wish, secret.hash()).await.map_err(|error| refused(error, ""))?;
    Ok((token, secret))
}

/// Creates a token with all rights in an organization.
///
/// # Errors
/// As [`make`].
pub async fn make_admin(store: &dyn Store, name: &str, organization: &str) -> anyhow::Result<Secret> {
    let wish = TokenWish {
        name: name.to_owned(),
        organization: Some(organization.to_owned()),
        projects: BTreeSet::new(),
        organizations: BTreeSet::new(),
        scopes: BTreeSet::from([Scope::Admin]),
        expires_in: None,
    };
    Ok(make(store, &wish).await?.1)
}

/// Lists tokens, oldest first.
///
/// # Errors
/// When the store cannot be used.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let rows = match args.place.open().await? {
        Place::Server(client) => {
            let (mut rows, mut page) = (Vec::new(), Page::default());
            loop {
                let part = client.tokens(args.organization.as_deref(), &page).await?.value;
                for token in part.tokens {
                    rows.push(Row::told(token)?);
                }
                if part.next_page_token.is_empty() {
                    break rows;
                }
                page.token = part.next_page_token;
            }
        }
        Place::Store(store) => {
            let now = store.now();
            store.tokens(args.organization.as_deref()).await?.iter().map(|token| Row::of(token, now)).collect()
        }
    };
    render::print(args.output.format, &Tokens(rows))?;
    Ok(Exit::Done)
}

/// Revokes a token, by its id or by its secret: the finder of a leaked secret has nothing else. A running server
/// refuses it from then on. The secret is never printed.
///
/// # Errors
/// When there is no such token, or the store cannot be used.
pub async fn revoke(args: RevokeArgs) -> anyhow::Result<Exit> {
    let named = Named::parse(&args.token)?;
    let id = match args.place.open().await? {
        Place::Server(client) => client.revoke_token(named.id()?).await?.value.token.id,
        Place::Store(store) => {
            let token = named.find(&*store).await?;
            let store = recorded(&*store, &token.access.organization, "tokens.revoke", Vec::new());
            store::revoke_token(&*store, None, &token.id).await.map_err(|error| refused(error, &token.id))?;
            token.id
        }
    };
    render::write(format!("revoked {}\n", printable(&id)))?;
    Ok(Exit::Done)
}

/// Replaces a token with a new one of the same name, scopes and reach, and prints its secret once. The old one stays
/// valid for a while, so that its users can switch.
///
/// # Errors
/// When there is no such token, it has expired or been revoked, or the store cannot be used.
pub async fn rotate(args: RotateArgs) -> anyhow::Result<Exit> {
    let named = Named::parse(&args.token)?;
    let rotation = TokenRotation { expires_in: args.expires_in.map(|Span(valid)| valid), overlap: args.overlap.0 };
    let created = match args.place.open().await? {
        Place::Server(client) => {
            let (overlap, expires_in) = (Some(seconds(args.overlap)), args.expires_in.map(seconds));
            let rotation = longrun_client::TokenRotation { overlap, expires_in };
            Created::of(client.rotate_token(named.id()?, &rotation).await?.value)?
        }
        Place::Store(store) => {
            let old = named.find(&*store).await?;
            let secret = Secret::generate().context("the system provides no random numbers")?;
            let recorded = recorded(&*store, &old.access.organization, "tokens.rotate", Vec::new());
            let rotated = store::rotate_token(&*recorded, None, &old.id, rotation, secret.hash()).await;
            let token = rotated.map_err(|error| refused(error, &old.id))?;
            Created { token: Row::of(&token, store.now()), secret }
        }
    };
    render::print(args.output.format, &created)?;
    Ok(Exit::Done)
}

/// How the user named a token.
enum Named {
    Id(String),
    Secret(Secret),
}

impl Named {
    fn parse(text: &str) -> anyhow::Result<Named> {
        let text = text.trim();
        match Secret::parse(text) {
            Some(secret) => Ok(Named::Secret(secret)),
            None if text.starts_with("lrn_") => {
                let message = "this looks like the secret of a token, but it is incomplete or mistyped";
                Err(failure(message, format!("give the whole secret, or the token's id; {HINT}")))
            }
            None => Ok(Named::Id(text.to_owned())),
        }
    }

    /// The id, for a server: a secret is not sent where an id is expected.
    fn id(&self) -> anyhow::Result<&str> {
        match self {
            Named::Id(id) => Ok(id),
            Named::Secret(_) => Err(failure("at a server, a token must be named by its id, not by its secret", HINT)),
        }
    }

    async fn find(&self, store: &dyn Store) -> anyhow::Result<Token> {
        match self {
            Named::Id(id) => {
                let found = store.token(&TokenReach::everything(), id).await?;
                found.ok_or_else(|| refused(TokenError::NotFound, id))
            }
            Named::Secret(secret) => {
                let found = store.find_token(&secret.hash()).await?;
                found.ok_or_else(|| failure("no token of this store has this secret", HINT))
            }
        }
    }
}

/// A token as it is shown.
struct Row {
    id: String,
    organization: String,
    name: String,
    scopes: Vec<String>,
    projects: Option<Vec<String>>,
    /// For a token of the instance, the organizations that it can reach.
    organizations: Option<Vec<String>>,
    is_of_instance: bool,
    state: String,
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
            scopes: token.scopes.iter().map(|scope| scope.name().to_owned()).collect(),
            projects: token.projects().map(|projects| projects.iter().cloned().collect()),
            organizations: token
                .instance
                .as_ref()
                .and_then(|reach| reach.names())
                .map(|names| names.iter().cloned().collect()),
            is_of_instance: token.instance.is_some(),
            state: token.state(now).to_owned(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }

    /// Converts a token reported by a server.
    fn told(token: ApiToken) -> anyhow::Result<Row> {
        let optional = |text: Option<String>| text.as_deref().map(time).transpose();
        Ok(Row {
            id: token.id,
            organization: token.organization,
            name: token.name,
            scopes: token.scopes,
            projects: token.projects,
            organizations: token.organizations,
            is_of_instance: token.instance,
            state: token.state,
            created_at: time(&token.created_at)?,
            expires_at: optional(token.expires_at)?,
            last_used_at: optional(token.last_used_at)?,
        })
    }

    /// The token's owner, as shown to people.
    fn shown_organization(&self) -> String {
        match (&self.organizations, self.is_of_instance) {
            (_, false) => self.organization.clone(),
            (None, true) => "(the instance)".to_owned(),
            (Some(names), true) => format!("(the instance: {})", names.join(",")),
        }
    }

    fn json(&self) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        json!({
            "id": self.id, "organization": self.organization, "instance": self.is_of_instance,
            "organizations": self.organizations, "name": self.name, "scopes": self.scopes,
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
        let time =
            |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| style.when(&time.to_string()));
        let rows = self.0.iter().map(|row| {
            [
                row.id.clone(),
                row.shown_organization(),
                row.name.clone(),
                row.scopes.join(","),
                row.projects.as_ref().map_or_else(|| "all".to_owned(), |projects| projects.join(",")),
                row.state.clone(),
                time(row.expires_at),
                time(row.last_used_at),
            ]
        });
        let columns = [
            Column::whole("ID"),
            Column::shortened("ORGANIZATION", 12).dropped(3),
            Column::whole("NAME"),
            Column::shortened("SCOPES", 12),
            Column::shortened("PROJECTS", 8).dropped(4),
            Column::whole("STATE"),
            Column::whole("EXPIRES").dropped(1),
            Column::whole("LAST USED").dropped(2),
        ];
        table(style, columns, rows)
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|row| row.id.clone()).collect()
    }
}

struct Created {
    token: Row,
    secret: Secret,
}

impl Created {
    /// Converts a new token reported by a server.
    fn of(issued: IssuedToken) -> anyhow::Result<Created> {
        let secret = Secret::parse(&issued.secret).context("the server sent an invalid secret")?;
        Ok(Created { token: Row::told(issued.token)?, secret })
    }
}

impl Answer for Created {
    fn json(&self) -> io::Result<Vec<u8>> {
        let mut token = self.token.json();
        token["secret"] = Value::from(self.secret.expose());
        Ok(token.to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let (id, of) = (&self.token.id, self.token.shown_organization());
        let note = format!("token {id} of {}; its secret is shown only this once:", printable(&of));
        format!("{note}\n{}\n", style.strong(self.secret.expose()))
    }

    /// The secret, so that `TOKEN=$(longrun token create … -o id)` works.
    fn ids(&self) -> Vec<String> {
        vec![self.secret.expose().to_owned()]
    }
}
