//! Reads from a standby: they go there, they see what this process wrote, and the primary answers when it cannot.
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, Operation, OperationId, PageRequest, Status};
use sqlx::postgres::PgPool;
use store::{OperationCommand, PostgresStore, Store, StoreError};
use testkit::{Cluster, Durability};

/// Longer than replay takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A primary, its standby, and a store that reads from it.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    url: String,
    read_url: String,
    store: PostgresStore,
}

impl Pair {
    async fn start() -> Pair {
        let primary = Cluster::start(Durability::None).unwrap();
        let url = primary.database().await.unwrap();
        let standby = primary.standby().unwrap();
        let read_url = standby.same_database(&url);
        let store = PostgresStore::connect_with_replica(&url, &read_url, 8).await.unwrap();
        Pair { primary, standby, url, read_url, store }
    }

    /// Runs a statement on the standby.
    async fn on_standby(&self, sql: &'static str) {
        run(&self.read_url, sql).await;
    }

    /// Runs a statement on the primary.
    async fn on_primary(&self, sql: &'static str) {
        run(&self.url, sql).await;
    }

    /// Keeps the standby where it is. The function only asks for that; what was on its way is still replayed.
    async fn pause_replay(&self) {
        self.on_standby("SELECT pg_wal_replay_pause()").await;
        let pool = PgPool::connect(&self.read_url).await.unwrap();
        until("replay is paused", async || {
            let state = sqlx::query_scalar("SELECT pg_get_wal_replay_pause_state()").fetch_one(&pool);
            state.await.is_ok_and(|state: String| state == "paused")
        })
        .await;
        pool.close().await;
    }

    async fn create(&self) -> Operation {
        self.store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap().remove(0)
    }

    async fn listed(&self) -> Vec<OperationId> {
        listed(&self.store).await
    }
}

