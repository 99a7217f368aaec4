//! What a process counts and measures of its work, and the text formats in which Prometheus reads it.
//!
//! [`Meters`] are those of the layers below the API: the store owns them, and everything that works with the store
//! finds them there. Each process counts what it did itself; Prometheus adds up the processes.
//!
//! **Labels are bounded.** The only label whose values others choose is the kind of operations, and kinds that nobody
//! declared are counted as [`OTHER`] ([`Kinds`]). There is no label for organizations.

mod kinds;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use kinds::{Kinds, MOST_KINDS, OTHER};
pub use text::{Form, render};

/// Upper bounds, in seconds, for what usually takes milliseconds: statements, commits.
const SHORT: [f64; 13] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];
/// Upper bounds, in seconds, for what may take hours: how long operations wait and run.
const LONG: [f64; 14] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0];
/// Upper bounds of the number of writes in a batch.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2_048.0];

/// The kind of operations.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// A declared kind, or [`OTHER`].
    pub kind: Arc<str>,
}

/// The kind of operations and their outcome.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EndLabels {
    /// A declared kind, or [`OTHER`].
    pub kind: Arc<str>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, missing_docs, reason = "the names are the values of the label")]
pub enum Outcome {
    completed,
    failed,
}

/// Which cell.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CellLabel {
    /// Its name in the configuration.
    pub cell: Arc<str>,
}

/// Which queue of writes.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the values of the label")]
pub enum Queue {
    /// Creations.
    creations,
    /// Claims.
    claims,
    /// All other writes.
    others,
    /// All writes, where there is only one queue.
    all,
}

/// Which queue of writes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct QueueLabel {
    /// The queue.
    pub queue: Queue,
}

/// The outcome of calling a receiver of notices.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DeliveryLabel {
    /// `completed`: the receiver accepted the notice.
    pub outcome: Outcome,
}

type ByKind<M> = Family<KindLabel, M, fn() -> M>;

/// What is measured below the API. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Meters(Arc<Inner>);

