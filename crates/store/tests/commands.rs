//! OperationCommand: cancel, retry, delete and purge, one test per promise; then all of them at once.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use operations::{Access, Filter, NewOperation, Operation, OperationId, PageRequest, Refusal, Status};
use store::{
    Claimed, CommandOutcome, Heartbeat, IdempotencyKey, LeaseStatus, OperationCommand, Settlement, Store, StoreError,
};

const EVERY: PageRequest = PageRequest { page: 0, page_size: 100 };
const GRACE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

async fn send(fixture: &Fixture, id: OperationId, command: OperationCommand) -> CommandOutcome {
    fixture.store.command(&Access::organization("acme"), id, command).await.unwrap()
}

async fn done(fixture: &Fixture, id: OperationId, command: OperationCommand) -> Operation {
    send(fixture, id, command).await.expect("there").expect("allowed")
}

async fn get(fixture: &Fixture, id: OperationId) -> Option<Operation> {
    fixture.store.get(&Access::organization("acme"), id).await.unwrap()
}

async fn running(fixture: &Fixture, new: NewOperation) -> Claimed {
    let kind = new.kind.clone();
    fixture.create("acme", new).await;
    fixture.claim(&[&kind], 1).await.remove(0)
}

async fn cancelling_ends_what_is_pending_at_once(fixture: Fixture) {
    let now = fixture.create("acme", in_project("scan", "p")).await;
    let run_after = Some(fixture.store.now().after(Duration::from_secs(60)));
    let later = fixture.create("acme", NewOperation { run_after, ..NewOperation::of_kind("scan") }).await;
    let due = fixture.create("acme", NewOperation { run_after, ..NewOperation::of_kind("scan") }).await;
    fixture.advance(SECOND);
    for id in [now.id, later.id] {
        let cancelled = done(&fixture, id, OperationCommand::Cancel).await;
        assert_eq!((cancelled.status, cancelled.error_message.as_str()), (Status::Failed, "cancelled"));
        assert_eq!((cancelled.started_at, cancelled.finished_at), (None, Some(fixture.store.now())));
        assert_eq!(get(&fixture, id).await, Some(cancelled));
    }
    fixture.advance(Duration::from_secs(60));
    // An operation that has become due waits in the queue without its time, which the operation keeps.
    assert_eq!(fixture.claim(&["scan"], 0).await.len(), 0);
    fixture.create("acme", NewOperation::of_kind("other")).await;
    assert_eq!(fixture.claim(&["other"], 5).await.len(), 1);
    assert_eq!(done(&fixture, due.id, OperationCommand::Cancel).await.status, Status::Failed);
    assert!(fixture.claim(&["scan"], 10).await.is_empty(), "nothing is left to claim");
    fixture.assert_sound().await;
}

async fn cancelling_asks_what_runs_to_stop(fixture: Fixture) {
    let claimed = running(&fixture, NewOperation::of_kind("scan")).await;
    let id = claimed.operation.id;
    for _ in 0..2 {
        let asked = done(&fixture, id, OperationCommand::Cancel).await;
        assert_eq!(asked, claimed.operation, "it runs on until its worker agrees");
    }
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
    let held = fixture.store.heartbeat(vec![beat], GRACE).await.unwrap();
    let expires_at = fixture.store.now().after(GRACE);
    assert_eq!(held, [LeaseStatus::Held { expires_at, cancel_requested: true }]);
    assert_eq!(fixture.settle(&claimed, failed("stopped", true)).await, Ok(Status::Failed));
    let ended = get(&fixture, id).await.unwrap();
    assert_eq!((ended.status, ended.error_message.as_str()), (Status::Failed, "cancelled"));
    fixture.assert_sound().await;
}

async fn a_worker_that_finished_before_it_noticed_completes(fixture: Fixture) {
    let claimed = running(&fixture, NewOperation::of_kind("scan")).await;
    done(&fixture, claimed.operation.id, OperationCommand::Cancel).await;
    assert_eq!(fixture.settle(&claimed, completed("done")).await, Ok(Status::Completed));
    fixture.assert_sound().await;
}

