//! Workers that wait for work, in lines: those that may have the same wait together, and one claim serves them all.
//!
//! So the store is asked by lines, not by workers: a line is one API token with one set of kinds. A line looks into the
//! queue when somebody joins it, when there is new work in this process (the wake-up is registered before the look, so
//! that no creation is slept over), and every [`POLL`]: other processes create too, and what waited out its backoff makes
//! no noise. It never looks more often than every [`PACE`], and at most [`LOOKS`] lines look at a time.
//!
//! One task does it all. It ends when [`Lines`] is dropped.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use engine::{Waker, Wakes};
use futures_util::{FutureExt, StreamExt, stream};
use operations::Access;
use store::{ClaimRequest, Claimed, Store, StoreError};
use tasks::supervise;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::Delivery;
use crate::error::ApiError;
use crate::services::Services;

/// Between two looks of a line where nothing wakes it.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks of a line at least, however often it is woken.
const PACE: Duration = Duration::from_millis(10);
/// Lines that look at a time.
const LOOKS: usize = 4;
/// Operations of one claim. Each may bring 1 MiB of input, so this and [`LOOKS`] bound the memory of looking.
const BATCH: u32 = 32;
/// An answer with so many bytes of input gets no more operations.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Workers that may wait to be put into a line; further ones wait for room.
const ARRIVALS: usize = 1024;

/// Those who may have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub access: Access,
    /// How the lease names its holder.
    pub worker: String,
    /// Sorted, so that one set is one line.
    pub kinds: Vec<String>,
}

type Reply = oneshot::Sender<Result<Delivery, Arc<StoreError>>>;

struct Waiter {
    limit: u32,
    since: Instant,
    until: Instant,
    reply: Reply,
    given: Vec<Claimed>,
    bytes: usize,
}

impl Waiter {
    fn room(&self) -> u32 {
        if self.bytes >= ANSWER_BYTES { 0 } else { self.places() }
    }

    fn places(&self) -> u32 {
        self.limit.saturating_sub(u32::try_from(self.given.len()).unwrap_or(u32::MAX))
    }

    fn give(&mut self, claimed: Claimed) {
        self.bytes += claimed.input.len();
        self.given.push(claimed);
    }
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    looked_at: Option<Instant>,
    look_at: Option<Instant>,
}

impl Queue {
    /// Makes the line look as soon as its pace allows.
    fn wake(&mut self, now: Instant) {
        let soonest = self.looked_at.map_or(now, |last| (last + PACE).max(now));
        self.look_at = Some(self.look_at.map_or(soonest, |planned| planned.min(soonest)));
    }

    /// When something is to be done for the line.
    fn due(&self) -> Option<Instant> {
        let ends = self.waiters.iter().filter(|waiter| self.was_looked_for(waiter)).map(|waiter| waiter.until);
        ends.chain(self.look_at).min()
    }

    /// Whether there was a look since the worker came: who wants an answer at once gets one, but not without a look.
    fn was_looked_for(&self, waiter: &Waiter) -> bool {
        self.looked_at.is_some_and(|at| at >= waiter.since)
    }

    /// Takes out those who have waited long enough or are gone.
    fn take_ended(&mut self, now: Instant) -> VecDeque<Waiter> {
        let waiters = std::mem::take(&mut self.waiters);
        let (ended, waiting) = waiters
            .into_iter()
            .partition(|waiter| waiter.reply.is_closed() || (waiter.until <= now && self.was_looked_for(waiter)));
        self.waiters = waiting;
        ended
    }
}

/// The lines. Dropping it ends them.
pub(crate) struct Lines {
    arrivals: mpsc::Sender<(Line, Waiter)>,
}

impl Lines {
    /// Starts the task.
    pub(crate) fn start(services: &Services) -> Lines {
        let (arrivals, incoming) = mpsc::channel(ARRIVALS);
        let desk =
            Desk { store: services.store.clone(), waker: services.waker.clone(), lease: services.settings.work.lease };
        let task = services.store.health().register("waiting_workers", None);
        let (wakes, shutdown) = (services.waker.subscribe(), services.shutdown.clone());
        tokio::spawn(async move {
            let (stop, sources) = (CancellationToken::new(), Mutex::new((wakes, incoming)));
            supervise(&task, &stop, || async {
                let (wakes, incoming) = &mut *sources.lock().await;
                serve(desk.clone(), wakes, incoming, shutdown.clone()).await;
                stop.cancel();
            })
            .await;
        });
        Lines { arrivals }
    }

