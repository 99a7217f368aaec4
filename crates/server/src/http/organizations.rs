//! `/v1/organizations`: the calls by which an organization manages itself, and those that manage several organizations.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use http::header::HeaderMap;
use serde::Serialize;
use store::Quota;
use utoipa::ToSchema;

use super::caller::{Caller, Querying};
use super::openapi::{ChangeErrors, CreateErrors, ItemErrors, ListErrors};
use super::routing::method_not_allowed;
use super::{body, path_text};
use crate::app::App;
use crate::calls::organizations::{
    self, CreateOrganization, DeleteOrganization, ListOrganizations, Listed, SetOrganizationLimits,
};
use crate::calls::page::{PageQuery, Paged};
use crate::calls::pause::{self, Organization, Verb};
use crate::error::ApiError;
use crate::render::{self, to_json};
use crate::strict;

/// Create an organization
///
/// Needs a token of the instance with the scope admin, as do listing and deleting organizations and setting their
/// limits.
#[utoipa::path(post, path = "/v1/organizations", operation_id = "OrganizationsService_CreateOrganization",
    tag = "OrganizationsService",
    request_body(content = CreateOrganization, example = json!({"name": "acme", "limits": {"max_pending": 10000}})),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = body::request::<CreateOrganization>(&app, &caller, &headers, body).await?;
    Ok(answer(&organizations::create(&app, &caller, asked).await?))
}

/// List organizations
///
/// Returns one page of the organizations that the token of the instance may manage, sorted by name.
#[utoipa::path(get, path = "/v1/organizations", operation_id = "OrganizationsService_ListOrganizations",
    tag = "OrganizationsService", params(PageQuery),
    responses((status = 200, description = "The page.", body = OrganizationsPage), ListErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = Paged::<ListOrganizations>::from_query(&query)?;
    let (found, next) = organizations::list(&app, &caller, asked).await?;
    let listed = |(one, paused_since): &Listed| ListedOrganization {
        name: one.name.clone(),
        created_at: one.created_at.to_string(),
        pending: one.pending,
        running: one.running,
        paused_since: paused_since.map(|since| since.to_string()),
        being_deleted: one.is_being_deleted,
    };
    let organizations = found.iter().map(listed).collect();
    Ok(render::response(to_json(&OrganizationsPage { organizations, next_page_token: next.unwrap_or_default() })))
}

/// Get an organization
///
/// Returns the caller's own organization, or one that its token of the instance may manage.
#[utoipa::path(get, path = "/v1/organizations/{name}", operation_id = "OrganizationsService_GetOrganization",
    tag = "OrganizationsService", params(("name" = String, Path, description = "The name of the organization.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    Ok(answer(&pause::organization(&app, &caller, &path_text(path)?).await?))
}

/// `:pause`, `:resume` and `:setLimits`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    let Some((name, verb)) = target.rsplit_once(':') else { return Ok(method_not_allowed(uri.path())) };
    if verb == "setLimits" {
        return set_limits(&app, &caller, name, &headers, body).await;
    }
    let verb = Verb::parse(verb)?;
    body::none(&app, &caller, body).await?;
    match verb {
        Verb::Pause => pause(&app, &caller, name).await,
        Verb::Resume => resume(&app, &caller, name).await,
    }
}

/// Pause an organization
///
/// No operation of the organization is started until it is resumed; running operations continue.
#[utoipa::path(post, path = "/v1/organizations/{name}:pause", operation_id = "OrganizationsService_PauseOrganization",
    tag = "OrganizationsService", params(("name" = String, Path, description = "The name of the organization.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
async fn pause(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&pause::pause_organization(app, caller, name, Verb::Pause).await?))
}

/// Resume an organization
#[utoipa::path(post, path = "/v1/organizations/{name}:resume",
    operation_id = "OrganizationsService_ResumeOrganization", tag = "OrganizationsService",
    params(("name" = String, Path, description = "The name of the organization.")),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ItemErrors))]
async fn resume(app: &App, caller: &Caller, name: &str) -> Result<Response, ApiError> {
    Ok(answer(&pause::pause_organization(app, caller, name, Verb::Resume).await?))
}

