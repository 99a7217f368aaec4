//! Refusals as gRPC states them: the same code, reason and details as over HTTP.

use prost_types::Any;
use proto::google::rpc;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{ApiError, Refused};

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Status {
        if let ApiError::Internal(cause) | ApiError::Unavailable(cause) = &error {
            tracing::error!(cause = &**cause as &dyn std::error::Error, "request failed");
        }
        let Refused { code, reason, metadata, retry_delay, violations } = error.refused();
        let mut details = ErrorDetails::new();
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value));
        details.set_error_info(reason, crate::error::DOMAIN, metadata.collect::<std::collections::HashMap<_, _>>());
        for violation in violations {
            details.add_bad_request_violation(&violation.field, &violation.description);
        }
        if let Some(delay) = retry_delay {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(Code::from_i32(code.into()), error.to_string(), details)
    }
}

/// The refusal of one row of an answer whose other rows took effect.
pub(super) fn of_row(refusal: operations::Refusal) -> rpc::Status {
    let (reason, message) = (crate::error::row_reason(refusal), refusal.to_string());
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, crate::error::DOMAIN, std::collections::HashMap::<String, String>::new());
    let status = Status::with_error_details(Code::Aborted, message, details);
    let whole: tonic_types::Status = prost::Message::decode(status.details()).unwrap_or_default();
    rpc::Status {
        code: whole.code,
        message: whole.message,
        details: whole.details.into_iter().map(|any| Any { type_url: any.type_url, value: any.value }).collect(),
    }
}