    /// Waits for up to `limit` operations, for `wait` at most; answers none when none came, or the server is stopping.
    pub(super) async fn wait(&self, line: Line, limit: u32, wait: Duration) -> Result<Delivery, ApiError> {
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let waiter = Waiter { limit, since, until: since + wait, reply, given: Vec::new(), bytes: 0 };
        let ended = || ApiError::Internal("the line ended".into());
        self.arrivals.send((line, waiter)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(|error| match &*error {
            StoreError::Unavailable(_) => ApiError::Unavailable(error.to_string().into()),
            _ => ApiError::Internal(error.to_string().into()),
        })
    }
}

/// What looking takes.
#[derive(Clone)]
struct Desk {
    store: Arc<dyn Store>,
    waker: Waker,
    lease: Duration,
}

async fn serve(
    desk: Desk,
    wakes: &mut Wakes,
    incoming: &mut mpsc::Receiver<(Line, Waiter)>,
    shutdown: CancellationToken,
) {
    let mut lines: HashMap<Line, Queue> = HashMap::new();
    loop {
        let due = lines.values().filter_map(Queue::due).min();
        tokio::select! {
            arrival = incoming.recv() => {
                let Some(arrival) = arrival else { return };
                let now = Instant::now();
                let others = std::iter::from_fn(|| incoming.try_recv().ok());
                for (line, waiter) in std::iter::once(arrival).chain(others) {
                    let queue = lines.entry(line).or_default();
                    queue.waiters.push_back(waiter);
                    queue.wake(now);
                }
            }
            () = wakes.next() => {
                let now = Instant::now();
                lines.values_mut().for_each(|queue| queue.wake(now));
            }
            () = until(due) => {}
            // A server that stops gives nothing away any more.
            () = shutdown.cancelled(), if !lines.is_empty() => {
                lines.drain().for_each(|(_, queue)| desk.answer_all(queue.waiters));
                continue;
            }
        }
        let now = Instant::now();
        let looking = lines.iter_mut().filter(|(_, queue)| queue.look_at.is_some_and(|at| at <= now));
        stream::iter(looking)
            .for_each_concurrent(LOOKS, async |(line, queue)| {
                queue.look_at = Some(now + POLL);
                queue.looked_at = Some(now);
                // A defect in a look is told to those who wait in the line, and is not the end of all lines.
                if AssertUnwindSafe(desk.look(line, &mut queue.waiters)).catch_unwind().await.is_err() {
                    tracing::error!("a claim panicked");
                    queue.waiters.clear();
                }
            })
            .await;
        let now = Instant::now();
        lines.retain(|_, queue| {
            desk.answer_all(queue.take_ended(now));
            !queue.waiters.is_empty()
        });
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Desk {
    /// Claims for those who wait in a line, first come, first served, and answers those who got something.
    async fn look(&self, line: &Line, waiters: &mut VecDeque<Waiter>) {
        loop {
            // Who is gone gets nothing any more.
            waiters.retain(|waiter| !waiter.reply.is_closed() || !waiter.given.is_empty());
            let wanted = waiters.iter().map(Waiter::room).fold(0, u32::saturating_add).min(BATCH);
            if wanted == 0 {
                break;
            }
            let request = ClaimRequest {
                kinds: line.kinds.clone(),
                access: Some(line.access.clone()),
                limit: wanted,
                worker: line.worker.clone(),
                lease: self.lease,
            };
            let claimed = match self.store.claim(request).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    let error = Arc::new(error);
                    for waiter in waiters.drain(..) {
                        if waiter.given.is_empty() {
                            // Who is gone does not want to know.
                            let _ = waiter.reply.send(Err(error.clone()));
                        } else {
                            self.answer(waiter);
                        }
                    }
                    return;
                }
            };
            let is_empty = claimed.len() < wanted as usize;
            for claimed in claimed {
                // Who has many bytes already takes more only if nobody else can: there is a place for each.
                let index = waiters.iter().position(|waiter| waiter.room() > 0);
                let index = index.or_else(|| waiters.iter().position(|waiter| waiter.places() > 0));
                if let Some(waiter) = index.and_then(|index| waiters.get_mut(index)) {
                    waiter.give(claimed);
                }
            }
            if is_empty {
                break;
            }
        }
        let (served, waiting) =
            std::mem::take(waiters).into_iter().partition::<VecDeque<_>, _>(|waiter| !waiter.given.is_empty());
        *waiters = waiting;
        self.answer_all(served);
    }

    fn answer_all(&self, waiters: VecDeque<Waiter>) {
        waiters.into_iter().for_each(|waiter| self.answer(waiter));
    }

    fn answer(&self, waiter: Waiter) {
        let delivery = Delivery::new(self.store.clone(), self.waker.clone(), waiter.given);
        // Who is gone cannot take it: dropped, the delivery hands the operations back.
        let _ = waiter.reply.send(Ok(delivery));
    }
}
