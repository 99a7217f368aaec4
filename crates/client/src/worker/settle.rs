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
    /// Its place among the attempts that run at the same time, unless it was given to another one.
    place: Option<OwnedSemaphorePermit>,
    /// Its place among the outcomes that wait without one.
    without: Option<OwnedSemaphorePermit>,
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
        let place = Some(place);
        (Ended { settlement, place, without: None, is_alone: false, is_replaced: false, _done: done }, recorded)
    }

    /// Gives the place to another attempt, unless too many have done so.
    fn give_place(&mut self, without: &Arc<Semaphore>) {
        if self.without.is_none()
            && let Ok(place) = Arc::clone(without).try_acquire_owned()
        {
            self.without = Some(place);
            self.place = None;
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
/// cannot be reached, it keeps trying, until `give_up`; in the second case, what comes in meanwhile does not wait for that.
/// As many as `places` may wait without a place.
pub(super) async fn record(
    client: Client,
    mut incoming: mpsc::UnboundedReceiver<Ended>,
    places: usize,
    give_up: CancellationToken,
) {
    let without = Arc::new(Semaphore::new(places));
    let (mut queue, mut later) = (VecDeque::new(), Later::new());
    let mut is_open = true;
    while is_open || !queue.is_empty() || !later.waiting.is_empty() {
        while let Ok(ended) = incoming.try_recv() {
            queue.push_back(ended);
        }
        if give_up.is_cancelled() || later.until <= Instant::now() {
            queue.append(&mut later.waiting);
        } else if later.is_away {
            later.waiting.append(&mut queue);
        }
        let batch = batch(&mut queue);
        if batch.is_empty() {
            tokio::select! {
                ended = incoming.recv(), if is_open => {
                    is_open = ended.is_some();
                    queue.extend(ended);
                }
                () = tokio::time::sleep_until(later.until), if !later.waiting.is_empty() => {}
                () = give_up.cancelled(), if !later.waiting.is_empty() => {}
            }
            continue;
        }
        let attempts = batch.len();
        let sent = tokio::select! {
            sent = settle(&client, batch) => sent,
            () = give_up.cancelled() => {
                tracing::warn!(attempts, "outcomes could not be recorded; the leases will expire");
                continue;
            }
        };
        match sent {
            Sent::Answered => later.answered(),
            Sent::Changed(outcomes) => queue.extend(outcomes),
            Sent::Unavailable(mut outcomes, pause) => {
                outcomes.iter_mut().for_each(|ended| ended.give_place(&without));
                later.add(outcomes, pause);
                later.is_away = false;
            }
            Sent::Away(outcomes, pause) => {
                later.add(outcomes, pause);
                later.is_away = true;
            }
        }
    }
}

/// Takes as many outcomes as one call may have.
fn batch(queue: &mut VecDeque<Ended>) -> Vec<Ended> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(ended) = queue.pop_front_if(|ended| {
        let fits = !ended.is_alone && batch.len() < MAX_ROWS && bytes + ended.bytes() <= MAX_BYTES;
        batch.is_empty() || fits
    }) {
        bytes += ended.bytes();
        let is_alone = ended.is_alone;
        batch.push(ended);
        if is_alone {
            break;
        }
    }
    batch
}

/// What became of a call.
enum Sent {
    /// The server has answered about all outcomes.
    Answered,
    /// The server refused the call: these are sent instead, at once.
    Changed(Vec<Ended>),
    /// The server answered that it cannot reach what these are about.
    Unavailable(Vec<Ended>, Option<Duration>),
    /// The server did not answer, or has too much to do; it may have asked for a pause.
    Away(Vec<Ended>, Option<Duration>),
}

/// Outcomes that are to be sent again after a pause.
struct Later {
    waiting: VecDeque<Ended>,
    until: Instant,
    /// How many pauses in a row there were.
    failures: u32,
    /// Whether the pause is one for the whole server.
    is_away: bool,
}

impl Later {
    fn new() -> Later {
        Later { waiting: VecDeque::new(), until: Instant::now(), failures: 0, is_away: false }
    }

    /// What fails during a pause waits for its end, and does not prolong it.
    fn add(&mut self, outcomes: Vec<Ended>, asked: Option<Duration>) {
        let now = Instant::now();
        let is_pausing = !self.waiting.is_empty() && self.until > now;
        self.waiting.extend(outcomes);
        if !is_pausing {
            self.until = now + pause(asked, self.failures);
            self.failures = self.failures.saturating_add(1);
        }
    }

    fn answered(&mut self) {
        self.is_away = false;
        if self.waiting.is_empty() {
            self.failures = 0;
        }
    }
}

/// Whether something between answered, such as a proxy that does not find the server for a moment. One that refuses so
/// large a body would do so again.
pub(super) fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::Unexpected { http_status, .. } if *http_status >= 300 && *http_status != 413)
}

