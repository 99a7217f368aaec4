//! `/ui/tokens`: API tokens and the sessions of people: creating, replacing and revoking them.

use std::time::Duration;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderMap;
use operations::{Timestamp, Violation};
use serde::Deserialize;
use store::{Scope, Session, Token};

use super::assets::Assets;
use super::error::Problem;
use super::filter::parameter;
use super::form::{Address, Name, Sent, Wrong};
use super::format::When;
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::page::{PageQuery, Paged};
use crate::calls::sessions::{self, SessionsOf};
use crate::calls::tokens::{self, CreateToken, Issued, ListTokens, RotateToken};
use crate::error::ApiError;
use crate::strict::{List, Read};

const HERE: &str = "/ui/tokens";

/// The lifetimes of a new token, in seconds and as texts. Zero means without an end.
const LIFETIMES: [(u64, &str); 5] =
    [(604_800, "7 days"), (2_592_000, "30 days"), (7_776_000, "90 days"), (31_536_000, "1 year"), (0, "no end")];
const DEFAULT_LIFETIME: u64 = 7_776_000;

#[derive(Template)]
#[template(path = "ui/tokens.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    issued: Option<Shown>,
    entered: Entered,
    scopes: Vec<ScopeChoice>,
    lifetimes: Vec<Lifetime>,
    tokens: Vec<TokenRow>,
    next: Option<String>,
    sessions: Vec<SessionRow>,
    more_sessions: bool,
}

/// A secret, which is shown only this once.
struct Shown {
    name: String,
    secret: String,
    is_new: bool,
}

/// The input of the form of a new token, so that it is not lost when it is refused, and what was wrong.
#[derive(Default)]
struct Entered {
    name: String,
    scopes: Vec<String>,
    projects: String,
    organization: String,
    lifetime: Option<u64>,
    wrong: Wrong,
}

struct ScopeChoice {
    name: &'static str,
    what: &'static str,
    is_chosen: bool,
}

struct Lifetime {
    seconds: u64,
    name: &'static str,
    is_chosen: bool,
}

struct TokenRow {
    id: String,
    name: String,
    organization: String,
    scopes: String,
    projects: String,
    state: &'static str,
    class: &'static str,
    is_valid: bool,
    is_own: bool,
    used: Option<When>,
    expires: Option<When>,
}

struct SessionRow {
    id: String,
    name: String,
    subject: String,
    state: &'static str,
    class: &'static str,
    is_valid: bool,
    begun: When,
    expires: When,
}

#[derive(Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    page_token: String,
}

/// `GET /ui/tokens`.
pub(super) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Address(asked): Address<Asked>,
) -> Result<Response, Problem> {
    render(&app, &visitor, &headers, asked.page_token, None, Entered::default()).await
}

async fn render(
    app: &App,
    visitor: &Visitor,
    headers: &HeaderMap,
    page_token: String,
    issued: Option<Shown>,
    entered: Entered,
) -> Result<Response, Problem> {
    let caller = &visitor.caller;
    let page = Read { value: PageQuery { wanted: None, token: page_token }, violations: Vec::new() };
    let (listed, next) = tokens::list(app, caller, Paged { page, asked: Read::<ListTokens>::default() }).await?;
    // A caller that manages only a part of an organization does not manage its sessions, and neither does the instance.
    let (listed_sessions, more) = match sessions::list(app, caller, Paged::<SessionsOf>::default()).await {
        Ok((listed, next)) => (listed, next.is_some()),
        Err(ApiError::ScopeMissing(_) | ApiError::WholeOrganization | ApiError::Invalid(_) | ApiError::NotFound(_)) => {
            (Vec::new(), false)
        }
        Err(error) => return Err(error.into()),
    };
    let now = app.store.now();
    let lifetime = entered.lifetime.unwrap_or(DEFAULT_LIFETIME);
    let template = Page {
        assets: Assets,
        frame: visitor.frame("tokens"),
        scopes: Scope::ALL
            .map(|scope| ScopeChoice {
                name: scope.name(),
                what: what(scope),
                is_chosen: entered.scopes.iter().any(|chosen| chosen == scope.name()),
            })
            .into(),
        lifetimes: LIFETIMES.map(|(seconds, name)| Lifetime { seconds, name, is_chosen: seconds == lifetime }).into(),
        tokens: listed.iter().map(|token| row(token, caller.token_id(), now)).collect(),
        next: next.map(|token| format!("{HERE}?page_token={}", parameter(&token))),
        sessions: listed_sessions.iter().map(|session| session_row(session, now)).collect(),
        more_sessions: more,
        issued,
        entered,
    };
    respond::page(headers, &template)
}

const fn what(scope: Scope) -> &'static str {
    match scope {
        Scope::OperationsRead => "list and read operations",
        Scope::OperationsWrite => "create, cancel, retry and delete operations",
        Scope::OperationsWork => "run operations as a worker",
        Scope::EvidenceRead => "read evidence",
        Scope::EvidenceWrite => "store evidence",
        Scope::Admin => "everything, and manage tokens",
    }
}

