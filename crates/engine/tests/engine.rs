//! The engine against the real embedded store: what it promises, one test per promise.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Engine, Failure, Handler, Registry, Running, Settings};
use operations::backoff::Backoff;
use operations::{Access, NewOperation, Operation, OperationId, Status};
use store::{Lost, SqliteStore, Store};
use tokio::sync::{Notify, mpsc};

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    Settings {
        concurrency: 4,
        poll: Duration::from_millis(20),
        backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(1) },
        ..Settings::default()
    }
}

async fn open(folder: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&folder.join("longrun.db")).await.unwrap())
}

fn start(store: &Arc<SqliteStore>, handler: impl Handler, settings: Settings) -> Running {
    Engine::start(Arc::clone(store) as Arc<dyn Store>, Registry::new().with("scan", handler), settings, "local")
}

async fn create(store: &SqliteStore, new: NewOperation) -> OperationId {
    store.create("acme", vec![new], None).await.unwrap().remove(0).id
}

/// Reads the operation until it is as expected.
async fn until(store: &SqliteStore, id: OperationId, done: impl Fn(&Operation) -> bool) -> Operation {
    tokio::time::timeout(DEADLINE, async {
        loop {
            let operation = store.get(&Access::organization("acme"), id).await.unwrap().unwrap();
            if done(&operation) {
                return operation;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time")
}

async fn ended(store: &SqliteStore, id: OperationId) -> Operation {
    until(store, id, |operation| operation.status.is_terminal()).await
}

/// Runs a statement behind the store's back.
async fn tamper(folder: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("longrun.db"));
    let foreign = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(sql).execute(&foreign).await.unwrap();
    foreign.close().await;
}

async fn assert_sound(store: &SqliteStore) {
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

/// Answers with its input.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        Ok(attempt.input)
    }
}

/// Fails in the way that its input names, or counts the attempts.
struct Trouble;

#[async_trait]
impl Handler for Trouble {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        match attempt.input.as_str() {
            "\"panic\"" => panic!("a defect"),
            "\"permanent\"" => Err(Failure::permanent("broken")),
            "\"large\"" => Ok("x".repeat(operations::MAX_INLINE_BYTES + 1)),
            "\"third time\"" if attempt.number == 3 => Ok("at last".to_owned()),
            "\"forever\"" => {
                attempt.cancelled.cancelled().await;
                Err(Failure::transient("stopped"))
            }
            _ => Err(Failure::transient("no luck")),
        }
    }
}

/// Reports that it has started, then waits until it is let go or cancelled.
struct Gate {
    started: mpsc::UnboundedSender<u32>,
    go: Arc<Notify>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Controls {
    started: mpsc::UnboundedReceiver<u32>,
    go: Arc<Notify>,
    most: Arc<AtomicUsize>,
}

fn gate() -> (Gate, Controls) {
    let (sender, started) = mpsc::unbounded_channel();
    let (go, most) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let gate =
        Gate { started: sender, go: Arc::clone(&go), running: Arc::new(AtomicUsize::new(0)), most: Arc::clone(&most) };
    (gate, Controls { started, go, most })
}

#[async_trait]
impl Handler for Gate {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.started.send(attempt.number).unwrap();
        let result = tokio::select! {
            () = self.go.notified() => Ok("done".to_owned()),
            () = attempt.cancelled.cancelled() => Err(Failure::transient("stopped")),
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

impl Controls {
    async fn started(&mut self) -> u32 {
        tokio::time::timeout(DEADLINE, self.started.recv()).await.expect("in time").unwrap()
    }
}

fn with_input(input: &str) -> NewOperation {
    NewOperation { input: format!("\"{input}\""), ..NewOperation::of_kind("scan") }
}

#[tokio::test]
async fn a_creation_is_run_when_the_engine_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    // The poll time is so long that only the wake-up can explain the run.
    let engine = start(&store, Echo, Settings { poll: Duration::from_secs(3_600), ..settings() });
    let id = create(&store, with_input("hello")).await;
    engine.waker().wake();
    let operation = ended(&store, id).await;
    assert_eq!((operation.status, operation.output.as_str()), (Status::Completed, "\"hello\""));
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_creation_by_another_process_is_found_by_polling() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let engine = start(&store, Echo, settings());
    let other = open(folder.path()).await;
    let id = create(&other, with_input("hello")).await;
    ended(&store, id).await;
    engine.drain().await;
}

#[tokio::test]
async fn no_more_run_at_a_time_than_allowed_and_all_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, Settings { concurrency: 3, ..settings() });
    let ids: Vec<OperationId> = store
        .create("acme", vec![NewOperation::of_kind("scan"); 20], None)
        .await
        .unwrap()
        .into_iter()
        .map(|operation| operation.id)
        .collect();
    engine.waker().wake();
    for _ in 0..20 {
        controls.started().await;
        controls.go.notify_one();
    }
    for id in ids {
        assert_eq!(ended(&store, id).await.status, Status::Completed);
    }
    assert!(controls.most.load(Ordering::SeqCst) <= 3);
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn failures_are_told_and_retried_as_they_should_be() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let engine = start(&store, Trouble, settings());
    for (input, message) in [
        ("permanent", "broken"),
        ("no", "no luck (gave up after 5 attempts)"),
        ("panic", "the handler crashed; see the server's log for details (gave up after 5 attempts)"),
        ("large", "the output is 1048577 bytes long; at most 1048576 are kept"),
    ] {
        let id = create(&store, with_input(input)).await;
        let operation = ended(&store, id).await;
        assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, message));
    }
    let id = create(&store, with_input("third time")).await;
    assert_eq!(ended(&store, id).await.output, "at last");
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let engine = start(&store, Trouble, settings());
    let new = NewOperation { timeout: Some(Duration::from_millis(20)), max_attempts: 1, ..with_input("forever") };
    let id = create(&store, new).await;
    assert_eq!(ended(&store, id).await.error_message, "timed out after 0.02 s");
    engine.drain().await;
}

