//! What a route may say beyond its template: how long a request may take, and by which verb its path ends.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};

use super::target::Target;
use crate::error::ApiError;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler whose requests end with 504 when they take too long. Futures of the store may be dropped at any time.
#[derive(Clone)]
pub(super) struct Within<H>(pub Duration, pub H);

impl<T, S: 'static, H: Handler<T, S>> Handler<T, S> for Within<H> {
    type Future = Answering;

    fn call(self, request: Request, state: S) -> Answering {
        let Within(limit, handler) = self;
        let answering = tokio::time::timeout(limit, handler.call(request, state));
        Box::pin(async { answering.await.unwrap_or_else(|_| ApiError::Timeout("the request").into_response()) })
    }
}

/// A handler for paths that end in a verb, and one for all others: the router knows no parameter with an ending.
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
