//! One attempt, from its claim to its outcome.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use operations::{Outcome, Refusal};
use store::{Claimed, LeaseRef, Settlement, StoreError};
use tasks::after_stop;
use tokio_util::sync::CancellationToken;

use crate::capacity::Reserved;
use crate::context::Context;
use crate::held::Stops;
use crate::{Attempt, Failure};

/// The wait between two tries to record an outcome. The lease is renewed meanwhile.
const SETTLE_RETRY: Duration = Duration::from_millis(500);
/// How many times the store may refuse to record an outcome, although it is available, before the attempt is recorded as
/// failed instead; and how many times it may refuse that before the attempt is left to the end of its lease.
const SETTLE_TRIES: u32 = 5;
/// What is recorded for an outcome that the store refuses.
const NOT_RECORDED: &str = "the outcome could not be recorded; see the server's log for details";
/// How long a handler that was cancelled may take to notice before it is abandoned.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// The longest time that a handler may ask the next attempt to wait: it may merely pass on what a third party sent.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// How the run of a handler ended.
enum Ended {
    With(Result<String, Failure>),
    TimedOut(Duration),
    Cancelled,
    LeaseLost,
    Released,
}

/// Starts an attempt that was claimed, on a task of its own, with the capacity that was reserved for it. An attempt
/// without capacity, or one that comes when nothing more is to be started, is released.
pub(crate) fn start(context: &Arc<Context>, claimed: Claimed, reserved: Option<Reserved>) {
    // Heartbeats begin before the attempt starts, so that a slow start cannot lose the lease.
    let stops = context.held.add(&claimed.lease);
    let task_context = Arc::clone(context);
    let reserved = reserved.filter(|_| !context.stop_claiming.is_cancelled());
    context.attempts.spawn(async move {
        let Some(reserved) = reserved else {
            release(&task_context, &claimed.lease).await;
            task_context.held.remove(&claimed.lease);
            return;
        };
        attempt(&task_context, claimed, stops).await;
        let is_of_limited_kind = reserved.is_of_limited_kind();
        drop(reserved);
        if is_of_limited_kind {
            // The loop may sleep although slots are free, since this kind had none. There is no new work for others.
            task_context.waker.wake_engine();
        }
    });
}

/// Runs a claimed operation and records its outcome, unless the lease is lost.
async fn attempt(context: &Context, claimed: Claimed, stops: Stops) {
    let lease = claimed.lease.clone();
    let number = claimed.attempt;
    let mut retry_after = context.backoff(&claimed.operation.kind).delay(number, rand::random());
    tracing::debug!(operation = %lease.id, attempt = number, "attempt started");
    let ended = run(context, claimed, &stops).await;
    let outcome = match ended {
        Ended::With(Ok(output)) if output.len() > operations::MAX_INLINE_BYTES => Some(Outcome::Failed {
            message: format!(
                "the output is {} bytes long; at most {} are kept",
                output.len(),
                operations::MAX_INLINE_BYTES
            ),
            retryable: false,
        }),
        Ended::With(Ok(output)) => Some(Outcome::Completed { output }),
        Ended::With(Err(Failure { message, retryable, retry_after: asked })) => {
            retry_after = retry_after.max(asked.unwrap_or_default().min(LONGEST_ASKED));
            Some(Outcome::Failed { message, retryable })
        }
        Ended::TimedOut(limit) => {
            Some(Outcome::Failed { message: format!("timed out after {} s", limit.as_secs_f64()), retryable: true })
        }
        Ended::Cancelled => Some(Outcome::Failed { message: "cancelled".to_owned(), retryable: false }),
        Ended::LeaseLost => {
            tracing::warn!(operation = %lease.id, attempt = number, "the lease was lost; the result is not recorded");
            None
        }
        Ended::Released => {
            release(context, &lease).await;
            None
        }
    };
    if let Some(outcome) = outcome {
        let settlement = Settlement { lease: lease.clone(), outcome, retry_after };
        settle(context, settlement, &stops.lost).await;
    }
    context.held.remove(&lease);
}

