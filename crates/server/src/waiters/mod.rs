//! Workers that wait for work, in groups: workers that may get the same operations wait together, and one claim serves
//! them all.
//!
//! So groups query the store, not workers: a group is one API token with one set of kinds and, for tokens of the
//! instance, of organizations. A group checks the queue when a worker joins it, when there is new work (the wake-up is
//! registered before the check, so that no creation is missed), when something becomes due, and every [`POLL`] for what
//! other processes do without notifying this one; less often where it is notified. It never checks more often than
//! every [`PACE`].
//!
//! Each group is a task of its own, which ends when nobody waits in it, and no group waits for the check of another
//! one. Before a check it waits until its organization is scheduled: at most [`LOOKS`] groups check at a time, and at
//! most [`LOOKS_OF_ONE`] of one organization. How many workers may wait is bounded by organization and token.

mod delivery;
mod places;

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::Waker;
use futures_util::FutureExt;
use operations::Access;
use store::{ClaimRequest, Claimed, Organizations, Store, StoreError, Turn, Turns};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) use self::delivery::{Delivery, Guard, guarded};
use self::places::{Place, Places};
use crate::error::ApiError;
use crate::services::Services;

/// The time between two checks of a group that nothing wakes.
const POLL: Duration = Duration::from_secs(1);
/// The shortest time between two checks of a group, however often it is woken.
const PACE: Duration = Duration::from_millis(10);
/// How many groups check the queue at a time.
const LOOKS: usize = 4;
/// How many groups of one organization check the queue at a time.
const LOOKS_OF_ONE: usize = 2;
/// Operations of one claim. Each may bring 1 MiB of input, so this and [`LOOKS`] bound the memory of checks.
const BATCH: u32 = 32;
/// An answer with this many bytes of input gets no more operations.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Workers that may get the same operations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    /// What they may access in their organization; `None` for workers for several organizations.
    pub access: Option<Access>,
    /// The organizations whose operations the latter may get.
    pub among: Option<Organizations>,
    /// How the lease names its holder.
    pub worker: String,
    /// Sorted, so that one set is one group.
    pub kinds: Vec<String>,
}

impl Group {
    /// The name under which the group waits and is scheduled: that of its organization, or of its token.
    fn turn_of(&self) -> &str {
        self.access.as_ref().map_or(&self.worker, |access| &access.organization)
    }
}

type Reply = oneshot::Sender<Result<Delivery, Arc<StoreError>>>;

struct Waiter {
    limit: u32,
    since: Instant,
    until: Instant,
    reply: Reply,
    given: Vec<Claimed>,
    bytes: usize,
    /// Its slot among the calls that may wait.
    _place: Place,
}

impl Waiter {
    fn capacity(&self) -> u32 {
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
    /// Makes the group check as soon as its pace allows.
    fn wake(&mut self, now: Instant) {
        let soonest = self.looked_at.map_or(now, |last| (last + PACE).max(now));
        self.look_at = Some(self.look_at.map_or(soonest, |planned| planned.min(soonest)));
    }

    /// Takes in the waiters that have arrived.
    fn take_arrivals(&mut self, incoming: &mut mpsc::UnboundedReceiver<Waiter>) {
        while let Ok(waiter) = incoming.try_recv() {
            self.waiters.push_back(waiter);
            self.wake(Instant::now());
        }
    }

    /// When the wait of the first worker ends.
    fn ends_at(&self) -> Option<Instant> {
        self.waiters.iter().filter(|waiter| self.was_looked_for(waiter)).map(|waiter| waiter.until).min()
    }

    /// Whether there was a check since the worker came: a worker that wants an answer at once gets one, but not before
    /// a check.
    fn was_looked_for(&self, waiter: &Waiter) -> bool {
        self.looked_at.is_some_and(|at| at >= waiter.since)
    }

    /// Takes out the workers that have waited long enough or are gone.
    fn take_ended(&mut self, now: Instant) -> VecDeque<Waiter> {
        let waiters = std::mem::take(&mut self.waiters);
        let (ended, waiting) = waiters
            .into_iter()
            .partition(|waiter| waiter.reply.is_closed() || (waiter.until <= now && self.was_looked_for(waiter)));
        self.waiters = waiting;
        ended
    }
}

/// The groups. Dropping it ends them.
pub(crate) struct Waiters {
    desk: Arc<Desk>,
    _ends: DropGuard,
}

impl Waiters {
    pub(crate) fn new(services: &Services) -> Waiters {
        let stopped = services.shutdown.child_token();
        let desk = Desk {
            store: services.store.clone(),
            waker: services.waker.clone(),
            lease: services.settings.work.lease,
            turns: Turns::new(LOOKS, LOOKS_OF_ONE),
            places: Places::new(services.settings.max_waiting_claims),
            groups: Mutex::default(),
            stopped: stopped.clone(),
        };
        Waiters { desk: Arc::new(desk), _ends: stopped.drop_guard() }
    }