async fn what_does_not_stop_in_time_is_ended(fixture: Fixture) {
    let claimed = running(&fixture, NewOperation::of_kind("scan")).await;
    let other = running(&fixture, NewOperation::of_kind("scan")).await;
    done(&fixture, claimed.operation.id, OperationCommand::Cancel).await;
    fixture.advance(GRACE - SECOND);
    // A repeated request does not give more time.
    done(&fixture, claimed.operation.id, OperationCommand::Cancel).await;
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 10).await.unwrap(), 0);
    fixture.advance(SECOND);
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 10).await.unwrap(), 1);
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 10).await.unwrap(), 0);
    let ended = get(&fixture, claimed.operation.id).await.unwrap();
    assert_eq!((ended.status, ended.error_message.as_str()), (Status::Failed, "cancelled"));
    assert_eq!(ended.finished_at, Some(fixture.store.now()));
    assert_eq!(fixture.settle(&claimed, completed("late")).await, Err(Refusal::StaleLease));
    let beat = |claimed: &Claimed| Heartbeat { lease: claimed.lease.clone(), progress: None };
    let held = fixture.store.heartbeat(vec![beat(&claimed)], GRACE).await.unwrap();
    assert_eq!(held, [LeaseStatus::Lost]);
    assert_eq!(fixture.settle(&other, completed("in peace")).await, Ok(Status::Completed));
    fixture.assert_sound().await;
}

async fn a_lost_lease_of_what_was_asked_to_stop_ends_it(fixture: Fixture) {
    let claimed = running(&fixture, NewOperation::of_kind("scan")).await;
    done(&fixture, claimed.operation.id, OperationCommand::Cancel).await;
    fixture.advance(Duration::from_secs(31));
    fixture.store.lose(vec![(claimed.lease, Duration::ZERO)]).await.unwrap();
    assert_eq!(get(&fixture, claimed.operation.id).await.unwrap().error_message, "cancelled");
    fixture.assert_sound().await;
}

async fn what_a_state_does_not_allow_is_refused_by_its_name(fixture: Fixture) {
    let completed = fixture.finished("acme", NewOperation::of_kind("a"), completed("done")).await.id;
    let failed = fixture.finished("acme", NewOperation::of_kind("b"), failed("no", false)).await.id;
    let running = running(&fixture, NewOperation::of_kind("c")).await.operation.id;
    let pending = fixture.create("acme", NewOperation::of_kind("d")).await.id;
    for (id, status, commands) in [
        (completed, Status::Completed, &[OperationCommand::Cancel, OperationCommand::Retry][..]),
        (failed, Status::Failed, &[OperationCommand::Cancel]),
        (running, Status::Running, &[OperationCommand::Retry, OperationCommand::Delete]),
        (pending, Status::Pending, &[OperationCommand::Retry, OperationCommand::Delete]),
    ] {
        for command in commands {
            let refused = send(&fixture, id, *command).await;
            assert_eq!(refused, Some(Err(Refusal::WrongStatus(status))), "{command:?}");
        }
        assert_eq!(get(&fixture, id).await.unwrap().status, status);
    }
    fixture.assert_sound().await;
}

