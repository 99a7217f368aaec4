//! The worker protocol: `:claim`, `:heartbeat` and `:settle`, for programs with the scope `operations:work`.
//!
//! A claim gives each operation a *lease token*. It is opaque to workers; it carries what a later call needs to know of
//! the attempt: the fencing token, which makes a late call of an older attempt change nothing, and the number of the
//! attempt, which the wait before the next one depends on. It is no secret: what a worker may touch follows from its
//! own token, and what it may not touch is answered like a lease that was lost.

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
/// Gives operations to a worker, which may wait for the first. Each is held under a lease that heartbeats extend.
#[utoipa::path(post, path = "/v1/operations:claim", operation_id = "WorkerService_ClaimOperations",
    tag = "WorkerService", request_body = ClaimOperations,
    responses((status = 200, description = "What was claimed; nothing when nothing came in time.", body = Claims),
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

/// Keep operations
///
/// Extends the leases of many operations; answers for each, in the order of the request, whether it is still held, and
/// whether it is to stop.
#[utoipa::path(post, path = "/v1/operations:heartbeat", operation_id = "WorkerService_HeartbeatOperations",
    tag = "WorkerService", request_body = HeartbeatOperations,
    responses((status = 200, description = "One row for each of the request.", body = Heartbeats), WorkErrors))]
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
/// Ends many attempts; answers for each, in the order of the request. A row whose lease was lost is refused and changes
/// nothing; the others stand.
#[utoipa::path(post, path = "/v1/operations:settle", operation_id = "WorkerService_SettleOperations",
    tag = "WorkerService", request_body = SettleOperations,
    responses((status = 200, description = "One row for each of the request.", body = Settlements), WorkErrors))]
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

/// What a worker was given.
#[derive(Serialize, ToSchema)]
#[schema(as = ClaimedOperations)]
pub(super) struct Claims<'a> {
    /// At most as many as it asked for.
    operations: Vec<WireClaimed<'a>>,
    /// How long a lease lives without a heartbeat.
    #[schema(example = "30s")]
    lease_duration: String,
}

/// A claimed operation.
#[derive(Serialize, ToSchema)]
#[schema(as = ClaimedOperation)]
pub(super) struct WireClaimed<'a> {
    /// The operation.
    operation: WireOperation<'a>,
    /// Its organization; heartbeats and settlements of workers for several name it.
    organization: &'a str,
    /// As it was written; `null` when there is none.
    #[schema(value_type = serde_json::Value)]
    input: Option<&'a RawValue>,
    /// The number of this attempt, from 1.
    attempt: u32,
    /// What heartbeats and settlements of this attempt show.
    lease_token: String,
    /// Until when it is held without a heartbeat.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    lease_expires_at: Timestamp,
    /// How long the attempt may take.
    #[schema(example = "600s")]
    timeout: String,
    /// Whether it is to stop already.
    cancel_requested: bool,
    /// The attempt as a span of the trace that the operation belongs to, for what the worker calls: a header of W3C Trace
    /// Context. Left out when it belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    traceparent: Option<String>,
}

impl<'a> WireClaimed<'a> {
    fn new(app: &App, claimed: &'a Claimed, trace: Option<TraceContext>) -> WireClaimed<'a> {
        WireClaimed {
            operation: (&claimed.operation).into(),
            organization: &claimed.lease.organization,
            // What was created here is JSON; what an inbox was given is checked there.
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

/// What is still held.
#[derive(Serialize, ToSchema)]
#[schema(as = HeartbeatResults)]
pub(super) struct Heartbeats {
    /// In the order of the request.
    operations: Vec<HeartbeatResult>,
}

/// What became of one row: it is held, or it is not and `error` says so.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum HeartbeatResult {
    /// It is held.
    Held {
        /// The operation.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = Uuid)]
        id: OperationId,
        /// Until when without another heartbeat.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = DateTime)]
        lease_expires_at: Timestamp,
        /// Whether it is to stop.
        cancel_requested: bool,
    },
    /// It is held no more.
    Refused {
        /// The operation.
        #[serde(serialize_with = "shown")]
        #[schema(value_type = String, format = Uuid)]
        id: OperationId,
        /// Why.
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

/// What became of what was settled.
#[derive(Serialize, ToSchema)]
#[schema(as = SettleResults)]
pub(super) struct Settlements {
    /// In the order of the request.
    results: Vec<SettleResult>,
}

/// What became of one row: `error` when it was refused, else `status`, the operation's; of a row that was released
/// neither.
#[derive(Serialize, ToSchema)]
pub(super) struct SettleResult {
    /// The operation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = Uuid)]
    id: OperationId,
    /// The operation's status now.
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
