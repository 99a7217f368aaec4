//! `GET /v1/operations/{id}`: one operation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use store::Scope;

use super::caller::Caller;
use super::if_none_match::IfNoneMatch;
use super::target::Target;
use crate::app::App;
use crate::error::ApiError;
use crate::reads::{Answer, Found};
use crate::render;

/// When a client that polls an unfinished operation should come again, in seconds.
const POLL_AFTER_SECONDS: u64 = 1;

/// The answer for every operation that the caller cannot have, for whatever reason.
pub(super) const NOT_FOUND: ApiError = ApiError::NotFound("operation");

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    target: Target,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let found = app.reads.operation(caller.access(), target.id()?).await?.ok_or(NOT_FOUND)?;
    Ok(answer(&found, &given))
}

/// The operation, or that the client has it already.
pub(super) fn answer(found: &Found, given: &IfNoneMatch) -> Response {
    let Answer { json, etag } = found.answer().clone();
    let mut response =
        if given.names(etag.as_bytes()) { StatusCode::NOT_MODIFIED.into_response() } else { render::response(json) };
    response.headers_mut().insert(ETAG, etag);
    if !found.operation.status.is_terminal() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(POLL_AFTER_SECONDS));
    }
    response
}
