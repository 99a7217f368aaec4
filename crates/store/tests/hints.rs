//! Servers of one database notify each other that they have committed something; where they cannot, they say so.
use std::time::Duration;

use operations::{Access, NewOperation, Outcome};
use store::postgres::Limits;
use store::{ClaimRequest, Coverage, OperationCommand, Pausable, PostgresStore, SAFETY_POLL, Settlement, Store};
use testkit::{Cluster, Durability};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connect(url: &str) -> PostgresStore {
    PostgresStore::connect(url, 4).await.unwrap()
}

/// Returns when the store has the wanted coverage.
async fn covered(store: &dyn Store, wanted: Coverage) {
    let mut changes = store.commits().coverage_changes();
    timeout(PATIENCE, changes.wait_for(|coverage| *coverage == wanted)).await.expect("in time").unwrap();
}

async fn marked(marks: &mut watch::Receiver<()>) {
    timeout(PATIENCE, marks.changed()).await.expect("in time").unwrap();
}

fn scan() -> NewOperation {
    NewOperation::of_kind("scan")
}

async fn claim(store: &dyn Store) -> store::Claimed {
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(600),
    };
    store.claim(request).await.unwrap().remove(0)
}

#[tokio::test]
async fn what_one_server_commits_the_others_are_told() {
    let url = support::empty_database().await;
    let (ours, theirs) = (connect(&url).await, connect(&url).await);
    let commits = theirs.commits();
    assert_eq!(commits.coverage(), Coverage::Own, "no process was notified yet");
    let (mut changes, mut queue, mut delays) = (commits.feed(), commits.queue_of_others(), commits.delays());
    covered(&theirs, Coverage::Hinted).await;
    let forget = |marks: [&mut watch::Receiver<()>; 3]| marks.map(watch::Receiver::mark_unchanged);
    forget([&mut changes, &mut queue, &mut delays]);

    ours.create("acme", vec![scan()], None).await.unwrap();
    marked(&mut changes).await;
    marked(&mut queue).await;
    assert!(!delays.has_changed().unwrap(), "it waits for no time");
    let claimed = claim(&ours).await;
    marked(&mut changes).await;
    let again = Outcome::Failed { message: "no luck".to_owned(), retryable: false };
    let settlement = Settlement { lease: claimed.lease, outcome: again, retry_after: Duration::ZERO };
    ours.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    marked(&mut changes).await;
    assert!(!queue.has_changed().unwrap(), "a start and an end bring nothing to be claimed");
    let (access, id) = (Access::organization("acme"), claimed.operation.id);
    ours.command(&access, id, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
    marked(&mut queue).await;
    let later = NewOperation { run_after: Some(ours.now().after(PATIENCE)), ..scan() };
    ours.create("acme", vec![later], None).await.unwrap();
    marked(&mut delays).await;
    let all = Pausable::Organization("acme".to_owned());
    ours.pause(all.clone()).await.unwrap();
    queue.mark_unchanged();
    ours.resume(all).await.unwrap();
    marked(&mut queue).await;
}

/// A server that gets no notifications polls often, and one that does, seldom.
#[tokio::test]
async fn a_connection_that_falls_silent_is_noticed_and_replaced() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let proxy = cluster.proxy().await.unwrap();
    let url = cluster.database().await.unwrap();
    let limits = Limits { alive: Duration::from_millis(500), ..Limits::default() };
    let behind = PostgresStore::connect_with_limits(&proxy.url(&url), 4, limits).await.unwrap();
    let mut changes = behind.commits().feed();
    covered(&behind, Coverage::Hinted).await;
    changes.mark_unchanged();
    proxy.freeze_open();
    covered(&behind, Coverage::Own).await;
    marked(&mut changes).await;
    covered(&behind, Coverage::Hinted).await;
    changes.mark_unchanged();
    let other = connect(&url).await;
    other.create("acme", vec![scan()], None).await.unwrap();
    marked(&mut changes).await;
}

/// A pooler that gives each transaction any session that is free takes `LISTEN`, and no notification comes back.
#[tokio::test]
async fn where_notifications_are_kept_back_it_is_known() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let proxy = cluster.proxy().await.unwrap();
    proxy.pass_notifications(false);
    let store = connect(&proxy.url(&cluster.database().await.unwrap())).await;
    let commits = store.commits();
    let mut changes = commits.feed();
    timeout(PATIENCE, proxy.kept_back()).await.expect("it was listened");
    for _ in 0..3 {
        store.create("acme", vec![scan()], None).await.unwrap();
        marked(&mut changes).await;
    }
    assert_eq!(commits.coverage(), Coverage::Own, "the store polls for the commits of others");
    store.close().await;
}

#[tokio::test]
async fn nobody_waits_and_nothing_is_committed_and_nothing_is_sent_or_listened_for() {
    let fixture = support::fixture(support::Engine::Postgres).await;
    let foreign = fixture.foreign_postgres().await;
    fixture.create("acme", scan()).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE '%LISTEN%'
        AND pid <> pg_backend_pid()";
    let listening: i64 = sqlx::query_scalar(count).fetch_one(&foreign).await.unwrap();
    assert_eq!(listening, 0);
    let _feed = fixture.store.commits().feed();
    covered(&*fixture.store, Coverage::Hinted).await;
    let listening: i64 = sqlx::query_scalar(count).fetch_one(&foreign).await.unwrap();
    assert_eq!(listening, 1);
    assert!(fixture.store.commits().coverage().poll(Duration::from_millis(50)) == SAFETY_POLL);
}
