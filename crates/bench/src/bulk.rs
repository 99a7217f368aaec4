//! `longrun bench bulk`: all failed operations of an organization are retried at once, and how long another
//! organization's creations and claims take meanwhile, compared with the same without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Attempt, Handler, Progress};
use hdrhistogram::Histogram;
use kinds::bulk::{self, BulkAction, BulkHandler};
use operations::{Access, NewOperation, Outcome, Search};
use serde_json::json;
use store::{ClaimRequest, Claimed, Settlement, Store};
use tokio_util::sync::CancellationToken;

use super::load::{ORGANIZATION, operation};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::Target;

/// The organization that makes calls meanwhile.
const OTHER: &str = "bench-other";
/// Operations per call that fills the store.
const BATCH: u64 = 1_000;

/// The measurements of one caller.
struct Seen {
    creations: Histogram<u64>,
    claims: Histogram<u64>,
}

/// Measures without a bulk operation, and while one retries `failed` operations.
pub async fn measure(target: &Target, failed: u64, samples: u32, pause: Duration) -> anyhow::Result<Report> {
    let store = target.open().await?;
    let spinner = Spinner::start("failed operations");
    for from in (0..failed).step_by(usize::try_from(BATCH)?) {
        spinner.say(format!("failed operations: {from} of {failed}"));
        fail(&*store, u32::try_from(BATCH.min(failed - from))?).await?;
    }
    spinner.say("another organization alone");
    let alone = call(&*store, pause, |seen| seen.creations.len() >= u64::from(samples)).await?;
    spinner.say(format!("another organization while {failed} operations are retried"));
    let running = begin(&store).await?;
    let begun = Instant::now();
    let beside = call(&*store, pause, |_| running.is_finished()).await?;
    let output = running.await??;
    let took = begun.elapsed().as_secs_f64();
    drop(spinner);
    let output: serde_json::Value = serde_json::from_str(&output)?;
    anyhow::ensure!(output["retried"] == json!(failed), "not all of them were retried: {output}");
    let row = |what: &str, during: &Histogram<u64>, before: &Histogram<u64>| {
        let (times, baseline) = (Times::of(during), Times::of(before));
        Measured {
            mode: Some(format!("another's {what} meanwhile")),
            ratio: Some(baseline.p50_ms / times.p50_ms.max(0.001)),
            baseline: Some(baseline),
            ..Measured::new("bulk", target.engine(), times)
        }
    };
    let rows =
        vec![row("creations", &beside.creations, &alone.creations), row("claims", &beside.claims, &alone.claims)];
    let settings = json!({
        "failed": failed, "samples": samples, "pause_ms": u64::try_from(pause.as_millis())?,
        "engine": target.settings().await?,
    });
    let mut report = Report::new(target, settings, rows);
    let rate = failed as f64 / took.max(0.001);
    report.notes.push(format!("{failed} operations were retried in {took:.1} s: {rate:.0} per second"));
    report.notes.push(format!("{} creations and claims of another organization meanwhile", beside.creations.len()));
    store.close().await;
    Ok(report)
}

async fn claim(store: &dyn Store, organization: &str, kind: &str, limit: u32) -> anyhow::Result<Vec<Claimed>> {
    let request = ClaimRequest {
        kinds: vec![kind.to_owned()],
        access: Some(Access::organization(organization)),
        among: None,
        limit,
        worker: "bench".to_owned(),
        lease: Duration::from_secs(24 * 3600),
    };
    Ok(store.claim(request).await?)
}

async fn settle(store: &dyn Store, claimed: Vec<Claimed>, outcome: Outcome) -> anyhow::Result<()> {
    let settlement =
        |claimed: Claimed| Settlement { lease: claimed.lease, outcome: outcome.clone(), retry_after: Duration::ZERO };
    for settled in store.settle(claimed.into_iter().map(settlement).collect()).await? {
        settled?;
    }
    Ok(())
}

/// Creates operations that have failed.
async fn fail(store: &dyn Store, count: u32) -> anyhow::Result<()> {
    let new: Vec<NewOperation> = (0..count).map(|_| operation()).collect();
    store.create(ORGANIZATION, new, None).await?;
    let claimed = claim(store, ORGANIZATION, &operation().kind, count).await?;
    settle(store, claimed, Outcome::Failed { message: "the scanner found no image".to_owned(), retryable: false }).await
}

/// Starts to retry all failed operations, as an engine would.
async fn begin(store: &Arc<dyn Store>) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<String>>> {
    let search = bulk::without_bulk(Search::parse("status = FAILED", store.now())?);
    let access = Access::organization(ORGANIZATION);
    store.create(ORGANIZATION, vec![bulk::operation(BulkAction::Retry, &search, &access)], None).await?;
    let claimed = claim(&**store, ORGANIZATION, bulk::KIND, 1).await?.pop();
    let claimed = claimed.ok_or_else(|| anyhow::anyhow!("the bulk operation was not claimed"))?;
    let (handler, store) = (BulkHandler::new(Arc::clone(store)), Arc::clone(store));
    Ok(tokio::spawn(async move {
        let attempt = Attempt {
            organization: ORGANIZATION.to_owned(),
            operation: claimed.operation.clone(),
            input: claimed.input.clone(),
            number: claimed.attempt,
            trace: None,
            cancelled: CancellationToken::new(),
            progress: Progress::default(),
        };
        let output = handler.run(attempt).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
        settle(&*store, vec![claimed], Outcome::Completed { output: output.clone() }).await?;
        Ok(output)
    }))
}

/// Creates and claims operations of the other organization, one after the other, until it `is_enough`.
async fn call(store: &dyn Store, pause: Duration, is_enough: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
    let mut seen = Seen { creations: Histogram::new(3)?, claims: Histogram::new(3)? };
    let nanos = |begun: Instant| u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    while !is_enough(&seen) {
        let begun = Instant::now();
        store.create(OTHER, vec![operation()], None).await?;
        seen.creations.record(nanos(begun))?;
        let begun = Instant::now();
        let claimed = claim(store, OTHER, &operation().kind, 1).await?;
        seen.claims.record(nanos(begun))?;
        settle(store, claimed, Outcome::Completed { output: String::new() }).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(seen)
}
