//! What a process remembers of a queue in PostgreSQL (`postgres/heads.rs`), while another session holds a snapshot
//! open: claims, starts and scans begin there, and yet find all that there is.
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::*;
use operations::{Access, NewOperation, Operation, Timestamp};
use sqlx::Executor as _;
use store::{ClaimRequest, Claimed, Start, Store};

/// How long a snapshot is held open under load, in seconds; `LONGRUN_SNAPSHOT_SECONDS` sets another time.
const HELD_FOR: u64 = 3;
/// Operations of each round.
const ROUND: u32 = 50;
/// More than it takes to find out where the queue begins.
const MANY: u32 = 1_500;

/// A PostgreSQL store whose process knows that the queue of acme's scans begins after the first [`MANY`], which it has
/// claimed; and the snapshot that keeps the rows as they were.
struct Worn {
    fixture: Fixture,
    claimed: Vec<Claimed>,
    _snapshot: sqlx::PgConnection,
}

async fn worn() -> Worn {
    let fixture = fixture(Engine::Postgres).await;
    let mut snapshot = fixture.foreign_postgres().await.acquire().await.unwrap().detach();
    snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.unwrap();
    snapshot.execute("SELECT count(*) FROM queue").await.unwrap();
    fixture.store.create("acme", vec![scan(); MANY as usize], None).await.unwrap();
    let claimed = fixture.claim(&["scan"], MANY).await;
    assert_eq!(claimed.len(), MANY as usize);
    // The next claim finds out where the queue begins.
    assert_eq!(fixture.claim(&["scan"], 1).await, []);
    Worn { fixture, claimed, _snapshot: snapshot }
}

fn scan() -> NewOperation {
    NewOperation::of_kind("scan")
}

async fn ids(store: &dyn Store, request: ClaimRequest) -> Vec<String> {
    store.claim(request).await.unwrap().into_iter().map(|claimed| claimed.operation.id.to_string()).collect()
}

fn id(operation: &Operation) -> String {
    operation.id.to_string()
}

