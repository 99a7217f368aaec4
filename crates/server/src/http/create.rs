//! `POST /v1/operations` and `POST /v1/operations:batchCreate`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use serde::Serialize;
use store::Scope;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::CreateErrors;
use super::{body, idempotency_key};
use crate::app::App;
use crate::calls::creation::{self, BatchCreateOperations, CreateOperation};
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, WireOperation, to_json};
use crate::strict;

/// Create an operation
///
/// The answer comes once the operation is durable. With an Idempotency-Key, a repeated request gets the operation of
/// the first; another request with the same key within 24 hours is refused with 409.
#[utoipa::path(post, path = "/v1/operations", operation_id = "AsyncOperationsService_CreateOperation",
    tag = "AsyncOperationsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that names this request, so that it can be repeated.")),
    request_body(content = CreateOperation, example = json!({"kind": "scan", "input": {"image": "shop:1.2"}})),
    responses((status = 200, description = "The operation.", body = OperationAnswer,
        headers(("Location" = String, description = "The path of the operation."))), CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<CreateOperation>(&body)?;
    let operation = creation::create(&app, &caller, asked, idempotency_key(&headers)?).await?;
    let location = format!("/v1/operations/{}", operation.id);
    let json = to_json(&OperationAnswer::from(&operation));
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (LOCATION, location)], json).into_response())
}

/// Create many operations
///
/// In one transaction: all of them are created, or none.
#[utoipa::path(post, path = "/v1/operations:batchCreate", operation_id = "AsyncOperationsService_BatchCreateOperations",
    tag = "AsyncOperationsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that names this request, so that it can be repeated.")),
    request_body = BatchCreateOperations,
    responses((status = 200, description = "The operations, in the order of the request.", body = Operations),
        CreateErrors))]
pub(super) async fn batch_create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let limit = app.settings.body_limit.saturating_mul(creation::BODIES);
    let body = body::read_json(&app, &caller, &headers, body, limit).await?;
    let asked = strict::json::<BatchCreateOperations>(&body)?;
    let created = creation::batch(&app, &caller, asked, idempotency_key(&headers)?).await?;
    let json = to_json(&Operations { operations: created.iter().map(WireOperation::from).collect() });
    Ok(render::response(json))
}

/// Operations that were created together.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedOperations)]
pub(super) struct Operations<'a> {
    /// In the order of the request.
    operations: Vec<WireOperation<'a>>,
}
