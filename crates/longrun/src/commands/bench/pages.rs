//! `longrun bench pages`: one page with its exact total, beside a plain table with `COUNT(*)` and `OFFSET`.

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use operations::{Access, Filter, NewOperation, Outcome, PageRequest, Resource, Status};
use serde_json::json;
use store::{ClaimRequest, Settlement, SqliteStore, Store};

use super::plain::Plain;
use super::report::{Measured, Report, Times};
use crate::exit::failure;

const ORGANIZATION: &str = "bench";
/// Nine of ten operations.
const DENSE_KIND: &str = "evidence_evaluation";
/// One of ten.
const COMMON_KIND: &str = "export";
/// One of a thousand.
const SPARSE_KIND: &str = "provision";
const PROJECTS: u64 = 50;
/// Operations of the one resource that has many.
const HOT_RESOURCE: u64 = 15_000;
/// Operations left pending and running.
const ACTIVE: u64 = 1_000;
const RUNNING: u32 = 100;
const BATCH: u64 = 1_000;
const PAGE_SIZE: u32 = 50;
/// The plain table is read at most for so long a page; at least [`PLAIN_SAMPLES`] times.
const PLAIN_TIME: Duration = Duration::from_secs(1);
const PLAIN_SAMPLES: u32 = 5;
/// Reads before the first that counts.
const WARM_UP: u32 = 5;

/// Fills the store if it is empty, copies it into the plain table, and measures both.
pub async fn measure(path: &Path, rows: u64, samples: u32) -> anyhow::Result<Report> {
    let store = SqliteStore::open(path).await?;
    fill(&store, rows).await?;
    let plain = Plain::copy(path).await?;
    let mut results = Vec::new();
    for (name, access, filter) in filters(rows) {
        let total = store.list(&access, &filter, PageRequest { page: 0, page_size: 1 }).await?.page.total_count;
        let pages = total.div_ceil(u64::from(PAGE_SIZE)).max(1);
        for (page, number) in [("first", 0), ("middle", pages / 2), ("last", pages - 1)] {
            let request = PageRequest { page: u32::try_from(number)?, page_size: PAGE_SIZE };
            let times = time_store(&store, &access, &filter, request, samples).await?;
            let baseline = time_plain(&plain, &access, &filter, request, samples).await?;
            agree(&store, &plain, &access, &filter, request).await?;
            let ratio = baseline.p50_ms / times.p50_ms.max(0.001);
            let ratio = (ratio * 10.0).round() / 10.0;
            let filter = format!("{name} ({total})");
            results.push(Measured { name: "pages", engine: "sqlite", rows, filter, page, times, baseline, ratio });
        }
    }
    let settings = json!({
        "page_size": PAGE_SIZE, "samples": samples, "synchronous": "full", "journal_mode": "wal", "projects": PROJECTS,
    });
    Ok(Report::new(store.engine_version().await?, settings, results))
}

/// The filters of the list, each with the caller's access.
fn filters(rows: u64) -> Vec<(&'static str, Access, Filter)> {
    let all = || Access::organization(ORGANIZATION);
    let projects = |n: u64| Access::projects(ORGANIZATION, (0..n).map(project));
    let status = |status| Filter { status: Some(status), ..Filter::default() };
    let kind = |kind: &str| Filter { kind: Some(kind.to_owned()), ..Filter::default() };
    let resource = Filter { resource: new_operation(0, rows).resource, ..Filter::default() };
    let failed_kind = Filter { status: Some(Status::Failed), ..kind(DENSE_KIND) };
    vec![
        ("none", all(), Filter::default()),
        ("pending", all(), status(Status::Pending)),
        ("running", all(), status(Status::Running)),
        ("completed", all(), status(Status::Completed)),
        ("failed", all(), status(Status::Failed)),
        ("dense kind", all(), kind(DENSE_KIND)),
        ("sparse kind", all(), kind(SPARSE_KIND)),
        ("dense kind, failed", all(), failed_kind.clone()),
        ("one resource", all(), resource),
        ("token of 1 project", projects(1), Filter::default()),
        ("token of 20 projects", projects(20), Filter::default()),
        ("token of 20 projects, kind, failed", projects(20), failed_kind),
    ]
}

fn project(n: u64) -> String {
    format!("project-{n:02}")
}

/// Operation number `n`: the same in every run.
fn new_operation(n: u64, rows: u64) -> NewOperation {
    let hash = scatter(n);
    let kind = match hash % 1_000 {
        0 => SPARSE_KIND,
        1..=100 => COMMON_KIND,
        _ => DENSE_KIND,
    };
    let every = (rows / HOT_RESOURCE.min(rows / 10).max(1)).max(1);
    let resource_id = if n.is_multiple_of(every) { "hot".to_owned() } else { format!("cold-{}", n / 10) };
    let project_id = if hash.is_multiple_of(7) { String::new() } else { project((hash >> 20) % PROJECTS) };
    NewOperation {
        resource: Some(Resource { resource_type: "evidence".to_owned(), resource_id }),
        project_id,
        input: r#"{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#.to_owned(),
        ..NewOperation::of_kind(kind)
    }
}

/// A number that looks random and is the same in every run (the finaliser of SplitMix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Brings the store to `rows` operations by its own calls: create, claim, settle.
async fn fill(store: &SqliteStore, rows: u64) -> anyhow::Result<()> {
    let access = Access::organization(ORGANIZATION);
    let there = store.list(&access, &Filter::default(), PageRequest::default()).await?.page.total_count;
    if there == rows {
        return Ok(());
    }
    if there > 0 {
        let message = format!("the store has {there} operations of this benchmark, not {rows}");
        return Err(failure(message, "give another --store, or --rows as it was filled"));
    }
    let progress = ProgressBar::new(rows).with_style(indicatif::ProgressStyle::with_template(
        "filling the store {bar:40} {human_pos}/{human_len} {eta}",
    )?);
    let mut n = 0;
    while n < rows {
        let settled_until = rows.saturating_sub(ACTIVE);
        let batch = if n < settled_until { BATCH.min(settled_until - n) } else { BATCH.min(rows - n) };
        let new = (n..n + batch).map(|n| new_operation(n, rows)).collect();
        store.create(ORGANIZATION, new, None).await?;
        if n < settled_until {
            settle_all(store, u32::try_from(batch)?).await?;
        } else {
            store.claim(claim_request(RUNNING)).await?;
        }
        n += batch;
        progress.set_position(n);
    }
    progress.finish_and_clear();
    Ok(())
}

fn claim_request(limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: [DENSE_KIND, COMMON_KIND, SPARSE_KIND].map(str::to_owned).to_vec(),
        organization: Some(ORGANIZATION.to_owned()),
        limit,
        worker: "bench".to_owned(),
        lease: Duration::from_secs(24 * 3600),
    }
}

async fn settle_all(store: &SqliteStore, limit: u32) -> anyhow::Result<()> {
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

async fn time_store(
    store: &SqliteStore,
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
    store: &SqliteStore,
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