#[tokio::test]
async fn draining_lets_what_runs_finish_and_claims_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, Settings { concurrency: 1, ..settings() });
    let first = create(&store, NewOperation::of_kind("scan")).await;
    let second = create(&store, NewOperation::of_kind("scan")).await;
    controls.started().await;
    let drain = tokio::spawn(engine.drain());
    controls.go.notify_one();
    drain.await.unwrap();
    assert_eq!(ended(&store, first).await.status, Status::Completed);
    let waiting = store.get(&Access::organization("acme"), second).await.unwrap().unwrap();
    assert_eq!((waiting.status, waiting.started_at), (Status::Pending, None));
    assert_sound(&store).await;
}

#[tokio::test]
async fn after_the_drain_time_what_runs_is_handed_back_uncharged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, Settings { drain: Duration::ZERO, ..settings() });
    let id = create(&store, NewOperation { max_attempts: 1, ..NewOperation::of_kind("scan") }).await;
    controls.started().await;
    engine.drain().await;
    let operation = store.get(&Access::organization("acme"), id).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::Pending);
    assert_sound(&store).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, settings());
    assert_eq!(controls.started().await, 1, "the attempt was not charged");
    controls.go.notify_one();
    assert_eq!(ended(&store, id).await.status, Status::Completed);
    engine.drain().await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_taken_up_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let id = create(&store, with_input("hello")).await;
    let request = store::ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "its former life".to_owned(),
        lease: Duration::from_secs(3_600),
    };
    let claimed = store.claim(request).await.unwrap().remove(0);
    // The process that claimed it is gone, since this one is alone.
    let engine = start(&store, Echo, Settings { is_alone: true, ..settings() });
    assert_eq!(ended(&store, id).await.status, Status::Completed);
    let late = store::Settlement {
        lease: claimed.lease,
        outcome: operations::Outcome::Completed { output: "late".to_owned() },
        retry_after: Duration::ZERO,
    };
    assert_eq!(store.settle(vec![late]).await.unwrap(), [Err(operations::Refusal::StaleLease)]);
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_request_to_stop_cancels_the_handler_and_ends_the_operation() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, Settings { lease: Duration::from_millis(300), concurrency: 1, ..settings() });
    let id = create(&store, NewOperation::of_kind("scan")).await;
    controls.started().await;
    // The mark that a cancellation leaves in the store.
    tamper(folder.path(), "UPDATE active SET cancel_requested = 1").await;
    // The next heartbeat reports it.
    let operation = ended(&store, id).await;
    assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, "cancelled"));
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_outcome_that_the_store_refuses_is_recorded_as_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let id = create(&store, with_input("hello")).await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON settled WHEN NEW.status = 3
        BEGIN SELECT RAISE(ABORT, 'refused'); END";
    tamper(folder.path(), refuse).await;
    let engine = start(&store, Echo, settings());
    let operation = ended(&store, id).await;
    let message = "the outcome could not be recorded; see the server's log for details";
    assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, message));
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_attempt_of_which_nothing_can_be_recorded_frees_its_slot_and_its_lease_runs_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let (first, second) = (create(&store, with_input("first")).await, create(&store, with_input("second")).await);
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON settled WHEN NEW.seq = 1
        BEGIN SELECT RAISE(ABORT, 'refused'); END";
    tamper(folder.path(), refuse).await;
    let engine = start(&store, handler, Settings { lease: Duration::from_millis(300), concurrency: 1, ..settings() });
    let mut started = vec![controls.started().await];
    controls.go.notify_one();
    started.push(controls.started().await);
    tamper(folder.path(), "DROP TRIGGER refuse").await;
    controls.go.notify_one();
    started.push(controls.started().await);
    controls.go.notify_one();
    started.sort_unstable();
    assert_eq!(started, [1, 1, 2], "the lease of the first attempt ran out");
    for id in [first, second] {
        assert_eq!(ended(&store, id).await.status, Status::Completed);
    }
    engine.drain().await;
    assert_sound(&store).await;
}