pub(crate) async fn a_retry_goes_back_in_line_with_its_history(fixture: Fixture) {
    let new = NewOperation {
        input: r#"{"a":1}"#.to_owned(),
        max_attempts: 1,
        priority: 7,
        timeout: Some(SECOND),
        ..about("scan", "image", "alpine")
    };
    let created = fixture.create("acme", NewOperation { project_id: "p".to_owned(), ..new }).await;
    let first = fixture.claim(&["scan"], 1).await.remove(0);
    let started_at = Some(fixture.store.now());
    fixture.advance(SECOND);
    fixture.settle(&first, failed("no luck", true)).await.unwrap();
    let again = done(&fixture, created.id, OperationCommand::Retry).await;
    assert_eq!(again, Operation { started_at, ..created.clone() }, "as it was, but for its start");
    assert_eq!(get(&fixture, created.id).await, Some(again));
    fixture.assert_sound().await;
    let second = fixture.claim(&["scan"], 1).await.remove(0);
    assert_eq!((second.attempt, second.lease.fence, second.input.as_str()), (2, 2, r#"{"a":1}"#));
    assert_eq!((second.timeout, second.cancel_requested), (Some(SECOND), false));
    assert_eq!(fixture.settle(&first, completed("late")).await, Err(Refusal::StaleLease));
    assert_eq!(fixture.settle(&second, completed("done")).await, Ok(Status::Completed));
    fixture.assert_sound().await;
}

async fn what_was_cancelled_can_be_tried_again(fixture: Fixture) {
    let id = fixture.create("acme", NewOperation::of_kind("scan")).await.id;
    done(&fixture, id, OperationCommand::Cancel).await;
    assert_eq!(done(&fixture, id, OperationCommand::Retry).await.started_at, None);
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    done(&fixture, id, OperationCommand::Cancel).await;
    fixture.advance(GRACE);
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 10).await.unwrap(), 1);
    done(&fixture, id, OperationCommand::Retry).await;
    let again = fixture.claim(&["scan"], 1).await.remove(0);
    assert!(!again.cancel_requested && again.lease.fence == claimed.lease.fence + 1);
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 10).await.unwrap(), 0, "it was not asked to stop this time");
    fixture.assert_sound().await;
}

async fn a_deleted_operation_is_gone_and_its_number_is_not_used_again(fixture: Fixture) {
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(fixture.finished("acme", in_project("scan", "p"), completed("done")).await.id);
    }
    for index in [0, 4, 8] {
        assert_eq!(done(&fixture, ids[index], OperationCommand::Delete).await.output, "done");
        assert_eq!(get(&fixture, ids[index]).await, None);
        assert_eq!(send(&fixture, ids[index], OperationCommand::Delete).await, None);
    }
    ids.push(fixture.create("acme", in_project("scan", "p")).await.id);
    fixture.assert_sound().await;
    let left: Vec<OperationId> = [9, 7, 6, 5, 3, 2, 1].into_iter().map(|index| ids[index]).collect();
    for access in [Access::organization("acme"), Access::projects("acme", ["p"])] {
        let mut seen = Vec::new();
        for page in 0..4 {
            let page = PageRequest { page, page_size: 2 };
            let listing = fixture.store.list(&access, &Filter::default(), page).await.unwrap();
            assert_eq!(listing.page.total_count, 7);
            seen.extend(listing.entries.into_iter().map(|entry| entry.operation.id));
        }
        assert_eq!(seen, left);
    }
}

async fn what_may_not_be_seen_cannot_be_steered(fixture: Fixture) {
    let pending = fixture.create("acme", in_project("a", "p")).await.id;
    let ended = fixture.finished("acme", in_project("b", "p"), failed("no", false)).await.id;
    let unknown = OperationId::new(fixture.store.now());
    let nowhere = [Access::organization("other"), Access::projects("acme", ["q"]), Access::projects("acme", [""; 0])];
    for access in &nowhere {
        for id in [pending, ended, unknown] {
            for command in [OperationCommand::Cancel, OperationCommand::Retry, OperationCommand::Delete] {
                assert_eq!(fixture.store.command(access, id, command).await.unwrap(), None);
            }
        }
    }
    let access = Access::projects("acme", ["p"]);
    assert!(fixture.store.command(&access, pending, OperationCommand::Cancel).await.unwrap().unwrap().is_ok());
    assert!(fixture.store.command(&access, ended, OperationCommand::Delete).await.unwrap().unwrap().is_ok());
    fixture.assert_sound().await;
}

async fn a_key_whose_operation_was_deleted_is_told_apart(fixture: Fixture) {
    let key = |fingerprint: u8| Some(IdempotencyKey { key: "k".to_owned(), fingerprint: [fingerprint; 32] });
    let two = || vec![NewOperation::of_kind("scan"), NewOperation::of_kind("other")];
    let made = fixture.store.create("acme", two(), key(1)).await.unwrap();
    done(&fixture, made[0].id, OperationCommand::Cancel).await;
    done(&fixture, made[0].id, OperationCommand::Delete).await;
    let repeated = fixture.store.create("acme", two(), key(1)).await;
    assert!(matches!(repeated, Err(StoreError::IdempotencyGone)), "{repeated:?}");
    let another = fixture.store.create("acme", two(), key(2)).await;
    assert!(matches!(another, Err(StoreError::IdempotencyConflict)), "{another:?}");
    fixture.advance(Duration::from_secs(24 * 3600));
    fixture.store.create("acme", two(), key(1)).await.unwrap();
    fixture.assert_sound().await;
}

