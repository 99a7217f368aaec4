//! `/v1/sessions`: sessions of people who signed in at the identity provider.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use operations::Timestamp;
use serde::Serialize;
use store::Session;
use utoipa::ToSchema;

use super::body;
use super::caller::{Caller, Querying};
use super::openapi::{ItemErrors, ListOfErrors};
use super::path_text;
use super::routing::method_not_allowed;
use crate::app::App;
use crate::calls::page::{PageQuery, Paged};
use crate::calls::sessions::{self, SessionsOf};
use crate::error::ApiError;
use crate::render::{self, to_json};
use crate::strict;

/// List sessions
///
/// Returns one page of the sessions of people who signed in to the organization, oldest first. Sessions that have ended
/// are removed after a while. Needs the scope admin for the whole organization.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "SessionsService_ListSessions", tag = "SessionsService",
    params(PageQuery, SessionsOf),
    responses((status = 200, description = "The page.", body = SessionsPage), ListOfErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = Paged::<SessionsOf>::from_query(&query)?;
    let (sessions, next) = sessions::list(&app, &caller, asked).await?;
    let now = app.store.now();
    let sessions = sessions.iter().map(|session| WireSession::new(session, now)).collect();
    Ok(render::response(to_json(&SessionsPage { sessions, next_page_token: next.unwrap_or_default() })))
}

/// `:revoke`.
pub(super) async fn post(
    State(app): State<App>,
    Querying(caller, query): Querying,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    body::none(&app, &caller, body).await?;
    match target.rsplit_once(':') {
        Some((id, "revoke")) => revoke(&app, &caller, id, &query).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Revoke a session
///
/// Ends it permanently; all servers refuse its cookie within a second. A session that was revoked before does not
/// change.
#[utoipa::path(post, path = "/v1/sessions/{session_id}:revoke", operation_id = "SessionsService_RevokeSession",
    tag = "SessionsService", params(("session_id" = String, Path, description = "The session's id."), SessionsOf),
    responses((status = 200, description = "The session.", body = SessionAnswer), ItemErrors))]
async fn revoke(app: &App, caller: &Caller, id: &str, query: &str) -> Result<Response, ApiError> {
    let session = sessions::revoke(app, caller, id, strict::query(query)?).await?;
    Ok(render::response(to_json(&SessionAnswer { session: WireSession::new(&session, app.store.now()) })))
}

/// Sessions, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionsPage<'a> {
    /// The sessions.
    sessions: Vec<WireSession<'a>>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
}

/// `{"session":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionAnswer<'a> {
    /// The session.
    session: WireSession<'a>,
}

/// A session of somebody who signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct WireSession<'a> {
    /// Its id, which is public.
    id: &'a str,
    /// The organization that the person signed in to.
    organization: &'a str,
    /// The identity provider's id for the person.
    subject: &'a str,
    /// The person's name.
    name: &'a str,
    /// valid, expired or revoked.
    state: &'static str,
    /// When the person signed in.
    #[schema(format = DateTime)]
    begun_at: String,
    /// When it expires.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When it was revoked; left out if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl<'a> WireSession<'a> {
    fn new(session: &'a Session, now: Timestamp) -> WireSession<'a> {
        let Session { id, organization, subject, name, begun_at, expires_at, revoked_at } = session;
        let (begun_at, expires_at) = (begun_at.to_string(), expires_at.to_string());
        let (revoked_at, state) = (revoked_at.map(|time| time.to_string()), sessions::state(session, now));
        WireSession { id, organization, subject, name, state, begun_at, expires_at, revoked_at }
    }
}
