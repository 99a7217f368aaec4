//! `POST /v1/operations:bulk`.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use serde::Serialize;
use store::Scope;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::CreateErrors;
use super::{body, idempotency_key};
use crate::app::App;
use crate::calls::bulk::{self, Begun, BulkOperations};
use crate::error::ApiError;
use crate::render::{self, WireOperation, to_json};
use crate::strict;

/// Cancel, retry or delete all operations that match a filter
///
/// Starts an operation of the kind bulk that processes them in batches. It acts only on operations that were created
/// before it, reports its progress, can be cancelled, and lists the results in its output. With dry_run, the call only
/// returns how many operations match.
#[utoipa::path(post, path = "/v1/operations:bulk", operation_id = "AsyncOperationsService_BulkOperations",
    tag = "AsyncOperationsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that identifies this request: repeating it with the same key creates nothing twice.")),
    request_body(content = BulkOperations,
        example = json!({"action": "retry", "filter": "status = FAILED AND created_at >= \"-1h\"", "dry_run": true})),
    responses((status = 200, description = "How many operations match, and the operation that carries out the action.", body = BulkAnswer),
        CreateErrors))]
pub(super) async fn bulk(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let begun = bulk::begin(&app, &caller, strict::json::<BulkOperations>(&body)?, idempotency_key(&headers)?).await?;
    let Begun { count, is_exact, operation, .. } = &begun;
    let operation = operation.as_ref().map(WireOperation::from);
    let answer = BulkAnswer { matching_count: *count, count_is_exact: *is_exact, operation };
    Ok(render::response(to_json(&answer)))
}

/// The answer to a bulk action.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkOperationsAnswer)]
pub(super) struct BulkAnswer<'a> {
    /// How many operations match.
    matching_count: u64,
    /// Whether matching_count is exact; otherwise it is a lower bound.
    count_is_exact: bool,
    /// The operation that carries out the action; left out of the answer to a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = WireOperation<'a>, required = false)]
    operation: Option<WireOperation<'a>>,
}
