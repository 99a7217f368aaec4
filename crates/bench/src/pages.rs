//! `longrun bench pages`: one page with its exact total, beside a plain table with `COUNT(*)` and `OFFSET`.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use operations::{Access, Filter, PageRequest};
use serde_json::json;
use store::Store;

use super::data::{PROJECTS, filters};
use super::fill::fill;
use super::plain::Plain;
use super::report::{Measured, Report, Times};
use super::sizes;
use super::spinner::Spinner;
use super::target::Target;

const PAGE_SIZE: u32 = 50;
/// The plain table is read at most for so long a page; at least [`PLAIN_SAMPLES`] times.
const PLAIN_TIME: Duration = Duration::from_secs(1);
const PLAIN_SAMPLES: u32 = 5;
/// Reads before the first that counts.
const WARM_UP: u32 = 5;

/// Fills the store if it is empty, copies it into the plain table, and measures both.
pub async fn measure(target: &Target, rows: u64, samples: u32) -> anyhow::Result<Report> {
    let store = fill(target, rows).await?;
    let spinner = Spinner::start("copying the rows into the plain table");
    let plain = Plain::copy(target, rows).await?;
    let mut results = Vec::new();
    for (name, access, filter) in filters(rows) {
        let total = store.list(&access, &filter, PageRequest { page: 0, page_size: 1 }).await?.page.total_count;
        let pages = total.div_ceil(u64::from(PAGE_SIZE)).max(1);
        for (page, number) in [("first", 0), ("middle", pages / 2), ("last", pages - 1)] {
            spinner.say(format!("measuring {name}, {page} page"));
            let request = PageRequest { page: u32::try_from(number)?, page_size: PAGE_SIZE };
            let times = time_store(&*store, &access, &filter, request, samples).await?;
            let baseline = time_plain(&plain, &access, &filter, request, samples).await?;
            agree(&*store, &plain, &access, &filter, request).await?;
            results.push(Measured {
                rows: Some(rows),
                filter: Some(format!("{name} ({total})")),
                page: Some(page),
                ratio: Some(baseline.p50_ms / times.p50_ms.max(0.001)),
                baseline: Some(baseline),
                ..Measured::new("pages", target.engine(), times)
            });
        }
    }
    drop(spinner);
    let settings = json!({
        "page_size": PAGE_SIZE, "samples": samples, "projects": PROJECTS, "engine": target.settings().await?,
    });
    let worst = results.iter().map(|row| row.times.p99_ms).fold(0.0, f64::max);
    let mut report = Report::new(target, settings, results);
    report.sizes = sizes::measure(target).await?;
    report.notes.push(format!("worst p99 of longrun: {worst:.3} ms"));
    store.close().await;
    Ok(report)
}

async fn time_store(
    store: &dyn Store,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
    samples: u32,
) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for sample in 0..samples + WARM_UP {
        let start = Instant::now();
        let listing = store.list(access, filter, page).await?;
        let took = start.elapsed();
        std::hint::black_box(listing);
        if sample >= WARM_UP {
            histogram.record(u64::try_from(took.as_nanos())?)?;
        }
    }
    Ok(Times::of(&histogram))
}

async fn time_plain(
    plain: &Plain,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
    samples: u32,
) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new(3)?;
    plain.list(access, filter, page).await?;
    let begin = Instant::now();
    for sample in 0..samples {
        if sample >= PLAIN_SAMPLES && begin.elapsed() > PLAIN_TIME {
            break;
        }
        let start = Instant::now();
        plain.list(access, filter, page).await?;
        histogram.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(Times::of(&histogram))
}

/// A benchmark that compares different answers measures nothing.
async fn agree(
    store: &dyn Store,
    plain: &Plain,
    access: &Access,
    filter: &Filter,
    page: PageRequest,
) -> anyhow::Result<()> {
    let listing = store.list(access, filter, page).await?;
    let ours = (listing.entries.len(), listing.page.total_count);
    let theirs = plain.list(access, filter, page).await?;
    anyhow::ensure!(ours == theirs, "longrun answers {ours:?} and the plain table {theirs:?} for {filter:?} {page:?}");
    Ok(())
}
