//! Operations that start in the transaction that creates them, on both engines.
use std::sync::mpsc;
use std::time::Duration;

use crate::support::*;
use operations::{Access, NewOperation, Operation, Outcome, Refusal, Status};
use store::{Claimed, HistoryKind, IdempotencyKey, LeaseStatus, Pausable, Quota, Quotas, Start, Store, StoreError};

const LEASE: Duration = Duration::from_secs(30);

fn start() -> (Start, mpsc::Receiver<Claimed>) {
    let (sender, started) = mpsc::channel();
    (Start::new("w", LEASE, move |claimed| sender.send(claimed).unwrap()), started)
}

/// Creates a scan of acme that is to start at once; returns it, and its attempt if it began.
async fn create(store: &dyn Store, new: NewOperation) -> (Operation, Option<Claimed>) {
    let (start, started) = start();
    let operation = store.create_one("acme", new, None, Some(start)).await.unwrap();
    (operation, started.try_recv().ok())
}

fn scan() -> NewOperation {
    NewOperation::of_kind("scan")
}

pub(crate) async fn it_is_created_running_in_one_transaction(fixture: Fixture) {
    let acme = Access::organization("acme");
    let before = fixture.store.end_of_changes("acme").await.unwrap();
    let new = NewOperation { input: r#"{"a":1}"#.to_owned(), timeout: Some(Duration::from_secs(9)), ..scan() };
    let (operation, claimed) = create(&*fixture.store, new).await;
    let claimed = claimed.expect("nothing waits");
    assert_eq!((operation.status, operation.started_at), (Status::Running, Some(operation.created_at)));
    assert_eq!(claimed.operation, operation);
    assert_eq!(
        (claimed.input.as_str(), claimed.attempt, claimed.timeout),
        (r#"{"a":1}"#, 1, Some(Duration::from_secs(9)))
    );
    assert_eq!(claimed.lease_expires_at, fixture.store.now().after(LEASE));
    assert_eq!(fixture.store.get(&acme, operation.id).await.unwrap().unwrap(), operation);
    // Transactions of other tests on the same server hold it up for a moment.
    let changes = loop {
        let changes = fixture.store.changes("acme", before, 10).await.unwrap().changes;
        if !changes.is_empty() {
            break changes;
        }
        tokio::task::yield_now().await;
    };
    let changes: Vec<_> = changes.iter().map(|change| (change.id, change.status)).collect();
    assert_eq!(changes, [(operation.id, Some(Status::Pending)), (operation.id, Some(Status::Running))]);
    let history = fixture.store.history(&acme, operation.id).await.unwrap().unwrap();
    let kinds: Vec<_> = history.iter().map(|event| (event.kind, event.worker.as_str())).collect();
    assert_eq!(kinds, [(HistoryKind::Created, ""), (HistoryKind::AttemptStarted, "w")]);
    assert_eq!(fixture.claim(&["scan"], 10).await, [], "it belongs to no other worker");
    fixture.assert_sound().await;
    assert_eq!(fixture.settle(&claimed, completed("done")).await, Ok(Status::Completed));
    fixture.assert_sound().await;
}

async fn it_has_a_lease_and_a_fencing_token_like_every_attempt(fixture: Fixture) {
    let claimed = create(&*fixture.store, scan()).await.1.unwrap();
    let beat = store::Heartbeat { lease: claimed.lease.clone(), progress: None };
    let held = fixture.store.heartbeat(vec![beat], LEASE).await.unwrap();
    assert!(matches!(held[..], [LeaseStatus::Held { cancel_requested: false, .. }]), "{held:?}");
    fixture.advance(LEASE * 2);
    let lost = fixture.store.lost_leases(store::Lost::Expired, 10).await.unwrap();
    assert_eq!(lost.iter().map(|lost| lost.lease.id).collect::<Vec<_>>(), [claimed.lease.id]);
    fixture.store.lose(vec![(lost[0].lease.clone(), Duration::ZERO)]).await.unwrap();
    fixture.advance(Duration::from_secs(1));
    let second = fixture.claim(&["scan"], 10).await.remove(0);
    assert_eq!((second.lease.fence, second.attempt), (2, 2));
    assert_eq!(fixture.settle(&claimed, completed("late")).await, Err(Refusal::StaleLease));
    assert_eq!(fixture.settle(&second, completed("done")).await, Ok(Status::Completed));
    fixture.assert_sound().await;
}

async fn what_waits_goes_first(fixture: Fixture) {
    let older = fixture.create("acme", scan()).await;
    let (operation, claimed) = create(&*fixture.store, NewOperation { priority: 50, ..scan() }).await;
    assert_eq!((operation.status, operation.started_at, claimed), (Status::Pending, None, None));
    fixture.create("other", scan()).await;
    let other_kind = NewOperation::of_kind("build");
    assert!(create(&*fixture.store, other_kind).await.1.is_some(), "another kind is another queue");
    let next: Vec<_> = fixture.claim(&["scan"], 10).await.into_iter().map(|claimed| claimed.lease.id).collect();
    assert!(next.contains(&older.id) && next.contains(&operation.id) && next.len() == 3);
    // A retry that is due, though no claim has checked since.
    let failed = create(&*fixture.store, scan()).await.1.unwrap();
    let outcome = Outcome::Failed { message: "no luck".to_owned(), retryable: true };
    let settlement = store::Settlement { lease: failed.lease, outcome, retry_after: Duration::from_secs(5) };
    fixture.store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    assert!(create(&*fixture.store, scan()).await.1.is_some(), "it is not due yet");
    fixture.advance(Duration::from_secs(6));
    assert_eq!(create(&*fixture.store, scan()).await.1, None, "it is due");
    fixture.assert_sound().await;
}

async fn it_may_start_only_if_nothing_of_its_organization_is_pending(fixture: Fixture) {
    let create = async |kind| {
        let (start, started) = start();
        let start = start.only_if_nothing_is_pending();
        let operation = fixture.store.create_one("acme", NewOperation::of_kind(kind), None, Some(start)).await.unwrap();
        assert_eq!(operation.status == Status::Running, started.try_recv().is_ok());
        operation
    };
    fixture.create("other", scan()).await;
    assert_eq!(create("scan").await.status, Status::Running, "what waits is of another organization");
    assert_eq!(create("build").await.status, Status::Running, "what is running does not wait");
    let waiting = fixture.create("acme", scan()).await;
    assert_eq!(create("build").await.status, Status::Pending, "an operation of another kind waits");
    let next: Vec<_> =
        fixture.claim(&["scan", "build"], 10).await.into_iter().map(|claimed| claimed.lease.id).collect();
    assert!(next.contains(&waiting.id) && next.len() == 3, "{next:?}");
    assert_eq!(create("build").await.status, Status::Running);
    // In one batch, an operation that cannot start goes before.
    let (start, started) = start();
    let start = start.only_if_nothing_is_pending();
    let before = fixture.store.create_one("acme", scan(), None, None);
    let after = fixture.store.create_one("acme", NewOperation::of_kind("build"), None, Some(start));
    let (before, after) = futures_util::future::join(before, after).await;
    assert_eq!((before.unwrap().status, after.unwrap().status), (Status::Pending, Status::Pending));
    assert!(started.try_recv().is_err());
    fixture.assert_sound().await;
}

async fn what_is_paused_or_due_later_does_not_start(fixture: Fixture) {
    let later = fixture.store.now().after(Duration::from_secs(60));
    let (operation, claimed) = create(&*fixture.store, NewOperation { run_after: Some(later), ..scan() }).await;
    assert_eq!((operation.status, claimed), (Status::Pending, None));
    for what in [
        Pausable::Organization("acme".to_owned()),
        Pausable::Kind("scan".to_owned()),
        Pausable::KindOf { organization: "acme".to_owned(), kind: "scan".to_owned() },
    ] {
        fixture.store.pause(what.clone()).await.unwrap();
        let (operation, claimed) = create(&*fixture.store, scan()).await;
        assert_eq!((operation.status, claimed), (Status::Pending, None), "{what:?}");
        fixture.store.resume(what).await.unwrap();
        assert_eq!(fixture.claim(&["scan"], 10).await.len(), 1);
    }
    assert!(create(&*fixture.store, scan()).await.1.is_some());
    fixture.assert_sound().await;
}

async fn a_key_makes_and_starts_one(fixture: Fixture) {
    let key = |fingerprint| Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [fingerprint; 32] });
    let ((first, started), (again, started_again)) = (start(), start());
    let one = fixture.store.create_one("acme", scan(), key(1), Some(first)).await.unwrap();
    assert_eq!(started.try_recv().unwrap().lease.id, one.id);
    assert_eq!(fixture.store.create_one("acme", scan(), key(1), Some(again)).await.unwrap(), one);
    assert!(started_again.try_recv().is_err(), "nothing was created");
    let (other, started_other) = start();
    let conflict = fixture.store.create_one("acme", scan(), key(2), Some(other)).await;
    assert!(matches!(conflict, Err(StoreError::IdempotencyConflict)), "{conflict:?}");
    assert!(started_other.try_recv().is_err());
    fixture.assert_sound().await;
}

