//! Records outcomes: all that are ready go into one call.
//!
//! An outcome is sent until the server has answered about it. An attempt keeps its place among those that run at the same
//! time until then, but when the server can say nothing about it now, its place is given to others: the data of one
//! organization that cannot be reached must not stop a worker for many. No more places are given away than there are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::Error;
use crate::retry::pause;
use crate::work::{Outcome, Settlement};

/// Maximum number of settlements per call.
const MAX_ROWS: usize = 100;
/// Maximum total size of outputs per call, so that the call stays below the server's limit for a body. A single output
/// may have this size too.
const MAX_BYTES: usize = 1024 * 1024;
/// The code of `google.rpc.Code` of a row that can be sent again.
const UNAVAILABLE: i32 = 14;

/// An attempt that has ended. When this is dropped, nothing more has to be done for it.
pub(super) struct Ended {
    settlement: Settlement,
    /// Its place among the attempts that run at the same time; then, if it was given away, among those without one.
    place: OwnedSemaphorePermit,
    /// Whether it must be sent alone, since the server refused a call that it was in.
    is_alone: bool,
    /// Whether the server refused the outcome, and the settlement says so instead.
    is_replaced: bool,
    _done: oneshot::Sender<()>,
}

impl Ended {
    /// The receiver is notified when nothing more has to be done.
    pub(super) fn new(settlement: Settlement, place: OwnedSemaphorePermit) -> (Ended, oneshot::Receiver<()>) {
        let (done, recorded) = oneshot::channel();
        (Ended { settlement, place, is_alone: false, is_replaced: false, _done: done }, recorded)
    }

    /// Gives the place to another attempt, unless too many have done so.
    fn give_place(&mut self, without: &Arc<Semaphore>) {
        if !Arc::ptr_eq(self.place.semaphore(), without)
            && let Ok(place) = Arc::clone(without).try_acquire_owned()
        {
            self.place = place;
        }
    }

    fn bytes(&self) -> usize {
        match &self.settlement.outcome {
            Outcome::Completed { output } => output.len(),
            Outcome::Failed { error_message, .. } => error_message.len(),
            Outcome::Released => 0,
        }
    }

    /// What is sent after the server has refused the outcome: a failure that says so. If that is refused too, nothing,
    /// and the lease expires.
    fn replaced(mut self, error: &Error) -> Option<Ended> {
        let operation = &self.settlement.id;
        let what = match self.settlement.outcome {
            Outcome::Completed { .. } => "output",
            Outcome::Failed { .. } if !self.is_replaced => "error message",
            Outcome::Failed { .. } | Outcome::Released => {
                tracing::error!(%error, operation, "the outcome cannot be recorded; the lease will expire");
                return None;
            }
        };
        tracing::error!(%error, operation, "the {what} was refused");
        let error_message = format!("the {what} was refused: {error}");
        self.settlement.outcome = Outcome::Failed { error_message, retryable: false };
        self.is_replaced = true;
        Some(self)
    }
}

/// Records incoming outcomes until the other side is closed. While the server is away, or the data of an organization
/// cannot be reached, it keeps trying, until `give_up`; what comes in meanwhile does not wait for that. As many as
/// `places` may wait without a place.
pub(super) async fn record(
    client: Client,
    mut incoming: mpsc::UnboundedReceiver<Ended>,
    places: usize,
    give_up: CancellationToken,
) {
    let without = Arc::new(Semaphore::new(places));
    let (mut next, mut later) = (None, Later::default());
    let mut is_open = true;
    while is_open || next.is_some() || !later.waiting.is_empty() {
        if next.is_none() {
            tokio::select! {
                ended = incoming.recv(), if is_open => {
                    is_open = ended.is_some();
                    next = ended;
                }
                () = later.is_due(), if !later.waiting.is_empty() => {}
                () = give_up.cancelled(), if !later.waiting.is_empty() => {}
            }
        }
        let batch = match next {
            Some(_) => batch(&mut next, || incoming.try_recv().ok()),
            None => {
                let mut first = later.waiting.pop_front();
                let batch = batch(&mut first, || later.waiting.pop_front());
                later.waiting.extend(first);
                batch
            }
        };
        if batch.is_empty() {
            continue;
        }
        let attempts = batch.len();
        tokio::select! {
            mut again = settle(&client, batch) => {
                if again.is_unavailable {
                    again.outcomes.iter_mut().for_each(|ended| ended.give_place(&without));
                }
                later.add(again);
            }
            () = give_up.cancelled() => {
                tracing::warn!(attempts, "outcomes could not be recorded; the leases will expire");
            }
        }
    }
}

