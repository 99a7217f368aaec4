//! `longrun bench pages`: one page with its exact total, of the list or of a search, compared with a plain table with
//! `COUNT(*)` and `OFFSET`.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use operations::{Access, PageRequest};
use serde_json::json;
use store::Store;

use super::data::{Asked, PROJECTS, filters};
use super::fill::fill;
use super::plain::Plain;
use super::report::{Measured, Report, Times};
use super::searches::searches;
use super::sizes;
use super::spinner::Spinner;
use super::target::Target;

const PAGE_SIZE: u32 = 50;
/// The plain table is read for at most this long per page; at least [`PLAIN_SAMPLES`] times.
const PLAIN_TIME: Duration = Duration::from_secs(1);
const PLAIN_SAMPLES: u32 = 5;
/// Buckets whose times are recorded in one transaction.
const BUCKETS: u32 = 256;
/// Reads before the first that counts.
const WARM_UP: u32 = 5;

/// The settings of `longrun bench pages`.
pub struct Settings {
    pub rows: u64,
    pub samples: u32,
    /// Searches instead of the list.
    pub is_search: bool,
    /// Whether the same rows are copied into the plain table, which is read for comparison with the store.
    pub has_plain: bool,
}

/// Fills the store if it is empty, copies it into the plain table, and measures both: the list, or searches.
pub async fn measure(target: &Target, settings: Settings) -> anyhow::Result<Report> {
    let Settings { rows, samples, is_search, has_plain } = settings;
    let begin = Instant::now();
    let store = fill(target, rows).await?;
    // Searches by time need it; servers do this in the background.
    while is_search && store.note_times(BUCKETS).await? > 0 {}
    let took = begin.elapsed();
    let spinner = Spinner::start("copying the rows into the plain table");
    let plain = if has_plain { Some(Plain::copy(target, rows).await?) } else { None };
    let mut results = Vec::new();
    let what = if is_search { "search" } else { "pages" };
    for (name, access, asked) in if is_search { searches(&*store, rows).await? } else { filters(rows) } {
        let (_, total) = asked.of_store(&*store, &access, PageRequest { page: 0, page_size: 1 }).await?;
        let pages = total.div_ceil(u64::from(PAGE_SIZE)).max(1);
        let ways = [("first", 0), ("middle", pages / 2), ("last", pages - 1)];
        let ways = if asked.has_pages() { &ways[..] } else { &[("count", 0)] };
        for &(page, number) in ways {
            spinner.say(format!("measuring {name}: {page}"));
            let request = PageRequest { page: u32::try_from(number)?, page_size: PAGE_SIZE };
            let times = time_store(&*store, &access, &asked, request, samples).await?;
            let baseline = match &plain {
                Some(plain) => {
                    let baseline = time_plain(plain, &access, &asked, request, samples).await?;
                    agree(&*store, plain, &access, &asked, request).await?;
                    Some(baseline)
                }
                None => None,
            };
            results.push(Measured {
                rows: Some(rows),
                filter: Some(format!("{name} ({total})")),
                page: Some(page),
                ratio: baseline.as_ref().map(|baseline| baseline.p50_ms / times.p50_ms.max(0.001)),
                baseline,
                ..Measured::new(what, target.engine(), times)
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
    report.notes.push(format!("the store was filled and checked, or found filled, in {} s", took.as_secs()));
    store.close().await;
    Ok(report)
}

async fn time_store(
    store: &dyn Store,
    access: &Access,
    asked: &Asked,
    page: PageRequest,
    samples: u32,
) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for sample in 0..samples + WARM_UP {
        let start = Instant::now();
        asked.of_store(store, access, page).await?;
        let took = start.elapsed();
        if sample >= WARM_UP {
            histogram.record(u64::try_from(took.as_nanos())?)?;
        }
    }
    Ok(Times::of(&histogram))
}

async fn time_plain(
    plain: &Plain,
    access: &Access,
    asked: &Asked,
    page: PageRequest,
    samples: u32,
) -> anyhow::Result<Times> {
    let mut histogram = Histogram::<u64>::new(3)?;
    asked.of_plain(plain, access, page).await?;
    let begin = Instant::now();
    for sample in 0..samples {
        if sample >= PLAIN_SAMPLES && begin.elapsed() > PLAIN_TIME {
            break;
        }
        let start = Instant::now();
        asked.of_plain(plain, access, page).await?;
        histogram.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(Times::of(&histogram))
}

/// A benchmark that compares different answers measures nothing.
async fn agree(
    store: &dyn Store,
    plain: &Plain,
    access: &Access,
    asked: &Asked,
    page: PageRequest,
) -> anyhow::Result<()> {
    let ours = asked.of_store(store, access, page).await?;
    let theirs = asked.of_plain(plain, access, page).await?;
    anyhow::ensure!(ours == theirs, "longrun answers {ours:?} and the plain table {theirs:?} for {asked:?} {page:?}");
    Ok(())
}