/// Of acme alone, as workers ask.
fn of_acme(limit: u32) -> ClaimRequest {
    ClaimRequest { access: Some(Access::organization("acme")), ..claim_request(&["scan"], limit) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_lies_before_the_place_where_a_queue_begins_is_not_walked_past() {
    let Worn { fixture, claimed, .. } = worn().await;
    fixture.store.release(vec![claimed[0].lease.clone()]).await.unwrap().remove(0).unwrap();
    // As no server would write it: in order, and before the row that was first.
    fixture.tamper("UPDATE queue SET in_order = true").await;
    assert_eq!(ids(&*fixture.store, of_acme(10)).await, [""; 0], "a claim begins after what was claimed");
    assert_eq!(fixture.claim(&["scan"], 10).await, [], "and so does the search for organizations");
    let (started, starts) = mpsc::channel();
    let start = Start::new("w", Duration::from_secs(30), move |claimed| started.send(claimed).unwrap());
    fixture.store.create_one("acme", scan(), None, Some(start)).await.unwrap();
    assert!(starts.try_recv().is_ok(), "and the scan of a creation that would start");
    let other = fixture.second_server().await;
    assert_eq!(
        ids(&*other, of_acme(10)).await,
        [id(&claimed[0].operation)],
        "a process that has claimed nothing knows of no place"
    );
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_comes_into_a_worn_queue_is_claimed_in_its_order() {
    let Worn { fixture, claimed, .. } = worn().await;
    let store = &*fixture.store;
    let other = fixture.second_server().await;
    // Here and on another server: new, released, of higher and of lower priority.
    let last = fixture.create("acme", NewOperation { priority: -1, ..scan() }).await;
    let new = [fixture.create("acme", scan()).await, other.create_one("acme", scan(), None, None).await.unwrap()];
    let urgent = NewOperation { priority: 5, ..scan() };
    let first = other.create_one("acme", urgent, None, None).await.unwrap();
    other.release(vec![claimed[7].lease.clone()]).await.unwrap().remove(0).unwrap();
    store.release(vec![claimed[3].lease.clone()]).await.unwrap().remove(0).unwrap();
    let expected = [&first, &claimed[3].operation, &claimed[7].operation, &new[0], &new[1], &last].map(id);
    assert_eq!(ids(store, of_acme(2)).await, expected[..2]);
    assert_eq!(ids(store, claim_request(&["scan"], 10)).await, expected[2..]);
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_becomes_due_in_a_worn_queue_is_claimed_then() {
    let Worn { fixture, .. } = worn().await;
    let store = &*fixture.store;
    let begun = store.now();
    let after = |seconds: u64| begun.after(Duration::from_secs(seconds));
    let delayed = |at: Timestamp| NewOperation { run_after: Some(at), ..scan() };
    let later = fixture.create("acme", delayed(after(600))).await;
    let sooner = fixture.create("acme", delayed(after(20))).await;
    assert_eq!(store.next_due(begun).await.unwrap(), Some(after(20)));
    assert_eq!(ids(store, of_acme(10)).await, [""; 0]);
    fixture.advance(Duration::from_secs(300));
    assert_eq!(ids(store, claim_request(&["scan"], 10)).await, [id(&sooner)]);
    assert_eq!(store.next_due(store.now()).await.unwrap(), Some(after(600)));
    fixture.advance(Duration::from_secs(300));
    assert_eq!(ids(store, of_acme(10)).await, [id(&later)]);
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn organizations_before_and_after_one_with_a_worn_queue_are_found() {
    let Worn { fixture, .. } = worn().await;
    for organization in ["aaa", "zzz"] {
        fixture.create(organization, scan()).await;
        fixture.create(organization, NewOperation { priority: 1, ..scan() }).await;
    }
    let acme = fixture.create("acme", scan()).await;
    let claimed = fixture.claim(&["scan"], 10).await;
    let of = |organization: &str| claimed.iter().filter(|c| c.lease.organization == organization).count();
    assert_eq!((of("aaa"), of("acme"), of("zzz")), (2, 1, 2));
    assert!(claimed.iter().any(|claimed| claimed.operation.id == acme.id));
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_starts_at_once_while_something_waits_in_a_worn_queue() {
    let Worn { fixture, claimed, .. } = worn().await;
    let start = |sent: mpsc::Sender<Claimed>| Start::new("w", Duration::from_secs(30), move |c| sent.send(c).unwrap());
    let waits = fixture.create("acme", scan()).await;
    let (started, starts) = mpsc::channel();
    let behind = fixture.store.create_one("acme", scan(), None, Some(start(started))).await.unwrap();
    assert!(starts.try_recv().is_err(), "one waits that is in order");
    assert_eq!(ids(&*fixture.store, of_acme(10)).await, [id(&waits), id(&behind)]);
    fixture.store.release(vec![claimed[0].lease.clone()]).await.unwrap().remove(0).unwrap();
    let (started, starts) = mpsc::channel();
    fixture.store.create_one("acme", scan(), None, Some(start(started))).await.unwrap();
    assert!(starts.try_recv().is_err(), "one waits that was released");
    fixture.assert_sound().await;
}

/// None of the rows that the queue loses can be removed as long as the snapshot is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_do_not_become_slower_while_a_snapshot_is_held_open_under_load() {
    let seconds = std::env::var("LONGRUN_SNAPSHOT_SECONDS").map_or(HELD_FOR, |text| text.parse().unwrap());
    let Worn { fixture, .. } = worn().await;
    let (begun, held_for) = (Instant::now(), Duration::from_secs(seconds));
    let mut claims = Vec::new();
    while begun.elapsed() < held_for {
        let created = fixture.store.create("acme", vec![scan(); ROUND as usize], None).await.unwrap();
        let asked = Instant::now();
        let claimed = fixture.claim(&["scan"], ROUND).await;
        claims.push(asked.elapsed());
        let ids = |operations: &mut dyn Iterator<Item = &Operation>| operations.map(id).collect::<Vec<_>>();
        assert_eq!(ids(&mut claimed.iter().map(|claimed| &claimed.operation)), ids(&mut created.iter()));
        for claimed in &claimed {
            fixture.settle(claimed, completed("{}")).await.unwrap();
        }
        fixture.advance(Duration::from_millis(100));
    }
    // The middle of the first and of the last fifth: other work on the machine delays single claims.
    let fifth = claims.len().div_ceil(5);
    let middle = |some: &mut [Duration]| {
        some.sort_unstable();
        some[some.len() / 2]
    };
    let rounds = claims.len();
    let (first, last) = (middle(&mut claims[..fifth]), middle(&mut claims[rounds - fifth..]));
    println!(
        "a snapshot held for {seconds} s: {} operations; a claim of {ROUND} took {first:?} at first and {last:?} at last",
        rounds as u32 * ROUND
    );
    assert!(last < first * 5 + Duration::from_millis(20), "{first:?} at first, {last:?} at last");
    fixture.assert_sound().await;
}
