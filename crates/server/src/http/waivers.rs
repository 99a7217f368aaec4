//! `/v1/waivers`: policy violations that an organization accepts. And `POST /v1/evidence:reevaluate`.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::HeaderMap;
use operations::Timestamp;
use serde::Serialize;
use store::Waiver;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::{CreateErrors, ItemErrors, ListErrors};
use super::{body, idempotency_key, path_text};
use crate::app::App;
use crate::calls::waivers::{self, CreateWaiver, ReevaluateEvidence};
use crate::error::ApiError;
use crate::render::{self, to_json};

/// Add a waiver
///
/// The violations that it covers remain in the outputs of evaluations, marked with the waiver, and no longer make an
/// evaluation fail. The evidence that it concerns is evaluated again. An organization has at most 1000 waivers. Needs
/// the scope admin for the whole organization.
#[utoipa::path(post, path = "/v1/waivers", operation_id = "WaiversService_CreateWaiver", tag = "WaiversService",
    request_body(content = CreateWaiver, example = json!({"policy": "vulnerabilities", "finding": "CVE-2026-0001",
        "reason": "Not reachable: the parser is not linked in", "expires_in": "2592000s"})),
    responses((status = 200, description = "The waiver.", body = WaiverAnswer), CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let asked = body::request::<CreateWaiver>(&app, &caller, &headers, body).await?;
    let waiver = waivers::create(&app, &caller, asked).await?;
    Ok(render::response(to_json(&WaiverAnswer { waiver: WireWaiver::new(&waiver, app.store.now()) })))
}

/// List waivers
///
/// Returns all waivers of the organization, oldest first, including expired ones. A token that is limited to projects
/// is refused.
#[utoipa::path(get, path = "/v1/waivers", operation_id = "WaiversService_ListWaivers", tag = "WaiversService",
    responses((status = 200, description = "The waivers.", body = WaiverList), ListErrors))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let (waivers, now) = waivers::list(&app, &caller).await?;
    let waivers = waivers.iter().map(|waiver| WireWaiver::new(waiver, now)).collect();
    Ok(render::response(to_json(&WaiverList { waivers })))
}

/// Remove a waiver
///
/// It no longer has an effect on evaluations that begin from now on; the evidence that it concerns is evaluated again.
/// Needs the scope admin for the whole organization.
#[utoipa::path(delete, path = "/v1/waivers/{waiver_id}", operation_id = "WaiversService_DeleteWaiver", tag = "WaiversService",
    params(("waiver_id" = String, Path, description = "The waiver's id.")),
    responses((status = 200, description = "The waiver was removed.", body = DeletedWaiver), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    body::none(&app, &caller, body).await?;
    waivers::delete(&app, &caller, &path_text(path)?).await?;
    Ok(render::response(to_json(&DeletedWaiver {})))
}

/// Evaluate evidence again
///
/// Starts an operation of the kind evidence_reevaluation. For each selected piece of evidence, it repeats the newest
/// evaluation by each set of policies and in each project, with the original request. The outputs of the new
/// evaluations show the difference from the old ones. Needs operations:write and evidence:read for the whole
/// organization.
#[utoipa::path(post, path = "/v1/evidence:reevaluate", operation_id = "EvidenceService_ReevaluateEvidence",
    tag = "EvidenceService",
    request_body(content = ReevaluateEvidence, example = json!({"policy": "vulnerabilities"})),
    responses((status = 200, description = "The operation.", body = ReevaluationStarted), CreateErrors))]
pub(super) async fn reevaluate(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let key = idempotency_key(&headers)?.map(str::to_owned);
    let asked = body::request::<ReevaluateEvidence>(&app, &caller, &headers, body).await?;
    let operation = waivers::reevaluate(&app, &caller, asked, key.as_deref()).await?;
    Ok(render::response(to_json(&ReevaluationStarted { operation_id: operation.id.to_string() })))
}

/// The reevaluation that was started.
#[derive(Serialize, ToSchema)]
pub(super) struct ReevaluationStarted {
    /// The id of the operation that creates the evaluations; its output says how many.
    operation_id: String,
}

/// `{}`.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedWaiver {}

/// `{"waiver":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct WaiverAnswer<'a> {
    /// The waiver.
    waiver: WireWaiver<'a>,
}

/// Waivers.
#[derive(Serialize, ToSchema)]
pub(super) struct WaiverList<'a> {
    /// Oldest first.
    waivers: Vec<WireWaiver<'a>>,
}

/// A policy violation that the organization accepts.
#[derive(Serialize, ToSchema)]
#[schema(as = Waiver)]
pub(super) struct WireWaiver<'a> {
    /// Its id, a UUID.
    id: &'a str,
    /// The name of the policy whose violations it covers.
    policy: &'a str,
    /// Which violations of the policy it covers; empty for all.
    finding: &'a str,
    /// Which evidence it covers; empty for any.
    subject: &'a str,
    /// Why the violation is accepted.
    reason: &'a str,
    /// The name of the token that created it.
    created_by: &'a str,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ceases to have an effect; left out if it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Whether it has an effect now.
    active: bool,
}

impl<'a> WireWaiver<'a> {
    fn new(waiver: &'a Waiver, now: Timestamp) -> WireWaiver<'a> {
        WireWaiver {
            id: &waiver.id,
            policy: &waiver.policy,
            finding: &waiver.finding,
            subject: &waiver.subject,
            reason: &waiver.reason,
            created_by: &waiver.created_by,
            created_at: waiver.created_at.to_string(),
            expires_at: waiver.expires_at.map(|at| at.to_string()),
            active: waiver.is_live(now),
        }
    }
}
