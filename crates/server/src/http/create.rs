//! `POST /v1/operations`: creates one operation.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use operations::NewOperation;
use store::Scope;

use super::caller::Caller;
use super::json::Fields;
use super::{body, creation, idempotency};
use crate::app::App;
use crate::error::ApiError;
use crate::render::{OperationAnswer, to_json};

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let mut operation = parse(&app, &body)?;
    creation::complete(&app, &caller, &mut operation).await?;
    let key = idempotency::key(&headers, &caller, "POST /v1/operations", || creation::fingerprinted(&operation))?;
    let operation = app.waker.create(&*app.store, caller.organization(), operation, key).await?;
    let location = format!("/v1/operations/{}", operation.id);
    let json = to_json(&OperationAnswer::from(&operation));
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (LOCATION, location)], json).into_response())
}

/// Reads the body, or everything that is wrong with it.
fn parse(app: &App, body: &Bytes) -> Result<NewOperation, ApiError> {
    let mut fields = Fields::parse(body)?;
    let operation = creation::read(app, &mut fields);
    let violations = fields.finish();
    if violations.is_empty() { Ok(operation) } else { Err(ApiError::Invalid(violations)) }
}
