//! Several servers on one database: claims never overlap, each attempt has one outcome, counts are exact at any moment.
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest, Status};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use store::{ClaimRequest, Claimed, Heartbeat, Lost, PostgresStore, Settlement, Store};
use testkit::{Cluster, Durability};

const SERVERS: usize = 4;
const WORKERS: usize = 8;
const OPERATIONS: usize = 3_000;
const ORGANIZATIONS: [&str; 3] = ["acme", "globex", "initech"];
const KINDS: [&str; 2] = ["scan", "build"];
/// So short that some leases run out while their workers still hold them.
const LEASE: Duration = Duration::from_millis(300);
/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the workers know together, to compare the store with.
#[derive(Default)]
struct Known {
    /// Creations that were requested, and those that were answered.
    asked: AtomicUsize,
    created: Mutex<Vec<(&'static str, OperationId)>>,
    /// Every claim that was answered, by operation and fencing token.
    claims: Mutex<HashSet<(OperationId, u64)>>,
    /// Operations whose settlement was answered with a terminal status.
    settled: Mutex<HashSet<OperationId>>,
    /// Totals that were read meanwhile.
    looks: AtomicU64,
}

impl Known {
    fn created(&self) -> usize {
        self.created.lock().unwrap().len()
    }
}

struct Worker {
    store: PostgresStore,
    name: String,
    random: StdRng,
    known: Arc<Known>,
    /// Attempts that it holds.
    held: Vec<Claimed>,
}

impl Worker {
    /// Does something at random until every operation was created and none is left to work on.
    async fn work(mut self, deadline: Instant) {
        loop {
            assert!(Instant::now() < deadline, "the work is not done in time");
            match self.random.random_range(0..12) {
                0..4 => self.create().await,
                4..6 => self.claim().await,
                6..9 => self.settle().await,
                9 => self.give_up().await,
                10 => self.rescue().await,
                _ => self.look().await,
            }
            if self.known.created() >= OPERATIONS && self.held.is_empty() && self.is_done().await {
                return;
            }
        }
    }

    async fn create(&mut self) {
        let count = self.random.random_range(1..=8);
        let asked = self.known.asked.fetch_add(count, Ordering::SeqCst);
        if asked >= OPERATIONS {
            self.known.asked.fetch_sub(count, Ordering::SeqCst);
            return;
        }
        let organization = ORGANIZATIONS[self.random.random_range(0..ORGANIZATIONS.len())];
        let kind = KINDS[self.random.random_range(0..KINDS.len())];
        let project_id = format!("p{}", self.random.random_range(0..3));
        let new = NewOperation { project_id, ..NewOperation::of_kind(kind) };
        let created = self.store.create(organization, vec![new; count], None).await.unwrap();
        self.known.created.lock().unwrap().extend(created.iter().map(|operation| (organization, operation.id)));
    }

    async fn claim(&mut self) {
        let access = self.random.random_bool(0.5).then(|| {
            let which = self.random.random_range(0..ORGANIZATIONS.len());
            Access::organization(ORGANIZATIONS[which])
        });
        let request = ClaimRequest {
            kinds: KINDS.map(str::to_owned).to_vec(),
            access,
            among: None,
            limit: self.random.random_range(1..=20),
            worker: self.name.clone(),
            lease: LEASE,
        };
        let claimed = self.store.claim(request).await.unwrap();
        let mut claims = self.known.claims.lock().unwrap();
        for claimed in &claimed {
            assert!(claims.insert((claimed.lease.id, claimed.lease.fence)), "claimed twice: {claimed:?}");
        }
        drop(claims);
        self.held.extend(claimed);
    }

    async fn settle(&mut self) {
        if self.random.random_bool(0.2) {
            let beats =
                self.held.iter().map(|claimed| Heartbeat { lease: claimed.lease.clone(), progress: None }).collect();
            self.store.heartbeat(beats, LEASE).await.unwrap();
        }
        let some = self.random.random_range(0..=self.held.len());
        let ended: Vec<Claimed> = self.held.drain(..some).collect();
        let settlements = ended.iter().map(|claimed| Settlement {
            lease: claimed.lease.clone(),
            outcome: if self.random.random_bool(0.8) {
                Outcome::Completed { output: "done".to_owned() }
            } else {
                Outcome::Failed { message: "broke".to_owned(), retryable: self.random.random_bool(0.5) }
            },
            retry_after: Duration::from_millis(self.random.random_range(0..50)),
        });
        let settlements: Vec<Settlement> = settlements.collect();
        let results = self.store.settle(settlements).await.unwrap();
        let mut settled = self.known.settled.lock().unwrap();
        for (claimed, result) in ended.iter().zip(results) {
            if result.is_ok_and(Status::is_terminal) {
                assert!(settled.insert(claimed.lease.id), "ended twice: {claimed:?}");
            }
        }
    }

    /// Releases some attempts, and forgets others as a worker that dies does.
    async fn give_up(&mut self) {
        let some = self.random.random_range(0..=self.held.len());
        let given_up: Vec<Claimed> = self.held.drain(..some).collect();
        if self.random.random_bool(0.5) {
            let leases = given_up.into_iter().map(|claimed| claimed.lease).collect();
            self.store.release(leases).await.unwrap();
        }
    }