async fn what_has_passed_its_time_is_purged(fixture: Fixture) {
    let keep = |seconds| NewOperation { retain_for: Some(Duration::from_secs(seconds)), ..in_project("scan", "p") };
    let short = fixture.finished("acme", keep(10), completed("a")).await.id;
    let long = fixture.finished("acme", keep(20), failed("b", false)).await.id;
    let for_ever = fixture.finished("acme", NewOperation::of_kind("scan"), completed("c")).await.id;
    fixture.store.set_default_retention(Some(Duration::from_secs(15)));
    let by_default = fixture.finished("acme", NewOperation::of_kind("scan"), failed("d", false)).await.id;
    let completed_by_default = fixture.finished("acme", NewOperation::of_kind("scan"), completed("e")).await.id;
    fixture.create("acme", keep(1)).await;
    fixture.advance(Duration::from_secs(9));
    assert_eq!(fixture.store.purge(100).await.unwrap(), 0);
    fixture.advance(SECOND);
    assert_eq!(fixture.store.purge(100).await.unwrap(), 1);
    assert_eq!(get(&fixture, short).await, None);
    fixture.advance(Duration::from_secs(5));
    assert_eq!(fixture.store.purge(100).await.unwrap(), 2);
    assert_eq!((get(&fixture, by_default).await, get(&fixture, completed_by_default).await), (None, None));
    // An operation that is tried again is not purged; its retention starts anew at its next end.
    done(&fixture, long, OperationCommand::Retry).await;
    fixture.advance(Duration::from_secs(3600));
    assert_eq!(fixture.store.purge(100).await.unwrap(), 0);
    done(&fixture, long, OperationCommand::Cancel).await;
    fixture.advance(Duration::from_secs(20));
    assert_eq!(fixture.store.purge(100).await.unwrap(), 1);
    assert!(get(&fixture, for_ever).await.is_some());
    fixture.assert_sound().await;
}

async fn a_purge_takes_a_bounded_part_of_every_organization(fixture: Fixture) {
    let new = NewOperation { retain_for: Some(SECOND), ..NewOperation::of_kind("scan") };
    for (organization, count) in [("a", 5), ("b", 2), ("c", 1)] {
        fixture.store.create(organization, vec![new.clone(); count], None).await.unwrap();
    }
    let claimed = fixture.claim(&["scan"], 100).await;
    let settlements = claimed.into_iter().map(|claimed| Settlement {
        lease: claimed.lease,
        outcome: completed("x"),
        retry_after: Duration::ZERO,
    });
    fixture.store.settle(settlements.collect()).await.unwrap();
    fixture.advance(SECOND);
    let mut passes = Vec::new();
    loop {
        passes.push(fixture.store.purge(2).await.unwrap());
        fixture.assert_sound().await;
        if passes.last() == Some(&0) {
            break;
        }
    }
    assert_eq!(passes, [5, 2, 1, 0]);
}