/// Set the limits of an organization
///
/// Replaces all its limits: those that are left out follow the configuration of the server. All servers apply the new
/// limits within seconds.
#[utoipa::path(post, path = "/v1/organizations/{name}:setLimits",
    operation_id = "OrganizationsService_SetOrganizationLimits", tag = "OrganizationsService",
    params(("name" = String, Path, description = "The name of the organization.")),
    request_body(content = SetOrganizationLimits, example = json!({"max_pending": 10000, "weight": 2})),
    responses((status = 200, description = "The organization.", body = OrganizationAnswer), ChangeErrors))]
async fn set_limits(
    app: &App,
    caller: &Caller,
    name: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = body::request::<SetOrganizationLimits>(app, caller, headers, body).await?;
    Ok(answer(&organizations::set_limits(app, caller, name, asked).await?))
}

/// Delete an organization
///
/// Deletes an organization that has no operations and no evidence; with force=true, also everything that it has,
/// including its audit log. A large organization takes several calls: each continues where the previous one stopped,
/// until the answer says that the deletion is done.
#[utoipa::path(delete, path = "/v1/organizations/{name}", operation_id = "OrganizationsService_DeleteOrganization",
    tag = "OrganizationsService", params(("name" = String, Path, description = "The name of the organization."), DeleteOrganization),
    responses((status = 200, description = "The progress of the deletion.", body = DeletionAnswer), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    Querying(caller, query): Querying,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = strict::query::<DeleteOrganization>(&query)?;
    body::none(&app, &caller, body).await?;
    let deletion = organizations::delete(&app, &caller, &path_text(path)?, asked).await?;
    let answer = DeletionAnswer { done: deletion.done, removed_rows: deletion.removed_rows };
    Ok(render::response(to_json(&answer)))
}

/// The progress of the deletion of an organization.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationDeletion)]
pub(super) struct DeletionAnswer {
    /// Whether the organization no longer exists; otherwise repeat the call to continue.
    done: bool,
    /// How many rows of the database this call removed.
    removed_rows: u64,
}

/// Organizations, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct OrganizationsPage {
    /// The organizations.
    organizations: Vec<ListedOrganization>,
    /// The token that requests the next page; empty on the last page.
    next_page_token: String,
}

/// An organization in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct ListedOrganization {
    /// Its name.
    name: String,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// The number of its pending operations.
    pending: u64,
    /// The number of its running operations.
    running: u64,
    /// The time since which it is paused; left out when it is not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    paused_since: Option<String>,
    /// Whether its deletion has begun and is not done.
    being_deleted: bool,
}

fn answer(organization: &Organization) -> Response {
    let Organization { name, paused, paused_kinds, limits, max_running } = organization;
    let organization =
        WireOrganization { name, paused: *paused, paused_kinds, limits: WireLimits::new(*limits, max_running) };
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
    /// Whether it is paused: none of its operations is started.
    paused: bool,
    /// The kinds that are paused in it.
    paused_kinds: &'a [String],
    /// Its limits; those that are not set are left out.
    limits: WireLimits,
}

/// The limits of an organization. Those that are not set are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationLimits)]
pub(super) struct WireLimits {
    /// How many operations may be unfinished at a time, pending or running.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending: Option<u64>,
    /// How many operations may be created per second, on each server.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// How many operations may be created at once after a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
    /// The longest input, in bytes.
    max_input: usize,
    /// The longest output, in bytes.
    max_output: usize,
    /// How many of its operations start for each one of an organization with the weight 1, while both have pending
    /// ones.
    weight: u32,
    /// By kind, how many of its operations may run at a time; kinds without a limit are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    max_running: BTreeMap<String, u32>,
}

impl WireLimits {
    fn new(quota: Quota, max_running: &BTreeMap<String, u32>) -> WireLimits {
        WireLimits {
            max_pending: quota.max_pending,
            rate: quota.rate.map(|rate| rate.per_second),
            // It is a whole number: a burst that is not set is the rate, rounded up.
            burst: quota.rate.map(|rate| rate.burst as u64),
            max_input: quota.max_input,
            max_output: quota.max_output,
            weight: quota.weight,
            max_running: max_running.clone(),
        }
    }
}
