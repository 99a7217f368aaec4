//! `/v1/tokens`: API tokens, managed over the API.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderMap};
use http::{HeaderValue, StatusCode, Uri};
use operations::Timestamp;
use serde::Serialize;
use store::Token;
use utoipa::ToSchema;

use super::caller::{Caller, Querying};
use super::openapi::{ChangeErrors, ItemErrors, ListErrors, UpdateErrors};
use super::routing::method_not_allowed;
use super::{body, path_text};
use crate::app::App;
use crate::calls::page::{PageQuery, Paged};
use crate::calls::tokens::{self, CreateToken, Issued, ListTokens, RotateToken};
use crate::error::ApiError;
use crate::render::{self, to_json};

/// Create a token
///
/// The answer has the secret, which is shown only this once. A caller can only grant what its own token has: scopes,
/// projects and validity cannot exceed those of that token, and the error names each field that does. Needs the scope
/// admin.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "TokensService_CreateToken", tag = "TokensService",
    request_body(content = CreateToken, example = json!({"name": "ci", "scopes": ["operations:write"]})),
    responses((status = 200, description = "The token and its secret.", body = IssuedAnswer), UpdateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = body::request::<CreateToken>(&app, &caller, &headers, body).await?;
    Ok(issued(&app, &tokens::create(&app, &caller, asked).await?))
}

/// List tokens
///
/// Returns one page of the tokens that the caller may manage, oldest first, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", operation_id = "TokensService_ListTokens", tag = "TokensService",
    params(PageQuery, ListTokens), responses((status = 200, description = "The page.", body = TokensPage), ListErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = Paged::<ListTokens>::from_query(&query)?;
    let (tokens, next) = tokens::list(&app, &caller, asked).await?;
    let now = app.store.now();
    let tokens = tokens.iter().map(|token| WireToken::new(token, now)).collect();
    Ok(render::response(to_json(&TokensPage { tokens, next_page_token: next.unwrap_or_default() })))
}

/// Get a token
#[utoipa::path(get, path = "/v1/tokens/{token_id}", operation_id = "TokensService_GetToken", tag = "TokensService",
    params(("token_id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "The token, without its secret.", body = TokenAnswer), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &tokens::get(&app, &caller, &path_text(path)?).await?))
}

/// `:revoke` and `:rotate`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    match target.rsplit_once(':') {
        Some((id, "revoke")) => revoke(&app, &caller, id, body).await,
        Some((id, "rotate")) => rotate(&app, &caller, id, &headers, body).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Revoke a token
///
/// Revokes it permanently; all servers refuse it within a second. A token that was revoked before does not change.
#[utoipa::path(post, path = "/v1/tokens/{token_id}:revoke", operation_id = "TokensService_RevokeToken",
    tag = "TokensService", params(("token_id" = String, Path, description = "The token's id.")),
    responses((status = 200, description = "The token.", body = TokenAnswer), ItemErrors))]
async fn revoke(app: &App, caller: &Caller, id: &str, body: Body) -> Result<Response, ApiError> {
    body::none(app, caller, body).await?;
    Ok(answer(app, &tokens::revoke(app, caller, id).await?))
}

/// Rotate a token
///
/// Creates another token with the same name, scopes and projects; the answer has its secret, which is shown only this
/// once. The old token stays valid for the overlap, so that its users can switch to the new one.
#[utoipa::path(post, path = "/v1/tokens/{token_id}:rotate", operation_id = "TokensService_RotateToken",
    tag = "TokensService", params(("token_id" = String, Path, description = "The id of the token to replace.")),
    request_body(content = RotateToken, example = json!({"overlap": "3600s"})),
    responses((status = 200, description = "The new token and its secret.", body = IssuedAnswer), ChangeErrors))]
async fn rotate(app: &App, caller: &Caller, id: &str, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let asked = body::request::<RotateToken>(app, caller, headers, body).await?;
    Ok(issued(app, &tokens::rotate(app, caller, id, asked).await?))
}

fn answer(app: &App, token: &Token) -> Response {
    render::response(to_json(&TokenAnswer { token: WireToken::new(token, app.store.now()) }))
}

/// The answer with a new secret; no cache on the way may store it.
fn issued(app: &App, Issued { token, secret }: &Issued) -> Response {
    let json = to_json(&IssuedAnswer { token: WireToken::new(token, app.store.now()), secret: secret.expose() });
    let mut response = (StatusCode::OK, render::response(json)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A token with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedToken)]
pub(super) struct IssuedAnswer<'a> {
    /// The token.
    token: WireToken<'a>,
    /// The secret, which callers send in the header Authorization after Bearer. It is shown only this once and not
    /// stored.
    #[schema(example = "lrn_…")]
    secret: &'a str,
}

/// `{"token":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer<'a> {
    /// The token.
    token: WireToken<'a>,
}

/// Tokens, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct TokensPage<'a> {
    /// The tokens.
    tokens: Vec<WireToken<'a>>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
}

/// An API token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct WireToken<'a> {
    /// Its id, which is public.
    id: &'a str,
    /// A name for people that says what the token is for.
    name: &'a str,
    /// The organization that it belongs to; empty for a token of the instance.
    organization: &'a str,
    /// Whether it belongs to the instance and to no organization.
    instance: bool,
    /// The organizations that a token of the instance may act in; left out when it may act in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    organizations: Option<Vec<&'a str>>,
    /// The scopes of the token: what it may do.
    scopes: Vec<&'static str>,
    /// The projects that it is limited to; left out when it is not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<&'a str>>,
    /// valid, expired or revoked.
    state: &'static str,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it expires; left out if it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// When it was last used, accurate to about a minute; left out if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// When it was revoked; left out if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

impl<'a> WireToken<'a> {
    fn new(token: &'a Token, now: Timestamp) -> WireToken<'a> {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let organizations = token.instance.as_ref().and_then(|reach| reach.names());
        WireToken {
            id: &token.id,
            name: &token.name,
            organization: &token.access.organization,
            instance: token.instance.is_some(),
            organizations: organizations.map(|names| names.iter().map(String::as_str).collect()),
            scopes: token.scopes.iter().map(|scope| scope.name()).collect(),
            projects: token.projects().map(|projects| projects.iter().map(String::as_str).collect()),
            state: token.state(now),
            created_at: token.created_at.to_string(),
            expires_at: time(token.expires_at),
            last_used_at: time(token.last_used_at),
            revoked_at: time(token.revoked_at),
        }
    }
}
