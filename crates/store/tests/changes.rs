//! The change log: every transition once and in commit order, for every reader, on both engines.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::*;
use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest, Status};
use store::{Change, Coverage, Heartbeat, OperationCommand, Position, PostgresStore, Settlement, Store, StoreError};
use testkit::{Cluster, Durability};

/// Everything after a position, in steps of `step`. Transactions of other tests on the same cluster hold it up.
async fn rest(store: &dyn Store, organization: &str, mut after: Position, step: u32) -> (Vec<Change>, Position) {
    let mut all = Vec::new();
    loop {
        let part = store.changes(organization, after, step).await.unwrap();
        assert!(part.changes.len() <= step as usize);
        if part.changes.is_empty() {
            assert_eq!(part.next, after);
            if part.held_up.is_none() {
                return (all, after);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        assert_eq!(part.changes.last().unwrap().position, part.next);
        all.extend(part.changes);
        after = part.next;
    }
}

/// What became of which operation; `None`: removed.
fn plain(changes: &[Change]) -> Vec<(OperationId, Option<Status>)> {
    changes.iter().map(|change| (change.id, change.status)).collect()
}

async fn every_transition_is_told_once_in_order(fixture: Fixture) {
    let store = &*fixture.store;
    let start = store.end_of_changes("acme").await.unwrap();
    assert_eq!(store.changes("acme", start, 10).await.unwrap().changes, []);
    let new = || NewOperation { max_attempts: 2, ..NewOperation::of_kind("scan") };
    let id = fixture.create("acme", new()).await.id;
    fixture.create("other", NewOperation::of_kind("build")).await;
    fixture.advance(Duration::from_secs(1));
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    store.release(vec![claimed.lease]).await.unwrap();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&claimed, failed("no luck", true)).await.unwrap();
    fixture.advance(Duration::from_secs(10));
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    let lost = store.lose(vec![(claimed.lease.clone(), Duration::ZERO)]).await.unwrap();
    assert_eq!(lost, 1);
    let second = fixture.create("acme", new()).await.id;
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    fixture.settle(&claimed, completed("done")).await.unwrap();
    assert!(fixture.settle(&claimed, completed("again")).await.is_err(), "what is refused is no transition");
    use Status::{Completed, Failed, Pending, Running};
    let expected = [
        (id, Pending),
        (id, Running),
        (id, Pending),
        (id, Running),
        (id, Pending),
        (id, Running),
        (id, Failed),
        (second, Pending),
        (second, Running),
        (second, Completed),
    ]
    .map(|(id, status)| (id, Some(status)));
    let key = store.position_key().await.unwrap();
    for step in [1, 3, 100] {
        let (all, end) = rest(store, "acme", start, step).await;
        assert_eq!(plain(&all), expected, "in steps of {step}");
        assert_eq!(all[1].at.as_millis() - all[0].at.as_millis(), 1_000);
        assert_eq!(rest(store, "acme", end, 10).await.0, [], "nothing twice");
        for (index, change) in all.iter().enumerate() {
            let text = key.seal("acme", change.position);
            let (after, _) = rest(store, "acme", key.open("acme", &text).unwrap(), 100).await;
            assert_eq!(plain(&after), expected[index + 1..], "from {text}");
        }
    }
    let again = fixture.reopen().await;
    let (key_again, place) = (again.position_key().await.unwrap(), start);
    assert_eq!(key.open("acme", &key_again.seal("acme", place)), Ok(place), "processes of a store have one key");
    assert_eq!(plain(&rest(&*again, "acme", start, 7).await.0), expected, "after a restart");
    assert_eq!(rest(store, "nobody", start, 10).await.0, []);
    fixture.assert_sound().await;
}

async fn a_creation_of_many_is_read_in_parts(fixture: Fixture) {
    let store = &*fixture.store;
    let start = store.end_of_changes("acme").await.unwrap();
    let many = (0..500).map(|_| NewOperation::of_kind("scan")).collect();
    let created = store.create("acme", many, None).await.unwrap();
    let claimed = fixture.claim(&["scan"], 500).await;
    let settle = |claimed: &store::Claimed| Settlement {
        lease: claimed.lease.clone(),
        outcome: Outcome::Completed { output: String::new() },
        retry_after: Duration::ZERO,
    };
    store.settle(claimed.iter().map(settle).collect()).await.unwrap();
    let (all, _) = rest(store, "acme", start, 7).await;
    assert_eq!(all.len(), 1_500);
    let ids: Vec<OperationId> = all[..500].iter().map(|change| change.id).collect();
    assert_eq!(ids, created.iter().map(|operation| operation.id).collect::<Vec<_>>());
    assert_lives(&all, 500);
    // Large and small rows next to each other: the size of the parts makes no difference.
    for number in [1, 300, 1, 1, 700] {
        let many = (0..number).map(|_| NewOperation::of_kind("scan")).collect();
        store.create("acme", many, None).await.unwrap();
    }
    let (all, _) = rest(store, "acme", start, 1_000).await;
    assert_eq!(all.len(), 2_503);
    for step in [1, 10, 299, 300, 301, 5_000] {
        let (read, _) = rest(store, "acme", start, step).await;
        assert!(read.iter().map(|change| change.position).eq(all.iter().map(|change| change.position)), "{step}");
    }
}

async fn what_is_old_is_forgotten_and_readers_are_told(fixture: Fixture) {
    let store = &*fixture.store;
    let start = store.end_of_changes("acme").await.unwrap();
    fixture.finished("acme", NewOperation::of_kind("scan"), completed("")).await;
    let (old, old_end) = rest(store, "acme", start, 10).await;
    assert_eq!(old.len(), 3);
    fixture.advance(Duration::from_secs(3_600));
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    assert_eq!(store.forget_changes(Duration::from_secs(3_601), 100).await.unwrap(), 0);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 2).await.unwrap(), 2);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 1);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 0);
    for late in [start, old[0].position, old[1].position] {
        let answer = store.changes("acme", late, 10).await;
        assert!(matches!(answer, Err(StoreError::PositionUnknown)), "{answer:?}");
    }
    assert_eq!(
        rest(store, "acme", old_end, 10).await.0.len(),
        1,
        "a reader that had seen all that is forgotten continues"
    );
    let foreign: Position = "18446744073709551615-1-1".parse().unwrap();
    let answer = store.changes("acme", foreign, 10).await;
    assert!(matches!(answer, Err(StoreError::PositionUnknown)), "{answer:?}");
    fixture.assert_sound().await;
}

