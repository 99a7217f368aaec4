//! The worker protocol: `:claim`, `:heartbeat` and `:settle`, for programs with the scope `operations:work`.
//!
//! A claim gives each operation a *lease token*. It is opaque to workers; it carries what a later call needs to know
//! about the attempt: the fencing token, because of which a late call of an older attempt changes nothing, and the
//! number of the attempt, on which the wait before the next one depends. It is not a secret: what a worker may touch
//! follows from its API token, and a call about anything else is answered as if the lease was lost.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use operations::{OperationId, Refusal, Timestamp, TraceContext};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Claimed, LeaseStatus};
use utoipa::ToSchema;

use super::body;
use super::caller::Caller;
use super::openapi::WorkErrors;
use crate::app::App;
use crate::calls::duration;
use crate::calls::work::LeaseToken;
use crate::calls::work::claim::{self, ClaimOperations};
use crate::calls::work::heartbeat::{self, HeartbeatOperations};
use crate::calls::work::settle::{self, SettleOperations, Settled};
use crate::error::{ApiError, RowStatus, Status};
use crate::render::{self, WireOperation, shown, to_json};
use crate::strict;

/// Claim operations
///
/// Assigns operations to a worker, which may wait until there is one. The worker holds each operation under a lease,
/// which heartbeats extend.
#[utoipa::path(post, path = "/v1/operations:claim", operation_id = "WorkerService_ClaimOperations",
    tag = "WorkerService",
    request_body(content = ClaimOperations, example = json!({"kinds": ["scan"], "max_operations": 10, "wait": "30s"})),
    responses((status = 200, description = "The claimed operations; empty when none became available in time.", body = Claims),
        WorkErrors))]
pub(super) async fn claim(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require_work()?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let asked = strict::json::<ClaimOperations>(&body)?;
    // The body does not stay in memory while the worker waits.
    drop(body);
    let delivery = claim::claim(&app, &caller, asked).await?;
    let traces = claim::traces(&app, delivery.claimed()).await;
    let operations = delivery.claimed().iter().zip(traces);
    let operations = operations.map(|(claimed, trace)| WireClaimed::new(&app, claimed, trace)).collect();
    let json = to_json(&Claims { operations, lease_duration: duration::write(app.settings.work.lease) });
    Ok(render::response(delivery.into_body(json)))
}

/// Extend leases
///
/// Extends the leases of many operations. The answer says for each, in the order of the request, whether the worker
/// still holds it, and whether it must stop.
#[utoipa::path(post, path = "/v1/operations:heartbeat", operation_id = "WorkerService_HeartbeatOperations",
    tag = "WorkerService",
    request_body(content = HeartbeatOperations, example = json!({"operations": [
        {"id": "01a20e1a-1194-75ec-b562-a042f01e7eac", "lease_token": "v1.1.1", "progress": "3 of 7 layers"}
    ]})),
    responses((status = 200, description = "One row for each row of the request.", body = Heartbeats), WorkErrors))]
pub(super) async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require_work()?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let rows = heartbeat::heartbeat(&app, &caller, strict::json::<HeartbeatOperations>(&body)?).await?;
    let operations = rows.into_iter().map(|(id, status)| HeartbeatResult::new(id, status)).collect();
    Ok(render::response(to_json(&Heartbeats { operations })))
}

/// Settle operations
///
/// Ends many attempts. The answer has one row for each, in the order of the request. A row whose lease was lost is
/// refused and changes nothing; the other rows take effect.
#[utoipa::path(post, path = "/v1/operations:settle", operation_id = "WorkerService_SettleOperations",
    tag = "WorkerService",
    request_body(content = SettleOperations, example = json!({"results": [
        {"id": "01a20e1a-1194-75ec-b562-a042f01e7eac", "lease_token": "v1.1.1", "output": "done"}
    ]})),
    responses((status = 200, description = "One row for each row of the request.", body = Settlements), WorkErrors))]
pub(super) async fn settle(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require_work()?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let rows = settle::settle(&app, &caller, strict::json::<SettleOperations>(&body)?).await?;
    let results = rows.into_iter().map(SettleResult::from).collect();
    Ok(render::response(to_json(&Settlements { results })))
}

