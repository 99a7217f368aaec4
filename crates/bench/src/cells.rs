//! `longrun bench lifecycle --cells URL,URL`: organizations distributed over several PostgreSQL databases.
//!
//! Each cell has one organization and the same number of clients. First all of these clients work for the first
//! organization, so in one cell; then each works for the organization of its own cell.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use serde_json::json;
use store::{CellUrl, Cells, CellsConfig, Limits, Open, Patience, PostgresUrl, Store, StoreUrl};

use super::lifecycle::{self, WARM_UP};
use super::load::{Side, Until};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::{STORE_CONNECTIONS, Target};

/// Measures lifecycles one by one, in one cell and in all of them; the directory is the target.
///
/// # Errors
/// When the target or a cell is not a PostgreSQL database or has been used otherwise, and the errors of the store.
pub async fn measure(target: &Target, cells: &[String], clients: u32, length: Duration) -> anyhow::Result<Report> {
    let StoreUrl::Postgres(directory) = &target.url else {
        bail!("the directory of cells is a PostgreSQL database: give --store postgres://…");
    };
    let urls = cells.iter().enumerate().map(|(index, text)| {
        let place = index + 1;
        let url: StoreUrl = text.parse().with_context(|| format!("--cells, number {place}"))?;
        let StoreUrl::Postgres(url) = url else { bail!("--cells, number {place}: a cell is a PostgreSQL database") };
        Ok(CellUrl { name: format!("cell-{place}"), url, read_url: None::<PostgresUrl> })
    });
    let config = CellsConfig {
        directory: directory.clone(),
        cells: urls.collect::<anyhow::Result<_>>()?,
        how: Open::Create,
        connections: STORE_CONNECTIONS,
        clock: None,
        patience: Patience::default(),
    };
    let store = Arc::new(Cells::open(config).await?);
    let mut sides = Vec::new();
    for index in 0..cells.len() {
        let organization = format!("bench-{index}");
        store.create_organization(&organization, Limits::default()).await?;
        sides.push(Side::Longrun(Arc::clone(&store) as Arc<dyn Store>, organization.into(), 1));
    }
    let placed: std::collections::BTreeSet<_> =
        (0..cells.len()).map(|n| store.cell_of(&format!("bench-{n}"))).collect();
    ensure!(
        placed.len() == cells.len(),
        "the databases have been used before: give new ones, so that each has one organization"
    );
    let spinner = Spinner::start("in one cell");
    let alone = together(&vec![sides[0].clone(); cells.len()], clients, length).await?;
    spinner.say("in all cells");
    let spread = together(&sides, clients, length).await?;
    drop(spinner);
    let row = |mode: String, times: Times, ratio: Option<f64>| Measured {
        mode: Some(mode),
        ratio,
        ..Measured::new("lifecycle", target.engine(), times)
    };
    let settings = json!({ "clients": clients, "seconds": length.as_secs(), "engine": target.settings().await? });
    let results = vec![
        row("one organization, in one cell".to_owned(), Times::at(&alone.0, alone.1), None),
        row(
            format!("{} organizations, each in a cell", cells.len()),
            Times::at(&spread.0, spread.1),
            Some(spread.1 / alone.1),
        ),
    ];
    let mut report = Report::new(target, settings, results);
    report.notes = vec!["the ratio is to one cell; cells on one machine share its processors and its disk".to_owned()];
    lifecycle::check(&*store).await?;
    store.close().await;
    Ok(report)
}

/// Puts all sides under load at the same time, with the clients divided among them; returns how long each lifecycle
/// took, and how many there were per second.
async fn together(sides: &[Side], clients: u32, length: Duration) -> anyhow::Result<(Histogram<u64>, f64)> {
    let each = clients.div_ceil(u32::try_from(sides.len())?).max(1);
    try_join_all(sides.iter().map(|side| lifecycle::load(each, Until::Time(WARM_UP), side))).await?;
    let seen = try_join_all(sides.iter().map(|side| lifecycle::load(each, Until::Time(length), side))).await?;
    let mut all = Histogram::<u64>::new(3)?;
    for part in &seen {
        all.add(&part.histogram)?;
    }
    Ok((all, seen.iter().map(super::load::Seen::per_second).sum()))
}
