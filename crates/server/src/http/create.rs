//! `POST /v1/operations` and `POST /v1/operations:batchCreate`.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use serde::Serialize;
use store::Scope;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::CreateErrors;
use super::{body, idempotency_key};
use crate::app::App;
use crate::calls::creation::{self, BatchCreateOperations, CreateOperation, Made};
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, WireOperation, to_json};
use crate::strict;

/// The header that marks the answer to a creation when the operation existed before.
pub(crate) const EXISTING: &str = "x-longrun-existing";

/// Create an operation
///
/// The server answers once the operation is durable. With an Idempotency-Key, a repeated request returns the operation
/// of the first one; a different request with the same key within 24 hours is refused with 409.
#[utoipa::path(post, path = "/v1/operations", operation_id = "AsyncOperationsService_CreateOperation",
    tag = "AsyncOperationsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that identifies this request: repeating it with the same key creates nothing twice.")),
    request_body(content = CreateOperation, example = json!({"kind": "scan", "input": {"image": "shop:1.2"}})),
    responses((status = 200, description = "The operation.", body = OperationAnswer,
        headers(("Location" = String, description = "The path of the operation."),
            ("X-Longrun-Existing" = bool,
                description = "true if an operation with the unique_key existed before; otherwise left out."))),
        CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<CreateOperation>(&body)?;
    Ok(made(&creation::create(&app, &caller, asked, idempotency_key(&headers)?).await?))
}

/// The answer with an operation that was created, or that existed before.
pub(super) fn made(made: &Made) -> Response {
    let Made { operation, existing } = made;
    let location = format!("/v1/operations/{}", operation.id);
    let json = to_json(&OperationAnswer::from(operation));
    let mut response = ([(CONTENT_TYPE, "application/json".to_owned()), (LOCATION, location)], json).into_response();
    if *existing {
        response.headers_mut().insert(EXISTING, HeaderValue::from_static("true"));
    }
    response
}

/// Create many operations
///
/// All of them are created in one transaction, or none.
#[utoipa::path(post, path = "/v1/operations:batchCreate", operation_id = "AsyncOperationsService_BatchCreateOperations",
    tag = "AsyncOperationsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that identifies this request: repeating it with the same key creates nothing twice.")),
    request_body(content = BatchCreateOperations,
        example = json!({"operations": [{"kind": "scan", "input": {"image": "shop:1.2"}}, {"kind": "scan"}]})),
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
    let operations = created.iter().map(|made| WireOperation::from(&made.operation)).collect();
    let existing = (0..created.len()).filter(|index| created[*index].existing).collect();
    let json = to_json(&Operations { operations, existing });
    Ok(render::response(json))
}

/// Operations that were created together.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedOperations)]
pub(super) struct Operations<'a> {
    /// In the order of the request.
    operations: Vec<WireOperation<'a>>,
    /// The zero-based positions of the operations that existed before, with the same unique_key; left out when there
    /// are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    existing: Vec<usize>,
}
