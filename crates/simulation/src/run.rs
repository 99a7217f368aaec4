//! One seed, from its beginning to the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operations::{Access, Filter, Operation, OperationId, PageRequest, Status};
use store::{NewToken, Position, Scope, Sealed, SqliteStore, Store, StoreError};
use turmoil::Sim;

use crate::faults::{ACTIVE, CALLER, Plan, WORKERS};
use crate::history::record::Call;
use crate::history::{self, Asked, RETAIN_FOR, Record, Seen, Told};
use crate::host::{self, SERVER};
use crate::world::{LOCAL_KIND, ORGANIZATION, World, lock};
use crate::{actors, system};

/// How far time advances in one step. Within a step, tasks of one process that wait for each other proceed on their
/// own.
const STEP: Duration = Duration::from_millis(5);
/// How long the remaining work may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(120);
/// The time between two checks whether everything is done.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The time that retention has for expired operations: it runs when a server starts.
const LAST_LIFE: Duration = Duration::from_secs(2);

/// The first panic of the process, in whichever task.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// The outcome of a seed.
pub struct Outcome {
    pub verdict: Result<(), String>,
    /// Everything that happened, and the hash of it.
    pub trace: String,
    pub hash: u64,
}

/// A file with an empty store; every seed begins with a copy of it.
///
/// # Errors
/// Those of the store.
pub fn template(path: &Path) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    runtime.block_on(async {
        let store = SqliteStore::open(path).await?;
        store.close().await;
        Ok(())
    })
}

/// Runs a seed. The folder contains a copy of the template, and nothing else.
pub fn run(seed: u64, folder: &Path) -> Outcome {
    std::panic::set_hook(Box::new(|panic| {
        lock(&PANIC).get_or_insert_with(|| panic.to_string().replace('\n', " "));
    }));
    system::pass(Duration::ZERO);
    system::simulate(seed);
    let world = World::new(seed, folder.to_owned());
    let verdict = simulate(seed, &world);
    if let Err(wrong) = &verdict {
        world.log(format_args!("{wrong}"));
    }
    let (trace, hash) = world.trace();
    Outcome { verdict, trace, hash }
}

fn simulate(seed: u64, world: &Arc<World>) -> Result<(), String> {
    outside(world, |store| prepare(store, world))?;
    let mut random = world.random_of("faults");
    let mut plan = Plan::new(&mut random);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(STEP)
        .simulation_duration(ACTIVE + PATIENCE * 3)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(60))
        .enable_random_order()
        .build();
    let of_server = Arc::clone(world);
    sim.host(SERVER, move || host::serve(Arc::clone(&of_server)));
    for worker in WORKERS {
        let world = Arc::clone(world);
        sim.host(worker, move || {
            let world = Arc::clone(&world);
            async move {
                let work = actors::work(Arc::clone(&world), worker.to_owned());
                if worker == WORKERS[0] {
                    tokio::join!(work, actors::watch(world));
                } else {
                    work.await;
                }
                Ok(())
            }
        });
    }
    let caller = Arc::clone(world);
    sim.client(CALLER, async move {
        let (all, again) = (Arc::clone(&caller), Arc::clone(&caller));
        actors::schedule(Arc::clone(&caller)).await;
        tokio::join!(
            actors::create(Arc::clone(&all), "creator-0".to_owned()),
            actors::create(again, "creator-1".to_owned()),
            actors::command(Arc::clone(&all)),
            actors::read(all),
        );
        Ok(())
    });
    while !(steps(&mut sim, world)? && plan.is_over()) {
        plan.carry_out(&mut sim, world);
    }
    world.finish();
    // Operations that are due later than planned would delay the end.
    system::correct_clock();
    world.log(format_args!("no new operations are created, and nothing goes wrong any more"));
    go_on_until_at_rest(&mut sim, world, Duration::ZERO)?;
    // Expired operations are deleted when a server starts.
    sim.crash(SERVER);
    system::set_clock(i64::try_from((RETAIN_FOR * 2).as_millis()).unwrap_or(i64::MAX));
    sim.bounce(SERVER);
    go_on_until_at_rest(&mut sim, world, LAST_LIFE)?;
    drop(sim);
    let record = outside(world, |store| examine(store, world.start()))?;
    judge(world, record)
}

/// Goes on for at least this long, and until nothing is left to do. Schedules create operations all the time, so such a
/// moment passes; if something is stuck it may never come, which is detected afterwards.
fn go_on_until_at_rest(sim: &mut Sim<'_>, world: &Arc<World>, least: Duration) -> Result<(), String> {
    let (begun, mut looked) = (sim.elapsed(), sim.elapsed());
    loop {
        steps(sim, world)?;
        if sim.elapsed() >= begun + least && sim.elapsed() >= looked + BETWEEN_LOOKS {
            looked = sim.elapsed();
            if outside(world, |store| is_at_rest(store, world))? {
                return Ok(());
            }
            if looked > begun + PATIENCE {
                // What the watcher has not received by now, it never will.
                return outside(world, |store| async move { actors::judge_watched(&*store, world).await })?;
            }
        }
    }
}

