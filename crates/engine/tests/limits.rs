//! Limits of one kind: operations without capacity stay in the queue for others and start when there is capacity.
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::{Attempt, Engine, Failure, Handler, Limits, Registry, Running, Settings};
use operations::backoff::Backoff;
use operations::{Access, Filter, NewOperation, Operation, OperationId, Outcome, PageRequest, Refusal, Status};
use store::{ClaimRequest, Heartbeat, LeaseStatus, NewToken, Scope, Settlement, SqliteStore, Store};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::gate::{DEADLINE, gate, next};

struct Setup {
    store: Arc<SqliteStore>,
    engine: Running,
    _folder: TempDir,
}

impl Setup {
    /// With a poll time so long that wake-ups alone explain what happens.
    async fn start(registry: Registry) -> Setup {
        Setup::polling(registry, Duration::from_secs(3_600)).await
    }

    async fn polling(registry: Registry, poll: Duration) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
        let settings = Settings { concurrency: 4, poll, ..Settings::default() };
        let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, settings, "local");
        Setup { store, engine, _folder: folder }
    }

    async fn create(&self, kind: &str, count: usize) -> Vec<OperationId> {
        let new = vec![NewOperation::of_kind(kind); count];
        let created = self.store.create("acme", new, None).await.unwrap();
        self.engine.waker().wake();
        created.into_iter().map(|operation| operation.id).collect()
    }

    async fn get(&self, id: OperationId) -> Operation {
        self.store.get(&Access::organization("acme"), id).await.unwrap().unwrap()
    }

    async fn ended(&self, ids: &[OperationId]) -> Vec<Operation> {
        let mut ended = Vec::new();
        let start = Instant::now();
        for id in ids {
            loop {
                let operation = self.get(*id).await;
                if operation.status.is_terminal() {
                    ended.push(operation);
                    break;
                }
                assert!(start.elapsed() < DEADLINE, "{operation:?}");
                tokio::task::yield_now().await;
            }
        }
        ended
    }
}