/// Runs pairs of commands and other calls on many operations at once.
async fn race<A, B>(
    fixture: &Fixture,
    ids: &[OperationId],
    one: impl Fn(Arc<dyn Store>, OperationId) -> A,
    two: impl Fn(Arc<dyn Store>, OperationId) -> B,
) where
    A: Future<Output = ()> + Send + 'static,
    B: Future<Output = ()> + Send + 'static,
{
    // A second server on the same database; one process owns an embedded store.
    let stores = [Arc::clone(&fixture.store), fixture.second_server().await];
    let mut tasks = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        tasks.push(tokio::spawn(one(Arc::clone(&stores[index % 2]), *id)));
        tasks.push(tokio::spawn(two(Arc::clone(&stores[(index / 2) % 2]), *id)));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn steer_in_acme(store: &dyn Store, id: OperationId, command: OperationCommand) -> CommandOutcome {
    store.command(&Access::organization("acme"), id, command).await.unwrap()
}

async fn of_a_cancel_and_a_claim_one_is_first(fixture: Fixture) {
    let run_after = Some(fixture.store.now().after(SECOND));
    let mut new = vec![NewOperation::of_kind("scan"); 60];
    new.iter_mut().step_by(3).for_each(|new| new.run_after = run_after);
    let ids: Vec<OperationId> =
        fixture.store.create("acme", new, None).await.unwrap().iter().map(|operation| operation.id).collect();
    fixture.advance(SECOND);
    let claimed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let all = Arc::clone(&claimed);
    race(
        &fixture,
        &ids,
        |store, id| async move {
            steer_in_acme(&*store, id, OperationCommand::Cancel).await.unwrap().unwrap();
        },
        move |store, _| {
            let all = Arc::clone(&all);
            async move {
                let more = store.claim(claim_request(&["scan"], 2)).await.unwrap();
                all.lock().unwrap().extend(more);
            }
        },
    )
    .await;
    fixture.assert_sound().await;
    let claimed = std::mem::take(&mut *claimed.lock().unwrap());
    let started: BTreeSet<OperationId> = claimed.iter().map(|claimed| claimed.operation.id).collect();
    assert_eq!(started.len(), claimed.len());
    for id in &ids {
        let status = get(&fixture, *id).await.unwrap().status;
        assert_eq!(status, if started.contains(id) { Status::Running } else { Status::Failed });
    }
    fixture.advance(GRACE);
    assert_eq!(fixture.store.end_overdue_cancels(GRACE, 1000).await.unwrap(), started.len() as u64);
    fixture.assert_sound().await;
}

async fn a_cancel_takes_no_outcome_from_a_worker(fixture: Fixture) {
    fixture.store.create("acme", vec![NewOperation::of_kind("scan"); 60], None).await.unwrap();
    let claimed = fixture.claim(&["scan"], 60).await;
    let ids: Vec<OperationId> = claimed.iter().map(|claimed| claimed.operation.id).collect();
    let claimed = Arc::new(claimed);
    race(
        &fixture,
        &ids,
        |store, id| async move {
            match steer_in_acme(&*store, id, OperationCommand::Cancel).await.unwrap() {
                Ok(asked) => assert_eq!(asked.status, Status::Running),
                Err(refusal) => assert_eq!(refusal, Refusal::WrongStatus(Status::Completed)),
            }
        },
        move |store, id| {
            let claimed = claimed.iter().find(|claimed| claimed.operation.id == id).unwrap().clone();
            async move {
                let outcome = completed("done");
                let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
                assert_eq!(store.settle(vec![settlement]).await.unwrap(), [Ok(Status::Completed)]);
            }
        },
    )
    .await;
    fixture.assert_sound().await;
}

/// Only for PostgreSQL: a settlement that waits for a cancellation does not see what the cancellation wrote until it
/// reads again.
#[tokio::test]
async fn a_settlement_that_waited_for_a_cancellation_counts() {
    let fixture = fixture(Engine::Postgres).await;
    let claimed = running(&fixture, NewOperation::of_kind("scan")).await;
    let foreign = fixture.foreign_postgres().await;
    let mut cancelling = foreign.begin().await.unwrap();
    let cancel = "UPDATE active SET cancel_requested = true, cancel_requested_at = 1";
    sqlx::query(cancel).execute(&mut *cancelling).await.unwrap();
    let store = Arc::clone(&fixture.store);
    let settlement = Settlement { lease: claimed.lease, outcome: completed("done"), retry_after: Duration::ZERO };
    let settling = tokio::spawn(async move { store.settle(vec![settlement]).await.unwrap() });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&foreign).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cancelling.commit().await.unwrap();
    assert_eq!(settling.await.unwrap(), [Ok(Status::Completed)]);
    fixture.assert_sound().await;
}

