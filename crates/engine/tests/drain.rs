//! Operations that are being claimed or created when the engine begins to drain: the store carries this out whatever
//! happens to the engine, so the engine waits for it and releases the operations.
use std::sync::Arc;
use std::time::Duration;

use operations::{Access, NewOperation, Operation, OperationId, Status};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use store::{ClaimRequest, SqliteStore, Store};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinHandle, yield_now};

use crate::eager::Setup;
use crate::gate::DEADLINE;

/// A drain time longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

/// Another process that writes: until it is let go, writes to the store wait, for ten seconds at most.
struct Lock(SqliteConnection);

impl Lock {
    async fn on(store: &SqliteStore) -> Lock {
        let mut other = SqliteConnectOptions::new().filename(store.path()).connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        Lock(other)
    }

    async fn let_go(mut self) {
        sqlx::query("COMMIT").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}

/// Lets all tasks go as far as they can while the store does not answer: they run alternately on this thread.
async fn others_go_on() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Makes the loop wait for the store with a claim. The loop claims its kinds in any order, so there is one operation of
/// each, and it was not notified of them before.
async fn claim_at_the_store(setup: &Setup) -> (Vec<OperationId>, Lock) {
    let new = ["scan", "tight", "rare"].map(NewOperation::of_kind).to_vec();
    let created = setup.store.create("acme", new, None).await.unwrap();
    others_go_on().await;
    let lock = Lock::on(&setup.store).await;
    setup.engine.waker().wake();
    others_go_on().await;
    (created.into_iter().map(|operation| operation.id).collect(), lock)
}

/// Makes a task wait for the store with the creation of an operation that starts at once.
async fn create_with_a_start(setup: &Setup) -> JoinHandle<Operation> {
    let (store, waker) = (Arc::clone(&setup.store), setup.engine.waker());
    let creation = tokio::spawn(async move {
        let (access, new) = (Access::organization("acme"), NewOperation::of_kind("scan"));
        waker.create(&*store, &access, new, None, None).await.unwrap()
    });
    others_go_on().await;
    creation
}

async fn in_time<T>(task: JoinHandle<T>) -> T {
    tokio::time::timeout(DEADLINE, task).await.expect("in time").unwrap()
}

/// Asserts that one of the operations was claimed once, and that all are as if it had not been.
async fn assert_released(store: &SqliteStore, ids: &[OperationId]) {
    for id in ids {
        let operation = store.get(&Access::organization("acme"), *id).await.unwrap().unwrap();
        assert_eq!((operation.status, operation.started_at), (Status::Pending, None));
    }
    let request = ClaimRequest {
        kinds: ["scan", "tight", "rare"].map(str::to_owned).to_vec(),
        access: None,
        among: None,
        limit: 3,
        worker: "the next".to_owned(),
        lease: Duration::from_secs(60),
    };
    let claimed = store.claim(request).await.unwrap();
    assert_eq!(claimed.len(), ids.len());
    assert!(claimed.iter().all(|claimed| claimed.attempt == 1), "no attempt was charged");
    let fences: u64 = claimed.iter().map(|claimed| claimed.lease.fence).sum();
    assert_eq!(fences, ids.len() as u64 + 1, "otherwise none was claimed before, and the test shows nothing");
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

/// Lets the store answer, and asserts that the drain has waited for that and has released the result.
async fn assert_waits_and_releases(
    store: &SqliteStore,
    started: &UnboundedReceiver<OperationId>,
    drain: JoinHandle<()>,
    lock: Lock,
    ids: &[OperationId],
) {
    assert!(!drain.is_finished(), "the store has not answered the claim");
    lock.let_go().await;
    in_time(drain).await;
    assert!(started.is_empty(), "the operation was not run");
    assert_released(store, ids).await;
}

#[tokio::test]
async fn what_is_being_claimed_when_it_begins_is_waited_for_and_released() {
    let setup = Setup::draining_for(LONG).await;
    let (ids, lock) = claim_at_the_store(&setup).await;
    let drain = tokio::spawn(setup.engine.drain());
    others_go_on().await;
    assert_waits_and_releases(&setup.store, &setup.started, drain, lock, &ids).await;
}

#[tokio::test]
async fn a_claim_that_takes_longer_than_the_loop_waits_is_waited_for_and_released() {
    let setup = Setup::draining_for(LONG).await;
    let (ids, lock) = claim_at_the_store(&setup).await;
    let health = setup.store.health();
    let has_loop = || {
        let tasks = health.report();
        tasks.iter().any(|known| known.task == "dispatcher" && known.succeeded.is_some())
    };
    assert!(has_loop());
    let drain = tokio::spawn(setup.engine.drain());
    // The loop waits for two seconds.
    let loop_ends = async {
        while has_loop() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, loop_ends).await.expect("in time");
    others_go_on().await;
    assert_waits_and_releases(&setup.store, &setup.started, drain, lock, &ids).await;
}

#[tokio::test]
async fn what_is_being_created_with_a_start_when_it_begins_is_waited_for_and_released() {
    let setup = Setup::draining_for(LONG).await;
    let lock = Lock::on(&setup.store).await;
    let creation = create_with_a_start(&setup).await;
    let drain = tokio::spawn(setup.engine.drain());
    others_go_on().await;
    assert!(!drain.is_finished(), "the store has not answered the creation");
    lock.let_go().await;
    let created = in_time(creation).await;
    assert_eq!(created.status, Status::Running, "otherwise it took no capacity along, and the test shows nothing");
    in_time(drain).await;
    assert!(setup.started.is_empty(), "the operation was not run");
    assert_released(&setup.store, &[created.id]).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_does_not_hold_up_the_end() {
    let setup = Setup::draining_for(Duration::ZERO).await;
    let lock = Lock::on(&setup.store).await;
    let creation = create_with_a_start(&setup).await;
    in_time(tokio::spawn(setup.engine.drain())).await;
    assert!(!creation.is_finished(), "the store has not answered the creation");
    // If the process lives on, an answer that comes then is released, too.
    lock.let_go().await;
    let Operation { id, status, .. } = in_time(creation).await;
    assert_eq!(status, Status::Running);
    let store = &setup.store;
    let released = async {
        while store.get(&Access::organization("acme"), id).await.unwrap().unwrap().status != Status::Pending {
            yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, released).await.expect("in time");
    assert!(setup.started.is_empty(), "the operation was not run");
    assert_released(&setup.store, &[id]).await;
}
