//! The loop: claims what is due, as much as the limits leave capacity for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use store::{ClaimRequest, SAFETY_POLL, Store, StoreError};
use tasks::{ROUND_LIMIT, Task, after_stop, supervise};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::capacity::{Capacity, ClaimRound};
use crate::context::Context;
use crate::held::Held;
use crate::limiter::{ClaimBudget, KindLimiters};
use crate::{Registry, Settings, Waker, maintenance, run};

/// The wait after a claim that failed; the store may be unavailable.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Makes the store keep the changes that an engine with this registry has to read. To be called before the process
    /// lets any operation end, so that no end is missed; an engine that starts without this call does the same a moment
    /// later.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn prepare(store: &dyn Store, registry: &Registry) -> Result<(), StoreError> {
        if registry.follow_up().is_some() {
            maintenance::follow_ups::begin(store).await?;
        }
        if registry.traces().are_exported() {
            maintenance::traces::begin(store).await?;
        }
        maintenance::statistics::begin(store).await
    }

    /// Starts an engine for the registry's kinds on the current runtime.
    ///
    /// `worker` names this process in leases and histories; it must be unique among the processes of one store. With
    /// [`Settings::is_alone`], attempts that are leased to any process belong to one that died, so they count as lost
    /// at once and not only when their lease runs out.
    pub fn start(store: Arc<dyn Store>, registry: Registry, settings: Settings, worker: impl Into<String>) -> Running {
        let limits = registry.kinds().into_iter().map(|kind| (kind.clone(), registry.limits(&kind)));
        let capacity =
            Capacity::new(settings.concurrency, settings.extra_concurrency, KindLimiters::new(limits, Instant::now()));
        let context = Arc::new_cyclic(|context| Context {
            health: store.health(),
            store,
            waker: Waker::new(registry.kinds(), context.clone()),
            registry,
            settings,
            held: Held::default(),
            capacity,
            attempts: TaskTracker::new(),
            starting: TaskTracker::new(),
            release: CancellationToken::new(),
            stop_claiming: CancellationToken::new(),
            worker: worker.into(),
        });
        let (maintenance, stop) = (TaskTracker::new(), CancellationToken::new());
        maintenance.spawn(maintenance::heartbeats::keep(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::rescue::watch(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::rescue::release_unanswered(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::cancels::end(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::overruns::end(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::retention::purge(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::inbox::empty(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::sweep::forget(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::follow_ups::create(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::traces::send(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::statistics::count(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::statistics::forget(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::changes::forget(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::audit::forget(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::times::note(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::sessions::forget(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::limits::refresh(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::schedules::fire(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::due::wake(Arc::clone(&context), stop.clone()));
        maintenance.spawn(maintenance::elsewhere::wake(Arc::clone(&context), stop.clone()));
        maintenance.spawn(dispatch(Arc::clone(&context)));
        Running { context, maintenance, stop_maintenance: stop }
    }
}

/// A running engine. Dropping it does not stop it; [`Running::drain`] does.
pub struct Running {
    context: Arc<Context>,
    maintenance: TaskTracker,
    stop_maintenance: CancellationToken,
}

impl Running {
    /// The handle by which creations wake the engine.
    pub fn waker(&self) -> Waker {
        self.context.waker.clone()
    }

    /// Stops in good order: claims no more, waits up to the drain time for the running attempts, releases the rest to
    /// pending without charging an attempt, and returns when nothing runs here any more. Operations that are being
    /// claimed or created meanwhile are released as well.
    pub async fn drain(self) {
        let Context { settings, attempts, starting, stop_claiming, release, waker, .. } = &*self.context;
        stop_claiming.cancel();
        waker.wake();
        starting.close();
        attempts.close();
        let ended = async {
            // First, since these may begin attempts.
            starting.wait().await;
            attempts.wait().await;
        };
        if timeout(settings.drain, ended).await.is_err() {
            tracing::info!(
                attempts = attempts.len(),
                "the drain time is over; the attempts that still run are released"
            );
            release.cancel();
            tokio::select! {
                () = starting.wait() => {}
                // A store that does not answer must not delay the end of the process.
                () = after_stop(release) => {
                    tracing::warn!("the store did not answer in time; the leases of attempts that it still starts will run out");
                }
            }
            attempts.wait().await;
        }
        self.stop_maintenance.cancel();
        self.maintenance.close();
        self.maintenance.wait().await;
    }
}

/// The loop, supervised.
async fn dispatch(context: Arc<Context>) {
    if context.registry.kinds().is_empty() {
        return;
    }
    // Attempts that an earlier run of this process left behind are recovered once, before the first claim.
    let has_begun = AtomicBool::new(false);
    let task = context.health.register("dispatcher", Some(context.settings.poll.max(SAFETY_POLL)));
    supervise(&task, &context.stop_claiming, || run_loop(&context, &task, &has_begun)).await;
}

async fn run_loop(context: &Arc<Context>, task: &Task, has_begun: &AtomicBool) {
    let has_begun = has_begun.swap(true, Ordering::Relaxed);
    if context.settings.is_alone
        && !has_begun
        && timeout(ROUND_LIMIT, maintenance::rescue::own_past(context)).await.is_err()
    {
        tracing::error!("could not look for lost leases in time");
    }
    while !context.stop_claiming.is_cancelled() {
        // Registered before the queue is read: a creation from here on is not missed.
        let woken = context.waker.engine_signal().notified();
        if context.capacity.is_used_up() {
            task.rest();
        }
        tokio::select! {
            () = context.capacity.wait() => {}
            () = context.stop_claiming.cancelled() => return,
        }
        task.expect();
        let round = tokio::select! {
            round = timeout(ROUND_LIMIT, round(context)) => round,
            () = after_stop(&context.stop_claiming) => return,
        };
        context.capacity.end_claim();
        let pause = match round.unwrap_or_else(|_| Err(StoreError::Unavailable("the claim took too long".to_owned()))) {
            Ok(pause) => {
                task.succeeded();
                pause
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "could not claim operations");
                sleep_or_stop(context, CLAIM_RETRY).await;
                None
            }
        };
        if let Some(pause) = pause {
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep(pause) => {}
                () = context.stop_claiming.cancelled() => {}
            }
        }
    }
}

/// Claims as much as there is capacity for, and starts it; if that was nothing, returns how long there is nothing to
/// do.
async fn round(context: &Arc<Context>) -> Result<Option<Duration>, StoreError> {
    let round = context.capacity.begin_claim(Instant::now());
    if round.free == 0 {
        // A creation took the last slot: the loop waits for a free one.
        return Ok(None);
    }
    let started = claim(context, round).await?;
    Ok(if started == 0 { Some(pause(context)) } else { None })
}

/// Claims what this round allows and starts it; returns the number of attempts.
async fn claim(context: &Arc<Context>, ClaimRound { budgets, free, number }: ClaimRound) -> Result<usize, StoreError> {
    let mut started = 0;
    for ClaimBudget { kinds, limit } in budgets {
        let limit = limit.min(free - started);
        if limit == 0 {
            break;
        }
        let Some(starting) = context.begin_start() else { break };
        let request = ClaimRequest {
            kinds,
            access: None,
            among: None,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            worker: context.worker.clone(),
            lease: context.settings.lease,
        };
        started += carry_out(context, request, number, starting).await?;
    }
    Ok(started)
}

/// Carries out a claim and starts what was claimed; returns the number of attempts. It runs on a task of its own: the
/// store carries out the request even when the loop no longer waits, and what is claimed then has to be released.
async fn carry_out(
    context: &Arc<Context>,
    request: ClaimRequest,
    round: u64,
    starting: TaskTrackerToken,
) -> Result<usize, StoreError> {
    let context = Arc::clone(context);
    let claim = tokio::spawn(async move {
        let all = context.store.claim(request).await?;
        let count = all.len();
        for claimed in all {
            let reserved = context.capacity.take(round, &claimed.lease.organization, &claimed.operation.kind);
            if reserved.is_none() {
                tracing::warn!(operation = %claimed.lease.id, "a claim returned too much, or too late; the operation is released");
            }
            run::start(&context, claimed, reserved);
        }
        drop(starting);
        Ok::<_, StoreError>(count)
    });
    claim.await.unwrap_or_else(|error| match error.try_into_panic() {
        // The loop breaks off with it, and is restarted.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(StoreError::Unavailable("the process is stopping".to_owned())),
    })
}

/// How long there is nothing to do, as far as is known: until a kind may start again, at most the poll time. Operations
/// that become due meanwhile wake the loop.
fn pause(context: &Context) -> Duration {
    let poll = context.store.commits().coverage().poll(context.settings.poll);
    context.capacity.next_start().unwrap_or(Duration::MAX).min(poll)
}

async fn sleep_or_stop(context: &Context, pause: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = context.stop_claiming.cancelled() => {}
    }
}
