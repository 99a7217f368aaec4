//! Why a call did not succeed, in a form that a caller can act on.
//!
//! A server refuses with a `google.rpc.Status`, which becomes [`Error::Refused`] with its code, message and field
//! violations. Every other failure happens between the two programs and has its own variant.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address cannot be used.
    #[error("{url:?} is not a valid server address: {reason}")]
    InvalidUrl {
        /// The given address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token cannot be sent: it is empty or contains characters that a header cannot.
    #[error("the token is empty or contains invalid characters")]
    InvalidToken,
    /// No connection to the server could be established; nothing was sent.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// The server's address.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection broke or a timeout expired during the call; whether it took effect is unknown.
    #[error("the connection to {url} failed: {reason}")]
    Transport {
        /// The server's address.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// The server refused the call and gave a reason.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The answer is not one that longrun gives: another program answers at this address.
    #[error("{url} answered {http_status}, but not as a longrun server: {excerpt}")]
    Unexpected {
        /// The server's address.
        url: String,
        /// The HTTP status code.
        http_status: u16,
        /// The beginning of the body.
        excerpt: String,
    },
    /// A local file could not be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A wait ended before its operation did.
    #[error("operation {id} has not ended within {}", seconds(.after))]
    StillRunning {
        /// The operation.
        id: String,
        /// How long the client waited.
        after: Duration,
    },
    /// A [`Worker`](crate::Worker) gave up because several attempts in a row could not be started. They were released.
    #[error("{attempts} attempts in a row could not be started: {reason}")]
    NotStarted {
        /// The number of these attempts.
        attempts: u32,
        /// The handler's reason for the last one.
        reason: String,
    },
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

impl Error {
    /// The server's refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: the server is busy or away, or the connection to it is interrupted.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Transport { .. } => true,
            Error::Refused(refusal) => match refusal.http_status {
                // A limit that does not pass by itself has no time after which to try again.
                429 => refusal.retry_after.is_some(),
                status => status >= 500,
            },
            Error::Unexpected { http_status, .. } => *http_status == 429 || *http_status >= 500,
            Error::InvalidUrl { .. }
            | Error::InvalidToken
            | Error::File { .. }
            | Error::StillRunning { .. }
            | Error::NotStarted { .. } => false,
        }
    }

    /// The HTTP status, if there was an answer.
    pub(crate) fn http_status(&self) -> Option<u16> {
        match self {
            Error::Refused(refusal) => Some(refusal.http_status),
            Error::Unexpected { http_status, .. } => Some(*http_status),
            _ => None,
        }
    }

    pub(crate) fn from_reqwest(url: &reqwest::Url, error: &reqwest::Error) -> Error {
        let url = origin(url);
        let reason = innermost(error);
        if error.is_connect() { Error::Connect { url, reason } } else { Error::Transport { url, reason } }
    }
}

/// The address without a path, query or password, for messages.
pub(crate) fn origin(url: &reqwest::Url) -> String {
    url.origin().ascii_serialization()
}

/// The last cause of an error: "Connection refused" rather than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub http_status: u16,
    /// The server's status.
    pub status: RpcStatus,
    /// The id with which the call can be found in the server's log.
    pub request_id: Option<String>,
    /// When the server wants the call to be repeated.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The stable name of the reason (`google.rpc.ErrorInfo`), if the server gave one.
    pub fn reason(&self) -> Option<&str> {
        self.status.details.iter().find_map(|detail| detail.reason.as_deref())
    }

    /// What is wrong with which field.
    pub fn field_violations(&self) -> impl Iterator<Item = &FieldViolation> {
        self.status.details.iter().flat_map(|detail| &detail.field_violations)
    }
}

impl fmt::Display for Refusal {
    /// The message, followed by each field violation that the message does not already contain, on its own line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.message)?;
        for FieldViolation { field, description } in self.field_violations() {
            if !self.status.message.contains(description.as_str()) {
                write!(f, "\n  {field}: {description}")?;
            }
        }
        if self.http_status >= 500
            && let Some(id) = &self.request_id
        {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

/// `google.rpc.Status`, as far as clients use it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcStatus {
    /// A number of `google.rpc.Code`.
    pub code: i32,
    /// The message for people.
    pub message: String,
    /// Details, of several types.
    #[serde(default)]
    pub(crate) details: Vec<Detail>,
}

/// The members of all detail types that are read; each type sets its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Detail {
    reason: Option<String>,
    #[serde(default, rename = "fieldViolations", alias = "field_violations")]
    field_violations: Vec<FieldViolation>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FieldViolation {
    /// The path of the field.
    #[serde(default)]
    pub field: String,
    /// What was wrong and what would be valid.
    #[serde(default)]
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Refusal {
        let status = serde_json::from_str(body).expect("a status");
        Refusal { http_status: 400, status, request_id: Some("r-1".to_owned()), retry_after: None }
    }

    #[test]
    fn field_violations_and_reason_are_read_from_the_details() {
        let refusal = refusal(
            r#"{"code":3,"message":"the request is invalid","details":[
                {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[
                    {"field":"pagination.page","description":"must not be negative"}]},
                {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INVALID_ARGUMENT","domain":"longrun"}]}"#,
        );
        assert_eq!(refusal.reason(), Some("INVALID_ARGUMENT"));
        assert_eq!(refusal.to_string(), "the request is invalid\n  pagination.page: must not be negative");
    }

    #[test]
    fn a_violation_that_the_message_carries_is_not_said_twice() {
        let refusal = refusal(
            r#"{"code":3,"message":"kind: is unknown","details":[
                {"fieldViolations":[{"field":"kind","description":"is unknown"}]}]}"#,
        );
        assert_eq!(refusal.to_string(), "kind: is unknown");
    }

    #[test]
    fn a_status_without_details_is_enough() {
        assert_eq!(refusal(r#"{"code":16,"message":"no"}"#).to_string(), "no");
    }
}
