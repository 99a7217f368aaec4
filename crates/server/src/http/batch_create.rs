//! `POST /v1/operations:batchCreate`: creates many operations in one transaction, all or none.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderMap};
use operations::{NewOperation, Violation};
use serde::Serialize;
use store::Scope;

use super::create::{check_input, fingerprinted, read};
use super::json::Fields;
use super::render::{WireOperation, to_json};
use super::{App, body, evaluate, idempotency};
use crate::auth::Caller;
use crate::error::ApiError;

/// The most creations of a batch: one transaction that nobody waits long for.
const MAX_OPERATIONS: usize = 1_000;
/// A batch may be so many times as large as a single creation. With the default limit of a body, 2 MiB, that is the 8
/// MiB that one transaction of a store takes.
const BODIES: u64 = 4;

pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let limit = app.settings.body_limit.saturating_mul(BODIES);
    let body = body::read_json(&app, &caller, &headers, body, limit).await?;
    let mut fields = Fields::parse(&body)?;
    let mut operations = fields.rows::<NewOperation, MAX_OPERATIONS>("operations", |fields| Some(read(&app, fields)));
    let violations = fields.finish();
    if !violations.is_empty() {
        return Err(ApiError::Invalid(violations));
    }
    for (index, operation) in operations.iter_mut().enumerate() {
        complete(&app, &caller, operation).await.map_err(|error| at(index, error))?;
    }
    let canonical = || operations.iter().map(fingerprinted).collect::<Vec<_>>().join("\n");
    let key = idempotency::key(&headers, &caller, "POST /v1/operations:batchCreate", canonical)?;
    let created = app.store.create(caller.organization(), operations, key).await?;
    created.iter().for_each(|operation| app.waker.created(&operation.kind));
    let json = to_json(&Answer { operations: created.iter().map(WireOperation::from).collect() });
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

#[derive(Serialize)]
struct Answer<'a> {
    operations: Vec<WireOperation<'a>>,
}

/// What is asked of each creation besides its own fields.
async fn complete(app: &App, caller: &Caller, operation: &mut NewOperation) -> Result<(), ApiError> {
    caller.require_project(&operation.project_id)?;
    check_input(app, caller, operation)?;
    if operation.kind == kinds::evaluation::KIND {
        evaluate::complete(app, caller, operation).await?;
    }
    Ok(())
}

/// The error of one entry, told by its place.
fn at(index: usize, error: ApiError) -> ApiError {
    let place = format!("operations[{index}].");
    match error {
        ApiError::Invalid(violations) => ApiError::Invalid(
            violations.into_iter().map(|v| Violation::new(format!("{place}{}", v.field), v.description)).collect(),
        ),
        ApiError::ProjectDenied { given, allowed, .. } => ApiError::ProjectDenied { place, given, allowed },
        other => other,
    }
}
