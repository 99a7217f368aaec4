//! The loop: claim what is due, as much as the limits leave capacity for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use operations::backoff::Backoff;
use store::{ClaimRequest, Claimed, SAFETY_POLL, Store, StoreError};
use tasks::{Health, ROUND_LIMIT, Task, after_stop, supervise};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limiter::{ClaimBudget, KindLimiters};
use crate::maintenance::{self, heartbeats::Held};
use crate::{Registry, Settings, run};

/// Attempts that are claimed at once at most; one claim is one transaction.
const CLAIM_LIMIT: usize = 100;
/// The wait after a claim failed; the store may be away.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

/// Tells the engine of this process, and whoever else takes from the queue here, that there is new work. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Woken>);

#[derive(Debug, Default)]
struct Woken {
    engine: Notify,
    /// What the engine runs.
    kinds: Vec<String>,
    /// Somebody wants an operation stopped.
    heartbeats: Notify,
    /// How often there was new work.
    others: watch::Sender<u64>,
}

impl Waker {
    /// Makes the engine and the subscribers look into the queue now. Calls while they look are remembered (as one).
    pub fn wake(&self) {
        self.0.engine.notify_one();
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// The same for new work of one kind: the engine looks only if it runs that kind.
    pub fn created(&self, kind: &str) {
        if self.0.kinds.iter().any(|known| known == kind) {
            self.0.engine.notify_one();
        }
        self.0.others.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Has the engine of this process learn now, and not at its next heartbeat, what it is asked to stop.
    pub fn cancelled(&self) {
        self.0.heartbeats.notify_one();
    }

    /// Tells of [`Waker::cancelled`].
    pub(crate) fn cancelled_signal(&self) -> &Notify {
        &self.0.heartbeats
    }

    /// Wake-ups from now on, for those who take from the queue beside the engine.
    pub fn subscribe(&self) -> Wakes {
        Wakes(self.0.others.subscribe())
    }
}

/// The wake-ups of a [`Waker`].
#[derive(Clone, Debug)]
pub struct Wakes(watch::Receiver<u64>);

impl Wakes {
    /// Waits until there was a wake-up since the last call; several count as one. Never returns when the last [`Waker`]
    /// is gone.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What the loop, the attempts and the maintenance tasks share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) waker: Waker,
    /// The leases that this process holds.
    pub(crate) held: Held,
    /// Cancelled when the drain time is over: attempts end and are released.
    pub(crate) release: CancellationToken,
    /// Cancelled when draining starts: nothing more is claimed.
    pub(crate) stop_claiming: CancellationToken,
    pub(crate) worker: String,
}

impl Shared {
    /// How long attempts of a kind wait for the next one.
    pub(crate) fn backoff(&self, kind: &str) -> Backoff {
        self.registry.limits(kind).backoff.unwrap_or(self.settings.backoff)
    }
}

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Has the store keep what an engine with this registry is to look at. To be called before the process lets
    /// anything end, so that nothing that ends is passed over; an engine that starts without does it a moment later.
    ///
    /// # Errors
    /// As the store's.
    pub async fn prepare(store: &dyn Store, registry: &Registry) -> Result<(), StoreError> {
        if registry.follow_up().is_some() { maintenance::follow_ups::begin(store).await } else { Ok(()) }
    }

    /// Starts an engine for the registry's kinds on the current runtime.
    ///
    /// `worker` names this process in leases and histories; unique among the processes of one store. With
    /// [`Settings::is_alone`], attempts that are leased to any process are those of one that died, and are lost at once
    /// rather than when their lease runs out.
    pub fn start(store: Arc<dyn Store>, registry: Registry, settings: Settings, worker: impl Into<String>) -> Running {
        let shared = Arc::new(Shared {
            health: store.health(),
            store,
            waker: Waker(Arc::new(Woken { kinds: registry.kinds(), ..Woken::default() })),
            registry,
            settings,
            held: Held::default(),
            release: CancellationToken::new(),
            stop_claiming: CancellationToken::new(),
            worker: worker.into(),
        });
        let (attempts, maintenance) = (TaskTracker::new(), TaskTracker::new());
        let stop_maintenance = CancellationToken::new();
        maintenance.spawn(maintenance::heartbeats::keep(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::rescue::watch(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::cancels::end(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::overruns::end(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::retention::purge(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::inbox::empty(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::sweep::forget(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::follow_ups::create(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::changes::forget(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::due::wake(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(maintenance::elsewhere::wake(Arc::clone(&shared), stop_maintenance.clone()));
        maintenance.spawn(dispatch(Arc::clone(&shared), attempts.clone()));
        Running { shared, attempts, maintenance, stop_maintenance }
    }
}

/// An engine at work. Dropping it does not stop it; [`Running::drain`] does.
pub struct Running {
    shared: Arc<Shared>,
    attempts: TaskTracker,
    maintenance: TaskTracker,
    stop_maintenance: CancellationToken,
}

impl Running {
    /// The handle that creations wake the engine with.
    pub fn waker(&self) -> Waker {
        self.shared.waker.clone()
    }

    /// Stops in good order: claims no more, waits up to the drain time for what runs, hands the rest back to pending
    /// without charging an attempt, and returns when nothing runs here any more.
    pub async fn drain(self) {
        self.shared.stop_claiming.cancel();
        self.shared.waker.wake();
        self.attempts.close();
        if tokio::time::timeout(self.shared.settings.drain, self.attempts.wait()).await.is_err() {
            tracing::info!(attempts = self.attempts.len(), "the drain time is over; what still runs is released");
            self.shared.release.cancel();
            self.attempts.wait().await;
        }
        self.stop_maintenance.cancel();
        self.maintenance.close();
        self.maintenance.wait().await;
    }
}

/// The loop, supervised.
async fn dispatch(shared: Arc<Shared>, attempts: TaskTracker) {
    let kinds = shared.registry.kinds();
    if kinds.is_empty() {
        return;
    }
    let limits = kinds.into_iter().map(|kind| (kind.clone(), shared.registry.limits(&kind)));
    let dispatcher = Mutex::new(Dispatcher {
        places: Arc::new(Semaphore::new(shared.settings.concurrency.max(1))),
        limiters: KindLimiters::new(limits, Instant::now()),
        attempts,
        has_begun: false,
    });
    let task = shared.health.register("dispatcher", Some(shared.settings.poll.max(SAFETY_POLL)));
    supervise(&task, &shared.stop_claiming, || async { dispatcher.lock().await.run(&shared, &task).await }).await;
}

/// What the loop keeps, also when it is started again: places that are taken stay so.
struct Dispatcher {
    places: Arc<Semaphore>,
    limiters: KindLimiters,
    attempts: TaskTracker,
    /// What the former life of this process left was taken up: once, before the first claim.
    has_begun: bool,
}

impl Dispatcher {
    async fn run(&mut self, shared: &Arc<Shared>, task: &Task) {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if shared.settings.is_alone
            && !has_begun
            && timeout(ROUND_LIMIT, maintenance::rescue::own_past(shared)).await.is_err()
        {
            tracing::error!("could not look for lost leases in time");
        }
        while !shared.stop_claiming.is_cancelled() {
            // Registered before the look into the queue: a creation from here on is not missed.
            let woken = shared.waker.0.engine.notified();
            if self.places.available_permits() == 0 {
                task.rest();
            }
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            task.expect();
            let free = (self.places.available_permits() + 1).min(CLAIM_LIMIT);
            drop(place);
            let round = tokio::select! {
                round = timeout(ROUND_LIMIT, self.round(shared, free)) => round,
                () = after_stop(&shared.stop_claiming) => return,
            };
            let pause = match round.unwrap_or_else(|_| Err(StoreError::Unavailable("it took too long".to_owned()))) {
                Ok(pause) => {
                    task.succeeded();
                    pause
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "could not claim");
                    sleep_or_stop(shared, CLAIM_RETRY).await;
                    None
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep(pause) => {}
                    () = shared.stop_claiming.cancelled() => {}
                }
            }
        }
    }

    /// Claims as much as the limits leave capacity for, and starts it; answers how long there is nothing to do if that
    /// was nothing.
    async fn round(&mut self, shared: &Arc<Shared>, free: usize) -> Result<Option<Duration>, StoreError> {
        let budgets = self.limiters.budgets(free, Instant::now());
        let started = self.claim(shared, budgets, free).await?;
        Ok(if started == 0 { Some(self.pause(shared)) } else { None })
    }

    /// Claims what is asked for, at most `free` in all, and starts it; answers how much that was.
    async fn claim(
        &mut self,
        shared: &Arc<Shared>,
        budgets: Vec<ClaimBudget>,
        free: usize,
    ) -> Result<usize, StoreError> {
        let mut started = 0;
        for ClaimBudget { kinds, limit } in budgets {
            let limit = limit.min(free - started);
            if limit == 0 || shared.stop_claiming.is_cancelled() {
                break;
            }
            let request = ClaimRequest {
                kinds,
                access: None,
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
                worker: shared.worker.clone(),
                lease: shared.settings.lease,
            };
            for claimed in shared.store.claim(request).await? {
                started += 1;
                let place_of_kind = self.limiters.start(&claimed.operation.kind);
                start(shared, &self.attempts, &self.places, place_of_kind, claimed).await;
            }
        }
        Ok(started)
    }

    /// How long there is nothing to do, as far as is known: until a kind may start again, at most the poll time. What
    /// becomes due meanwhile wakes the loop.
    fn pause(&self, shared: &Shared) -> Duration {
        let poll = shared.store.commits().coverage().poll(shared.settings.poll);
        self.limiters.next_start().unwrap_or(Duration::MAX).min(poll)
    }
}

async fn sleep_or_stop(shared: &Shared, pause: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = shared.stop_claiming.cancelled() => {}
    }
}

async fn start(
    shared: &Arc<Shared>,
    attempts: &TaskTracker,
    places: &Arc<Semaphore>,
    place_of_kind: Option<OwnedSemaphorePermit>,
    claimed: Claimed,
) {
    // Only this loop takes places, and it claimed no more than there were: this does not wait.
    let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
    // Under heartbeat before it is started, so that a slow start cannot lose the lease.
    let stops = shared.held.add(&claimed.lease);
    let shared = Arc::clone(shared);
    attempts.spawn(async move {
        run::attempt(&shared, claimed, stops).await;
        drop(place);
        if let Some(place) = place_of_kind {
            drop(place);
            // The loop may be asleep beside free places, since this kind had none. There is no new work for others.
            shared.waker.0.engine.notify_one();
        }
    });
}
