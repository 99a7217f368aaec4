//! The observation of every request: its id, one line in the log, its share of the metrics.
//!
//! The line is written when the answer has been passed to the connection, or was broken off, so that bytes and duration
//! are correct. It never contains the query, a header or a token.

use std::any::Any;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper::body::{Frame, SizeHint};
use percent_encoding::percent_decode;
use tonic::{Code, Status};

use super::caller::{CallerSlot, RequestId};
use super::protection::protect;
use super::routing::method_not_allowed;
use super::trace::TraceSlot;
use super::{cors, leftover, shedding, wait};
use crate::auth::PREFIX;
use crate::error::{ApiError, BoxError, Cause};
use crate::grpc;
use crate::link::{Client, Link, UnderWay};
use crate::metrics::{Metrics, Shed};
use store::meters::Present;
use traces::Traces;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Longer ids from clients are replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// The route of a path that no route matches: a fixed label, whatever clients try.
const UNMATCHED: &str = "unmatched";

/// Adds what every router needs: the error model for unknown paths and methods, the origins that may call, and the
/// observation.
pub(super) fn observed(router: Router, metrics: Metrics, traces: Traces, origins: &[HeaderValue]) -> Router {
    let router = router
        .fallback(|| async { ApiError::NotFound("path") })
        .method_not_allowed_fallback(|uri: Uri| async move { method_not_allowed(uri.path()) });
    cors::allowing(router, origins).layer(from_fn_with_state((metrics, traces), observe))
}

async fn observe(State((metrics, traces)): State<(Metrics, Traces)>, mut request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    let learnt = CallerSlot::default();
    request.extensions_mut().insert(learnt.clone());
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let trace = TraceSlot::of(&traces, request.headers());
    if let Some(trace) = &trace {
        request.extensions_mut().insert(trace.clone());
    }
    let link = request.extensions().get::<Link>();
    let is_tls = link.is_some_and(Link::is_tls);
    let mut record = Record {
        started: Instant::now(),
        method: request.method().clone(),
        matched: request.extensions().get::<MatchedPath>().cloned(),
        uri: request.uri().clone(),
        request_id: request_id.clone(),
        client: link.map(Link::client),
        learnt,
        status: StatusCode::INTERNAL_SERVER_ERROR,
        grpc_code: None,
        cause: None,
        bytes: 0,
        whole: false,
        trace,
        _in_flight: metrics.enter(),
        _under_way: link.map(Link::begin),
        metrics,
    };
    // A handler that panics fails only its own request.
    let answering = async {
        if !shedding::is_refused(&request, &record.learnt) {
            return leftover::drained(request, next).await;
        }
        record.metrics.shed(Shed::overloaded);
        leftover::let_go(request).await;
        shedding::refusal()
    };
    let answering = AssertUnwindSafe(answering).catch_unwind();
    let mut response = answering.await.unwrap_or_else(|panic| panicked(panic).into_response());
    // The rest depends on the speed of the client.
    if let Some(admission) = record.learnt.admission.get() {
        admission.leave();
    }
    record.status = response.status();
    record.learn_code(response.headers());
    record.cause = response.extensions_mut().remove::<Cause>();
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request_id);
    protect(headers, is_tls);
    if let Some(standing) = record.learnt.standing.get() {
        let (policy, limit) = standing.headers();
        headers.insert(RATE_LIMIT_POLICY, policy);
        headers.insert(RATE_LIMIT, limit);
    }
    if record.method == Method::HEAD || response.body().is_end_stream() {
        record.whole = true;
        return response;
    }
    response.map(|body| Body::new(ObservedBody { body, record: Some(record) }))
}

/// The error of a call that has panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> ApiError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    ApiError::Internal(format!("panic: {}", text.unwrap_or("of no text")).into())
}

/// The id from the client if it consists of 1 to 128 letters, digits, `_`, `.` and `-`; otherwise a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(X_REQUEST_ID).filter(|id| {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(allowed)
            && !holds_secret(id.as_bytes())
    });
    given
        .cloned()
        .unwrap_or_else(|| HeaderValue::try_from(uuid::Uuid::now_v7().to_string()).expect("a UUID is a header value"))
}

/// Whether a text, percent-encoded or not, contains the prefix of API tokens, or something that looks like a token of
/// an identity provider.
fn holds_secret(text: &[u8]) -> bool {
    let (prefix, text) = (PREFIX.as_bytes(), Cow::from(percent_decode(text)));
    text.windows(prefix.len()).any(|part| part == prefix) || holds_jwt(&text)
}

