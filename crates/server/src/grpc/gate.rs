//! The checks of every call before its method: the token and its scopes, the deadline, and the bounds of its body.

use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderMap, Method};
use tokio::time::Instant;
use tonic::Status;

use super::status::explained;
use super::{Call, bounds, evidence, needs};
use crate::app::App;
use crate::calls::{creation, evaluate, wait};
use crate::error::{ApiError, Cause, chain};
use crate::http::{Caller, body, panicked};
use crate::waiters::{Guard, guarded};

/// The calls that may wait for something, in addition to the time that they take themselves.
const WAITING: [&str; 3] = [
    "/longrun.v1.AsyncOperationsService/WaitOperation",
    "/longrun.v1.WorkerService/ClaimOperations",
    "/google.longrunning.Operations/WaitOperation",
];
/// The call whose answer is a stream without an end.
const ENDLESS: &str = "/longrun.v1.AsyncOperationsService/WatchOperations";
/// The call whose request is a stream.
const UPLOAD: &str = "/longrun.v1.EvidenceService/PutEvidence";
/// The call whose answer is a stream of evidence.
const DOWNLOAD: &str = "/longrun.v1.EvidenceService/GetEvidence";
/// The call whose request holds evidence.
const EVALUATE: &str = "/longrun.v1.AgentsService/EvaluateEvidence";
const BATCH: &str = "/longrun.v1.AsyncOperationsService/BatchCreateOperations";
const WORK: &str = "/longrun.v1.WorkerService/";

/// What the names of methods begin with that take no body over HTTP, where the path and the query say everything.
const BODYLESS: [&str; 10] =
    ["Get", "List", "Wait", "Watch", "Cancel", "Delete", "Pause", "Resume", "Revoke", "Trigger"];

pub(super) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    // gRPC has no other method. A browser sends some of the others on behalf of pages of other sites, with the cookie
    // of a session, and those that change nothing elsewhere need no token of a page.
    if request.method() != Method::POST {
        return ([(ALLOW, "POST")], ApiError::MethodNotAllowed).into_response();
    }
    let passed = AssertUnwindSafe(passed(&app, request, next)).catch_unwind().await;
    let passed = passed.unwrap_or_else(|panic| Err(panicked(panic).into()));
    with_cause(passed.unwrap_or_else(|status| status.into_http::<Body>()))
}

/// The access log writes the cause of a failure, which the status has as its source, with the id of the request.
fn with_cause(mut response: Response) -> Response {
    let status = response.extensions_mut().remove::<Status>();
    if let Some(cause) = status.as_ref().and_then(Status::source) {
        let cause = Cause(chain(cause));
        response.extensions_mut().insert(cause);
    }
    response
}

async fn passed(app: &App, request: Request, next: Next) -> Result<Response, Status> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, app).await?;
    let path = parts.uri.path().to_owned();
    needs::check(&path, &caller)?;
    let settings = &app.settings;
    let most = match &*path {
        ENDLESS => Duration::MAX,
        UPLOAD | DOWNLOAD | EVALUATE => settings.upload_timeout,
        path if WAITING.contains(&path) => settings.request_timeout + wait::MAX_WAIT,
        _ => settings.request_timeout,
    };
    let wanted = timeout(&parts.headers)?.unwrap_or(Duration::MAX);
    let limit = most.min(wanted);
    // More than a century makes no difference.
    let deadline = Instant::now() + limit.min(Duration::from_secs(100 * 365 * 86_400));
    parts.extensions.insert(Call { caller: caller.clone(), deadline });
    let answered = async {
        if path == UPLOAD {
            // A part is in memory until it has arrived as a whole, at the pace of the client.
            let part = app.memory.small.take(caller.organization(), evidence::MAX_PART_BYTES as u64);
            let _part = part.ok_or(ApiError::Busy)?;
            let (body, broken) = evidence::paced(body, settings);
            let response = next.run(Request::from_parts(parts, body)).await;
            // Why the body broke off says more than that it did.
            return broken.get().map_or(Ok(response), |broken| Err(ApiError::from(*broken)));
        }
        unary(app, &caller, &path, parts, body, next).await
    };
    match tokio::time::timeout_at(deadline, answered).await {
        Ok(answer) => Ok(explained(deliver(answer?), &path)),
        Err(_) => Err(ApiError::Timeout("the request").into()),
    }
}

/// A call whose request is a single message, which is read and checked as a whole before it is decoded.
async fn unary(
    app: &App,
    caller: &Caller,
    path: &str,
    parts: Parts,
    body: Body,
    next: Next,
) -> Result<Response, ApiError> {
    let settings = &app.settings;
    let (message, place) = if is_bodyless(path) {
        // As over HTTP, it takes no share of the memory, so that the limits of that are not in the way of a
        // cancellation; and it may be as long as the path and the query.
        let limit = settings.max_header_bytes;
        let too_long = || ApiError::TooLarge { limit: limit as u64 };
        (body::read_short(app, caller, body, limit, too_long).await?, None)
    } else {
        let limit = match path {
            EVALUATE => app.content.limit().saturating_add(evaluate::OVERHEAD_BYTES),
            BATCH => settings.body_limit.saturating_mul(creation::BODIES),
            _ => settings.body_limit,
        };
        let memory = if path.starts_with(WORK) { &app.memory.work } else { &app.memory.small };
        let message = body::read(app, memory, caller, &parts.headers, body, limit).await?;
        // The share of memory is held until there is an answer, unless the call waits: waiting claims would take the
        // memory of the heartbeats.
        ((*message).clone(), Some(message.into_place()).filter(|_| !WAITING.contains(&path)))
    };
    bounds::check(path, &message)?;
    let response = next.run(Request::from_parts(parts, Body::from(message))).await;
    drop(place);
    Ok(response)
}

fn is_bodyless(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    BODYLESS.iter().any(|verb| method.starts_with(verb))
}

/// Claimed operations are released unless the body of the answer is sent to its end.
fn deliver(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Guard>() {
        Some(guard) => response.map(|body| guarded(body, guard)),
        None => response,
    }
}

/// The header `grpc-timeout`.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(timeout_of);
    let wrong =
        || ApiError::field("grpc-timeout", "must be at most eight digits and one of the units H, M, S, m, u and n");
    parsed.map(Some).ok_or_else(|| wrong().into())
}

/// At most eight digits and a unit.
pub(super) fn timeout_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_timeout_has_digits_and_a_unit() {
        let parse =
            |text: &str| timeout(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]));
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
        assert_eq!(parse("5S").unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(parse("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(parse("250m").unwrap(), Some(Duration::from_millis(250)));
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "5 S", "+5S"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