/// Runs one step; returns whether all callers have ended.
fn steps(sim: &mut Sim<'_>, world: &World) -> Result<bool, String> {
    let is_over = sim.step().map_err(|error| lock(&PANIC).take().unwrap_or_else(|| error.to_string()));
    system::pass(sim.elapsed());
    if let Some(panic) = lock(&PANIC).take() {
        return Err(panic);
    }
    let is_over = is_over?;
    if sim.elapsed() > ACTIVE + PATIENCE * 2 {
        return Err(format!(
            "operations are stuck, {}",
            if world.is_finishing() { "although nothing goes wrong" } else { "or their callers" }
        ));
    }
    Ok(is_over)
}

/// Works with the store while no server is running.
fn outside<T, F>(world: &Arc<World>, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let path = world.folder.join("longrun.db");
    let done = runtime.block_on(async {
        let store = SqliteStore::open_inline(&path, Arc::new(|| Duration::ZERO))?;
        work(Arc::new(Sealed::new(Arc::new(store), world.keyring()))).await
    });
    done.map_err(|error| error.to_string())
}

/// Creates the token that all callers use, and records where the change log begins.
async fn prepare(store: Arc<dyn Store>, world: &World) -> Result<(), StoreError> {
    let scopes = [Scope::OperationsRead, Scope::OperationsWrite, Scope::OperationsWork];
    let token = NewToken {
        hash: world.token.hash(),
        name: "simulation".to_owned(),
        access: Access::organization(ORGANIZATION),
        scopes: scopes.into(),
        expires_at: None,
        instance: None,
    };
    store.create_token(token).await?;
    world.begin_at(store.end_of_changes(ORGANIZATION).await?);
    Ok(())
}

/// Whether nothing is pending or running, nothing is due by the schedule, and nothing is left to be sent to the
/// watcher.
async fn is_at_rest(store: Arc<dyn Store>, world: &World) -> Result<bool, StoreError> {
    let access = Access::organization(ORGANIZATION);
    let page = PageRequest { page: 0, page_size: 1 };
    for status in [Status::Pending, Status::Running] {
        let filter = Filter { status: Some(status), ..Filter::default() };
        if store.list(&access, &filter, page).await?.page.total_count > 0 {
            return Ok(false);
        }
    }
    if !store.due_schedules().await?.organizations.is_empty() {
        return Ok(false);
    }
    Ok(actors::judge_watched(&*store, world).await?.is_ok())
}

/// Reads the final state of the store; `longrun doctor` must find nothing.
async fn examine(store: Arc<dyn Store>, start: Position) -> Result<Record, StoreError> {
    let report = store.doctor().await?;
    if !report.findings.is_empty() {
        return Err(StoreError::Unusable(format!("longrun doctor finds {:?}", report.findings)));
    }
    history::look(store, ORGANIZATION.into(), start).await
}

/// Compares the answers that all callers got with the final state of the store.
fn judge(world: &World, seen: Record) -> Result<(), String> {
    for operation in &seen.operations {
        world.recognize(operation.id, &operation.project_version_id);
    }
    for change in &seen.feed {
        world.log(format_args!("{} {} became {:?}", change.at.as_millis(), change.id, change.status));
    }
    let record = &world.record;
    // A few operations may have been created and deleted unseen, since all answers about them were lost. Those with a
    // short retention may have been deleted.
    let mut unseen = world.unseen_and_retained_shortly().into_iter();
    {
        let mut asked = lock(&record.asked);
        let is_gone = |id: &OperationId| seen.operations.iter().all(|operation| operation.id != *id);
        for change in &seen.feed {
            if is_gone(&change.id)
                && !asked.contains_key(&change.id)
                && let Some(new) = unseen.next()
            {
                asked.insert(change.id, Asked { new, call: None });
            }
        }
    }
    let calls: Vec<Call> = record.calls().iter().flat_map(|call| by_every_fence(call, &seen)).collect();
    let (asked, keyed) = (lock(&record.asked).clone(), lock(&record.keyed).clone());
    let unheard = unheard(world, &seen, &calls);
    let (calls, asked, keyed) = (Mutex::new(calls), Mutex::new(asked), Mutex::new(keyed));
    history::judge(&Record { calls, asked, keyed, unheard, ..seen })
}

/// The server may have ended its own attempts with any of the fencing tokens that it had: handlers do not learn them.
fn by_every_fence(call: &Call, seen: &Record) -> Vec<Call> {
    let Seen::Settled { fence: 0, text, answer } = &call.seen else { return vec![call.clone()] };
    let is_claim = |change: &&Told| change.id == call.id && change.status == Some(Status::Running);
    let claims = seen.feed.iter().filter(is_claim).count() as u64;
    let settled = |fence| Seen::Settled { fence, text: text.clone(), answer: answer.clone() };
    (1..=claims).map(|fence| Call { seen: settled(fence), ..call.clone() }).collect()
}

/// The number of claims whose answers reached nobody: the server releases what it could not deliver. It releases its
/// own attempts when it stops.
fn unheard(world: &World, seen: &Record, calls: &[Call]) -> BTreeMap<OperationId, usize> {
    let mut unheard = BTreeMap::new();
    for Operation { id, kind, .. } in &seen.operations {
        let is_claim = |change: &&Told| change.id == *id && change.status == Some(Status::Running);
        let made = seen.feed.iter().filter(is_claim).count();
        let heard = calls.iter().filter(|call| call.id == *id && matches!(call.seen, Seen::Claimed(_))).count();
        unheard.insert(*id, if kind == LOCAL_KIND { world.stops() } else { made.saturating_sub(heard) });
    }
    unheard
}
