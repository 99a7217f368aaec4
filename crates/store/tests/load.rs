//! Callers and workers on PostgreSQL that repeat their calls until they are answered, for tests in which it fails.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Refusal, Status};
use store::{IdempotencyKey, PostgresStore, Settlement, Store, StoreError};
use tokio::task::JoinSet;

use super::support::{claim_request, completed};

const CREATORS: usize = 8;
const WORKERS: usize = 4;
/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls until there is an answer.
pub async fn must<T, C: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> C) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Creators and workers that are running.
pub struct Load {
    store: PostgresStore,
    created: Arc<AtomicUsize>,
    no_more: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    creators: JoinSet<Vec<OperationId>>,
    workers: JoinSet<Vec<(OperationId, u64)>>,
}

impl Load {
    pub fn start(store: &PostgresStore) -> Load {
        let flag = || Arc::new(AtomicBool::new(false));
        let (created, no_more, is_over) = (Arc::new(AtomicUsize::new(0)), flag(), flag());
        let (mut creators, mut workers) = (JoinSet::new(), JoinSet::new());
        for creator in 0..CREATORS {
            creators.spawn(create(store.clone(), creator, Arc::clone(&created), Arc::clone(&no_more)));
        }
        for _ in 0..WORKERS {
            workers.spawn(work(store.clone(), Arc::clone(&is_over)));
        }
        Load { store: store.clone(), created, no_more, is_over, creators, workers }
    }

    /// Creations that were acknowledged.
    pub fn created(&self) -> usize {
        self.created.load(Ordering::SeqCst)
    }

    /// Returns when this number of creations were acknowledged.
    pub async fn has_created(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.created() < count {
            assert!(Instant::now() < deadline, "nothing more is created");
            tokio::task::yield_now().await;
        }
    }

    /// Has everything end, and checks that every acknowledged operation is there once, with the acknowledged outcome,
    /// and nothing else. `url` goes straight to the database. Returns how many creations were acknowledged.
    pub async fn end(mut self, url: &str) -> usize {
        self.no_more.store(true, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        while let Some(ids) = self.creators.join_next().await {
            acknowledged.extend(ids.unwrap());
        }
        let (store, acme) = (&self.store, Access::organization("acme"));
        let total = async |status| {
            let (filter, page) = (Filter { status, ..Filter::default() }, PageRequest { page: 0, page_size: 1 });
            must(|| store.list(&acme, &filter, page)).await.page.total_count
        };
        let deadline = Instant::now() + PATIENCE;
        while total(Some(Status::Completed)).await < acknowledged.len() as u64 {
            // Servers do so when leases run out; these leases would take half a minute.
            let foreign = sqlx::PgPool::connect(url).await.unwrap();
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
        self.is_over.store(true, Ordering::SeqCst);
        let mut ended: HashMap<OperationId, u64> = HashMap::new();
        while let Some(reported) = self.workers.join_next().await {
            for (id, fence) in reported.unwrap() {
                assert!(ended.insert(id, fence).is_none_or(|earlier| earlier == fence), "{id} has two outcomes");
            }
        }
        let distinct: BTreeSet<_> = acknowledged.iter().copied().collect();
        assert_eq!(distinct.len(), acknowledged.len(), "two keys made one operation");
        assert_eq!(total(None).await, acknowledged.len() as u64, "none is lost, none is doubled");
        for (id, fence) in ended {
            let found = must(|| store.get(&acme, id)).await.expect("what was acknowledged is there");
            assert_eq!(found.output, format!("{id} {fence}"));
        }
        assert_eq!(store.doctor().await.unwrap().findings, []);
        acknowledged.len()
    }
}

async fn create(
    store: PostgresStore,
    creator: usize,
    created: Arc<AtomicUsize>,
    no_more: Arc<AtomicBool>,
) -> Vec<OperationId> {
    let mut ids = Vec::new();
    while !no_more.load(Ordering::SeqCst) {
        let key = IdempotencyKey { key: format!("{creator}-{}", ids.len()), fingerprint: [7; 32] };
        // The test ends leases, also those in use, as often as it likes: no operation may fail because of that.
        let scan = NewOperation { max_attempts: 100, ..NewOperation::of_kind("scan") };
        let made = must(|| store.create("acme", vec![scan.clone()], Some(key.clone()))).await;
        ids.push(made[0].id);
        created.fetch_add(1, Ordering::SeqCst);
    }
    ids
}

/// Claims and completes; returns the attempts that the store confirmed as completed.
async fn work(store: PostgresStore, is_over: Arc<AtomicBool>) -> Vec<(OperationId, u64)> {
    let mut ended = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        // An operation that was claimed by a lost answer waits for the end of its lease.
        let Ok(claimed) = store.claim(claim_request(&["scan"], 5)).await else { continue };
        for claimed in claimed {
            let output = format!("{} {}", claimed.operation.id, claimed.lease.fence);
            let settlement = Settlement {
                lease: claimed.lease.clone(),
                outcome: completed(&output),
                retry_after: Duration::from_millis(1),
            };
            // A worker that was not answered says the same again, and is answered with what was recorded.
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