/// An attempt of a worker of another process, under a long lease.
async fn claimed_elsewhere(store: &SqliteStore, new: NewOperation) -> store::Claimed {
    let kinds = vec![new.kind.clone()];
    create(store, new).await;
    let lease = Duration::from_secs(60);
    let request =
        store::ClaimRequest { kinds, access: None, among: None, limit: 1, worker: "elsewhere".to_owned(), lease };
    store.claim(request).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_worker_that_does_not_stop_has_its_attempt_ended_after_the_grace_period() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let cancel_grace = Duration::from_millis(300);
    let engine = start(&store, Echo, Settings { cancel_grace, ..settings() });
    let claimed = claimed_elsewhere(&store, NewOperation::of_kind("remote")).await;
    let access = Access::organization("acme");
    let id = claimed.operation.id;
    let asked = store.command(&access, id, store::OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    let operation = ended(&store, id).await;
    assert_eq!((operation.status, operation.error_message.as_str()), (Status::Failed, "cancelled"));
    assert!(operation.finished_at.unwrap() >= asked.started_at.unwrap().after(cancel_grace));
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn what_has_passed_its_time_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let retain_for = Some(Duration::from_millis(1));
    let access = Access::organization("acme");
    for _ in 0..3 {
        let claimed = claimed_elsewhere(&store, NewOperation { retain_for, ..NewOperation::of_kind("remote") }).await;
        store.command(&access, claimed.operation.id, store::OperationCommand::Cancel).await.unwrap().unwrap().unwrap();
    }
    let kept = create(&store, NewOperation::of_kind("scan")).await;
    store.end_overdue_cancels(Duration::ZERO, 10).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let engine = start(&store, Echo, settings());
    let gone = async {
        let page = operations::PageRequest::default();
        while store.list(&access, &operations::Filter::default(), page).await.unwrap().page.total_count > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
    assert_eq!(ended(&store, kept).await.status, Status::Completed);
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn subscribers_are_woken_too_and_remember_what_they_did_not_wait_for() {
    let waker = engine::Waker::default();
    let (mut first, mut second) = (waker.subscribe(), waker.subscribe());
    waker.wake();
    waker.wake();
    first.next().await;
    second.next().await;
    assert!(
        tokio::time::timeout(Duration::ZERO, first.next()).await.is_err(),
        "two wake-ups while nobody waits are one"
    );
}

#[tokio::test]
async fn a_lease_that_others_took_cancels_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let (handler, mut controls) = gate();
    let engine = start(&store, handler, Settings { lease: Duration::from_millis(300), concurrency: 1, ..settings() });
    let id = create(&store, NewOperation::of_kind("scan")).await;
    assert_eq!(controls.started().await, 1);
    let lost = store.lost_leases(Lost::Local, 10).await.unwrap();
    store.lose(vec![(lost[0].lease.clone(), Duration::ZERO)]).await.unwrap();
    // The next heartbeat reports it; the slot becomes free and the operation is tried again.
    assert_eq!(controls.started().await, 2);
    controls.go.notify_one();
    assert_eq!(ended(&store, id).await.status, Status::Completed);
    engine.drain().await;
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_process_that_is_alone_and_sends_no_traces_keeps_nothing_for_who_did() {
    use store::Measured as _;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.register_consumer("traces").await.unwrap();
    create(&store, NewOperation::of_kind("other")).await;
    let is_kept = async || store.standings().await.unwrap().lags.iter().any(|(consumer, _)| consumer == "traces");
    assert!(is_kept().await);
    let engine = start(&store, Echo, Settings { is_alone: true, ..settings() });
    let forgotten = async {
        while is_kept().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, forgotten).await.expect("in time");
    engine.drain().await;
}
