//! Callers and workers on PostgreSQL that repeat their calls until they are answered, for tests in which it fails.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest, Refusal, Resource, Status};
use store::{
    ClaimRequest, IdempotencyKey, Lost, OperationCommand, Position, PostgresStore, Settlement, Store, StoreError,
};
use tokio::task::JoinSet;

use super::support::{claim_request, completed, failed};

const CREATORS: usize = 8;
const WORKERS: usize = 4;
/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What was claimed by an answer that was lost is claimed again after this time.
const LEASE: Duration = Duration::from_secs(1);
/// The pause between two searches for leases that have run out.
const KEEPS_EVERY: Duration = Duration::from_millis(50);
/// A unique key, for which creators compete.
const UNIQUE: &str = "nightly";

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

/// Creators, workers, and a keeper that ends lost attempts, all of them running.
pub struct Load {
    store: PostgresStore,
    counts: Arc<Counts>,
    no_more: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    creators: JoinSet<Vec<Created>>,
    workers: JoinSet<Vec<(OperationId, u64)>>,
    keeper: tokio::task::JoinHandle<()>,
    reads: Vec<Read>,
}

/// How many calls were answered.
#[derive(Default)]
struct Counts {
    created: AtomicUsize,
    claimed: AtomicUsize,
    settled: AtomicUsize,
}

/// A creation that was acknowledged.
struct Created {
    id: OperationId,
    /// The creation has a unique key, so that it may have been answered with the operation of an earlier one.
    is_unique: bool,
    /// Whether it was to be cancelled, and if so, whether the answer was that it has ended thereby.
    cancelled: Option<bool>,
    /// When the creation was requested for the first time, and when it was answered.
    asked: Instant,
    answered: Instant,
}

/// A cursor of the change log that was taken before a fault.
pub struct Cursor {
    position: Position,
    taken: Instant,
}

/// What a reader was told that went on from a cursor.
struct Read {
    taken: Instant,
    began_last: Instant,
    told: HashSet<OperationId>,
}

impl Load {
    pub fn start(store: &PostgresStore) -> Load {
        let flag = || Arc::new(AtomicBool::new(false));
        let (counts, no_more, is_over) = (Arc::new(Counts::default()), flag(), flag());
        let (mut creators, mut workers) = (JoinSet::new(), JoinSet::new());
        for creator in 0..CREATORS {
            creators.spawn(create(store.clone(), creator, Arc::clone(&counts), Arc::clone(&no_more)));
        }
        for _ in 0..WORKERS {
            workers.spawn(work(store.clone(), Arc::clone(&counts), Arc::clone(&is_over)));
        }
        let keeper = tokio::spawn(keep(store.clone(), Arc::clone(&is_over)));
        Load { store: store.clone(), counts, no_more, is_over, creators, workers, keeper, reads: Vec::new() }
    }

    /// Creations that were acknowledged.
    pub fn created(&self) -> usize {
        self.counts.created.load(Ordering::SeqCst)
    }

    /// Returns when this number of creations were acknowledged.
    pub async fn has_created(&self, count: usize) {
        reaches(&self.counts.created, count).await;
    }

    /// Returns when one more operation was created, one more was claimed, and one more was settled.
    pub async fn serves_again(&self) {
        let Counts { created, claimed, settled } = &*self.counts;
        let more = async |count: &AtomicUsize| reaches(count, count.load(Ordering::SeqCst) + 1).await;
        tokio::join!(more(created), more(claimed), more(settled));
    }

    /// A cursor at the end of the change log.
    pub async fn cursor(&self) -> Cursor {
        let position = must(|| self.store.end_of_changes("acme")).await;
        Cursor { position, taken: Instant::now() }
    }