fn row(token: &Token, own: &str, now: Timestamp) -> TokenRow {
    let state = token.state(now);
    let names: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
    let projects = token.projects().map(|projects| projects.iter().cloned().collect::<Vec<_>>().join(", "));
    TokenRow {
        id: token.id.clone(),
        name: token.name.clone(),
        organization: if token.instance.is_some() { "instance".to_owned() } else { token.access.organization.clone() },
        scopes: names.join(", "),
        projects: projects.unwrap_or_else(|| "all".to_owned()),
        state,
        class: class(state),
        is_valid: token.is_valid(now),
        is_own: token.id == own,
        used: token.last_used_at.map(|at| When::new(at, now)),
        expires: token.expires_at.map(|at| When::new(at, now)),
    }
}

fn session_row(session: &Session, now: Timestamp) -> SessionRow {
    let state = sessions::state(session, now);
    SessionRow {
        id: session.id.clone(),
        name: session.name.clone(),
        subject: session.subject.clone(),
        state,
        class: class(state),
        is_valid: state == "valid",
        begun: When::new(session.begun_at, now),
        expires: When::new(session.expires_at, now),
    }
}

fn class(state: &str) -> &'static str {
    match state {
        "valid" => "completed",
        "revoked" => "failed",
        _ => "cancelled",
    }
}

/// `POST /ui/tokens`: creates a token. Its secret is only in the answer.
pub(super) async fn create(State(app): State<App>, headers: HeaderMap, sent: Sent) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let mut violations = Vec::new();
    let expires_in = seconds("expires_in", fields.one("expires_in"), &mut violations);
    let entered = Entered {
        name: fields.one("name").to_owned(),
        scopes: fields.all("scope").map(str::to_owned).collect(),
        projects: fields.one("projects").to_owned(),
        organization: fields.one("organization").to_owned(),
        lifetime: expires_in.map(|time| time.as_secs()),
        wrong: Wrong::default(),
    };
    let projects = words(&entered.projects);
    if projects.is_empty() && !entered.projects.is_empty() {
        violations.push(Violation::new("projects", "must name at least one project; leave it empty for all projects"));
    }
    let value = CreateToken {
        name: entered.name.clone(),
        scopes: List(entered.scopes.clone()),
        projects: List(projects),
        expires_in: expires_in.filter(|time| !time.is_zero()),
        organization: entered.organization.clone(),
        ..CreateToken::default()
    };
    match tokens::create(&app, &visitor.caller, Read { value, violations }).await {
        Ok(issued) => {
            let shown = shown(&issued, true);
            render(&app, &visitor, &headers, String::new(), Some(shown), Entered::default()).await
        }
        Err(error) => {
            let (wrong, status) = Wrong::of(error)?;
            let page = render(&app, &visitor, &headers, String::new(), None, Entered { wrong, ..entered }).await?;
            Ok((status, page).into_response())
        }
    }
}

/// A field with a number of seconds; `None` if it is empty. Anything else is left for the call to refuse.
fn seconds(field: &str, text: &str, violations: &mut Vec<Violation>) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) if text.is_empty() => None,
        Err(_) => {
            violations.push(Violation::new(field, "must be a whole number of seconds"));
            None
        }
    }
}

/// The words of a text, separated by commas or spaces.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn shown(issued: &Issued, is_new: bool) -> Shown {
    Shown { name: issued.token.name.clone(), secret: issued.secret.expose().to_owned(), is_new }
}

/// `POST /ui/tokens/{id}/{action}`: revoke, rotate.
pub(super) async fn act(
    State(app): State<App>,
    target: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    sent: Sent,
) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let Path((id, action)) = Problem::found("", target.map_err(|_| ApiError::NotFound("path")))?;
    match action.as_str() {
        "revoke" => {
            Problem::found(&id, tokens::revoke(&app, &visitor.caller, &id).await)?;
            Ok(Redirect::to(HERE).into_response())
        }
        "rotate" => {
            // How long the old secret stays valid.
            let mut violations = Vec::new();
            let overlap = seconds("overlap", fields.one("overlap"), &mut violations);
            let asked = Read { value: RotateToken { overlap, expires_in: None }, violations };
            let issued = Problem::found(&id, tokens::rotate(&app, &visitor.caller, &id, asked).await)?;
            let shown = shown(&issued, false);
            render(&app, &visitor, &headers, String::new(), Some(shown), Entered::default()).await
        }
        _ => Problem::found("", Err(ApiError::NotFound("path"))),
    }
}

/// `POST /ui/sessions/{id}/revoke`.
pub(super) async fn end_session(
    State(app): State<App>,
    Name(id): Name,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    Problem::found(&id, sessions::revoke(&app, &visitor.caller, &id, Read::<SessionsOf>::default()).await)?;
    Ok(Redirect::to(HERE).into_response())
}
