//! Claimed operations on their way to a worker. Operations that do not arrive are released.
//!
//! Otherwise, a worker that disconnected while it waited would hold operations until their leases end, and an attempt
//! would be charged for each. From the claim on they belong to a [`Delivery`], which releases them when it is dropped:
//! with the request that was broken off, or with a body that the connection did not accept to its end. This does not
//! cover operations that the connection accepted and the network lost: their leases end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use engine::Waker;
use hyper::body::{Frame, SizeHint};
use operations::Refusal;
use store::{Claimed, LeaseRef, Store};

use crate::error::BoxError;

/// The body is passed to the connection in pieces of this size, so that a connection that accepts no more is noticed.
const PIECE_BYTES: usize = 64 * 1024;

/// Operations that were claimed for a worker and have not arrived.
pub(crate) struct Delivery {
    claimed: Vec<Claimed>,
    undelivered: Undelivered,
}

impl Delivery {
    pub fn new(store: Arc<dyn Store>, waker: Waker, claimed: Vec<Claimed>) -> Delivery {
        let leases = claimed.iter().map(|claimed| claimed.lease.clone()).collect();
        Delivery { claimed, undelivered: Undelivered { leases, store, waker } }
    }

    pub fn claimed(&self) -> &[Claimed] {
        &self.claimed
    }

    /// Releases all but the first operations of this number.
    pub fn keep(&mut self, first: usize) {
        self.claimed.truncate(first);
        let rest = self.undelivered.leases.split_off(self.claimed.len());
        let Undelivered { store, waker, .. } = &self.undelivered;
        drop(Undelivered { leases: rest, store: store.clone(), waker: waker.clone() });
    }

    /// A guard that releases them unless they arrive: for a body that another part writes ([`guarded`]).
    pub fn into_guard(self) -> Guard {
        Guard(Arc::new(Mutex::new(Some(self.undelivered))))
    }

    /// The body that delivers them: `json` describes them.
    pub fn into_body(self, json: Vec<u8>) -> Body {
        Body::new(DeliveryBody { left: json.into(), undelivered: self.undelivered })
    }
}

/// Leases that are released when this is dropped.
struct Undelivered {
    leases: Vec<LeaseRef>,
    store: Arc<dyn Store>,
    waker: Waker,
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        let leases = std::mem::take(&mut self.leases);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if leases.is_empty() {
            return;
        }
        let (store, waker) = (self.store.clone(), self.waker.clone());
        runtime.spawn(async move {
            let operations = leases.len();
            match store.release(leases).await {
                Ok(results) => {
                    let kept = results.iter().filter(|result| **result == Err(Refusal::Unavailable)).count();
                    tracing::info!(
                        operations,
                        kept,
                        "operations did not reach the worker that claimed them; they were released, but for those kept, \
                         whose leases will run out"
                    );
                    waker.wake();
                }
                Err(error) => {
                    tracing::warn!(%error, operations, "operations did not reach the worker that claimed them; their leases will run out");
                }
            }
        });
    }
}

/// Claimed operations that are in an answer; travels with it as an extension.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Mutex<Option<Undelivered>>>);

/// A body that delivers claimed operations, written by another part: once the connection has accepted it to its end,
/// the operations have arrived.
pub(crate) fn guarded(body: Body, guard: Guard) -> Body {
    let undelivered = guard.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    Body::new(GuardedBody { body, undelivered })
}

struct GuardedBody {
    body: Body,
    undelivered: Option<Undelivered>,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(context));
        let has_ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers() || self.body.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if let Some(undelivered) = self.undelivered.as_mut().filter(|_| has_ended) {
            undelivered.leases.clear();
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct DeliveryBody {
    left: Bytes,
    undelivered: Undelivered,
}

impl HttpBody for DeliveryBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(length);
        if self.left.is_empty() {
            self.undelivered.leases.clear();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
