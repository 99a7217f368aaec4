//! Refusals as gRPC states them: the same code, reason and details as over HTTP.

use std::collections::HashMap;

use axum::response::Response;
use http::StatusCode;
use prost_types::Any;
use proto::google::rpc;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::evidence::MAX_PART_BYTES;
use super::needs::is_method;
use crate::error::{ApiError, Refused};

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        let Refused { code, reason, metadata, retry_delay, violations } = error.refused();
        let mut details = ErrorDetails::new();
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value));
        details.set_error_info(reason, crate::error::DOMAIN, metadata.collect::<HashMap<_, _>>());
        for violation in violations {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
        if let Some(delay) = retry_delay {
            details.set_retry_info(Some(delay));
        }
        let mut status = Status::with_error_details(Code::from_i32(code.into()), error.to_string(), details);
        // Not sent: the gate passes it to the access log.
        if let ApiError::Internal(cause) | ApiError::Unavailable(cause) = error {
            status.set_source(cause.into());
        }
        status
    }
}

/// The status of HTTP that a code stands for in the error model.
pub(crate) fn status_over_http(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // The client asked for something that there is not.
        Code::Unimplemented => StatusCode::METHOD_NOT_ALLOWED,
        // The client gave up; the code that proxies write into their logs.
        Code::Cancelled => StatusCode::from_u16(499).expect("three digits"),
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Adds the details that every refusal has to those of the library itself, which has a code and a message only: about
/// messages that it cannot decode, long and compressed ones, and methods that a service does not have.
pub(super) fn explained(mut response: Response, path: &str) -> Response {
    let headers = response.headers_mut();
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    let Some(given) = Status::from_header_map(headers) else { return response };
    let status = match given.code() {
        Code::Internal => ApiError::Malformed(given.message().to_owned()).into(),
        Code::OutOfRange => ApiError::TooLarge { limit: MAX_PART_BYTES as u64 }.into(),
        Code::Unimplemented => {
            let (error, message) = if is_method(path) {
                (ApiError::UnsupportedMediaType(""), "messages must be sent without compression")
            } else {
                (
                    ApiError::MethodNotAllowed,
                    "the service has no such method; server reflection lists those that it has",
                )
            };
            with_reason(Code::Unimplemented, error.refused().reason, message)
        }
        _ => return response,
    };
    // The code, the message and the details replace those that are there.
    status.add_header(headers).expect("a message is encoded so that a header may have it");
    response
}

/// A refusal with a stable reason.
fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, crate::error::DOMAIN, HashMap::<String, String>::new());
    Status::with_error_details(code, message, details)
}

/// The refusal of one row of an answer whose other rows took effect.
pub(super) fn of_row(refusal: operations::Refusal) -> rpc::Status {
    let (code, reason) = crate::error::row_class(refusal);
    let status = with_reason(Code::from_i32(code.into()), reason, refusal.to_string());
    let whole: tonic_types::Status = prost::Message::decode(status.details()).unwrap_or_default();
    rpc::Status {
        code: whole.code,
        message: whole.message,
        details: whole.details.into_iter().map(|any| Any { type_url: any.type_url, value: any.value }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_code_has_the_status_that_its_errors_have_over_http() {
        for error in [
            ApiError::field("kind", "is missing"),
            ApiError::Malformed("no object".to_owned()),
            ApiError::Unauthenticated,
            ApiError::OfInstance,
            ApiError::NotFound("operation"),
            ApiError::MethodNotAllowed,
            ApiError::IdempotencyConflict,
            ApiError::CountDiffers { now: 2, expected: 1 },
            ApiError::TokenEnded,
            ApiError::EventUnknown,
            ApiError::Busy,
            ApiError::Overloaded,
            ApiError::Timeout("the request"),
            ApiError::NotAsSigned,
            ApiError::Internal("broken".into()),
        ] {
            let code = Code::from_i32(error.code().into());
            assert_eq!(status_over_http(code), error.into_response().status(), "{code:?}");
        }
    }
}