async fn steering_and_removals_are_told(fixture: Fixture) {
    use Status::{Failed, Pending, Running};
    let (store, acme) = (&*fixture.store, Access::organization("acme"));
    let start = store.end_of_changes("acme").await.unwrap();
    let command = async |id, command| store.command(&acme, id, command).await.unwrap().unwrap();
    let new = || NewOperation { retain_for: Some(Duration::from_secs(60)), ..NewOperation::of_kind("scan") };
    let id = fixture.create("acme", new()).await.id;
    command(id, OperationCommand::Cancel).await.unwrap();
    command(id, OperationCommand::Retry).await.unwrap();
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    command(id, OperationCommand::Cancel).await.unwrap();
    assert!(command(id, OperationCommand::Delete).await.is_err(), "what is refused is no transition");
    fixture.settle(&claimed, failed("stopped", true)).await.unwrap();
    command(id, OperationCommand::Delete).await.unwrap();
    let second = fixture.finished("acme", new(), failed("no", false)).await.id;
    fixture.advance(Duration::from_secs(61));
    assert_eq!(store.purge(10).await.unwrap(), 1);
    let (all, _) = rest(store, "acme", start, 3).await;
    let expected = [
        (id, Some(Pending)),
        (id, Some(Failed)),
        (id, Some(Pending)),
        (id, Some(Running)),
        (id, Some(Failed)),
        (id, None),
        (second, Some(Pending)),
        (second, Some(Running)),
        (second, Some(Failed)),
        (second, None),
    ];
    assert_eq!(plain(&all), expected);
    fixture.assert_sound().await;
}