    /// Waits for up to `limit` operations, for `wait` at most; returns none when none became available, or the server
    /// is stopping.
    ///
    /// # Errors
    /// [`ApiError::TooManyWaiting`]; and when the store cannot be queried.
    pub(crate) async fn wait(&self, group: Group, limit: u32, wait: Duration) -> Result<Delivery, ApiError> {
        let place = self.desk.places.take(group.turn_of(), &group.worker).ok_or(ApiError::TooManyWaiting)?;
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        let waiter = Waiter { limit, since, until: since + wait, reply, given: Vec::new(), bytes: 0, _place: place };
        self.desk.join(group, waiter)?;
        let ended = |_| ApiError::Internal("the group ended".into());
        answer.await.map_err(ended)?.map_err(|error| match &*error {
            StoreError::Unavailable(_) => ApiError::Unavailable(error.to_string().into()),
            _ => ApiError::Internal(error.to_string().into()),
        })
    }
}

/// What the groups share.
struct Desk {
    store: Arc<dyn Store>,
    waker: Waker,
    lease: Duration,
    turns: Turns,
    places: Places,
    /// The entries of the groups, by which workers join them.
    groups: Mutex<HashMap<Group, Entry>>,
    /// Cancelled when the server stops: it assigns no more operations.
    stopped: CancellationToken,
}

/// The entry of a group, by which workers join it.
struct Entry {
    arrivals: mpsc::UnboundedSender<Waiter>,
    /// Its slot among the groups of its token.
    _place: Place,
}

/// The wait until a group may check the queue.
type Turning = Pin<Box<dyn Future<Output = Turn> + Send>>;

impl Desk {
    fn groups(&self) -> MutexGuard<'_, HashMap<Group, Entry>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a waiter into its group. The number of waiters is bounded by their slots, and so are the arrivals.
    fn join(self: &Arc<Desk>, group: Group, mut waiter: Waiter) -> Result<(), ApiError> {
        let mut groups = self.groups();
        if let Some(entry) = groups.get(&group) {
            match entry.arrivals.send(waiter) {
                Ok(()) => return Ok(()),
                // Its task has failed: a new one is started.
                Err(mpsc::error::SendError(returned)) => waiter = returned,
            }
            groups.remove(&group);
        }
        let place = self.places.take_group(&group.worker).ok_or(ApiError::TooManyWaiting)?;
        let (arrivals, incoming) = mpsc::unbounded_channel();
        // Nobody else has the receiver yet, so it receives what is sent.
        let _ = arrivals.send(waiter);
        groups.insert(group.clone(), Entry { arrivals, _place: place });
        tokio::spawn(Arc::clone(self).serve(group, incoming));
        Ok(())
    }

    /// Ends a group, unless a worker has joined it in the meantime.
    fn leave(&self, group: &Group, incoming: &mut mpsc::UnboundedReceiver<Waiter>, queue: &mut Queue) -> bool {
        let mut groups = self.groups();
        queue.take_arrivals(incoming);
        if queue.waiters.is_empty() {
            groups.remove(group);
        }
        queue.waiters.is_empty()
    }

    async fn serve(self: Arc<Desk>, group: Group, mut incoming: mpsc::UnboundedReceiver<Waiter>) {
        let mut wakes = self.waker.subscribe();
        let mut queue = Queue::default();
        let mut turning: Option<Turning> = None;
        queue.take_arrivals(&mut incoming);
        while !queue.waiters.is_empty() || !self.leave(&group, &mut incoming, &mut queue) {
            if turning.is_none() && queue.look_at.is_some_and(|at| at <= Instant::now()) {
                let (turns, organization) = (self.turns.clone(), group.turn_of().to_owned());
                turning = Some(Box::pin(async move { turns.take(&organization).await }));
            }
            let look_at = queue.look_at.filter(|_| turning.is_none());
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => self.answer_all(std::mem::take(&mut queue.waiters)),
                turn = given(&mut turning) => {
                    turning = None;
                    queue.take_arrivals(&mut incoming);
                    self.look_safely(&group, &mut queue).await;
                    drop(turn);
                }
                () = until(queue.ends_at()) => {}
                () = wakes.next() => queue.wake(Instant::now()),
                arrival = incoming.recv() => {
                    queue.waiters.extend(arrival);
                    queue.wake(Instant::now());
                    queue.take_arrivals(&mut incoming);
                }
                () = until(look_at) => {}
            }
            self.answer_all(queue.take_ended(Instant::now()));
        }
    }

    async fn look_safely(&self, group: &Group, queue: &mut Queue) {
        let now = Instant::now();
        queue.look_at = Some(now + self.store.commits().coverage().poll(POLL));
        queue.looked_at = Some(now);
        // A panic during a check is reported to the workers that wait in the group, and does not end the group.
        if AssertUnwindSafe(self.look(group, &mut queue.waiters)).catch_unwind().await.is_err() {
            tracing::error!("a claim panicked");
            queue.waiters.clear();
        }
    }

    /// Claims for the workers that wait in a group, first come, first served, and answers those that got operations.
    async fn look(&self, group: &Group, waiters: &mut VecDeque<Waiter>) {
        loop {
            // Waiters that are gone get nothing more.
            waiters.retain(|waiter| !waiter.reply.is_closed() || !waiter.given.is_empty());
            let wanted = waiters.iter().map(Waiter::capacity).fold(0, u32::saturating_add).min(BATCH);
            if wanted == 0 {
                break;
            }
            let request = ClaimRequest {
                kinds: group.kinds.clone(),
                access: group.access.clone(),
                among: group.among.clone(),
                limit: wanted,
                worker: group.worker.clone(),
                lease: self.lease,
            };
            let claimed = match self.store.claim(request).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    let error = Arc::new(error);
                    for waiter in waiters.drain(..) {
                        if waiter.given.is_empty() {
                            // A waiter that is gone does not need the answer.
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
                // A waiter that has many bytes already gets more only if no other can take them: every operation has a
                // taker.
                let index = waiters.iter().position(|waiter| waiter.capacity() > 0);
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
        // A waiter that is gone cannot take it: when dropped, the delivery releases the operations.
        let _ = waiter.reply.send(Ok(delivery));
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn given(turning: &mut Option<Turning>) -> Turn {
    match turning {
        Some(turning) => turning.await,
        None => std::future::pending().await,
    }
}
