//! Properties of routes beyond their templates: how long a request may take, and the verb at the end of its path.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::ALLOW;

use super::target::Target;
use crate::error::ApiError;

/// The methods that a path accepts, for the header `Allow`, where its template does not determine them, because paths
/// with and without a verb share one.
fn methods_of(path: &str) -> Option<&'static str> {
    let (collection, end) = path.rsplit_once('/')?;
    let target = Target::of(end);
    match (collection, target.verb()) {
        ("/v1/operations", Some("wait")) => Some("GET,HEAD"),
        ("/v1/operations", Some("cancel" | "retry")) => Some("POST"),
        ("/v1/operations", _) => Some("GET,HEAD,DELETE"),
        ("/v1/organizations", Some("pause" | "resume" | "setLimits")) => Some("POST"),
        ("/v1/organizations", _) => Some("GET,HEAD,DELETE"),
        ("/v1/schedules", Some("pause" | "resume" | "trigger")) => Some("POST"),
        ("/v1/schedules", _) => Some("GET,HEAD,PATCH,DELETE"),
        ("/v1/views", Some("update")) => Some("POST"),
        ("/v1/views", _) => Some("GET,HEAD,DELETE"),
        ("/v1/tokens", Some("revoke" | "rotate")) => Some("POST"),
        ("/v1/tokens", _) => Some("GET,HEAD"),
        _ => None,
    }
}

/// The answer 405 with the header `Allow`, which the router adds if this does not.
pub(super) fn method_not_allowed(path: &str) -> Response {
    let mut response = ApiError::MethodNotAllowed.into_response();
    if let Some(methods) = methods_of(path) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler whose requests end with 504 when they take too long. Futures of the store may be dropped at any time.
#[derive(Clone)]
pub(crate) struct Within<H>(pub Duration, pub H);

impl<T, S: 'static, H: Handler<T, S>> Handler<T, S> for Within<H> {
    type Future = Answering;

    fn call(self, request: Request, state: S) -> Answering {
        let Within(limit, handler) = self;
        let answering = tokio::time::timeout(limit, handler.call(request, state));
        Box::pin(async { answering.await.unwrap_or_else(|_| ApiError::Timeout("the request").into_response()) })
    }
}

/// A handler for paths that end in a verb, and one for all others, because the router has no parameters with a suffix.
#[derive(Clone)]
pub(super) struct ByVerb<V, P> {
    pub verb: &'static str,
    pub with: V,
    pub without: P,
}

impl<T, U, S, V, P> Handler<(T, U), S> for ByVerb<V, P>
where
    V: Handler<T, S, Future = Answering>,
    P: Handler<U, S, Future = Answering>,
{
    type Future = Answering;

    fn call(self, request: Request, state: S) -> Answering {
        if Target::of(request.uri().path()).verb() == Some(self.verb) {
            self.with.call(request, state)
        } else {
            self.without.call(request, state)
        }
    }
}