async fn limits_hold(fixture: Fixture) {
    let quota = Quota { max_pending: Some(2), ..Quota::default() };
    fixture.store.set_quotas(Quotas { named: [("acme".to_owned(), quota)].into(), ..Quotas::default() });
    for _ in 0..2 {
        assert!(create(&*fixture.store, scan()).await.1.is_some());
    }
    let (third, started) = start();
    let refused = fixture.store.create_one("acme", scan(), None, Some(third)).await;
    assert!(matches!(refused, Err(StoreError::Exceeded(_))), "{refused:?}");
    assert!(started.try_recv().is_err());
    fixture.assert_sound().await;
}

/// The worker that is to run it receives the attempt, even when the caller of the creation has gone.
async fn the_attempt_arrives_whatever_becomes_of_the_caller(fixture: Fixture) {
    fixture.store.create_organization("acme", store::Limits::default()).await.unwrap();
    let (first, started) = start();
    let mut call = fixture.store.create_one("acme", scan(), None, Some(first));
    // Submitted, and given up.
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    let claimed = tokio::task::spawn_blocking(move || started.recv_timeout(Duration::from_secs(30))).await.unwrap();
    assert_eq!(fixture.settle(&claimed.unwrap(), completed("done")).await, Ok(Status::Completed));
}

