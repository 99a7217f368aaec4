//! The database goes away and comes back: callers are notified, nothing is lost, nothing is done twice.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest, Status};
use sqlx::postgres::PgPool;
use store::postgres::Limits;
use store::{
    AttemptTimeouts, ClaimRequest, Heartbeat, IdempotencyKey, LeaseStatus, Lost, NewToken, PostgresStore, Scope,
    Settlement, Store, StoreError,
};
use testkit::{Cluster, Durability};

use super::load::Load;
use crate::support::{claim_request, empty_database, foreign};

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn acme() -> Access {
    Access::organization("acme")
}

fn key(n: usize) -> IdempotencyKey {
    IdempotencyKey { key: format!("key-{n}"), fingerprint: [7; 32] }
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

async fn create(store: &PostgresStore, n: usize) -> Result<OperationId, StoreError> {
    let created = store.create("acme", vec![NewOperation::of_kind("scan")], Some(key(n))).await?;
    Ok(created[0].id)
}

/// As a client calls: again, when a connection turns out to have gone with the database.
async fn total(store: &PostgresStore) -> u64 {
    let page = PageRequest { page: 0, page_size: 1 };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.list(&acme(), &Filter::default(), page).await {
            Ok(listing) => return listing.page.total_count,
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_creation_is_there_once_after_crashes_under_load() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 8).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut creators = tokio::task::JoinSet::new();
    for creator in 0..16 {
        let store = store.clone();
        creators.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..150 {
                // As a client does: the same key until there is an answer.
                loop {
                    match create(&store, creator * 1_000 + n).await {
                        Ok(id) => break ids.push(id),
                        Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Err(error) => panic!("{error:?}"),
                    }
                    assert!(Instant::now() < deadline, "the store does not recover");
                }
            }
            ids
        });
    }
    for crashes_at in [300, 900, 1_500] {
        while total(&store).await < crashes_at {
            assert!(Instant::now() < deadline, "no progress");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.crash().unwrap();
        cluster.start_again().unwrap();
    }
    let mut ids = HashSet::new();
    while let Some(created) = creators.join_next().await {
        ids.extend(created.unwrap());
    }
    assert_eq!(ids.len(), 16 * 150);
    assert_eq!(total(&store).await, 16 * 150, "a creation whose answer was lost was found again by its key");
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_are_told_while_it_is_away_and_served_when_it_is_back() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    let id = create(&store, 0).await.unwrap();
    let claim = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
    };
    let lease = store.claim(claim).await.unwrap().remove(0).lease;
    let settle = async || {
        let outcome = Outcome::Completed { output: "done".to_owned() };
        let settlement = Settlement { lease: lease.clone(), outcome, retry_after: Duration::ZERO };
        store.settle(vec![settlement]).await.map(|mut results| results.remove(0))
    };

    cluster.stop().unwrap();
    let start = Instant::now();
    let (mut creators, mut answered) = (tokio::task::JoinSet::new(), 0);
    for n in 1..=100 {
        let store = store.clone();
        creators.spawn(async move { create(&store, n).await });
    }
    let access = acme();
    let (got, settled, pinged) = tokio::join!(store.get(&access, id), settle(), store.ping());
    assert!(is_unavailable(&got) && is_unavailable(&settled) && is_unavailable(&pinged), "{got:?} {settled:?}");
    while let Some(created) = creators.join_next().await {
        assert!(is_unavailable(&created.unwrap()));
        answered += 1;
    }
    assert_eq!(answered, 100);
    assert!(start.elapsed() < Duration::from_secs(30), "a hundred calls do not wait one after the other");

    cluster.start_again().unwrap();
    assert_eq!(settle().await.unwrap(), Ok(Status::Completed), "the attempt that ended meanwhile");
    assert_eq!(settle().await.unwrap(), Ok(Status::Completed), "and a repeated call gets that answer");
    assert_eq!(create(&store, 0).await.unwrap(), id, "the key is remembered");
    create(&store, 1).await.unwrap();
    assert_eq!(total(&store).await, 2);
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn too_few_connections_and_cancelled_statements_are_a_matter_of_time() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let id = create(&store, 0).await.unwrap();
    let foreign = PgPool::connect(&url).await.unwrap();
    let mut lock = foreign.begin().await.unwrap();
    sqlx::query("LOCK TABLE longrun.settled IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();

    let readers: Vec<_> = (0..2)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.get(&acme(), id).await })
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longrun server' AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&foreign).await.unwrap() < 2 {
        assert!(Instant::now() < deadline, "the readers do not wait for the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_unavailable(&store.get(&acme(), id).await), "both connections are taken");
    assert!(is_unavailable(&store.ping().await), "and the server is not ready");
    // What a statement's time-out does, without waiting for it.
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    sqlx::query(cancel).execute(&foreign).await.unwrap();
    for reader in readers {
        assert!(is_unavailable(&reader.await.unwrap()));
    }
    lock.rollback().await.unwrap();
    assert_eq!(store.get(&acme(), id).await.unwrap().map(|operation| operation.id), Some(id));
}