async fn run(context: &Context, claimed: Claimed, stops: &Stops) -> Ended {
    let kind = &claimed.operation.kind;
    let Some(handler) = context.registry.get(kind) else {
        return Ended::With(Err(Failure::transient(format!("this server does not run the kind {kind:?}"))));
    };
    let of_kind = context.registry.limits(kind).timeout;
    let limit = claimed.timeout.or(of_kind).unwrap_or(context.settings.attempt_timeout);
    let cancelled = CancellationToken::new();
    let trace = context.trace_of(&claimed).await;
    let attempt = Attempt {
        organization: claimed.lease.organization,
        operation: claimed.operation,
        input: claimed.input,
        number: claimed.attempt,
        trace,
        cancelled: cancelled.clone(),
        progress: stops.progress.clone(),
    };
    // A task of its own, so that a panic in a handler fails the attempt and affects nothing else.
    let mut task = tokio::spawn(async move { handler.run(attempt).await });
    let ended = tokio::select! {
        done = &mut task => return Ended::With(done.unwrap_or_else(|error| Err(panicked(error)))),
        () = tokio::time::sleep(limit) => Ended::TimedOut(limit),
        () = stops.lost.cancelled() => Ended::LeaseLost,
        () = stops.cancel.cancelled() => Ended::Cancelled,
        () = context.release.cancelled() => Ended::Released,
    };
    cancelled.cancel();
    match tokio::time::timeout(CANCEL_GRACE, &mut task).await {
        // Somebody cancelled it, and it finished before it noticed: its output is recorded.
        Ok(Ok(Ok(output))) if matches!(ended, Ended::Cancelled) => return Ended::With(Ok(output)),
        Ok(_) => {}
        Err(_) => task.abort(),
    }
    ended
}

fn panicked(error: tokio::task::JoinError) -> Failure {
    let text = match error.try_into_panic() {
        Ok(payload) => panic_text(payload.as_ref()).to_owned(),
        Err(_) => "the task was stopped".to_owned(),
    };
    tracing::error!(panic = text, "a handler panicked");
    Failure::transient("the handler crashed; see the server's log for details")
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Records the outcome, however long the store is unavailable, unless the lease is lost meanwhile. When the store refuses
/// it for another reason, again and again, the attempt is recorded as failed; when it refuses that as well, nothing is
/// recorded, and the caller lets the lease run out.
async fn settle(context: &Context, mut settlement: Settlement, lost: &CancellationToken) {
    let operation = settlement.lease.id;
    let (mut refused, mut is_replaced) = (0, false);
    loop {
        let settled = tokio::select! {
            settled = context.store.settle(vec![settlement.clone()]) => settled,
            // A store that does not answer must not delay the end of the process.
            () = after_stop(&context.release) => return,
        };
        match settled {
            Ok(results) => {
                match results.first() {
                    Some(Ok(status)) => tracing::debug!(%operation, %status, "attempt ended"),
                    Some(Err(refusal)) => tracing::warn!(%operation, %refusal, "the outcome was refused"),
                    None => {}
                }
                return;
            }
            Err(error) => {
                refused += u32::from(!matches!(error, StoreError::Unavailable(_)));
                let error = &error as &dyn std::error::Error;
                if refused < SETTLE_TRIES {
                    tracing::error!(%operation, error, "could not record the outcome; trying again");
                } else if is_replaced {
                    tracing::error!(%operation, error, "could not record the outcome; the lease will run out");
                    return;
                } else {
                    tracing::error!(%operation, error, "could not record the outcome; recording a failure instead");
                    settlement.outcome = Outcome::Failed { message: NOT_RECORDED.to_owned(), retryable: false };
                    (refused, is_replaced) = (0, true);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SETTLE_RETRY) => {}
            () = lost.cancelled() => return,
            // At the end of the drain time the lease runs out and the attempt is repeated elsewhere.
            () = context.release.cancelled() => return,
        }
    }
}

async fn release(context: &Context, lease: &LeaseRef) {
    let result: Result<_, StoreError> = tokio::select! {
        result = context.store.release(vec![lease.clone()]) => result,
        () = after_stop(&context.release) => Err(StoreError::Unavailable("the store did not answer in time".to_owned())),
    };
    match result.as_deref() {
        Ok([Ok(())]) => tracing::info!(operation = %lease.id, "released"),
        Ok([Err(Refusal::StaleLease)]) => {}
        other => {
            tracing::warn!(operation = %lease.id, ?other, "could not release the operation; its lease will run out")
        }
    }
}
