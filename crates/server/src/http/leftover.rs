//! The rest of a request's body when the request is refused.
//!
//! A handler may refuse a request before it has read the body: no token, no permission, too large. When a connection is
//! closed with unread data, it is reset on the client's side, which may lose the answer that says why. So data that
//! arrives is read and dropped for a moment, whichever part refused the request.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http::Version;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

/// How much of a refused body is read, and for how long.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Receives a body that is dropped before its end.
type Slot = Arc<Mutex<Option<Body>>>;

/// Answers a request, and reads the rest of its body when it was refused.
pub(super) async fn drained(request: Request, next: Next) -> Response {
    if needs_nothing(&request) {
        return next.run(request).await;
    }
    let slot = Slot::default();
    let returns = slot.clone();
    let response = next.run(request.map(|body| Body::new(Returned { body, slot: returns }))).await;
    let left = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(body) = left.filter(|_| response.status().is_client_error() || response.status().is_server_error()) {
        drain(body).await;
    }
    response
}

/// Reads and drops the body of a request that is refused, which nobody else reads.
pub(super) async fn let_go(request: Request) {
    if !needs_nothing(&request) {
        drain(request.into_body()).await;
    }
}

/// Whether nothing of the body must be read.
fn needs_nothing(request: &Request) -> bool {
    // HTTP/2 ends a stream without the connection. A client that waits for "100 Continue" has sent nothing, and must
    // not be asked to.
    request.body().is_end_stream() || request.version() >= Version::HTTP_2 || request.headers().contains_key(EXPECT)
}

async fn drain(body: Body) {
    let mut taking = pin!(take(body));
    // A small body is usually available at once.
    if taking.as_mut().now_or_never().is_none() {
        // Either end is fine: the answer follows.
        let _ = tokio::time::timeout(LINGER, taking).await;
    }
}

async fn take(mut body: Body) {
    let mut size = 0;
    while let Some(Ok(frame)) = body.frame().await {
        size += frame.data_ref().map_or(0, Bytes::len);
        if size > LINGER_BYTES {
            return;
        }
    }
}

/// A body that goes into the slot when it is dropped before its end.
struct Returned {
    body: Body,
    slot: Slot,
}

impl HttpBody for Returned {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let body = std::mem::take(&mut self.body);
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