async fn what_a_reader_has_not_read_is_kept(fixture: Fixture) {
    let store = &*fixture.store;
    let hour = Duration::from_secs(3_600);
    let start = store.end_of_changes("acme").await.unwrap();
    // Once it can be read, later changes come after it.
    let shown = async |organization| assert!(!rest(store, organization, start, 10).await.0.is_empty());
    fixture.create("before", NewOperation::of_kind("scan")).await;
    shown("before").await;
    store.register_consumer("r").await.unwrap();
    assert_eq!(store.uncommitted("r", "", 10).await.unwrap(), [], "it begins now");
    assert_eq!(store.uncommitted("nobody", "", 10).await.unwrap(), []);
    // Created before the other operation: with cells, "acme" is in the first one then.
    fixture.create("other", NewOperation::of_kind("scan")).await;
    let many = (0..3).map(|_| NewOperation::of_kind("scan")).collect();
    store.create("acme", many, None).await.unwrap();
    shown("acme").await;
    shown("other").await;
    store.register_consumer("r").await.unwrap();
    let uncommitted = store.uncommitted("r", "", 10).await.unwrap();
    let names =
        |uncommitted: &[(String, Position)]| uncommitted.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&uncommitted), ["acme", "other"], "beginning again changes nothing");
    assert_eq!(names(&store.uncommitted("r", "", 1).await.unwrap()), ["acme"]);
    assert_eq!(names(&store.uncommitted("r", "acme", 10).await.unwrap()), ["other"]);
    fixture.advance(hour);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 1, "what no consumer was to read");
    // In parts of one row.
    let part = store.changes("acme", uncommitted[0].1, 2).await.unwrap();
    assert_eq!(part.changes.len(), 2);
    store.commit_offset("r", "acme", part.next).await.unwrap();
    assert_eq!(store.uncommitted("r", "", 1).await.unwrap(), [("acme".to_owned(), part.next)]);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 0);
    let (last, end) = rest(store, "acme", part.next, 10).await;
    assert_eq!(last.len(), 1);
    store.commit_offset("r", "acme", end).await.unwrap();
    store.commit_offset("r", "acme", part.next).await.unwrap();
    assert_eq!(names(&store.uncommitted("r", "", 10).await.unwrap()), ["other"], "an earlier position does not count");
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 1);
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    assert_eq!(rest(store, "acme", end, 10).await.0.len(), 1);
    assert_eq!(store.uncommitted("r", "", 1).await.unwrap(), [("acme".to_owned(), end)]);
    fixture.advance(store::KEPT_FOR_CONSUMERS + hour);
    assert_eq!(store.forget_changes(Duration::from_secs(60), 100).await.unwrap(), 2, "not forever");
    let answer = store.changes("other", uncommitted[1].1, 10).await;
    assert!(matches!(answer, Err(StoreError::PositionUnknown)), "{answer:?}");
}

async fn readers_take_turns(fixture: Fixture) {
    let store = &*fixture.store;
    let lease = async |process| store.acquire_consumer_lease("r", process, Duration::from_secs(10)).await.unwrap();
    assert!(!lease("a").await, "nobody reads yet");
    store.register_consumer("r").await.unwrap();
    assert!(lease("a").await && !lease("b").await && lease("a").await);
    fixture.advance(Duration::from_secs(9));
    assert!(!lease("b").await);
    fixture.advance(Duration::from_secs(1));
    assert!(lease("b").await && !lease("a").await);
}

async fn a_turn_does_not_last_because_the_clock_was_set_back(fixture: Fixture) {
    let store = &*fixture.store;
    let lease = async |process| store.acquire_consumer_lease("r", process, Duration::from_secs(10)).await.unwrap();
    store.register_consumer("r").await.unwrap();
    assert!(lease("a").await);
    fixture.set_back(Duration::from_secs(9));
    assert!(!lease("b").await, "the clocks of two servers may differ a little");
    fixture.set_back(Duration::from_secs(3_600));
    assert!(lease("b").await && !lease("a").await);
    fixture.advance(Duration::from_secs(10));
    assert!(lease("a").await && !lease("b").await);
}