/// In one batch: each is alone in the queue of its kind, until one has to wait.
async fn many_at_once_start_or_wait_and_none_is_lost(fixture: Fixture) {
    let calls = (0..200).map(|number| {
        let kind = if number % 2 == 0 { "scan" } else { "build" };
        let (start, started) = start();
        let call = fixture.store.create_one("acme", NewOperation::of_kind(kind), None, Some(start));
        async move { (call.await.unwrap(), started.try_recv().ok()) }
    });
    let made = futures_util::future::join_all(calls).await;
    for (operation, claimed) in &made {
        assert_eq!(operation.status == Status::Running, claimed.is_some());
    }
    let waiting = made.iter().filter(|(_, claimed)| claimed.is_none()).count();
    assert_eq!(fixture.claim(&["scan", "build"], 300).await.len(), waiting);
    fixture.assert_sound().await;
}

against_both_engines!(
    it_is_created_running_in_one_transaction,
    it_has_a_lease_and_a_fencing_token_like_every_attempt,
    what_waits_goes_first,
    it_may_start_only_if_nothing_of_its_organization_is_pending,
    what_is_paused_or_due_later_does_not_start,
    a_key_makes_and_starts_one,
    limits_hold,
    the_attempt_arrives_whatever_becomes_of_the_caller,
    many_at_once_start_or_wait_and_none_is_lost,
);
