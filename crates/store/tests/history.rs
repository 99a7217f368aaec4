//! Histories on both engines: what happened to an operation, and nothing kept beyond what the row cannot say.
use std::time::Duration;

use crate::support::*;
use operations::{Access, NewOperation, OperationId};
use store::{Heartbeat, HistoryKind, MAX_NOTES, MAX_PROGRESS_NOTES, OperationCommand, Store};

/// Kinds, attempts, workers and messages.
async fn found(store: &dyn Store, id: OperationId) -> Vec<(HistoryKind, u32, String, String)> {
    let events = store.history(&Access::organization("acme"), id).await.unwrap().unwrap();
    assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    events.into_iter().map(|event| (event.kind, event.attempt, event.worker, event.message)).collect()
}

fn plain(kind: HistoryKind, attempt: u32, message: &str) -> (HistoryKind, u32, String, String) {
    let worker = if attempt > 0 { "test" } else { "" };
    (kind, attempt, worker.to_owned(), message.to_owned())
}

pub(crate) async fn every_attempt_is_told(fixture: Fixture) {
    use HistoryKind::{
        AttemptFailed, AttemptLost, AttemptReleased, AttemptStarted, Completed, Created, Failed, Progress,
    };
    let second = || fixture.advance(Duration::from_secs(1));
    let store = &*fixture.store;
    let id = fixture.create("acme", NewOperation { max_attempts: 3, ..NewOperation::of_kind("scan") }).await.id;
    assert_eq!(found(store, id).await, [plain(Created, 0, "")]);
    second();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    second();
    store.release(vec![claimed.lease]).await.unwrap()[0].unwrap();
    second();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    second();
    let beat = |text: &str| Heartbeat { lease: claimed.lease.clone(), progress: Some(text.to_owned()) };
    store.heartbeat(vec![beat("10 %"), beat("50 %\0")], Duration::from_secs(30)).await.unwrap();
    second();
    fixture.settle(&claimed, failed("no luck", true)).await.unwrap();
    fixture.advance(Duration::from_secs(10));
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    second();
    store.lose(vec![(claimed.lease.clone(), Duration::ZERO)]).await.unwrap();
    let mut stale = beat("late");
    stale.lease = claimed.lease;
    store.heartbeat(vec![stale], Duration::from_secs(30)).await.unwrap();
    second();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let mut expected = vec![
        plain(Created, 0, ""),
        plain(AttemptStarted, 1, ""),
        plain(AttemptReleased, 1, ""),
        plain(AttemptStarted, 1, ""),
        plain(Progress, 1, "50 %\0"),
        plain(AttemptFailed, 1, "no luck"),
        plain(AttemptStarted, 2, ""),
        plain(AttemptLost, 2, ""),
        plain(AttemptStarted, 3, ""),
    ];
    assert_eq!(found(store, id).await, expected);
    second();
    fixture.settle(&claimed, failed("broken", true)).await.unwrap();
    expected.push(plain(Failed, 3, "broken (gave up after 3 attempts)"));
    assert_eq!(found(store, id).await, expected);
    let other = fixture.finished("acme", NewOperation::of_kind("build"), completed("x")).await.id;
    assert_eq!(
        found(store, other).await,
        [plain(Created, 0, ""), plain(AttemptStarted, 1, ""), plain(Completed, 1, "")]
    );
    fixture.assert_sound().await;
}