/// Settles a batch in one call. If the server refuses the call as a whole, each outcome is to be sent alone, so that one
/// bad outcome does not affect the others.
async fn settle(client: &Client, batch: Vec<Ended>) -> Sent {
    let rows: Vec<Settlement> = batch.iter().map(|ended| ended.settlement.clone()).collect();
    let error = match client.settle_once(&rows).await {
        Ok(answer) => {
            let mut unavailable = Vec::new();
            for (ended, row) in batch.into_iter().zip(answer.value.results) {
                match (row.error, row.status) {
                    (Some(refusal), _) if refusal.code == UNAVAILABLE => unavailable.push(ended),
                    // After a broken connection, the first request may have been the one that counted.
                    (Some(refusal), _) => {
                        tracing::warn!(operation = row.id, refusal = refusal.message, "the outcome was refused");
                    }
                    (None, status) => tracing::debug!(operation = row.id, status, "the attempt ended"),
                }
            }
            return if unavailable.is_empty() { Sent::Answered } else { Sent::Unavailable(unavailable, None) };
        }
        Err(error) => error,
    };
    if error.is_transient() || is_foreign(&error) {
        tracing::warn!(%error, attempts = batch.len(), "could not record outcomes; trying again");
        let refusal = error.refusal();
        let pause = refusal.and_then(|refusal| refusal.retry_after);
        return match refusal.and_then(|refusal| refusal.reason()) {
            Some("UNAVAILABLE") => Sent::Unavailable(batch, pause),
            _ => Sent::Away(batch, pause),
        };
    }
    if batch.len() == 1 {
        return Sent::Changed(batch.into_iter().filter_map(|ended| ended.replaced(&error)).collect());
    }
    tracing::warn!(%error, attempts = batch.len(), "outcomes were refused together; sending them one by one");
    Sent::Changed(batch.into_iter().map(|ended| Ended { is_alone: true, ..ended }).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ended(id: &str, output: usize) -> Ended {
        let settlement = Settlement {
            id: id.to_owned(),
            lease_token: "t".to_owned(),
            organization: "acme".to_owned(),
            outcome: Outcome::Completed { output: "x".repeat(output) },
        };
        Ended::new(settlement, Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()).0
    }

    fn ids(batch: &[Ended]) -> Vec<&str> {
        batch.iter().map(|ended| ended.settlement.id.as_str()).collect()
    }

    #[test]
    fn a_call_has_what_fits_and_what_is_alone_has_one_of_its_own() {
        let mut queue: VecDeque<Ended> = [ended("a", 10), ended("b", MAX_BYTES), ended("c", 1), ended("d", 1)].into();
        queue[3].is_alone = true;
        let mut batches = Vec::new();
        while !queue.is_empty() {
            batches.push(batch(&mut queue));
        }
        let batches: Vec<_> = batches.iter().map(|batch| ids(batch)).collect();
        assert_eq!(batches, [vec!["a"], vec!["b"], vec!["c"], vec!["d"]]);
        let mut many: VecDeque<Ended> = (0..=MAX_ROWS).map(|_| ended("a", 0)).collect();
        assert_eq!((batch(&mut many).len(), batch(&mut many).len()), (MAX_ROWS, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_during_a_pause_does_not_prolong_it() {
        let mut later = Later::new();
        later.add(vec![ended("a", 0)], None);
        let until = later.until;
        for _ in 0..20 {
            later.add(vec![ended("b", 0)], None);
        }
        assert_eq!((later.until, later.failures, later.waiting.len()), (until, 1, 21));
        tokio::time::sleep_until(until).await;
        later.waiting.clear();
        later.add(vec![ended("a", 0)], None);
        assert!(later.until > until && later.failures == 2, "the next pause is longer");
        later.waiting.clear();
        later.answered();
        assert_eq!(later.failures, 0);
    }
}
