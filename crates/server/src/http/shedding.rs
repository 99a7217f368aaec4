//! Calls that are refused before anything is done for them, because the server is overloaded.
//!
//! Work that is spent on refusals is not available for other calls. So a connection remembers the header by which its
//! last caller was found, and the queue in which that caller's organization waits for places. While so many calls wait
//! there that one more would be refused in any case, calls with the same header are refused before their token is
//! looked up and their body is read, with a prepared answer. This reveals nothing: the caller was known a moment ago,
//! and a call with another header, or on a new connection, is handled in full.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, ORIGIN};
use http_body_util::BodyExt;
use store::Token;

use super::call_class::CallClass;
use super::caller::Learnt;
use crate::error::ApiError;
use crate::link::Link;
use crate::places::Crowd;

/// What a connection remembers about its last caller.
#[derive(Clone, Debug)]
pub(crate) struct LastCaller {
    /// A keyed hash of the header by which it was found, which is a secret.
    header: u64,
    token: Arc<Token>,
    crowd: Crowd,
}

/// Records a caller that was found by its header.
pub(super) fn remember(link: &Link, headers: &HeaderMap, token: &Arc<Token>, crowd: impl FnOnce() -> Crowd) {
    let Some(header) = header(headers) else { return };
    if !link.last_caller(|last| last.header == header && Arc::ptr_eq(&last.token, token)).unwrap_or_default() {
        link.remember(LastCaller { header, token: Arc::clone(token), crowd: crowd() });
    }
}

/// Whether a call must be refused at once. Then `learnt` gets what is known of its caller.
pub(super) fn is_refused(request: &Request, learnt: &Learnt) -> bool {
    let Some(link) = request.extensions().get::<Link>() else { return false };
    // Nothing else is checked while there is capacity.
    if !link.last_caller(|last| last.crowd.is_full()).unwrap_or_default() {
        return false;
    }
    let path = request.uri().path();
    // gRPC has answers of its own, and those of pages need headers.
    if !path.starts_with("/v1/") || CallClass::of(path) != CallClass::Ordinary || request.headers().contains_key(ORIGIN)
    {
        return false;
    }
    let Some(header) = header(request.headers()) else { return false };
    let token = link.last_caller(|last| (last.header == header).then(|| Arc::clone(&last.token))).flatten();
    token.is_some_and(|token| learnt.token.set(token).is_ok())
}

/// The answer to a call that is refused because the server is overloaded.
pub(super) fn refusal() -> Response {
    static ANSWER: OnceLock<(HeaderMap, Bytes)> = OnceLock::new();
    let (headers, body) = ANSWER.get_or_init(|| {
        let (parts, body) = ApiError::Overloaded.into_response().into_parts();
        let body = body.collect().now_or_never().and_then(Result::ok).expect("the body of an error is there at once");
        (parts.headers, body.to_bytes())
    });
    let mut response = Response::new(Body::from(body.clone()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    *response.headers_mut() = headers.clone();
    response
}

/// A keyed hash of the header `Authorization`: nobody else can compute it, or learn anything from how long it takes.
fn header(headers: &HeaderMap) -> Option<u64> {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    let value = headers.get(AUTHORIZATION)?;
    Some(KEYS.get_or_init(RandomState::new).hash_one(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use operations::{Access, Timestamp};

    use super::*;
    use crate::link::Client;
    use crate::places::Places;

    fn request(link: &Link, path: &str, authorization: &str) -> Request {
        let request = Request::builder().uri(path).header(AUTHORIZATION, authorization);
        request.extension(link.clone()).body(Body::empty()).unwrap()
    }

    fn token() -> Arc<Token> {
        Arc::new(Token {
            id: "t".to_owned(),
            name: "t".to_owned(),
            access: Access::organization("acme"),
            scopes: [].into(),
            created_at: Timestamp::from_millis(0),
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
            instance: None,
        })
    }

    #[tokio::test]
    async fn only_the_last_caller_of_the_connection_is_refused_and_only_while_too_many_wait() {
        let places = Places::new(1, 1, Duration::from_secs(60));
        let link = Link::new(Client { address: [127, 0, 0, 1].into(), port: None, counted: None }, false);
        let is_refused = |path: &str, authorization: &str| {
            let learnt = Learnt::default();
            let refused = is_refused(&request(&link, path, authorization), &learnt);
            assert_eq!(learnt.token.get().is_some(), refused, "the log says who was refused");
            refused
        };
        let known = request(&link, "/v1/operations", "Bearer one");
        remember(&link, known.headers(), &token(), || places.crowd("acme"));
        assert!(!is_refused("/v1/operations", "Bearer one"), "nobody waits");

        let held = places.take("acme").await.unwrap();
        let mut waiting = Vec::new();
        while !places.crowd("acme").is_full() {
            let mut waits = Box::pin(places.take("acme"));
            assert!(waits.as_mut().now_or_never().is_none());
            waiting.push(waits);
        }
        assert!(is_refused("/v1/operations", "Bearer one"));
        for path in ["/v1/operations:heartbeat", "/v1/operations:claim", "/docs", "/longrun.v1.WorkerService/X"] {
            assert!(!is_refused(path, "Bearer one"), "{path}");
        }
        assert!(!is_refused("/v1/operations", "Bearer other"));

        waiting.pop();
        assert!(!is_refused("/v1/operations", "Bearer one"), "one more may wait");
        drop((held, waiting));
    }

    #[tokio::test]
    async fn the_prepared_answer_is_that_of_the_error() {
        let (prepared, made) = (refusal(), ApiError::Overloaded.into_response());
        assert_eq!((prepared.status(), prepared.headers()), (made.status(), made.headers()));
        let bytes = |response: Response| async { response.into_body().collect().await.unwrap().to_bytes() };
        assert_eq!(bytes(prepared).await, bytes(made).await);
    }
}
