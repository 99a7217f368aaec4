//! Filling a store with the rows of `bench pages`: by its own calls up to a million, beyond that by copies in SQL.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use operations::{Access, Filter, Outcome, PageRequest};
use store::{ClaimRequest, Settlement, Store};

use super::data::{COMMON_KIND, DENSE_KIND, ORGANIZATION, SPARSE_KIND, new_operation, scatter};
use super::multiply;
use super::spinner::Spinner;
use super::target::Target;

/// The newest operations, which are left pending and running.
const ACTIVE: u64 = 1_000;
/// The running ones among them.
const RUNNING: u32 = 100;
/// Operations that are created by calls; any beyond that are copied.
const BY_CALLS: u64 = 1_000_000;
const BATCH: u64 = 2_000;

/// Brings the store to `rows` operations, unless it has them, and opens it.
///
/// # Errors
/// When it contains another number of this benchmark's operations, or is not sound afterwards.
pub async fn fill(target: &Target, rows: u64) -> anyhow::Result<Arc<dyn Store>> {
    let store = target.open().await?;
    let access = Access::organization(ORGANIZATION);
    let there = store.list(&access, &Filter::default(), PageRequest::default()).await?.page.total_count;
    if there == rows {
        return Ok(store);
    }
    if there > 0 {
        let message = format!("the store has {there} operations of this benchmark, not {rows}");
        anyhow::bail!("{message}: give another --store, or --rows as it was filled");
    }
    let settled = rows.saturating_sub(ACTIVE);
    let bar = ProgressBar::new(rows)
        .with_style(ProgressStyle::with_template("filling the store {bar:40} {human_pos}/{human_len} {eta}")?);
    let first = settled.min(BY_CALLS);
    for from in (0..first).step_by(usize::try_from(BATCH)?) {
        let until = (from + BATCH).min(first);
        create(&*store, from, until, rows).await?;
        settle_all(&*store, u32::try_from(until - from)?).await?;
        bar.set_position(until);
    }
    let store = if settled > first {
        bar.set_message("copying");
        // Nothing may write or fold counters meanwhile.
        store.close().await;
        drop(store);
        multiply::settled(target, first, settled, &bar).await?;
        target.open().await?
    } else {
        store
    };
    create(&*store, settled, rows, rows).await?;
    store.claim(claim_request(RUNNING)).await?;
    bar.finish_and_clear();
    multiply::tidy(target).await?;
    check(&*store).await?;
    Ok(store)
}

/// Only a sound store may be measured.
async fn check(store: &dyn Store) -> anyhow::Result<()> {
    let spinner = Spinner::start("checking the store");
    let report = store.doctor().await?;
    drop(spinner);
    anyhow::ensure!(report.findings.is_empty(), "the filled store is not sound: {:?}", report.findings);
    Ok(())
}

async fn create(store: &dyn Store, from: u64, until: u64, rows: u64) -> anyhow::Result<()> {
    let new = (from..until).map(|n| new_operation(n, rows)).collect();
    store.create(ORGANIZATION, new, None).await?;
    Ok(())
}

fn claim_request(limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: [DENSE_KIND, COMMON_KIND, SPARSE_KIND].map(str::to_owned).to_vec(),
        access: Some(Access::organization(ORGANIZATION)),
        among: None,
        limit,
        worker: "bench".to_owned(),
        lease: Duration::from_secs(24 * 3600),
    }
}

async fn settle_all(store: &dyn Store, limit: u32) -> anyhow::Result<()> {
    let claimed = store.claim(claim_request(limit)).await?;
    let settlements = claimed.into_iter().map(|claimed| {
        let random = u128::from_be_bytes(*claimed.operation.id.as_bytes()) as u64;
        let outcome = if scatter(random).is_multiple_of(50) {
            Outcome::Failed { message: "the scanner found no image".to_owned(), retryable: false }
        } else {
            Outcome::Completed { output: r#"{"status":"passed","totals":{"policies":3,"violations":0}}"#.to_owned() }
        };
        Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO }
    });
    store.settle(settlements.collect()).await?;
    Ok(())
}
