//! The metrics of the store, of the tasks of the process, and of what is paused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use operations::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use store::meters::{KindLabel, Meters};
use store::{Pausable, Paused, Standings, Store, StoreError};
use tasks::TaskReport;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The time between two queries to the store, however many machines scrape.
const FRESH: Duration = Duration::from_secs(1);
/// How long the store may take to answer: the metrics of the process are useful while the store is unavailable.
const PATIENCE: Duration = Duration::from_secs(2);

/// The store, queried once per second at most.
#[derive(Clone)]
pub(super) struct Looks {
    store: Arc<dyn Store>,
    last: Arc<Mutex<Option<Look>>>,
}

/// The time of a query and its result; `None` if the store did not answer.
type Look = (Instant, Option<Found>);

/// The result of a query.
#[derive(Clone)]
struct Found {
    at: Timestamp,
    standings: Standings,
    paused: Vec<Paused>,
}

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskLabel {
    task: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConsumerLabel {
    consumer: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PausedLabel {
    what: &'static str,
}

impl Looks {
    pub(super) fn new(store: Arc<dyn Store>) -> Looks {
        Looks { store, last: Arc::default() }
    }

    /// The metrics in addition to those that the process counts itself.
    pub(super) async fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("longrun");
        show_tasks(&mut registry, self.store.health().report());
        let found = self.look().await;
        let is_up = Gauge::<i64>::default();
        is_up.set(i64::from(found.is_some()));
        registry.register("store_up", "1 if the store answered this query, otherwise 0", is_up);
        if let Some(found) = found {
            show_standings(&mut registry, &self.store.meters(), &found);
            show_paused(&mut registry, &found.paused);
        }
        registry
    }

    /// The last result if it is fresh, otherwise that of a new query; `None` when the store did not answer.
    async fn look(&self) -> Option<Found> {
        let mut last = self.last.lock().await;
        if let Some((_, found)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return found.clone();
        }
        let look = async {
            let (standings, paused) = (self.store.standings().await?, self.store.paused().await?);
            Ok::<_, StoreError>(Found { at: self.store.now(), standings, paused })
        };
        let found = match timeout(PATIENCE, look).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "could not read the metrics of the store");
                None
            }
            Err(_) => {
                tracing::warn!("the store did not answer in time for its metrics");
                None
            }
        };
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

/// The maintenance tasks and loops of the process.
fn show_tasks(registry: &mut Registry, tasks: Vec<TaskReport>) {
    let (restarted, succeeded_at) = (Family::<TaskLabel, Counter>::default(), Family::<TaskLabel, Seconds>::default());
    for TaskReport { task, restarts, succeeded, .. } in tasks {
        let label = TaskLabel { task: task.to_string() };
        restarted.get_or_create(&label).inc_by(restarts);
        if let Some(succeeded) = succeeded {
            succeeded_at.get_or_create(&label).set(succeeded.as_secs_f64());
        }
    }
    registry.register("task_restarts", "How often a task failed and was restarted", restarted);
    let help = "Time since the last successful round of a task, in seconds";
    registry.register("task_seconds_since_success", help, succeeded_at);
}

fn show_standings(registry: &mut Registry, meters: &Meters, Found { at, standings, .. }: &Found) {
    let (pending, running) = (Family::<KindLabel, Gauge>::default(), Family::<KindLabel, Gauge>::default());
    let oldest = Family::<KindLabel, Seconds>::default();
    let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut ages: BTreeMap<Arc<str>, f64> = BTreeMap::new();
    for standing in &standings.kinds {
        let label = meters.kind(&standing.kind);
        // Several kinds may share a label.
        pending.get_or_create(&label).inc_by(gauge(standing.pending));
        running.get_or_create(&label).inc_by(gauge(standing.running));
        let millis = standing.oldest.map_or(0, |oldest| (at.as_millis() - oldest.as_millis()).max(0));
        let age = ages.entry(label.kind).or_default();
        *age = age.max(millis as f64 / 1_000.0);
    }
    for (kind, age) in ages {
        oldest.get_or_create(&KindLabel { kind }).set(age);
    }
    registry.register("operations_pending", "Pending operations", pending);
    registry.register("operations_running", "Running operations", running);
    let help = "Age of the oldest pending operation that may be claimed";
    registry.register_with_unit("operations_oldest_pending", help, Unit::Seconds, oldest);
    let lags = Family::<ConsumerLabel, Seconds>::default();
    for (consumer, lag) in &standings.lags {
        lags.get_or_create(&ConsumerLabel { consumer: consumer.clone() }).set(lag.as_secs_f64());
    }
    let help = "Age of the first change that a consumer of the change log has not read; 0 if it has read all";
    registry.register_with_unit("feed_lag", help, Unit::Seconds, lags);
    let due = Gauge::<i64>::default();
    due.set(gauge(standings.schedules_due));
    registry.register("schedules_due", "Schedules that are due and not processed yet", due);
    let overdue = Seconds::default();
    overdue.set(standings.schedules_overdue.as_secs_f64());
    let help = "How long the first due schedule has been due; 0 if none is due";
    registry.register_with_unit("schedules_overdue", help, Unit::Seconds, overdue);
}

/// How much is paused. `longrun pause` says what is paused: names of organizations are not used as labels.
fn show_paused(registry: &mut Registry, paused: &[Paused]) {
    let family = Family::<PausedLabel, Gauge>::default();
    for what in ["organization", "kind", "kind_of_organization"] {
        drop(family.get_or_create(&PausedLabel { what }));
    }
    for Paused { what, .. } in paused {
        let what = match what {
            Pausable::Organization(_) => "organization",
            Pausable::Kind(_) => "kind",
            Pausable::KindOf { .. } => "kind_of_organization",
        };
        family.get_or_create(&PausedLabel { what }).inc();
    }
    registry.register("paused", "How many organizations and kinds are paused", family);
}