    /// Reads the change log from a cursor on to its end. [`Load::end`] checks that nothing was left out. Returns whether
    /// the store knows the cursor; if it does not, its client is told so, and nothing is left out in silence.
    pub async fn read_from(&mut self, cursor: Cursor) -> bool {
        let Cursor { mut position, taken } = cursor;
        let mut told = HashSet::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let began_last = Instant::now();
            assert!(began_last < deadline, "the change log has no end");
            match self.store.changes("acme", position, 1_000).await {
                Ok(part) => {
                    told.extend(part.changes.iter().map(|change| change.id));
                    position = part.next;
                    if part.changes.is_empty() && part.held_up.is_none() {
                        self.reads.push(Read { taken, began_last, told });
                        return true;
                    }
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(StoreError::PositionUnknown) => return false,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// Has everything end, and checks that every acknowledged operation is there once, with the acknowledged outcome,
    /// and nothing else. Returns how many creations were acknowledged.
    pub async fn end(mut self) -> usize {
        self.no_more.store(true, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        while let Some(created) = self.creators.join_next().await {
            acknowledged.extend(created.unwrap());
        }
        let ids: BTreeSet<OperationId> = acknowledged.iter().map(|created| created.id).collect();
        let (store, acme) = (&self.store, acme());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = total(store, Some(Status::Completed)).await + total(store, Some(Status::Failed)).await;
            if ended >= ids.len() as u64 {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "some operations never end: {} are pending, {} running",
                total(store, Some(Status::Pending)).await,
                total(store, Some(Status::Running)).await
            );
        }
        self.is_over.store(true, Ordering::SeqCst);
        self.keeper.await.unwrap();
        let mut ended: HashMap<OperationId, u64> = HashMap::new();
        while let Some(reported) = self.workers.join_next().await {
            for (id, fence) in reported.unwrap() {
                assert!(ended.insert(id, fence).is_none_or(|earlier| earlier == fence), "{id} has two outcomes");
            }
        }
        let mut others = BTreeSet::new();
        for created in acknowledged.iter().filter(|created| !created.is_unique) {
            assert!(others.insert(created.id), "two keys made one operation");
        }
        assert_eq!(total(store, None).await, ids.len() as u64, "none is lost, none is doubled");
        for created in &acknowledged {
            let id = created.id;
            let found = must(|| store.get(&acme, id)).await.expect("what was acknowledged is there");
            match ended.get(&id) {
                Some(fence) => assert_eq!(found.output, format!("{id} {fence}")),
                None if found.status == Status::Failed => {
                    assert!(created.cancelled.is_some(), "{id} has failed: {}", found.error_message);
                }
                None => assert!(found.output.starts_with(&id.to_string()), "{}", found.output),
            }
            assert!(created.cancelled != Some(true) || found.status == Status::Failed, "{id} was cancelled");
            for read in &self.reads {
                let must_be_told = read.taken < created.asked && created.answered < read.began_last;
                assert!(created.is_unique || !must_be_told || read.told.contains(&id), "a reader was not told of {id}");
            }
        }
        assert_eq!(store.doctor().await.unwrap().findings, []);
        acknowledged.len()
    }
}

fn acme() -> Access {
    Access::organization("acme")
}

/// Returns when something was counted this often.
async fn reaches(what: &AtomicUsize, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while what.load(Ordering::SeqCst) < count {
        assert!(Instant::now() < deadline, "no progress");
        tokio::task::yield_now().await;
    }
}

async fn total(store: &PostgresStore, status: Option<Status>) -> u64 {
    let (acme, filter) = (acme(), Filter { status, ..Filter::default() });
    must(|| store.list(&acme, &filter, PageRequest { page: 0, page_size: 1 })).await.page.total_count
}

/// Creates one after the other; some have a unique key, and some are cancelled.
async fn create(store: PostgresStore, creator: usize, counts: Arc<Counts>, no_more: Arc<AtomicBool>) -> Vec<Created> {
    let (mut all, acme) = (Vec::new(), acme());
    while !no_more.load(Ordering::SeqCst) {
        let (number, asked) = (all.len(), Instant::now());
        let key = IdempotencyKey { key: format!("{creator}-{number}"), fingerprint: [7; 32] };
        let is_unique = number % 8 == 5;
        let unique_key = is_unique.then(|| UNIQUE.to_owned());
        // Leases run out while the database is away: no operation may fail because of that.
        let scan = NewOperation { max_attempts: 1_000, unique_key, ..NewOperation::of_kind("scan") };
        let id = must(|| store.create("acme", vec![scan.clone()], Some(key.clone()))).await[0].id;
        let answered = Instant::now();
        counts.created.fetch_add(1, Ordering::SeqCst);
        let mut cancelled = None;
        if number % 8 == 2 {
            let answer = must(|| store.command(&acme, id, OperationCommand::Cancel)).await;
            let found = answer.expect("what was acknowledged is there");
            cancelled = Some(found.is_ok_and(|operation| operation.status == Status::Failed));
        }
        all.push(Created { id, is_unique, cancelled, asked, answered });
    }
    all
}

/// Claims, and completes most; returns the attempts that the store confirmed as completed.
async fn work(store: PostgresStore, counts: Arc<Counts>, is_over: Arc<AtomicBool>) -> Vec<(OperationId, u64)> {
    let mut ended = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        // An operation that was claimed by a lost answer waits for the end of its lease.
        let request = ClaimRequest { lease: LEASE, ..claim_request(&["scan"], 5) };
        let Ok(claimed) = store.claim(request).await else { continue };
        counts.claimed.fetch_add(claimed.len(), Ordering::SeqCst);
        for claimed in claimed {
            let (id, fence) = (claimed.operation.id, claimed.lease.fence);
            let outcome = outcome(id, fence);
            let settlement = Settlement {
                lease: claimed.lease.clone(),
                outcome: outcome.clone(),
                retry_after: Duration::from_millis(1),
            };
            // A worker that was not answered says the same again, and is answered with what was recorded.
            match must(|| store.settle(vec![settlement.clone()])).await.remove(0) {
                Ok(Status::Completed) => {
                    assert!(matches!(outcome, Outcome::Completed { .. }), "{id} was not completed");
                    ended.push((id, fence));
                }
                // It was cancelled, or is tried again.
                Ok(Status::Failed | Status::Pending) => {
                    assert!(matches!(outcome, Outcome::Failed { .. }), "{id} was completed");
                }
                Ok(Status::Running) => panic!("{id} is running after its attempt"),
                Err(Refusal::StaleLease) => continue,
                Err(refusal) => panic!("{refusal:?}"),
            }
            counts.settled.fetch_add(1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
    ended
}

/// One attempt in five does not succeed.
fn outcome(id: OperationId, fence: u64) -> Outcome {
    if (u64::from(id.as_bytes()[15]) + fence).is_multiple_of(5) {
        failed("no luck", true)
    } else {
        completed(&format!("{id} {fence}"))
    }
}

/// Ends the attempts whose leases have run out, as servers do, and watches over the unique key.
async fn keep(store: PostgresStore, is_over: Arc<AtomicBool>) {
    let resource = Resource { resource_type: "unique".to_owned(), resource_id: UNIQUE.to_owned() };
    let filter = Filter { resource: Some(resource), ..Filter::default() };
    while !is_over.load(Ordering::SeqCst) {
        tokio::time::sleep(KEEPS_EVERY).await;
        if let Ok(lost) = store.lost_leases(Lost::Expired, 1_000).await {
            let lost = lost.into_iter().map(|lost| (lost.lease, Duration::from_millis(1))).collect();
            // What is not ended now is found again.
            let _ = store.lose(lost).await;
        }
        if let Ok(listing) = store.list(&acme(), &filter, PageRequest { page: 0, page_size: 100 }).await {
            let not_ended = listing.entries.iter().filter(|entry| !entry.operation.status.is_terminal()).count();
            assert!(not_ended <= 1, "{not_ended} with one unique key have not ended");
        }
    }
}