    async fn rescue(&mut self) {
        let lost = self.store.lost_leases(Lost::Expired, 50).await.unwrap();
        let lost = lost.into_iter().map(|lost| (lost.lease, Duration::from_millis(10))).collect();
        self.store.lose(lost).await.unwrap();
    }

    /// The total lies between what was answered before the question and what was requested before the answer.
    async fn look(&mut self) {
        let organization = ORGANIZATIONS[self.random.random_range(0..ORGANIZATIONS.len())];
        let ours = |known: &Known| known.created.lock().unwrap().iter().filter(|(o, _)| *o == organization).count();
        let (before, settled_before) = (ours(&self.known), self.settled_of(organization));
        let total = total(&self.store, organization, None).await;
        let completed = total_of(&self.store, organization, Status::Completed).await;
        let failed = total_of(&self.store, organization, Status::Failed).await;
        let most = self.known.asked.load(Ordering::SeqCst);
        assert!((before..=most).contains(&total), "{before} ≤ {total} ≤ {most}");
        assert!(settled_before <= completed + failed, "{settled_before} ≤ {completed} + {failed}");
        self.known.looks.fetch_add(1, Ordering::Relaxed);
    }

    fn settled_of(&self, organization: &str) -> usize {
        let settled = self.known.settled.lock().unwrap();
        self.known.created.lock().unwrap().iter().filter(|(o, id)| *o == organization && settled.contains(id)).count()
    }

    async fn is_done(&self) -> bool {
        for organization in ORGANIZATIONS {
            for status in [Status::Pending, Status::Running] {
                if total_of(&self.store, organization, status).await > 0 {
                    return false;
                }
            }
        }
        true
    }
}

async fn total_of(store: &PostgresStore, organization: &str, status: Status) -> usize {
    total(store, organization, Some(status)).await
}

async fn total(store: &PostgresStore, organization: &str, status: Option<Status>) -> usize {
    let filter = Filter { status, ..Filter::default() };
    let page = PageRequest { page: 0, page_size: 1 };
    let listing = store.list(&Access::organization(organization), &filter, page).await.unwrap();
    usize::try_from(listing.page.total_count).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_servers_and_eight_workers_agree_on_everything() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(PostgresStore::connect(&url, 8).await.unwrap());
    }
    let known = Arc::new(Known::default());
    let deadline = Instant::now() + PATIENCE;
    let workers = (0..WORKERS).map(|n| Worker {
        store: servers[n % SERVERS].clone(),
        name: format!("worker-{n}"),
        random: StdRng::seed_from_u64(n as u64),
        known: Arc::clone(&known),
        held: Vec::new(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for worker in workers {
        tasks.spawn(worker.work(deadline));
    }
    // Meanwhile every invariant holds in every snapshot, folds of four servers under way or not.
    while !tasks.is_empty() {
        assert_eq!(servers[0].doctor().await.unwrap().findings, []);
        let soon = tokio::time::timeout(Duration::from_millis(200), tasks.join_next()).await;
        if let Ok(Some(ended)) = soon {
            ended.unwrap();
        }
    }

    assert_eq!(servers[1].doctor().await.unwrap().findings, []);
    assert!(known.looks.load(Ordering::Relaxed) > 0, "totals were read meanwhile");
    for organization in ORGANIZATIONS {
        let mut listed = Vec::new();
        for page in 0.. {
            let page = PageRequest { page, page_size: 100 };
            let listing = servers[2].list(&Access::organization(organization), &Filter::default(), page).await.unwrap();
            if listing.entries.is_empty() {
                break;
            }
            listed.extend(listing.entries.into_iter().map(|entry| entry.operation));
        }
        assert!(listed.iter().all(|operation| operation.status.is_terminal()));
        let ids: HashSet<OperationId> = listed.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), listed.len(), "no operation is on two pages");
        let created = known.created.lock().unwrap();
        let created: HashSet<OperationId> =
            created.iter().filter(|(o, _)| *o == organization).map(|(_, id)| *id).collect();
        assert_eq!(ids, created, "what was answered is what there is");
    }
}

/// A heartbeat of another server that is under way while an attempt ends moves the lease's row.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_takes_a_lease_away_that_moves_meanwhile() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    let foreign = sqlx::PgPool::connect(&url).await.unwrap();
    let failed = Outcome::Failed { message: "broke".to_owned(), retryable: true };
    for outcome in [Outcome::Completed { output: String::new() }, failed] {
        store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        let request = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: None,
            among: None,
            limit: 1,
            worker: "test".to_owned(),
            lease: LEASE,
        };
        let lease = store.claim(request).await.unwrap().remove(0).lease;
        let mut heartbeat = foreign.begin().await.unwrap();
        sqlx::query("UPDATE longrun.leases SET expires_at = expires_at + 1").execute(&mut *heartbeat).await.unwrap();
        let settlement = Settlement { lease, outcome, retry_after: Duration::from_secs(3_600) };
        let settling = tokio::spawn({
            let store = store.clone();
            async move { store.settle(vec![settlement]).await }
        });
        let is_waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)";
        while !sqlx::query_scalar::<_, bool>(is_waiting).fetch_one(&foreign).await.unwrap() {
            assert!(!settling.is_finished());
        }
        heartbeat.commit().await.unwrap();
        settling.await.unwrap().unwrap().remove(0).unwrap();
        assert_eq!(store.doctor().await.unwrap().findings, []);
    }
}
