//! `GET /v1/operations/{id}`: one operation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use operations::Operation;
use store::{Digest, Scope};

use super::caller::Caller;
use super::target::Target;
use crate::app::App;
use crate::error::ApiError;
use crate::render::{OperationAnswer, to_json};

/// When a client that polls an unfinished operation should come again, in seconds.
const POLL_AFTER_SECONDS: u64 = 1;

/// The answer for every operation that the caller cannot have, for whatever reason.
pub(super) const NOT_FOUND: ApiError = ApiError::NotFound("operation");

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    target: Target,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let operation = app.reads.operation(caller.access(), target.id()?).await?.ok_or(NOT_FOUND)?;
    Ok(answer(&operation, &headers))
}

pub(super) fn answer(operation: &Operation, headers: &HeaderMap) -> Response {
    let json = to_json(&OperationAnswer::from(operation));
    // The body holds the id, the status, the times and the output: its digest is as strong as a tag can be.
    let etag = format!("\"{}\"", &Digest::of(&json).to_string()["sha256:".len()..][..32]);
    let mut response = if matches(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], json).into_response()
    };
    let etag = HeaderValue::try_from(etag).expect("a quoted hexadecimal text is a header value");
    response.headers_mut().insert(ETAG, etag);
    if !operation.status.is_terminal() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(POLL_AFTER_SECONDS));
    }
    response
}

/// Whether `If-None-Match` names the tag: a list of tags or `*`, compared weakly (RFC 9110, section 13.1.2).
pub(super) fn matches(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_is_a_list_compared_weakly() {
        let matches = |value: &'static str| {
            matches(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]), "\"a\"")
        };
        for yes in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", "\"b\",W/\"a\" "] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["", "a", "\"b\"", "\"A\""] {
            assert!(!matches(no), "{no}");
        }
    }
}
