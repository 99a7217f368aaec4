//! `longrun bench fairness`: how long the first operation of an organization waits behind a million operations of
//! another.
//!
//! One organization has a long queue of operations, whose attempts take ten milliseconds each and keep the engine busy;
//! another creates one operation now and then. The baseline is the same without the queue.

use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Registry, Settings};
use hdrhistogram::Histogram;
use operations::{Access, Filter, PageRequest, Status};
use serde_json::json;
use store::Store;

use super::latency::{Stopwatch, time_starts};
use super::load::{ORGANIZATION, operation};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::Target;

/// The organization that comes late.
const OTHER: &str = "bench-other";
/// How long an attempt takes.
const ATTEMPT: Duration = Duration::from_millis(10);
/// Operations per call that fills the queue.
const BATCH: u64 = 2_000;

/// Measures without a queue and behind a queue of `pending` operations.
pub async fn measure(target: &Target, pending: u64, samples: u32, pause: Duration) -> anyhow::Result<Report> {
    let store = target.open().await?;
    let spinner = Spinner::start("the empty system");
    let empty = start(&store, samples, pause).await?;
    for from in (0..pending).step_by(usize::try_from(BATCH)?) {
        spinner.say(format!("filling the queue: {from} of {pending}"));
        let number = usize::try_from(BATCH.min(pending - from))?;
        store.create(ORGANIZATION, vec![operation(); number], None).await?;
    }
    spinner.say("behind the queue");
    let behind = start(&store, samples, pause).await?;
    drop(spinner);
    let filter = Filter { status: Some(Status::Pending), ..Filter::default() };
    let left = store.list(&Access::organization(ORGANIZATION), &filter, PageRequest::default()).await?.page.total_count;
    anyhow::ensure!(left > 0, "the queue was emptied during the measurement; give a longer one with --pending");
    let (times, baseline) = (Times::of(&behind), Times::of(&empty));
    let measured = Measured {
        mode: Some(format!("another's first, behind {pending}")),
        ratio: Some(baseline.p50_ms / times.p50_ms.max(0.001)),
        baseline: Some(baseline),
        ..Measured::new("fairness", target.engine(), times)
    };
    let settings = json!({
        "pending": pending, "samples": samples, "pause_ms": u64::try_from(pause.as_millis())?,
        "attempt_ms": u64::try_from(ATTEMPT.as_millis())?, "engine": target.settings().await?,
    });
    let mut report = Report::new(target, settings, vec![measured]);
    report.notes.push(format!("create to start of handler; {left} in the queue were left at the end"));
    store.close().await;
    Ok(report)
}

async fn start(store: &Arc<dyn Store>, samples: u32, pause: Duration) -> anyhow::Result<Histogram<u64>> {
    let (stopwatch, mut starts) = Stopwatch::new(ATTEMPT);
    let registry = Registry::new().with(operation().kind, stopwatch);
    let running = Engine::start(Arc::clone(store), registry, Settings::default(), "bench");
    let times = time_starts(&**store, &running, &mut starts, OTHER, samples, pause).await;
    running.drain().await;
    times
}
