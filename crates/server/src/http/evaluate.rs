//! `POST /v1/agents/evaluate-evidence`: starts an operation of the kind `evidence_evaluation`.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
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
use crate::calls::evaluate::{self, EvaluateEvidence, Evaluation, Evidence};
use crate::error::ApiError;
use crate::render::{self, to_json};
use crate::strict;

/// Evaluate evidence
///
/// Stores the evidence unless it is stored already, and starts an operation of the kind evidence_evaluation.
#[utoipa::path(post, path = "/v1/agents/evaluate-evidence", operation_id = "AgentsService_EvaluateEvidence",
    tag = "AgentsService",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Printable ASCII that identifies this request: repeating it with the same key creates nothing twice.")),
    request_body(content = EvaluateEvidence, example = json!({
        "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "policy_groups": [{"ref": "release-gate"}]
    })),
    responses((status = 200, description = "The operation that was started.", body = Started), CreateErrors))]
pub(super) async fn evaluate(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let limit = app.content.limit().div_ceil(3).saturating_mul(4).saturating_add(evaluate::OVERHEAD_BYTES);
    let body = body::read_json(&app, &caller, &headers, body, limit).await?;
    let evaluation = Evaluation::check(&app, strict::json::<EvaluateEvidence>(&body)?, |content| {
        content.map(|content| {
            Evidence::Base64(match content {
                // Not copied.
                Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text.clone()),
            })
        })
    })?;
    let place = body.into_place();
    let operation = evaluate::evaluate(&app, &caller, evaluation, place, idempotency_key(&headers)?).await?;
    Ok(render::response(to_json(&Started { operation_id: operation.id.to_string() })))
}

/// The operation that was started.
#[derive(Serialize, ToSchema)]
#[schema(as = EvaluationStarted)]
pub(super) struct Started {
    /// Its id.
    #[schema(format = Uuid)]
    operation_id: String,
}