/// A task that waits for operations of this process is notified at once, and does not poll.
async fn commits_that_the_feed_tells_of_are_told(fixture: Fixture) {
    let store = &fixture.store;
    let mut commits = store.commits().feed();
    if store.commits().coverage() != Coverage::All {
        // It soon learns of other servers' commits, if it does not yet, and the channel is marked before that shows.
        let mut coverage = store.commits().coverage_changes();
        let is_hinted = coverage.wait_for(|coverage| *coverage == Coverage::Hinted);
        tokio::time::timeout(Duration::from_secs(60), is_hinted).await.expect("in time").unwrap();
        commits.mark_unchanged();
    }
    if fixture.has_cells() {
        // The cells pass it on, a moment later.
        let mut is_told =
            async || tokio::time::timeout(Duration::from_secs(60), commits.changed()).await.unwrap().unwrap();
        fixture.create("acme", NewOperation::of_kind("scan")).await;
        is_told().await;
        let claimed = fixture.claim(&["scan"], 1).await.remove(0);
        is_told().await;
        fixture.settle(&claimed, completed("done")).await.unwrap();
        is_told().await;
        return;
    }
    let mut is_in_change_log = || {
        let found = commits.has_changed().unwrap();
        commits.mark_unchanged();
        found
    };
    store.touch_tokens(vec!["tok_none".to_owned()]).await.unwrap();
    assert!(fixture.claim(&["scan"], 1).await.is_empty() && !is_in_change_log(), "a claim that found nothing");
    assert!(!is_in_change_log(), "that is not in the change log");
    fixture.create("acme", NewOperation::of_kind("scan")).await;
    assert!(is_in_change_log(), "a creation");
    let claimed = fixture.claim(&["scan"], 1).await.remove(0);
    assert!(is_in_change_log(), "a start");
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
    store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    assert!(!is_in_change_log(), "a heartbeat");
    fixture.settle(&claimed, completed("done")).await.unwrap();
    assert!(is_in_change_log(), "an end");
}

against_both_engines!(
    commits_that_the_feed_tells_of_are_told,
    what_a_reader_has_not_read_is_kept,
    readers_take_turns,
    a_turn_does_not_last_because_the_clock_was_set_back,
    steering_and_removals_are_told,
    every_transition_is_told_once_in_order,
    a_creation_of_many_is_read_in_parts,
    what_is_old_is_forgotten_and_readers_are_told,
);

/// Checks that each operation's changes are a life: pending, then running and pending alternately, and an end; after a
/// failure perhaps once more.
fn assert_lives(changes: &[Change], operations: usize) {
    assert!(changes.windows(2).all(|pair| pair[0].position < pair[1].position));
    let mut lives: HashMap<OperationId, Vec<Status>> = HashMap::new();
    for change in changes {
        lives.entry(change.id).or_default().push(change.status.unwrap());
    }
    assert_eq!(lives.len(), operations);
    for (id, life) in lives {
        let allowed = |pair: &[Status]| match (pair[0], pair[1]) {
            // Cancelled in the queue.
            (Status::Pending, after) => matches!(after, Status::Running | Status::Failed),
            (Status::Running, after) => after != Status::Running,
            (Status::Failed, after) => after == Status::Pending,
            (Status::Completed, _) => false,
        };
        assert_eq!(life[0], Status::Pending, "{id}: {life:?}");
        assert!(life.windows(2).all(allowed) && life[life.len() - 1].is_terminal(), "{id}: {life:?}");
    }
}

/// Works until nothing is left: claims, completes, fails, releases.
async fn work(store: PostgresStore, done: Arc<AtomicBool>) {
    for round in 0.. {
        let claimed = store.claim(claim_request(&["scan"], 5)).await.unwrap();
        if claimed.is_empty() && done.load(Ordering::SeqCst) {
            return;
        }
        for (index, claimed) in claimed.into_iter().enumerate() {
            if (round + index).is_multiple_of(4) {
                store.release(vec![claimed.lease.clone()]).await.unwrap()[0].unwrap();
            }
            let outcome = match (round + index) % 4 {
                1 => failed("no luck", true),
                2 => failed("broken", false),
                _ => completed("done"),
            };
            let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
            // A settlement of a released attempt is refused; an attempt that a caller wants stopped is not released.
            let _ = store.settle(vec![settlement]).await.unwrap()[0];
        }
    }
}