async fn of_a_retry_and_a_delete_one_is_first(fixture: Fixture) {
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(fixture.finished("acme", in_project("scan", "p"), failed("no", false)).await.id);
    }
    race(
        &fixture,
        &ids,
        |store, id| async move {
            let retried = steer_in_acme(&*store, id, OperationCommand::Retry).await;
            assert!(matches!(retried, None | Some(Ok(_))), "{retried:?}");
        },
        |store, id| async move {
            match steer_in_acme(&*store, id, OperationCommand::Delete).await {
                Some(Ok(_)) => {}
                other => assert_eq!(other, Some(Err(Refusal::WrongStatus(Status::Pending)))),
            }
        },
    )
    .await;
    fixture.assert_sound().await;
    let pending = Filter { status: Some(Status::Pending), ..Filter::default() };
    let all = fixture.store.list(&Access::organization("acme"), &Filter::default(), EVERY).await.unwrap();
    let pending = fixture.store.list(&Access::organization("acme"), &pending, EVERY).await.unwrap();
    assert_eq!(all.page.total_count, pending.page.total_count, "each is back in the queue or gone");
}

pub(crate) async fn everything_at_once_leaves_a_sound_store(fixture: Fixture) {
    fixture.store.set_default_retention(Some(Duration::ZERO));
    let stores = [Arc::clone(&fixture.store), fixture.second_server().await];
    let new = |n: u32| NewOperation {
        priority: (n % 3) as i16,
        ..in_project("scan", if n.is_multiple_of(2) { "p" } else { "" })
    };
    let mut ids = Vec::new();
    for organization in ["acme", "other"] {
        let made = fixture.store.create(organization, (0..40).map(new).collect(), None).await.unwrap();
        ids.extend(made.into_iter().map(|operation| (organization, operation.id)));
    }
    let ids = Arc::new(ids);
    let tasks: Vec<_> = (0..12_usize)
        .map(|task| {
            let (store, ids) = (Arc::clone(&stores[task % 2]), Arc::clone(&ids));
            tokio::spawn(async move {
                for round in 0..40_usize {
                    let (organization, id) = ids[(round * 7 + task * 13) % ids.len()];
                    let access = Access::organization(organization);
                    match (round + task) % 6 {
                        0 => drop(store.command(&access, id, OperationCommand::Cancel).await.unwrap()),
                        1 => drop(store.command(&access, id, OperationCommand::Retry).await.unwrap()),
                        2 if round % 4 == 0 => {
                            drop(store.command(&access, id, OperationCommand::Delete).await.unwrap())
                        }
                        2 => drop(store.end_overdue_cancels(Duration::ZERO, 3).await.unwrap()),
                        3 if round > 30 => drop(store.purge(2).await.unwrap()),
                        3 => drop(store.create(organization, vec![NewOperation::of_kind("scan")], None).await.unwrap()),
                        _ => {
                            let claimed = store.claim(claim_request(&["scan"], 3)).await.unwrap();
                            let settlements = claimed.into_iter().enumerate().map(|(n, claimed)| Settlement {
                                lease: claimed.lease,
                                outcome: if n == 0 { completed("ok") } else { failed("no", n == 1) },
                                retry_after: Duration::ZERO,
                            });
                            store.settle(settlements.collect()).await.unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    fixture.assert_sound().await;
}

against_both_engines!(
    cancelling_ends_what_is_pending_at_once,
    cancelling_asks_what_runs_to_stop,
    a_worker_that_finished_before_it_noticed_completes,
    what_does_not_stop_in_time_is_ended,
    a_lost_lease_of_what_was_asked_to_stop_ends_it,
    what_a_state_does_not_allow_is_refused_by_its_name,
    a_retry_goes_back_in_line_with_its_history,
    what_was_cancelled_can_be_tried_again,
    a_deleted_operation_is_gone_and_its_number_is_not_used_again,
    what_may_not_be_seen_cannot_be_steered,
    a_key_whose_operation_was_deleted_is_told_apart,
    what_has_passed_its_time_is_purged,
    a_purge_takes_a_bounded_part_of_every_organization,
    of_a_cancel_and_a_claim_one_is_first,
    a_cancel_takes_no_outcome_from_a_worker,
    of_a_retry_and_a_delete_one_is_first,
    everything_at_once_leaves_a_sound_store,
);