pub(crate) async fn steering_is_told(fixture: Fixture) {
    use HistoryKind::{AttemptStarted, CancelRequested, Completed, Created, Failed, Retried};
    let (store, acme) = (&*fixture.store, Access::organization("acme"));
    let command = async |id, command| {
        fixture.advance(Duration::from_secs(1));
        store.command(&acme, id, command).await.unwrap().unwrap().unwrap();
        fixture.advance(Duration::from_secs(1));
    };
    let bare = |kind, attempt, message: &str| (kind, attempt, String::new(), message.to_owned());
    let id = fixture.create("acme", NewOperation::of_kind("scan")).await.id;
    command(id, OperationCommand::Cancel).await;
    command(id, OperationCommand::Retry).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    command(id, OperationCommand::Cancel).await;
    command(id, OperationCommand::Cancel).await;
    fixture.settle(&claimed, failed("stopped", false)).await.unwrap();
    let mut expected = vec![
        plain(Created, 0, ""),
        bare(Failed, 0, "cancelled"),
        bare(Retried, 0, ""),
        plain(AttemptStarted, 1, ""),
        bare(CancelRequested, 1, ""),
        plain(Failed, 1, "cancelled"),
    ];
    assert_eq!(found(store, id).await, expected, "a repeated request is not a new event");
    command(id, OperationCommand::Retry).await;
    expected.push(bare(Retried, 1, ""));
    assert_eq!(found(store, id).await, expected, "the end before the retry is kept");
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&claimed, completed("")).await.unwrap();
    expected.extend([plain(AttemptStarted, 2, ""), plain(Completed, 2, "")]);
    assert_eq!(found(store, id).await, expected);
    fixture.assert_sound().await;
    command(id, OperationCommand::Delete).await;
    assert_eq!(store.history(&acme, id).await.unwrap(), None);
    fixture.assert_sound().await;
}

async fn histories_go_with_what_is_purged(fixture: Fixture) {
    let new = NewOperation { retain_for: Some(Duration::from_secs(60)), ..NewOperation::of_kind("scan") };
    fixture.create("acme", new).await;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some("half".to_owned()) };
    fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    fixture.settle(&claimed, completed("")).await.unwrap();
    fixture.advance(Duration::from_secs(61));
    assert_eq!(fixture.store.purge(10).await.unwrap(), 1);
    // History of an operation that does not exist would be found.
    fixture.assert_sound().await;
}

pub(crate) async fn progress_is_bounded(fixture: Fixture) {
    let id = fixture.create("acme", NewOperation::of_kind("scan")).await.id;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    for step in 0..MAX_PROGRESS_NOTES + 20 {
        fixture.advance(Duration::from_millis(1));
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some(format!("step {step}")) };
        fixture.store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    }
    let progress = async || -> Vec<String> {
        let found = found(&*fixture.store, id).await;
        found.into_iter().filter(|event| event.0 == HistoryKind::Progress).map(|event| event.3).collect()
    };
    let newest: Vec<String> = (20..MAX_PROGRESS_NOTES + 20).map(|step| format!("step {step}")).collect();
    assert_eq!(progress().await, newest);
    fixture.store.release(vec![claimed.lease]).await.unwrap()[0].unwrap();

    // A worker that claims and releases it forever: none of that is charged.
    let releases = MAX_NOTES + 20;
    for _ in 1..releases {
        fixture.advance(Duration::from_secs(1));
        let claimed = fixture.claim(&["scan"], 1).await.remove(0);
        fixture.store.release(vec![claimed.lease]).await.unwrap()[0].unwrap();
    }
    assert_eq!(progress().await, [""; 0], "progress goes first");
    let found = found(&*fixture.store, id).await;
    assert_eq!(found.iter().filter(|event| event.0 == HistoryKind::AttemptReleased).count(), MAX_NOTES as usize);
    assert_eq!(found[0].0, HistoryKind::Created);
    fixture.assert_sound().await;
}

async fn nobody_reads_the_history_of_what_he_may_not_see(fixture: Fixture) {
    let id = fixture.create("acme", in_project("scan", "a")).await.id;
    for stranger in [Access::organization("other"), Access::projects("acme", ["b"]), Access::projects("acme", [""])] {
        assert_eq!(fixture.store.history(&stranger, id).await.unwrap(), None);
    }
    assert!(fixture.store.history(&Access::projects("acme", ["a"]), id).await.unwrap().is_some());
}

async fn doctor_finds_a_history_of_nothing(fixture: Fixture) {
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    fixture.tamper("INSERT INTO events VALUES ('acme', 7, 0, 4, 1, 'w', NULL, 'x')").await;
    assert_eq!(fixture.found_by_doctor().await, ["acme #7"]);
}

against_both_engines!(
    every_attempt_is_told,
    steering_is_told,
    histories_go_with_what_is_purged,
    progress_is_bounded,
    nobody_reads_the_history_of_what_he_may_not_see,
    doctor_finds_a_history_of_nothing,
);
