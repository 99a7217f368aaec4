//! Which pages may call the API from a browser (CORS, as the Fetch standard defines it): those of the origins in the
//! configuration, and by default none.
//!
//! Calls carry their token in a header, never in a cookie, so credentials are not allowed: a page sends a token that it
//! has, and none that the browser would add automatically.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE";
/// The headers that calls may carry.
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-Id, \
    Traceparent, Tracestate";
/// The headers of answers that pages may read, in addition to those that are always readable.
const EXPOSED: &str = "X-Request-Id, ETag, Location, Retry-After, RateLimit, RateLimit-Policy, X-Longrun-Existing";
/// How long a browser may cache the permission, in seconds.
const MAX_AGE: &str = "600";

/// Allows these origins; without any, the router ignores origins.
pub(super) fn allowing(router: Router, origins: &[HeaderValue]) -> Router {
    if origins.is_empty() {
        return router;
    }
    router.layer(from_fn_with_state(Arc::<[HeaderValue]>::from(origins), allow))
}

async fn allow(State(origins): State<Arc<[HeaderValue]>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).filter(|origin| origins.contains(origin)).cloned();
    let asks_first =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first && origin.is_some() {
        let allowed: [(HeaderName, &str); 3] = [
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        (StatusCode::NO_CONTENT, allowed).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    // Also without an origin: a cache must not give one origin what another one got.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
    response
}
