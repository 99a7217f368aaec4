//! `GET /v1/organizations/{name}`, and with `:pause` and `:resume` `POST` to it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use serde::Serialize;
use store::Quota;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::ItemErrors;
use super::path_text;
use super::routing::method_not_allowed;
use crate::app::App;
use crate::calls::pause::{self, Organization, Verb};
use crate::error::ApiError;
use crate::render::{self, to_json};

/// Get the caller's organization
#[utoipa::path(get, path = "/v1/organizations/{name}", operation_id = "OrganizationsService_GetOrganization",
    tag = "OrganizationsService", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(answer(&pause::organization(&app, &caller, &path_text(path)?).await?))
}

/// `:pause` and `:resume`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    let Some((name, verb)) = target.rsplit_once(':') else { return Ok(method_not_allowed(uri.path())) };
    match Verb::parse(verb)? {
        Verb::Pause => pause(&app, &caller, name).await,
        Verb::Resume => resume(&app, &caller, name).await,
    }
}

/// Pause an organization
///
/// Nothing of it is started until it is resumed; what runs goes on.
#[utoipa::path(post, path = "/v1/organizations/{name}:pause", operation_id = "OrganizationsService_PauseOrganization",
    tag = "OrganizationsService", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
async fn pause(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&pause::pause_organization(app, caller, name, Verb::Pause).await?))
}

/// Resume an organization
#[utoipa::path(post, path = "/v1/organizations/{name}:resume",
    operation_id = "OrganizationsService_ResumeOrganization", tag = "OrganizationsService",
    params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
async fn resume(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&pause::pause_organization(app, caller, name, Verb::Resume).await?))
}

fn answer(organization: &Organization) -> Response {
    let Organization { name, paused, paused_kinds, limits } = organization;
    let organization = WireOrganization { name, paused: *paused, paused_kinds, limits: (*limits).into() };
    render::response(to_json(&OrganizationAnswer { organization }))
}

/// `{"organization":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct OrganizationAnswer<'a> {
    /// The organization.
    organization: WireOrganization<'a>,
}

/// An organization, as its callers see it.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct WireOrganization<'a> {
    /// Its name.
    name: &'a str,
    /// Nothing of it is started.
    paused: bool,
    /// Kinds of which nothing is started in it.
    paused_kinds: &'a [String],
    /// What it may have; limits that are not set are left out.
    limits: WireLimits,
}

/// Limits that are not set are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationLimits)]
pub(super) struct WireLimits {
    /// How many operations may be pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending: Option<u64>,
    /// Creations per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// Creations at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<f64>,
    /// The longest input, in bytes.
    max_input: usize,
    /// The longest output, in bytes.
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
