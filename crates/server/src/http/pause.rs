//! `GET /v1/organizations/{name}`, and with `:pause` and `:resume` `POST` to it and to `/v1/kinds/{name}`.
//!
//! A caller pauses what is its organization's: all of it, or a kind within it. What holds for everybody is paused on
//! the command line, by those who run the service; callers see it. Every other organization is as good as none.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{ALLOW, CONTENT_TYPE};
use operations::{Projects, check_kind};
use serde::Serialize;
use store::{Pausable, Paused, Quota, Scope};

use super::App;
use super::render::to_json;
use crate::auth::Caller;
use crate::error::ApiError;

/// Kinds that an organization may pause at a time: every claim looks at what is paused.
const MAX_KINDS: usize = 100;

/// What the caller's organization has.
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    authorize(&caller)?;
    of_caller(&caller, &text(path)?)?;
    organization(&app, &caller).await
}

/// Pauses or resumes the caller's organization.
pub(super) async fn post_organization(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let target = text(path)?;
    let Some((name, verb)) = target.rsplit_once(':') else {
        let mut response = ApiError::MethodNotAllowed.into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
        return Ok(response);
    };
    let verb = Verb::parse(verb)?;
    authorize(&caller)?;
    of_caller(&caller, name)?;
    verb.carry_out(&app, Pausable::Organization(caller.organization().to_owned())).await?;
    organization(&app, &caller).await
}

/// Pauses or resumes a kind in the caller's organization.
pub(super) async fn post_kind(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let target = text(path)?;
    let (kind, verb) = target.rsplit_once(':').ok_or(ApiError::NotFound("path"))?;
    let verb = Verb::parse(verb)?;
    authorize(&caller)?;
    let is_declared = app.kinds.iter().any(|known| known == kind);
    if check_kind("kind", kind).is_err() || !is_declared && !app.allow_undeclared_kinds {
        return Err(ApiError::NotFound("kind"));
    }
    if verb == Verb::Pause && paused_kinds(&app, &caller).await?.1.len() >= MAX_KINDS {
        return Err(ApiError::field("kind", format!("is one too many: {MAX_KINDS} are paused; resume some")));
    }
    let organization = caller.organization().to_owned();
    verb.carry_out(&app, Pausable::KindOf { organization, kind: kind.to_owned() }).await?;
    let paused = paused_kinds(&app, &caller).await?.1.iter().any(|paused| paused == kind);
    let json = to_json(&KindAnswer { kind: WireKind { name: kind, paused } });
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

/// What stands in the path; what is not UTF-8 is nothing's name.
fn text(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(text)| text).map_err(|_| ApiError::NotFound("path"))
}

/// These calls are about the whole organization.
fn authorize(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    match caller.access().projects {
        Projects::All => Ok(()),
        Projects::Only(_) => Err(ApiError::WholeOrganization),
    }
}

fn of_caller(caller: &Caller, name: &str) -> Result<(), ApiError> {
    if name == caller.organization() { Ok(()) } else { Err(ApiError::NotFound("organization")) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Pause,
    Resume,
}

impl Verb {
    fn parse(text: &str) -> Result<Verb, ApiError> {
        match text {
            "pause" => Ok(Verb::Pause),
            "resume" => Ok(Verb::Resume),
            _ => Err(ApiError::NotFound("path")),
        }
    }

    /// To pause what is paused, or to resume what is not, changes nothing.
    async fn carry_out(self, app: &App, what: Pausable) -> Result<(), ApiError> {
        match self {
            Verb::Pause => app.store.pause(what).await.map(drop)?,
            Verb::Resume => {
                app.store.resume(what).await?;
                app.waker.wake();
            }
        }
        Ok(())
    }
}

/// Whether the caller's organization is paused, and which kinds are in it, for it alone or for everybody.
async fn paused_kinds(app: &App, caller: &Caller) -> Result<(bool, Vec<String>), ApiError> {
    let (mut all, mut kinds) = (false, Vec::new());
    for Paused { what, .. } in app.store.paused().await? {
        match what {
            Pausable::Organization(organization) => all |= organization == caller.organization(),
            Pausable::KindOf { organization, .. } if organization != caller.organization() => {}
            Pausable::Kind(kind) | Pausable::KindOf { kind, .. } => kinds.push(kind),
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok((all, kinds))
}

async fn organization(app: &App, caller: &Caller) -> Result<Response, ApiError> {
    let (paused, paused_kinds) = paused_kinds(app, caller).await?;
    let organization = WireOrganization {
        name: caller.organization(),
        paused,
        paused_kinds,
        limits: app.quotas.of(caller.organization()).into(),
    };
    let json = to_json(&OrganizationAnswer { organization });
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

#[derive(Serialize)]
struct KindAnswer<'a> {
    kind: WireKind<'a>,
}

#[derive(Serialize)]
struct WireKind<'a> {
    name: &'a str,
    paused: bool,
}

#[derive(Serialize)]
struct OrganizationAnswer<'a> {
    organization: WireOrganization<'a>,
}

#[derive(Serialize)]
struct WireOrganization<'a> {
    name: &'a str,
    paused: bool,
    paused_kinds: Vec<String>,
    limits: WireLimits,
}

/// Limits that are not set are left out.
#[derive(Serialize)]
struct WireLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<f64>,
    max_input: usize,
    max_output: usize,
}

impl From<Quota> for WireLimits {
    fn from(quota: Quota) -> WireLimits {
        WireLimits {
            max_pending: quota.max_pending,
            rate: quota.rate.map(|rate| rate.per_second),
            burst: quota.rate.map(|rate| rate.burst),
            max_input: quota.max_input,
            max_output: quota.max_output,
        }
    }
}
