//! `longrun bench latency`: from the call that creates an operation to the start of its handler, at low load.
//!
//! An operation is durable before it is answered, and so is its claim before its handler starts, in the same commit.
//! The baseline does the same with the plain table: insert, wake the worker of the same process, claim, start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Attempt, Engine, Failure, Handler, Registry, Running, Settings};
use hdrhistogram::Histogram;
use operations::{Access, OperationId};
use serde_json::json;
use store::Store;
use tokio::sync::{Notify, mpsc};

use super::load::{ORGANIZATION, operation};
use super::plain::Plain;
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::Target;

/// Operations before the first that counts.
const WARM_UP: u32 = 20;
/// An operation that has not started after this time never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// The starts as seen by their handler.
pub type Starts = mpsc::UnboundedReceiver<(OperationId, Instant)>;

/// Reports when it was started, and then takes the given time.
pub struct Stopwatch {
    started: mpsc::UnboundedSender<(OperationId, Instant)>,
    takes: Duration,
}

impl Stopwatch {
    /// A handler whose attempts take this long.
    pub fn new(takes: Duration) -> (Stopwatch, Starts) {
        let (started, starts) = mpsc::unbounded_channel();
        (Stopwatch { started, takes }, starts)
    }
}

#[async_trait::async_trait]
impl Handler for Stopwatch {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        // Nobody waits any more once the benchmark has been stopped.
        let _ = self.started.send((attempt.operation.id, Instant::now()));
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        Ok(String::new())
    }
}

/// Measures the engine and the plain table, one operation after the other.
pub async fn measure(target: &Target, samples: u32, pause: Duration) -> anyhow::Result<Report> {
    let spinner = Spinner::start("create to start");
    let ours = engine(target, samples, pause).await?;
    spinner.say("create to start, the plain table");
    let theirs = plain(target, samples, pause).await?;
    drop(spinner);
    let (times, baseline) = (Times::of(&ours), Times::of(&theirs));
    let measured = Measured {
        mode: Some("create to start of handler".to_owned()),
        ratio: Some(baseline.p50_ms / times.p50_ms.max(0.001)),
        baseline: Some(baseline),
        ..Measured::new("latency", target.engine(), times)
    };
    let settings = json!({
        "samples": samples, "pause_ms": u64::try_from(pause.as_millis())?, "engine": target.settings().await?,
    });
    Ok(Report::new(target, settings, vec![measured]))
}

async fn engine(target: &Target, samples: u32, pause: Duration) -> anyhow::Result<Histogram<u64>> {
    let store = target.open().await?;
    let (stopwatch, mut starts) = Stopwatch::new(Duration::ZERO);
    let registry = Registry::new().with(operation().kind, stopwatch);
    let running = Engine::start(Arc::clone(&store), registry, Settings::default(), "bench");
    let histogram = time_starts(&*store, &running, &mut starts, ORGANIZATION, samples, pause).await?;
    running.drain().await;
    store.close().await;
    Ok(histogram)
}

/// Creates operations of an organization, one after the other, and times how long each takes to start.
///
/// # Errors
/// When one does not start, and those of the store.
pub async fn time_starts(
    store: &dyn Store,
    running: &Running,
    starts: &mut Starts,
    organization: &str,
    samples: u32,
    pause: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let waker = running.waker();
    let mut histogram = Histogram::<u64>::new(3)?;
    // Other operations start too, and they are not timed.
    let mut early: HashMap<OperationId, Instant> = HashMap::new();
    for sample in 0..samples + WARM_UP {
        tokio::time::sleep(pause).await;
        let begin = Instant::now();
        let id = waker.create(store, &Access::organization(organization), operation(), None, None).await?.id;
        let start = loop {
            if let Some(start) = early.remove(&id) {
                break start;
            }
            let next = tokio::time::timeout(PATIENCE, starts.recv()).await;
            let next = next.map_err(|_| anyhow::anyhow!("an operation was not started within {PATIENCE:?}"))?;
            let (id, start) = next.ok_or_else(|| anyhow::anyhow!("the engine has stopped"))?;
            early.insert(id, start);
        };
        if sample >= WARM_UP {
            histogram.record(u64::try_from(start.duration_since(begin).as_nanos())?)?;
        }
    }
    Ok(histogram)
}

async fn plain(target: &Target, samples: u32, pause: Duration) -> anyhow::Result<Histogram<u64>> {
    let plain = Plain::empty(target).await?;
    let created = Arc::new(Notify::new());
    let start: Arc<Mutex<Option<Instant>>> = Arc::default();
    let started = Arc::new(Notify::new());
    let worker = tokio::spawn({
        let (plain, created, start, started) = (plain.clone(), created.clone(), start.clone(), started.clone());
        async move {
            loop {
                created.notified().await;
                while let Some(taken) = plain.claim().await? {
                    *start.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    started.notify_one();
                    plain.complete(taken).await?;
                }
            }
            #[expect(unreachable_code, reason = "names the error type of the loop")]
            anyhow::Ok(())
        }
    });
    let mut histogram = Histogram::<u64>::new(3)?;
    for sample in 0..samples + WARM_UP {
        tokio::time::sleep(pause).await;
        let begin = Instant::now();
        plain.create().await?;
        created.notify_one();
        tokio::time::timeout(PATIENCE, started.notified()).await?;
        let start = start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(start) = start.filter(|_| sample >= WARM_UP) {
            histogram.record(u64::try_from(start.duration_since(begin).as_nanos())?)?;
        }
    }
    worker.abort();
    Ok(histogram)
}