/// The metrics; their help texts and `docs/metrics.md` describe them.
#[allow(missing_docs, reason = "the help texts next to the names describe each of them")]
pub struct Inner {
    registry: Registry,
    pub kinds: Kinds,
    pub created: ByKind<Counter>,
    pub started: ByKind<Counter>,
    pub returned: ByKind<Counter>,
    pub ended: Family<EndLabels, Counter>,
    pub waiting: ByKind<Histogram>,
    pub running: ByKind<Histogram>,
    pub lost: ByKind<Counter>,
    pub batch_writes: Family<QueueLabel, Histogram, fn() -> Histogram>,
    pub batch_seconds: Family<QueueLabel, Histogram, fn() -> Histogram>,
    pub batch_failures: Family<QueueLabel, Counter>,
    pub read_seconds: Histogram,
    pub connection_wait_seconds: Histogram,
    pub connections_used: Gauge,
    pub connections_max: Gauge,
    pub cells_up: Family<CellLabel, Gauge>,
    pub schedule_operations: Counter,
    pub schedules_dealt_with: Counter,
    pub notice_attempts: Family<DeliveryLabel, Counter>,
    pub evaluation_busy: Gauge,
    pub evaluation_idle: Gauge,
    pub evaluation_started: Counter,
    pub spans_exported: Counter,
    pub spans_dropped: Counter,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl std::ops::Deref for Meters {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

fn long() -> Histogram {
    Histogram::new(LONG)
}

/// A histogram for what usually takes milliseconds.
pub fn short() -> Histogram {
    Histogram::new(SHORT)
}

fn sizes() -> Histogram {
    Histogram::new(SIZES)
}

impl Default for Meters {
    fn default() -> Meters {
        let counters = || ByKind::<Counter>::new_with_constructor(Counter::default);
        let mut inner = Inner {
            registry: Registry::with_prefix("longrun"),
            kinds: Kinds::default(),
            created: counters(),
            started: counters(),
            returned: counters(),
            ended: Family::default(),
            waiting: ByKind::new_with_constructor(long),
            running: ByKind::new_with_constructor(long),
            lost: counters(),
            batch_writes: Family::new_with_constructor(sizes),
            batch_seconds: Family::new_with_constructor(short),
            batch_failures: Family::default(),
            read_seconds: short(),
            connection_wait_seconds: short(),
            connections_used: Gauge::default(),
            connections_max: Gauge::default(),
            cells_up: Family::default(),
            schedule_operations: Counter::default(),
            schedules_dealt_with: Counter::default(),
            notice_attempts: Family::default(),
            evaluation_busy: Gauge::default(),
            evaluation_idle: Gauge::default(),
            evaluation_started: Counter::default(),
            spans_exported: Counter::default(),
            spans_dropped: Counter::default(),
        };
        inner.register();
        // Prometheus cannot distinguish a counter that appears with the value one from one that grew by one.
        for outcome in [Outcome::completed, Outcome::failed] {
            drop(inner.notice_attempts.get_or_create(&DeliveryLabel { outcome }));
        }
        Meters(Arc::new(inner))
    }
}

impl Inner {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("operations_created", "Operations that were created", self.created.clone());
        r.register("attempts_started", "Attempts that began", self.started.clone());
        r.register(
            "operations_returned",
            "Operations that went back to pending: after a failed attempt, a lost lease, a release, or a retry",
            self.returned.clone(),
        );
        r.register("operations_ended", "Operations that ended", self.ended.clone());
        let (waited, ran) = (
            "The time from the creation of an operation to its first attempt",
            "The duration of the attempt that ended an operation",
        );
        r.register_with_unit("operation_waiting", waited, Unit::Seconds, self.waiting.clone());
        r.register_with_unit("operation_running", ran, Unit::Seconds, self.running.clone());
        r.register(
            "attempts_lost",
            "Attempts whose worker sent no heartbeat before the lease ran out",
            self.lost.clone(),
        );
        r.register("store_batch_writes", "Writes that were committed together", self.batch_writes.clone());
        let batch = "The time to carry out and commit a batch of writes";
        r.register_with_unit("store_batch_duration", batch, Unit::Seconds, self.batch_seconds.clone());
        r.register("store_batch_failures", "Batches of writes that failed as a whole", self.batch_failures.clone());
        let read = "The time of a read of the store: its statements and the wait for a connection";
        r.register_with_unit("store_read_duration", read, Unit::Seconds, self.read_seconds.clone());
        let wait = "The time of the wait for a connection to the store";
        r.register_with_unit("store_connection_wait", wait, Unit::Seconds, self.connection_wait_seconds.clone());
        r.register("store_connections_in_use", "Connections to the store in use", self.connections_used.clone());
        r.register(
            "store_connections_max",
            "The maximum number of connections to the store",
            self.connections_max.clone(),
        );
        r.register("store_cell_up", "Whether a cell answers: 1 if it does, otherwise 0", self.cells_up.clone());
        r.register(
            "schedule_operations_created",
            "Operations that schedules have created",
            self.schedule_operations.clone(),
        );
        r.register("schedules_fired", "Due schedules that were processed", self.schedules_dealt_with.clone());
        r.register("notice_attempts", "Calls to receivers of notices, by outcome", self.notice_attempts.clone());
        r.register("evaluation_processes_busy", "Evaluation processes with a job", self.evaluation_busy.clone());
        r.register(
            "evaluation_processes_idle",
            "Evaluation processes that wait for a job",
            self.evaluation_idle.clone(),
        );
        r.register("evaluation_processes_started", "Evaluation processes started", self.evaluation_started.clone());
        r.register(
            "trace_spans_exported",
            "Spans that the collector of traces has accepted",
            self.spans_exported.clone(),
        );
        r.register(
            "trace_spans_dropped",
            "Spans that were dropped because the collector of traces was unavailable or slow",
            self.spans_dropped.clone(),
        );
    }

    /// The registry, to be rendered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The label of a kind.
    pub fn kind(&self, kind: &str) -> KindLabel {
        KindLabel { kind: self.kinds.label(kind) }
    }

    /// Whether the cell of this name answers.
    pub fn cell_up(&self, cell: &str) -> Gauge {
        self.cells_up.get_or_create(&CellLabel { cell: cell.into() }).clone()
    }

    /// Counts an event of an operation.
    pub fn count(&self, kind: &str, what: Happening) {
        let label = self.kind(kind);
        match what {
            Happening::Created => drop(self.created.get_or_create(&label).inc()),
            Happening::Returned => drop(self.returned.get_or_create(&label).inc()),
            Happening::Started { waited } => {
                self.started.get_or_create(&label).inc();
                observe(&self.waiting, &label, waited);
            }
            Happening::Ended { outcome, ran } => {
                observe(&self.running, &label, ran);
                self.ended.get_or_create(&EndLabels { kind: label.kind, outcome }).inc();
            }
        }
    }

    /// Records a batch of writes that was carried out.
    pub fn batch(&self, queue: Queue, writes: usize, took: Duration) {
        let label = QueueLabel { queue };
        self.batch_writes.get_or_create(&label).observe(writes as f64);
        self.batch_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }
}

fn observe(histograms: &ByKind<Histogram>, label: &KindLabel, took: Option<Duration>) {
    if let Some(took) = took {
        histograms.get_or_create(label).observe(took.as_secs_f64());
    }
}

/// An event of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It was created.
    Created,
    /// An attempt began.
    Started {
        /// The time since the creation, if it was the first attempt.
        waited: Option<Duration>,
    },
    /// It went back to pending.
    Returned,
    /// It ended.
    Ended {
        /// The outcome.
        outcome: Outcome,
        /// The duration of the attempt that ended it, if an attempt did.
        ran: Option<Duration>,
    },
}

/// Counts something as present until this is dropped.
#[derive(Debug)]
pub struct Present(Gauge);

impl Present {
    /// Adds one, until this is dropped.
    pub fn one_more(gauge: &Gauge) -> Present {
        gauge.inc();
        Present(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}
