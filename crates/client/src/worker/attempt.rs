//! One attempt, from its claim to its outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::handler::{Attempt, Failure, Handler};
use super::held::{Held, Stops};
use super::settle::Ended;
use super::starts::Starts;
use crate::work::{ClaimedOperation, Outcome, Settlement};

/// Maximum size of an output that a server stores, in bytes.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// What the attempts of a worker have in common.
pub(super) struct Shared<H> {
    pub handler: H,
    pub held: Held,
    pub settle: mpsc::UnboundedSender<Ended>,
    pub starts: Starts,
    /// How long a cancelled handler may take to react before it is stopped.
    pub grace: Duration,
    /// Cancelled when the drain time is over.
    pub release: CancellationToken,
}

/// Why a handler was cancelled.
enum Why {
    TimedOut(Duration),
    Cancelled,
    LeaseLost,
    Released,
}

/// Runs a claimed operation and waits until its outcome is recorded.
pub(super) async fn run<H: Handler>(
    shared: Arc<Shared<H>>,
    claimed: ClaimedOperation,
    lease: Duration,
    place: OwnedSemaphorePermit,
) {
    let (lease, stops, progress) = shared.held.add(&claimed, lease);
    let attempt = Attempt {
        operation: claimed.operation,
        organization: claimed.organization,
        input: claimed.input.map(|input| input.get().to_owned()).unwrap_or_default(),
        number: claimed.attempt,
        traceparent: claimed.traceparent,
        cancelled: CancellationToken::new(),
        progress,
    };
    tracing::debug!(operation = lease.id, attempt = attempt.number, "attempt started");
    if let Some(outcome) = outcome(&shared, attempt, claimed.timeout, &stops).await {
        let settlement = Settlement {
            id: lease.id.clone(),
            lease_token: lease.token.clone(),
            organization: lease.organization.clone(),
            outcome: bounded(outcome),
        };
        let (ended, recorded) = Ended::new(settlement, place);
        // Heartbeats are still sent for it: the server may be away for a while.
        if shared.settle.send(ended).is_ok() {
            let _ = recorded.await;
        }
    }
    shared.held.remove(&lease);
}

/// The outcome of the attempt; `None` if it cannot be recorded because the lease was lost.
async fn outcome<H: Handler>(
    shared: &Arc<Shared<H>>,
    attempt: Attempt,
    limit: Duration,
    stops: &Stops,
) -> Option<Outcome> {
    let cancelled = attempt.cancelled.clone();
    let handles = Arc::clone(shared);
    // A separate task, so that a panic in a handler fails only the attempt.
    let mut task = tokio::spawn(async move { handles.handler.run(attempt).await });
    let why = tokio::select! {
        done = &mut task => {
            shared.starts.note(&done);
            return Some(done.map_or_else(|error| crashed(&error), from_result));
        }
        () = tokio::time::sleep(limit) => Why::TimedOut(limit),
        () = stops.lost.cancelled() => Why::LeaseLost,
        () = stops.cancel.cancelled() => Why::Cancelled,
        () = shared.release.cancelled() => Why::Released,
    };
    cancelled.cancel();
    let late = tokio::time::timeout(shared.grace, &mut task).await;
    if late.is_err() {
        task.abort();
    }
    match (why, late) {
        (Why::LeaseLost, _) => None,
        // It was done before it noticed the cancellation: the result is recorded.
        (Why::Cancelled | Why::Released, Ok(Ok(Ok(output)))) => Some(Outcome::Completed { output }),
        (Why::Cancelled, _) => Some(from_result(Err(Failure::permanent("cancelled")))),
        (Why::Released, _) => Some(Outcome::Released),
        (Why::TimedOut(limit), _) => {
            Some(from_result(Err(Failure::transient(format!("timed out after {} s", limit.as_secs_f64())))))
        }
    }
}

fn from_result(result: Result<String, Failure>) -> Outcome {
    match result {
        Ok(output) => Outcome::Completed { output },
        Err(Failure { not_started: true, .. }) => Outcome::Released,
        Err(Failure { message, retryable, .. }) => Outcome::Failed { error_message: message, retryable },
    }
}

fn crashed(error: &tokio::task::JoinError) -> Outcome {
    tracing::error!(%error, "a handler crashed");
    from_result(Err(Failure::transient("the handler crashed; see the worker's log")))
}

/// An output that the server would not store is not sent.
fn bounded(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Completed { output } if output.len() > MAX_OUTPUT_BYTES => {
            let length = output.len();
            let told = format!("the output is {length} bytes long; at most {MAX_OUTPUT_BYTES} are allowed");
            from_result(Err(Failure::permanent(told)))
        }
        outcome => outcome,
    }
}
