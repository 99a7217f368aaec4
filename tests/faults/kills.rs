//! A server on an embedded store is killed again and again under load: what it acknowledged is there, once, and ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longrun_client::{ListRequest, NewOperation, Operation};
use rand::RngExt as _;
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

use crate::common::{PATIENCE, admin_token, free_address, run_in};
use crate::load::{KIND, Load, serve};

/// Kills of an ordinary run; `LONGRUN_KILLS` sets another number.
const KILLS: usize = 5;
const CREATORS: u64 = 6;
const WORKERS: u64 = 3;
/// Creations that are acknowledged between two kills, at least and at most.
const BETWEEN: std::ops::Range<usize> = 20..120;
/// A caller that asks again is answered within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_kills_under_load_and_ends_once() {
    let kills = std::env::var("LONGRUN_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let (folder, address) = (tempdir().unwrap(), free_address());
    let mut server = serve(folder.path(), &address);
    let token = admin_token(&format!("sqlite:{}", folder.path().join("longrun.db").display()));
    let load = Load::new(&address, &token);
    let (mut creators, workers_stop) = (tokio::task::JoinSet::new(), CancellationToken::new());
    for number in 0..CREATORS {
        creators.spawn(Arc::clone(&load).create(number, Duration::ZERO, |random| NewOperation {
            kind: KIND.to_owned(),
            max_attempts: Some(random.random_range(1..=3)),
            ..NewOperation::default()
        }));
    }
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(Arc::clone(&load).work(number, &[KIND], workers_stop.clone()));
    }
    for kill in 0..kills {
        let (deadline, enough) = (Instant::now() + PATIENCE, load.count() + rand::rng().random_range(BETWEEN));
        while load.count() < enough || load.fault.lock().unwrap().is_some() {
            assert!(Instant::now() < deadline, "no progress after {kill} kills");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        load.fault_begins();
        server.process.kill_9();
        server = serve(folder.path(), &address);
    }
    let deadline = Instant::now() + PATIENCE;
    while load.fault.lock().unwrap().is_some() {
        assert!(Instant::now() < deadline, "the last kill is not recovered from");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    load.stop.cancel();
    while let Some(ended) = creators.join_next().await {
        ended.unwrap();
    }
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        let left = load.client.count("status = (PENDING OR RUNNING)", &[]).await;
        if load.answer("count", left).is_some_and(|left| left.value.total_count == 0) {
            break;
        }
        assert!(Instant::now() < deadline, "some operations never end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    workers_stop.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    let listed = list(&load).await;
    let ids: BTreeSet<&str> = listed.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids.len(), listed.len(), "none is listed twice");
    let expected: BTreeSet<&str> = acknowledged.values().map(String::as_str).collect();
    assert_eq!(expected.len(), acknowledged.len(), "two keys made one operation");
    let (lost, doubled) = (expected.difference(&ids).count(), ids.difference(&expected).count());
    let stuck = listed.iter().filter(|operation| !operation.is_terminal()).count();
    let wrong = listed.iter().filter(|operation| !operation.is_failed() && operation.output != operation.id).count();
    assert_eq!([lost, doubled, stuck, wrong], [0; 4], "lost, doubled, stuck, with another's outcome");
    let recoveries = load.recoveries.lock().unwrap().clone();
    let run = "`kill -9` of the binary under load, SQLite";
    testkit::report(run, kills, acknowledged.len(), &testkit::spread(&recoveries));
    assert!(recoveries.iter().all(|recovery| *recovery < RECOVERS_WITHIN), "{recoveries:?}");
    drop(server);
    run_in(folder.path(), &["doctor", "--store", "sqlite:longrun.db"]).expect(0);
}

/// Every operation, page by page.
async fn list(load: &Load) -> Vec<Operation> {
    let mut listed = Vec::new();
    loop {
        let page = Some(i32::try_from(listed.len() / 100).unwrap());
        let request = ListRequest { page, page_size: Some(100), ..ListRequest::default() };
        let found = load.client.list(&request).await.unwrap().value;
        listed.extend(found.operations);
        if listed.len() as u64 >= u64::try_from(found.pagination.total_count).unwrap() {
            return listed;
        }
    }
}