/// Reports when it was started.
struct Clock(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Handler for Clock {
    async fn run(&self, _: Attempt) -> Result<String, Failure> {
        self.0.send(Instant::now()).unwrap();
        Ok(String::new())
    }
}

/// Fails each time.
struct Never(Option<Duration>);

#[async_trait]
impl Handler for Never {
    async fn run(&self, _: Attempt) -> Result<String, Failure> {
        Err(Failure { retry_after: self.0, ..Failure::transient("no luck") })
    }
}

#[tokio::test]
async fn a_kind_keeps_to_its_concurrency_and_leaves_the_other_places_to_others() {
    let (scan, mut scans, go) = gate();
    let (sender, mut clock) = mpsc::unbounded_channel();
    let limits = Limits { concurrency: Some(1), ..Limits::default() };
    let registry = Registry::new().with("scan", scan).with_limits("scan", limits).with("tell", Clock(sender));
    let setup = Setup::start(registry).await;
    let waiting = setup.create("scan", 3).await;
    assert_eq!(next(&mut scans).await, waiting[0]);
    // Created after the scans, which do not delay them.
    let others = setup.create("tell", 20).await;
    setup.ended(&others).await;
    assert_eq!(clock.len(), 20);
    clock.close();
    for waits in &waiting[1..] {
        assert_eq!(setup.get(*waits).await.status, Status::Pending, "not even claimed");
        assert!(scans.is_empty());
        // The slot that becomes free is enough to start the next.
        go.add_permits(1);
        assert_eq!(next(&mut scans).await, *waits);
    }
    go.add_permits(1);
    setup.ended(&waiting).await;
    setup.engine.drain().await;
    assert_eq!(setup.store.doctor().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_kind_is_started_no_faster_than_its_rate() {
    let (sender, mut clock) = mpsc::unbounded_channel();
    let limits = Limits { rate: Some(10.0), ..Limits::default() };
    let setup = Setup::start(Registry::new().with("tell", Clock(sender)).with_limits("tell", limits)).await;
    let ids = setup.create("tell", 4).await;
    let mut times = Vec::new();
    for _ in 0..4 {
        times.push(tokio::time::timeout(DEADLINE, clock.recv()).await.expect("in time").unwrap());
    }
    // Three tenths of a second, less the delay of the first: a start counts when it is claimed.
    assert!(times[3] - times[0] >= Duration::from_millis(200), "{times:?}");
    setup.ended(&ids).await;
    setup.engine.drain().await;
}

#[tokio::test]
async fn a_kind_has_its_own_timeout_and_backoff() {
    let (gate, _started, _go) = gate();
    let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let limits = Limits { timeout: Some(Duration::from_millis(20)), backoff: Some(backoff), ..Limits::default() };
    let registry = Registry::new().with("scan", gate).with_limits("scan", limits);
    let setup = Setup::polling(registry, Duration::from_millis(20)).await;
    let new = NewOperation { max_attempts: 3, ..NewOperation::of_kind("scan") };
    let id = setup.store.create("acme", vec![new], None).await.unwrap()[0].id;
    setup.engine.waker().wake();
    let ended = setup.ended(&[id]).await;
    assert_eq!(ended[0].error_message, "timed out after 0.02 s (gave up after 3 attempts)");
    setup.engine.drain().await;
}

#[tokio::test]
async fn a_failure_may_ask_for_a_longer_wait() {
    let backoff = Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let limits = Limits { backoff: Some(backoff), ..Limits::default() };
    let asked = Duration::from_secs(1_800);
    let setup = Setup::start(Registry::new().with("scan", Never(Some(asked))).with_limits("scan", limits)).await;
    let before = setup.store.now();
    setup.create("scan", 1).await;
    let start = Instant::now();
    let due = loop {
        if let Some(due) = setup.store.next_due(before).await.unwrap() {
            break due;
        }
        assert!(start.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    };
    assert!(due >= before.after(asked), "{due} is less than half an hour after {before}");
    setup.engine.drain().await;
}

#[tokio::test]
async fn what_was_lost_with_its_worker_waits_as_its_kind_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
    let new = vec![NewOperation::of_kind("scan"); 3];
    store.create("acme", new, None).await.unwrap();
    let claim = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 3,
        worker: "gone".to_owned(),
        lease: Duration::ZERO,
    };
    assert_eq!(store.claim(claim).await.unwrap().len(), 3);
    let days = |days: u64| Duration::from_secs(days * 24 * 3_600);
    // With the engine's own backoff, three operations would have to be lucky to be due within one year of ten thousand.
    let settings = Settings { backoff: Backoff { base: days(3_650_000), cap: days(3_650_000) }, ..Settings::default() };
    let backoff = Some(Backoff { base: days(1), cap: days(1) });
    let registry = Registry::new().with_limits("scan", Limits { backoff, ..Limits::default() });
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, settings, "local");
    let start = Instant::now();
    let pending = Filter { status: Some(Status::Pending), ..Filter::default() };
    let every = PageRequest { page: 0, page_size: 10 };
    while store.list(&Access::organization("acme"), &pending, every).await.unwrap().page.total_count < 3 {
        assert!(start.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    engine.drain().await;
    let due = store.next_due(store.now()).await.unwrap().expect("they wait");
    assert!(due <= store.now().after(days(1)), "{due}");
}

#[tokio::test]
async fn a_remote_attempt_that_takes_too_long_is_ended_however_well_it_keeps_its_lease() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
    let new = NewOperation { max_attempts: 1, ..NewOperation::of_kind("remote") };
    let operation = store.create("acme", vec![new], None).await.unwrap().remove(0);
    let token = NewToken {
        hash: [7; 32],
        name: "worker".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::OperationsWork].into(),
        expires_at: None,
        instance: None,
    };
    let worker = store.create_token(token).await.unwrap().id;
    let lease = Duration::from_millis(300);
    let kinds = vec!["remote".to_owned()];
    let claim =
        ClaimRequest { kinds, access: Some(Access::organization("acme")), among: None, limit: 1, worker, lease };
    let claimed = store.claim(claim).await.unwrap().remove(0);
    let limits = Limits { timeout: Some(Duration::from_millis(100)), ..Limits::default() };
    let registry = Registry::new().with_limits("remote", limits);
    let settings = Settings { lease, ..Settings::default() };
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, settings, "local");
    let start = Instant::now();
    loop {
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
        if store.heartbeat(vec![beat], Duration::from_secs(60)).await.unwrap() == [LeaseStatus::Lost] {
            break;
        }
        assert!(start.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() >= Duration::from_millis(100), "not before its time");
    let late = Settlement {
        lease: claimed.lease,
        outcome: Outcome::Completed { output: "late".to_owned() },
        retry_after: Duration::ZERO,
    };
    assert_eq!(store.settle(vec![late]).await.unwrap(), [Err(Refusal::StaleLease)]);
    let ended = store.get(&Access::organization("acme"), operation.id).await.unwrap().unwrap();
    assert_eq!(ended.error_message, "timed out after 0.1 s");
    engine.drain().await;
}