/// The operations that a worker claimed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClaimedOperations)]
pub(super) struct Claims<'a> {
    /// At most as many as the worker requested.
    operations: Vec<WireClaimed<'a>>,
    /// How long a lease lasts without a heartbeat.
    #[schema(example = "30s")]
    lease_duration: String,
}

/// A claimed operation.
#[derive(Serialize, ToSchema)]
#[schema(as = ClaimedOperation)]
pub(super) struct WireClaimed<'a> {
    /// The operation.
    operation: WireOperation<'a>,
    /// The organization of the operation; a worker for several organizations names it in heartbeats and settlements.
    organization: &'a str,
    /// The input of the operation, as it was written; `null` when there is none.
    #[schema(value_type = serde_json::Value)]
    input: Option<&'a RawValue>,
    /// The number of this attempt, from 1.
    attempt: u32,
    /// The token that identifies this attempt in heartbeats and settlements.
    lease_token: String,
    /// When the lease ends unless a heartbeat extends it.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    lease_expires_at: Timestamp,
    /// How long the attempt may take.
    #[schema(example = "600s")]
    timeout: String,
    /// Whether its cancellation was requested already, so that the worker must stop.
    cancel_requested: bool,
    /// The attempt as a span of the trace that the operation belongs to: the header of W3C Trace Context for calls that
    /// the worker makes. Left out when the operation belongs to no trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    traceparent: Option<String>,
}

impl<'a> WireClaimed<'a> {
    fn new(app: &App, claimed: &'a Claimed, trace: Option<TraceContext>) -> WireClaimed<'a> {
        WireClaimed {
            operation: (&claimed.operation).into(),
            organization: &claimed.lease.organization,
            // The input of a creation here is JSON; the input from an inbox is checked there.
            input: serde_json::from_str(&claimed.input).ok(),
            attempt: claimed.attempt,
            lease_token: LeaseToken { fence: claimed.lease.fence, attempt: claimed.attempt }.to_string(),
            lease_expires_at: claimed.lease_expires_at,
            timeout: duration::write(claim::timeout(app, claimed)),
            cancel_requested: claimed.cancel_requested,
            traceparent: trace.map(|trace| trace.to_string()),
        }
    }
}

/// Which operations the worker still holds.
#[derive(Serialize, ToSchema)]
#[schema(as = HeartbeatResults)]
pub(super) struct Heartbeats {
    /// In the order of the request.
    operations: Vec<HeartbeatResult>,
}

/// The result of one row: the worker still holds the operation, or `error` says why not.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum HeartbeatResult {
    /// The worker still holds the operation.
    Held {
        /// The id of the operation.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = Uuid)]
        id: OperationId,
        /// When the lease ends unless another heartbeat extends it.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = DateTime)]
        lease_expires_at: Timestamp,
        /// Whether its cancellation was requested, so that the worker must stop.
        cancel_requested: bool,
    },
    /// The worker no longer holds the operation.
    Refused {
        /// The id of the operation.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = Uuid)]
        id: OperationId,
        /// Why not.
        #[schema(value_type = Status)]
        error: RowStatus,
    },
}

impl HeartbeatResult {
    fn new(id: OperationId, status: LeaseStatus) -> HeartbeatResult {
        match status {
            LeaseStatus::Held { expires_at: lease_expires_at, cancel_requested } => {
                HeartbeatResult::Held { id, lease_expires_at, cancel_requested }
            }
            LeaseStatus::Lost => HeartbeatResult::Refused { id, error: Refusal::StaleLease.into() },
        }
    }
}

/// The results of a settlement.
#[derive(Serialize, ToSchema)]
#[schema(as = SettleResults)]
pub(super) struct Settlements {
    /// In the order of the request.
    results: Vec<SettleResult>,
}

/// The result of one row: `error` when it was refused, otherwise `status`; a row that released its operation has
/// neither.
#[derive(Serialize, ToSchema)]
pub(super) struct SettleResult {
    /// The id of the operation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = Uuid)]
    id: OperationId,
    /// The status of the operation now.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// Why the row was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Status, required = false)]
    error: Option<RowStatus>,
}

impl From<Settled> for SettleResult {
    fn from((id, result): Settled) -> SettleResult {
        match result {
            Ok(status) => SettleResult { id, status: status.map(|status| status.wire_name()), error: None },
            Err(refusal) => SettleResult { id, status: None, error: Some(refusal.into()) },
        }
    }
}