/// Two servers write at the same time, and a transaction of an application is open now and then; readers on either one
/// miss nothing, see nothing twice and nothing before its cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_on_two_stores_leave_no_gap() {
    const OPERATIONS: usize = 400;
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let stores = [PostgresStore::connect(&url, 8).await.unwrap(), PostgresStore::connect(&url, 8).await.unwrap()];
    let start = stores[0].end_of_changes("acme").await.unwrap();
    let (created, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut workers: Vec<_> =
        (0..6).map(|index| tokio::spawn(work(stores[index % 2].clone(), Arc::clone(&created)))).collect();
    let foreign = sqlx::PgPool::connect(&url).await.unwrap();
    let stop = Arc::clone(&done);
    let application = tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            let mut transaction = foreign.begin().await.unwrap();
            sqlx::query("SELECT pg_current_xact_id()").execute(&mut *transaction).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            transaction.commit().await.unwrap();
        }
    });
    let readers: Vec<_> = stores
        .iter()
        .cloned()
        .map(|store| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                let (mut seen, mut after) = (Vec::new(), start);
                loop {
                    let last = done.load(Ordering::SeqCst);
                    let (part, next) = rest(&store, "acme", after, 13).await;
                    seen.extend(part);
                    after = next;
                    if last && store.changes("acme", after, 1).await.unwrap().held_up.is_none() {
                        return seen;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    let mut creators = Vec::new();
    for index in 0..8 {
        let store = stores[index % 2].clone();
        creators.push(tokio::spawn(async move {
            for _ in 0..OPERATIONS / 8 {
                store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
            }
        }));
    }
    // A caller cancels the existing operations and has them retried, whatever state they are in.
    let acme = Access::organization("acme");
    for round in 0..OPERATIONS {
        let seen =
            stores[0].list(&acme, &Filter::default(), PageRequest { page: 0, page_size: 100 }).await.unwrap().entries;
        let Some(entry) = seen.get(round % 100) else { continue };
        for command in [OperationCommand::Cancel, OperationCommand::Retry] {
            // A refusal is an answer too.
            let _ = stores[round % 2].command(&acme, entry.operation.id, command).await.unwrap();
        }
    }
    for creator in creators {
        creator.await.unwrap();
    }
    created.store(true, Ordering::SeqCst);
    for worker in workers.drain(..) {
        worker.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    application.await.unwrap();
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    assert_lives(&seen[0], OPERATIONS);
    assert_eq!(seen[0], seen[1], "one order for every reader");
    let report = stores[0].doctor().await.unwrap();
    assert_eq!(report.findings, []);
}

/// The numbers of transactions that a standby did not hear of are given again when it takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_a_failover_skips_nothing() {
    let primary = Cluster::start(Durability::None).unwrap();
    let url = primary.database().await.unwrap();
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let standby = primary.synchronous_standby().await.unwrap();
    let first = store.end_of_changes("acme").await.unwrap();
    let before = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let foreign = sqlx::PgPool::connect(&url).await.unwrap();
    for statement in ["ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()"] {
        sqlx::query(statement).execute(&foreign).await.unwrap();
    }
    let mut connection = foreign.acquire().await.unwrap();
    for _ in 0..60 {
        let mut transaction = sqlx::Acquire::begin(&mut *connection).await.unwrap();
        sqlx::query("SELECT pg_current_xact_id()").execute(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
    }
    let last = store.end_of_changes("acme").await.unwrap();
    primary.kill().unwrap();
    standby.promote().await.unwrap();

    let store = PostgresStore::connect(&standby.same_database(&url), 2).await.unwrap();
    let mut created: Vec<OperationId> = before.iter().map(|operation| operation.id).collect();
    for _ in 0..100 {
        created.push(store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap()[0].id);
    }
    for (after, told) in [(first, &created[..]), (last, &created[1..])] {
        let (changes, _) = rest(&store, "acme", after, 1_000).await;
        assert_eq!(changes.iter().map(|change| change.id).collect::<Vec<_>>(), told);
    }
}
