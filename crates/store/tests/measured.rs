//! A store's report of its state and its process's counts are what there is, on both engines.

use std::time::Duration;

use operations::NewOperation;
use store::STATISTICS_CONSUMER;
use store::meters::{Form, render};

use crate::support::{Engine, Fixture, against_both_engines, completed, fixture};

against_both_engines!(
    standings_are_what_waits_runs_and_is_the_oldest_of_each_kind,
    a_consumer_lags_until_it_has_read,
    what_happened_is_counted_once_by_the_process_that_read_it,
);

async fn standings_are_what_waits_runs_and_is_the_oldest_of_each_kind(fixture: Fixture) {
    let nothing = fixture.store.standings().await.unwrap();
    assert!(nothing.kinds.is_empty() && nothing.schedules_due == 0, "{nothing:?}");
    let delayed = NewOperation { run_after: Some(fixture.store.now().after(Duration::from_secs(600))), ..scan() };
    fixture.create("acme", delayed).await;
    fixture.advance(Duration::from_secs(10));
    let first = fixture.store.now();
    fixture.create("acme", scan()).await;
    fixture.advance(Duration::from_secs(10));
    let second = fixture.store.now();
    fixture.create("other", scan()).await;
    fixture.create("other", NewOperation::of_kind("build")).await;
    let of = async || -> Vec<(String, u64, u64, Option<operations::Timestamp>)> {
        let standings = fixture.store.standings().await.unwrap();
        standings.kinds.into_iter().map(|kind| (kind.kind, kind.pending, kind.running, kind.oldest)).collect()
    };
    let build = ("build".to_owned(), 1, 0, Some(second));
    assert_eq!(
        of().await,
        [build.clone(), ("scan".to_owned(), 3, 0, Some(first))],
        "what is delayed is not the oldest"
    );
    assert_eq!(fixture.claim(&["scan"], 10).await.len(), 2);
    assert_eq!(of().await, [build.clone(), ("scan".to_owned(), 1, 2, None)]);
}

fn scan() -> NewOperation {
    NewOperation::of_kind("scan")
}

async fn a_consumer_lags_until_it_has_read(fixture: Fixture) {
    fixture.store.begin_statistics().await.unwrap();
    fixture.create("acme", scan()).await;
    fixture.advance(Duration::from_secs(5));
    let lag = async || {
        let lags = fixture.store.standings().await.unwrap().lags;
        lags.into_iter().find(|(consumer, _)| consumer == STATISTICS_CONSUMER).unwrap().1
    };
    assert_eq!(lag().await, Duration::from_secs(5));
    read_all(&fixture).await;
    assert_eq!(lag().await, Duration::ZERO);
}

/// Counts everything. What is committed in PostgreSQL cannot be read while older transactions are under way, those of
/// other databases included.
async fn read_all(fixture: &Fixture) {
    let store = &*fixture.store;
    while store.standings().await.unwrap().lags.iter().any(|(_, lag)| *lag > Duration::ZERO) {
        for (organization, from) in store.uncommitted(STATISTICS_CONSUMER, "", 100).await.unwrap() {
            store.count_changes(&organization, from, 100).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

async fn what_happened_is_counted_once_by_the_process_that_read_it(fixture: Fixture) {
    let meters = fixture.store.meters();
    meters.kinds.name(["scan"]);
    fixture.store.begin_statistics().await.unwrap();
    fixture.create("acme", scan()).await;
    fixture.create("acme", NewOperation::of_kind("nobody-declared-it")).await;
    fixture.advance(Duration::from_secs(2));
    let claimed = fixture.claim(&["scan"], 10).await;
    fixture.advance(Duration::from_secs(30));
    fixture.settle(&claimed[0], completed("1")).await.unwrap();
    fixture.advance(Duration::from_millis(1));
    read_all(&fixture).await;
    let text = render(&[meters.registry()], Form::Plain);
    for line in [
        "longrun_operations_created_total{kind=\"scan\"} 1",
        "longrun_operations_created_total{kind=\"other\"} 1",
        "longrun_attempts_started_total{kind=\"scan\"} 1",
        "longrun_operations_ended_total{kind=\"scan\",outcome=\"completed\"} 1",
        "longrun_operation_waiting_seconds_sum{kind=\"scan\"} 2.0",
        "longrun_operation_running_seconds_sum{kind=\"scan\"} 30.0",
        "longrun_operation_running_seconds_count{kind=\"scan\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
    }
    assert!(!text.contains("nobody-declared-it") && !text.contains("acme"), "{text}");
}