async fn run(url: &str, sql: &'static str) {
    let pool = PgPool::connect(url).await.unwrap();
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn listed(store: &PostgresStore) -> Vec<OperationId> {
    let page = PageRequest { page: 0, page_size: 100 };
    let listing = store.list(&acme(), &Filter::default(), page).await.unwrap();
    assert_eq!(listing.page.total_count, listing.entries.len() as u64, "page and total are of one snapshot");
    listing.entries.iter().map(|entry| entry.operation.id).collect()
}

fn acme() -> Access {
    Access::organization("acme")
}

/// Reads until the condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_read_sees_what_this_process_wrote() {
    let pair = Pair::start().await;
    let mut created = Vec::new();
    for _ in 0..50 {
        let operation = pair.create().await;
        created.insert(0, operation.id);
        assert_eq!(pair.listed().await, created);
        assert_eq!(pair.store.get(&acme(), operation.id).await.unwrap(), Some(operation));
    }
    assert_eq!(pair.store.doctor().await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_go_to_the_standby() {
    let pair = Pair::start().await;
    let first = pair.create().await;
    // Something that only the standby can answer, since the primary is down.
    until("a read from the standby", async || {
        let _ = pair.listed().await;
        let on_standby: i64 = count_reads(&pair.read_url).await;
        on_standby > 0
    })
    .await;
    pair.primary.stop().unwrap();
    assert_eq!(pair.listed().await, [first.id]);
    assert_eq!(pair.store.get(&acme(), first.id).await.unwrap(), Some(first));
    let unknown = OperationId::new(pair.store.now());
    let missing = pair.store.get(&acme(), unknown).await;
    assert!(matches!(missing, Err(StoreError::Unavailable(_))), "only the primary may say that there is none");
}

/// Connections of a store whose last statement read a page.
async fn count_reads(url: &str) -> i64 {
    let pool = PgPool::connect(url).await.unwrap();
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longrun server' AND query LIKE '%deltas AS MATERIALIZED%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    pool.close().await;
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_is_behind_is_passed_over_by_who_wrote_and_by_nobody_else() {
    let pair = Pair::start().await;
    let other = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    let first = pair.create().await;
    until("the standby has it", async || listed(&other).await == [first.id]).await;
    pair.pause_replay().await;

    let second = pair.create().await;
    let start = Instant::now();
    assert_eq!(pair.listed().await, [second.id, first.id], "read your writes");
    assert_eq!(pair.store.get(&acme(), second.id).await.unwrap().unwrap().id, second.id);
    for _ in 0..20 {
        pair.listed().await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "not every read waits for it: {:?}", start.elapsed());
    assert_eq!(listed(&other).await, [first.id], "a process that wrote nothing reads the standby as it is");
    let found = other.get(&acme(), second.id).await.unwrap();
    assert_eq!(found.map(|operation| operation.id), Some(second.id), "yet no operation is said not to be there");

    pair.on_standby("SELECT pg_wal_replay_resume()").await;
    until("the standby has caught up", async || listed(&other).await == [second.id, first.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_asked_for_the_end_of_the_changes_sees_all_that_came_before_it() {
    let pair = Pair::start().await;
    let other = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    let operation = pair.create().await;
    until("the standby has it", async || listed(&other).await == [operation.id]).await;
    pair.pause_replay().await;
    // It ends on another server, just before a call waits for its end.
    pair.store.command(&acme(), operation.id, OperationCommand::Cancel).await.unwrap();
    other.end_of_changes("acme").await.unwrap();
    let found = other.get(&acme(), operation.id).await.unwrap().unwrap();
    assert_eq!(found.status, Status::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_deleted_an_organization_does_not_see_its_operations_again() {
    let pair = Pair::start().await;
    let other = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    let operation = pair.create().await;
    until("the standby has it", async || listed(&other).await == [operation.id]).await;
    pair.pause_replay().await;
    other.begin_deletion("acme", true).await.unwrap();
    while other.delete_part("acme", 100).await.unwrap() != Some(0) {}
    assert!(other.end_deletion("acme").await.unwrap());
    assert_eq!(listed(&other).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_lacks_a_migration_is_passed_over() {
    let pair = Pair::start().await;
    let first = pair.create().await;
    // The state of a standby that has got as far as just before the newest migration.
    let newest = "UPDATE longrun._sqlx_migrations SET version = -version
        WHERE abs(version) = (SELECT max(abs(version)) FROM longrun._sqlx_migrations)";
    pair.on_primary(newest).await;
    until("the standby has it", async || {
        let pool = PgPool::connect(&pair.read_url).await.unwrap();
        let lacks = sqlx::query_scalar("SELECT min(version) < 0 FROM longrun._sqlx_migrations").fetch_one(&pool);
        let lacks: bool = lacks.await.unwrap_or(false);
        pool.close().await;
        lacks
    })
    .await;
    pair.pause_replay().await;
    pair.on_primary(newest).await;

    let other = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    let second = pair.create().await;
    assert_eq!(listed(&other).await, [second.id, first.id], "the primary is read");
    assert_eq!(count_reads(&pair.read_url).await, 0);

    pair.on_standby("SELECT pg_wal_replay_resume()").await;
    until("the standby is read", async || {
        assert_eq!(listed(&other).await, [second.id, first.id]);
        count_reads(&pair.read_url).await > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_is_away_costs_little_and_is_read_again_when_it_is_back() {
    let pair = Pair::start().await;
    let operation = pair.create().await;
    pair.standby.crash().unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(pair.listed().await, [operation.id]);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // A server starts without it too.
    let started = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    assert_eq!(listed(&started).await, [operation.id]);

    pair.standby.start_again().unwrap();
    until("the standby is read", async || {
        assert_eq!(listed(&started).await, [operation.id]);
        count_reads(&pair.read_url).await > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_becomes_a_server_of_its_own_is_no_longer_read() {
    let pair = Pair::start().await;
    let other = PostgresStore::connect_with_replica(&pair.url, &pair.read_url, 4).await.unwrap();
    let first = pair.create().await;
    until("the standby has it", async || listed(&other).await == [first.id]).await;
    pair.standby.promote().await.unwrap();
    let second = pair.create().await;
    until("the primary is read", async || listed(&other).await == [second.id, first.id]).await;
    // From here on every read is exact.
    let third = pair.create().await;
    assert_eq!(listed(&other).await, [third.id, second.id, first.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_database_is_no_standby() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let (url, other) = (cluster.database().await.unwrap(), cluster.database().await.unwrap());
    let refused = PostgresStore::connect_with_replica(&url, &other, 4).await.err();
    assert!(matches!(refused, Some(StoreError::Unusable(_))), "{refused:?}");
}
