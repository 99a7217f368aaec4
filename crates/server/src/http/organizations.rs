//! `GET /v1/organizations/{name}`, and with `:pause` and `:resume` `POST` to it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::ALLOW;
use serde::Serialize;
use store::{Pausable, Quota};

use super::caller::Caller;
use super::pause::{Verb, authorize, paused_kinds, text};
use crate::app::App;
use crate::error::ApiError;
use crate::render::{self, to_json};

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
pub(super) async fn post(
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

fn of_caller(caller: &Caller, name: &str) -> Result<(), ApiError> {
    if name == caller.organization() { Ok(()) } else { Err(ApiError::NotFound("organization")) }
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
    Ok(render::response(json))
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