/// The database ends what takes too long, so that a call that it holds up does not keep its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn statements_that_take_too_long_are_ended_by_the_database_under_load() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    // The process itself would wait for longer than this test does.
    let limits = Limits { statement: Duration::from_secs(1), call: PATIENCE * 10, ..Limits::default() };
    let store = PostgresStore::connect_with_limits(&url, 8, limits).await.unwrap();
    let load = Load::start(&store);
    let foreign = PgPool::connect(&url).await.unwrap();
    for round in 1..=3 {
        load.has_created(round * 100).await;
        let mut lock = foreign.begin().await.unwrap();
        sqlx::query("LOCK TABLE longrun.settled IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        let is_ended = |refused: &StoreError| refused.to_string().contains("statement timeout");
        // Others wait for the lock, too, and for a connection.
        loop {
            let got = tokio::time::timeout(PATIENCE, store.get(&acme(), OperationId::from_bytes([0; 16]))).await;
            let refused = got.expect("the database does not end the statement").unwrap_err();
            assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
            if is_ended(&refused) {
                break;
            }
            assert!(Instant::now() < deadline, "{refused}");
        }
        lock.rollback().await.unwrap();
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_takes_no_writes_is_not_ready() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    store.ping().await.unwrap();
    let foreign = PgPool::connect(&url).await.unwrap();
    // As a primary that has become a standby: its connections are ended, and new ones can only read.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'longrun server'";
    let set = async |read_only: &str| {
        let sql = format!(
            "ALTER DATABASE {} SET default_transaction_read_only = {read_only}",
            url.rsplit('/').next().unwrap()
        );
        let mut connection = foreign.acquire().await.unwrap();
        sqlx::query("SET transaction_read_only = off").execute(&mut *connection).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *connection).await.unwrap();
        sqlx::query(end).execute(&mut *connection).await.unwrap();
    };
    set("on").await;
    // The first calls find their connections ended.
    let deadline = Instant::now() + PATIENCE;
    while store.get(&acme(), OperationId::from_bytes([0; 16])).await.is_err() {
        assert!(Instant::now() < deadline, "it cannot be read");
    }
    for _ in 0..3 {
        let pinged = store.ping().await;
        assert!(is_unavailable(&pinged), "{pinged:?}");
    }
    set("off").await;
    while store.ping().await.is_err() {
        assert!(Instant::now() < deadline, "the store does not recover");
    }
    create(&store, 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_whose_leases_are_locked_costs_no_other_one_its_own() {
    let url = empty_database().await;
    let limits = Limits { lock: Duration::from_millis(500), ..Limits::default() };
    let store = PostgresStore::connect_with_limits(&url, 4, limits).await.unwrap();
    for organization in ["a", "b", "c", "d"] {
        store.create(organization, vec![NewOperation::of_kind("scan")], None).await.unwrap();
    }
    let claimed = store.claim(claim_request(&["scan"], 4)).await.unwrap();
    assert_eq!(claimed.len(), 4);
    let beats: Vec<Heartbeat> =
        claimed.into_iter().map(|claimed| Heartbeat { lease: claimed.lease, progress: None }).collect();
    let day = Duration::from_secs(24 * 3_600);
    let begun = store.now();
    let extended = |statuses: Vec<LeaseStatus>| -> Vec<&str> {
        let extended = beats.iter().zip(statuses).filter(|(_, status)| match status {
            LeaseStatus::Held { expires_at, .. } => *expires_at >= begun.after(day),
            LeaseStatus::Lost => panic!("nobody else has it"),
        });
        extended.map(|(beat, _)| beat.lease.organization.as_str()).collect()
    };
    let foreign = foreign(&url).await;
    let mut busy = foreign.begin().await.unwrap();
    let sql = "SELECT FROM leases WHERE organization_id = 'a' FOR UPDATE";
    assert_eq!(sqlx::query(sql).execute(&mut *busy).await.unwrap().rows_affected(), 1);
    let mut others = extended(store.heartbeat(beats.clone(), day).await.unwrap());
    others.sort_unstable();
    assert_eq!(others, ["b", "c", "d"]);
    let of_a: Vec<Heartbeat> = beats.iter().filter(|beat| beat.lease.organization == "a").cloned().collect();
    assert!(is_unavailable(&store.heartbeat(of_a, day).await), "nobody else was asked");
    busy.rollback().await.unwrap();
    assert_eq!(extended(store.heartbeat(beats.clone(), day).await.unwrap()).len(), 4);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_lost_leases_of_a_locked_organization_than_a_round_takes_cost_no_other_one_its_own() {
    const ROUND: u32 = 500;
    let url = empty_database().await;
    let limits = Limits { lock: Duration::from_millis(500), ..Limits::default() };
    let store = PostgresStore::connect_with_limits(&url, 4, limits).await.unwrap();
    let token = NewToken {
        name: "w".to_owned(),
        hash: [1; 32],
        access: Access::organization("a"),
        scopes: [Scope::OperationsWork].into(),
        expires_at: None,
        instance: None,
    };
    let token = store.create_token(token).await.unwrap();
    for (organization, count) in [("a", 2 * ROUND), ("b", 2)] {
        let operations = vec![NewOperation::of_kind("scan"); count as usize];
        store.create(organization, operations, None).await.unwrap();
        let claim = ClaimRequest {
            access: Some(Access::organization(organization)),
            worker: token.id.clone(),
            lease: Duration::from_millis(1),
            ..claim_request(&["scan"], count)
        };
        assert_eq!(store.claim(claim).await.unwrap().len(), count as usize);
    }
    let foreign = foreign(&url).await;
    // All of a, and one of b.
    let asked =
        "UPDATE active SET cancel_requested = true, cancel_requested_at = started_at + (organization_id = 'b')::int
        WHERE organization_id = 'a' OR seq % 2 = 1";
    assert_eq!(sqlx::query(asked).execute(&foreign).await.unwrap().rows_affected(), u64::from(2 * ROUND + 1));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut busy = foreign.begin().await.unwrap();
    sqlx::query("SELECT FROM leases WHERE organization_id = 'a' FOR UPDATE").execute(&mut *busy).await.unwrap();

    let overruns = store.overruns(&AttemptTimeouts::default(), ROUND).await.unwrap();
    assert_eq!(overruns.iter().filter(|overrun| overrun.lease.organization == "b").count(), 2);
    assert_eq!(store.end_overdue_cancels(Duration::ZERO, ROUND).await.unwrap(), 1);
    let lost = async || {
        let lost = store.lost_leases(Lost::Expired, ROUND).await.unwrap();
        store.lose(lost.into_iter().map(|lost| (lost.lease, Duration::ZERO)).collect()).await
    };
    assert_eq!(lost().await.unwrap(), 1, "the other one of b");
    assert!(is_unavailable(&lost().await), "there are those of a alone");
    busy.rollback().await.unwrap();
    for left in [ROUND, ROUND, 0] {
        assert_eq!(lost().await.unwrap(), u64::from(left));
    }
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}
