//! Connections that break in the middle of a commit: the database has carried it out, and the answer is lost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Refusal, Status};
use store::{IdempotencyKey, PostgresStore, Settlement, Store, StoreError};
use testkit::{Cluster, Durability};

use super::support::{claim_request, completed};

const CREATORS: usize = 8;
const CREATIONS: usize = 120;
const WORKERS: usize = 4;
const RESETS: usize = 40;
/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever asks again is answered by then.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

/// Asks until there is an answer.
async fn must<T, C: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> C) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn create(store: PostgresStore, creator: usize, created: Arc<AtomicUsize>) -> Vec<OperationId> {
    let mut ids = Vec::new();
    for n in 0..CREATIONS {
        let key = IdempotencyKey { key: format!("{creator}-{n}"), fingerprint: [7; 32] };
        // The test ends leases, also of those at work, as often as it likes: none may fail of it.
        let scan = NewOperation { max_attempts: 100, ..NewOperation::of_kind("scan") };
        let made = must(|| store.create("acme", vec![scan.clone()], Some(key.clone()))).await;
        ids.push(made[0].id);
        created.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

/// Claims and completes; answers what it was told that it completed.
async fn work(store: PostgresStore, is_over: Arc<AtomicBool>) -> Vec<(OperationId, u64)> {
    let mut ended = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        // What a lost answer has claimed for nobody runs into the end of its lease.
        let Ok(claimed) = store.claim(claim_request(&["scan"], 5)).await else { continue };
        for claimed in claimed {
            let output = format!("{} {}", claimed.operation.id, claimed.lease.fence);
            let settlement = Settlement {
                lease: claimed.lease.clone(),
                outcome: completed(&output),
                retry_after: Duration::from_millis(1),
            };
            // Whoever was not answered says the same again, and is told what was recorded.
            match must(|| store.settle(vec![settlement.clone()])).await.remove(0) {
                Ok(status) => {
                    assert_eq!(status, Status::Completed);
                    ended.push((claimed.operation.id, claimed.lease.fence));
                }
                Err(Refusal::StaleLease) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
        tokio::task::yield_now().await;
    }
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_committed_while_its_answer_was_lost_is_neither_lost_nor_doubled() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let (url, proxy) = (cluster.database().await.unwrap(), cluster.proxy().await.unwrap());
    let store = PostgresStore::connect(&proxy.url(&url), 8).await.unwrap();
    let (created, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut creators = tokio::task::JoinSet::new();
    for creator in 0..CREATORS {
        creators.spawn(create(store.clone(), creator, Arc::clone(&created)));
    }
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(store.clone(), Arc::clone(&is_over)));
    }
    let mut recoveries = Vec::new();
    for reset in 1..=RESETS {
        // Spread over all that is created.
        while created.load(Ordering::SeqCst) < reset * CREATORS * CREATIONS / (RESETS + 2) {
            tokio::task::yield_now().await;
        }
        proxy.lose_answers();
        let begun = Instant::now();
        must(|| store.ping()).await;
        recoveries.push(begun.elapsed());
    }
    let mut acknowledged = Vec::new();
    while let Some(ids) = creators.join_next().await {
        acknowledged.extend(ids.unwrap());
    }
    let acme = Access::organization("acme");
    let total = async |status| {
        let (filter, page) = (Filter { status, ..Filter::default() }, PageRequest { page: 0, page_size: 1 });
        must(|| store.list(&acme, &filter, page)).await.page.total_count
    };
    let deadline = Instant::now() + PATIENCE;
    while total(Some(Status::Completed)).await < (CREATORS * CREATIONS) as u64 {
        // Servers do so when leases run out; these would take half a minute.
        let foreign = sqlx::PgPool::connect(&url).await.unwrap();
        sqlx::query("UPDATE longrun.leases SET expires_at = 0").execute(&foreign).await.unwrap();
        foreign.close().await;
        let lost = must(|| store.lost_leases(store::Lost::Expired, 1_000)).await;
        let lost: Vec<_> = lost.into_iter().map(|lost| (lost.lease, Duration::from_millis(1))).collect();
        must(|| store.lose(lost.clone())).await;
        assert!(
            Instant::now() < deadline,
            "some operations never end: {} are pending, {} running, {} failed",
            total(Some(Status::Pending)).await,
            total(Some(Status::Running)).await,
            total(Some(Status::Failed)).await
        );
    }
    is_over.store(true, Ordering::SeqCst);
    let mut ended: HashMap<OperationId, u64> = HashMap::new();
    while let Some(told) = workers.join_next().await {
        for (id, fence) in told.unwrap() {
            assert!(ended.insert(id, fence).is_none_or(|earlier| earlier == fence), "{id} has two outcomes");
        }
    }
    let distinct: BTreeSet<_> = acknowledged.iter().copied().collect();
    assert_eq!(distinct.len(), CREATORS * CREATIONS, "two keys made one operation");
    assert_eq!(total(None).await, (CREATORS * CREATIONS) as u64, "none is lost, none is doubled");
    for (id, fence) in ended {
        let found = must(|| store.get(&acme, id)).await.unwrap();
        assert_eq!(found.output, format!("{id} {fence}"));
    }
    assert_eq!(store.doctor().await.unwrap().findings, []);
    recoveries.sort_unstable();
    let (middle, most) = (recoveries[RESETS / 2], recoveries[RESETS - 1]);
    println!(
        "{RESETS} times all answers were lost: 0 lost, 0 doubled, 0 stuck; served again after {middle:?}, {most:?} at most"
    );
    assert!(most < RECOVERS_WITHIN, "{most:?}");
}