/// The fewest characters of the first part of a JWT, which is at least `{"alg":"none"}`, and of the second one, which
/// is not empty. Ordinary names seldom consist of three parts of such a length.
const JWT_PARTS: [usize; 2] = [16, 8];

/// Whether a text has three parts of base64url separated by dots, the last of which may be empty.
fn holds_jwt(text: &[u8]) -> bool {
    let is_of_jwt = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    text.split(|byte| !is_of_jwt(byte)).any(|run| {
        let parts: Vec<&[u8]> = run.split(|byte| *byte == b'.').collect();
        parts.windows(3).any(|parts| parts.iter().zip(JWT_PARTS).all(|(part, least)| part.len() >= least))
    })
}

/// A line of the access log, which is written when this is dropped.
struct Record {
    started: Instant,
    method: Method,
    matched: Option<MatchedPath>,
    uri: Uri,
    request_id: HeaderValue,
    client: Option<Client>,
    learnt: CallerSlot,
    status: StatusCode,
    /// The code of gRPC, which arrives with the headers or after the body; none over HTTP, and when the answer was
    /// broken off before.
    grpc_code: Option<Code>,
    cause: Option<Cause>,
    bytes: u64,
    /// Whether the answer was sent completely; also `false` when the handler was dropped because the client
    /// disconnected.
    whole: bool,
    /// The request's place in a trace, where traces are recorded.
    trace: Option<TraceSlot>,
    metrics: Metrics,
    _in_flight: Present,
    _under_way: Option<UnderWay>,
}

impl Record {
    /// The template of the route. A verb at the end of a parameter is part of it, so that calls that wait are counted
    /// separately from those that do not. For gRPC, it is the path of the method, if there is such a method.
    fn route(&self) -> Cow<'_, str> {
        let matched = self.matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        if matched.ends_with(grpc::ANY_METHOD) && grpc::is_method(self.uri.path()) {
            return self.uri.path().into();
        }
        let is_wait = matched.ends_with('}') && self.uri.path().ends_with(wait::SUFFIX);
        if is_wait { format!("{matched}{}", wait::SUFFIX).into() } else { matched.into() }
    }

    /// Takes the code of gRPC from the headers or the trailers of the answer, if it is there.
    fn learn_code(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.grpc_code = Some(Code::from_bytes(code.as_bytes()));
        }
    }

    /// The status of the answer; for gRPC, where each answer has the status 200, the one that its code has over HTTP.
    fn outcome(&self) -> StatusCode {
        self.grpc_code.map_or(self.status, grpc::status_over_http)
    }

    /// The path without the query; hidden if it contains a token.
    fn path(&self) -> &str {
        let path = self.uri.path();
        if holds_secret(path.as_bytes()) { "(hidden: it contains a token)" } else { path }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let route = self.route();
        let outcome = self.outcome();
        self.metrics.record(&route, &self.method, outcome.as_u16(), duration);
        if let Some(trace) = &self.trace {
            trace.end(&self.method, &route, outcome);
        }
        let token = self.learnt.token.get();
        let request_id = self.request_id.to_str().unwrap_or("");
        if let Some(Cause(cause)) = &self.cause {
            tracing::error!(request_id, route = &*route, cause, "request failed");
        }
        // The fields are only computed when the line is logged.
        tracing::info!(
            target: "longrun::access",
            method = %self.method,
            route = &*route,
            path = self.path(),
            status = outcome.as_u16(),
            grpc_code = self.grpc_code.map(i32::from),
            duration_ms = duration.as_secs_f64() * 1_000.0,
            bytes = self.bytes,
            whole = self.whole,
            request_id,
            organization = token.map(|token| &*token.access.organization),
            token = token.map(|token| &*token.id),
            client = self.client.map(tracing::field::display),
            "request"
        );
    }
}

/// A body that counts the bytes that are sent.
struct ObservedBody {
    body: Body,
    /// Dropped when the body has ended or is broken off.
    record: Option<Record>,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = match &polled {
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if let Some(record) = &mut self.record {
            let frame = polled.as_ref().and_then(|frame| frame.as_ref().ok());
            record.bytes += frame.and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
            if let Some(trailers) = frame.and_then(Frame::trailers_ref) {
                record.learn_code(trailers);
            }
            record.whole = ended;
        }
        if ended {
            self.record = None;
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