/// As many outcomes as one call may have; one that does not fit stays in `next`.
fn batch(next: &mut Option<Ended>, mut more: impl FnMut() -> Option<Ended>) -> Vec<Ended> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(ended) = next.take() {
        let is_first = batch.is_empty();
        if !is_first && (ended.is_alone || batch.len() == MAX_ROWS || bytes + ended.bytes() > MAX_BYTES) {
            *next = Some(ended);
            break;
        }
        bytes += ended.bytes();
        let is_alone = ended.is_alone;
        batch.push(ended);
        if is_alone || batch.len() == MAX_ROWS {
            break;
        }
        *next = more();
    }
    batch
}

/// Outcomes that are to be sent again.
struct Again {
    outcomes: Vec<Ended>,
    /// The pause before; `None`: a growing one.
    pause: Option<Duration>,
    /// Whether the server answered that it cannot reach what they are about.
    is_unavailable: bool,
}

/// Outcomes that wait to be sent again.
#[derive(Default)]
struct Later {
    waiting: VecDeque<Ended>,
    /// How many calls in a row could not record all that they sent.
    failures: u32,
    at: Option<Instant>,
}

impl Later {
    fn add(&mut self, again: Again) {
        if !again.outcomes.is_empty() {
            self.waiting.extend(again.outcomes);
            self.at = Some(Instant::now() + pause(again.pause, self.failures));
            self.failures = self.failures.saturating_add(1);
        } else if self.waiting.is_empty() {
            self.failures = 0;
        }
    }

    async fn is_due(&self) {
        if let Some(at) = self.at {
            tokio::time::sleep_until(at).await;
        }
    }
}

/// Whether something between answered, such as a proxy that does not find the server for a moment. One that refuses so
/// large a body would do so again.
pub(super) fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::Unexpected { http_status, .. } if *http_status >= 300 && *http_status != 413)
}

/// Settles a batch in one call; returns what remains to be sent. If the server refuses the call as a whole, that is each
/// outcome alone, so that one bad outcome does not affect the others.
async fn settle(client: &Client, batch: Vec<Ended>) -> Again {
    let rows: Vec<Settlement> = batch.iter().map(|ended| ended.settlement.clone()).collect();
    let error = match client.settle(&rows).await {
        Ok(answer) => {
            let mut outcomes = Vec::new();
            for (ended, row) in batch.into_iter().zip(answer.value.results) {
                match (row.error, row.status) {
                    (Some(refusal), _) if refusal.code == UNAVAILABLE => outcomes.push(ended),
                    // After a broken connection, the first request may have been the one that counted.
                    (Some(refusal), _) => {
                        tracing::warn!(operation = row.id, refusal = refusal.message, "the outcome was refused");
                    }
                    (None, status) => tracing::debug!(operation = row.id, status, "the attempt ended"),
                }
            }
            return Again { outcomes, pause: None, is_unavailable: true };
        }
        Err(error) => error,
    };
    if error.is_transient() || is_foreign(&error) {
        tracing::warn!(%error, attempts = batch.len(), "could not record outcomes; trying again");
        let refusal = error.refusal();
        let is_unavailable = refusal.is_some_and(|refusal| refusal.reason() == Some("UNAVAILABLE"));
        return Again { outcomes: batch, pause: refusal.and_then(|refusal| refusal.retry_after), is_unavailable };
    }
    let outcomes = if batch.len() > 1 {
        tracing::warn!(%error, attempts = batch.len(), "outcomes were refused together; sending them one by one");
        batch.into_iter().map(|ended| Ended { is_alone: true, ..ended }).collect()
    } else {
        batch.into_iter().filter_map(|ended| ended.replaced(&error)).collect()
    };
    Again { outcomes, pause: Some(Duration::ZERO), is_unavailable: false }
}
