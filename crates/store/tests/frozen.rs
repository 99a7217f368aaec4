//! Connections to PostgreSQL fall silent, or are accepted and closed: every call returns in its time, and afterwards
//! everything is as before.
use std::future::Future;
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest};
use store::postgres::Limits;
use store::{ClaimRequest, LeaseRef, PostgresStore, Settlement, Store, StoreError};
use testkit::{Cluster, Durability, Proxy};

/// Longer than a call takes on a busy machine, and much shorter than any time-out of the operating system.
const PATIENCE: Duration = Duration::from_secs(25);
const CONNECTIONS: u32 = 4;

struct Setting {
    _cluster: Cluster,
    proxy: Proxy,
    store: PostgresStore,
    id: OperationId,
    lease: LeaseRef,
}

/// A store by way of a proxy, with an operation that is running.
async fn setting() -> Setting {
    let cluster = Cluster::start(Durability::None).unwrap();
    let proxy = cluster.proxy().await.unwrap();
    let url = proxy.url(&cluster.database().await.unwrap());
    let limits = Limits {
        connect: Duration::from_millis(500),
        alive: Duration::from_millis(300),
        call: Duration::from_secs(1),
        close: Duration::from_secs(1),
        ..Limits::default()
    };
    let store = PostgresStore::connect_with_limits(&url, CONNECTIONS, limits).await.unwrap();
    let id = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap()[0].id;
    let lease = store.claim(claim()).await.unwrap().remove(0).lease;
    Setting { _cluster: cluster, proxy, store, id, lease }
}

fn acme() -> Access {
    Access::organization("acme")
}

fn claim() -> ClaimRequest {
    ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(600),
    }
}

impl Setting {
    /// One call of each sort, all at once; the result of each.
    async fn calls(&self) -> Vec<(&'static str, Result<(), StoreError>)> {
        let Setting { store, id, lease, .. } = self;
        let (access, filter, page) = (acme(), Filter::default(), PageRequest { page: 0, page_size: 10 });
        let settlement = Settlement {
            lease: lease.clone(),
            outcome: Outcome::Completed { output: "done".to_owned() },
            retry_after: Duration::ZERO,
        };
        let week = Duration::from_secs(7 * 24 * 3600);
        async fn call<T>(
            name: &'static str,
            work: impl Future<Output = Result<T, StoreError>>,
        ) -> (&'static str, Result<(), StoreError>) {
            let ended = tokio::time::timeout(PATIENCE, work).await;
            (name, ended.unwrap_or_else(|_| panic!("{name} does not come back")).map(|_| ()))
        }
        let (reads, writes, tasks) = tokio::join!(
            async {
                tokio::join!(
                    call("get", store.get(&access, *id)),
                    call("list", store.list(&access, &filter, page)),
                    call("output", store.output(&access, *id)),
                    call("history", store.history(&access, *id)),
                    call("token", store.find_token(&[7; 32])),
                    call("end of changes", store.end_of_changes("acme")),
                    call("paused", store.paused()),
                )
            },
            async {
                tokio::join!(
                    call("create", store.create("acme", vec![NewOperation::of_kind("other")], None)),
                    call("create elsewhere", store.create("globex", vec![NewOperation::of_kind("other")], None)),
                    call("claim", store.claim(claim())),
                    call("settle", store.settle(vec![settlement])),
                    call("ping", store.ping()),
                )
            },
            async {
                tokio::join!(
                    call("lost leases", store.lost_leases(store::Lost::Expired, 10)),
                    call("purge", store.purge(10)),
                    call("inbox", store.drain_inbox(10)),
                    call("forget", store.forget_changes(week, 10)),
                    call("uncommitted", store.uncommitted("notices", "", 10)),
                    call("next due", store.next_due(store.now())),
                )
            },
        );
        let mut calls = Vec::new();
        let (a, b, c, d, e, f, g) = reads;
        calls.extend([a, b, c, d, e, f, g]);
        let (a, b, c, d, e) = writes;
        calls.extend([a, b, c, d, e]);
        let (a, b, c, d, e, f) = tasks;
        calls.extend([a, b, c, d, e, f]);
        calls
    }

    /// Calls until all are served at once: no connection is lost because of what happened before.
    async fn recovers(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let failed: Vec<_> = self.calls().await.into_iter().filter(|(_, result)| result.is_err()).collect();
            if failed.is_empty() {
                break;
            }
            for (name, result) in &failed {
                assert!(matches!(result, Err(StoreError::Unavailable(_))), "{name}: {result:?}");
            }
            assert!(Instant::now() < deadline, "the store does not recover: {failed:?}");
        }
        assert_eq!(self.store.doctor().await.unwrap().findings, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_comes_back_while_all_connections_are_silent() {
    let setting = setting().await;
    setting.recovers().await;
    for _ in 0..2 {
        setting.proxy.freeze();
        // With connections that are in use, with idle ones, and with new ones.
        for _ in 0..3 {
            for (name, result) in setting.calls().await {
                assert!(matches!(result, Err(StoreError::Unavailable(_))), "{name}: {result:?}");
            }
        }
        setting.proxy.thaw();
        setting.recovers().await;
    }
    setting.proxy.freeze();
    let store = setting.store.clone();
    let writes = tokio::spawn(async move { store.create("acme", vec![NewOperation::of_kind("other")], None).await });
    tokio::time::timeout(PATIENCE, setting.store.close()).await.expect("closing does not wait for what never comes");
    assert!(matches!(writes.await.unwrap(), Err(StoreError::Unavailable(_))));
    for (name, result) in setting.calls().await {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{name} after it was closed: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_fell_silent_are_replaced() {
    let setting = setting().await;
    for _ in 0..3 {
        setting.recovers().await;
        // While they are in use, too: whatever state each is in, it is not used again.
        let calls = async {
            for _ in 0..5 {
                setting.calls().await;
            }
        };
        let freeze = async {
            setting.calls().await;
            setting.proxy.freeze_open();
        };
        tokio::join!(calls, freeze);
        setting.recovers().await;
    }
    tokio::time::timeout(PATIENCE, setting.store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_that_takes_and_closes_connections_is_a_database_that_is_away() {
    let setting = setting().await;
    setting.proxy.accept_and_close();
    for _ in 0..5 {
        for (name, result) in setting.calls().await {
            assert!(matches!(result, Err(StoreError::Unavailable(_))), "{name}: {result:?}");
        }
    }
    setting.proxy.pass_on();
    setting.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_wait_for_a_migration_as_long_as_it_takes() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    PostgresStore::connect(&url, 2).await.unwrap().close().await;
    let foreign = sqlx::PgPool::connect(&url).await.unwrap();
    // The lock that a server holds while it changes the schema.
    let mut migrating = foreign.acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(0x6c6f_6e67_7275_6e00_i64).execute(&mut *migrating).await.unwrap();
    let limits = Limits { statement: Duration::from_millis(100), ..Limits::default() };
    let starting = PostgresStore::connect_with_limits(&url, 2, limits);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'longrun server'
        AND wait_event = 'advisory' AND clock_timestamp() - query_start > interval '300 milliseconds'";
    let end = async {
        let deadline = Instant::now() + PATIENCE;
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&foreign).await.unwrap() == 0 {
            assert!(Instant::now() < deadline, "it does not wait for the lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *migrating).await.unwrap();
    };
    let (store, ()) = tokio::join!(starting, end);
    let store = store.unwrap();
    // Its other statements have the limit.
    let mut lock = foreign.begin().await.unwrap();
    sqlx::query("LOCK TABLE longrun.settled IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let got = store.get(&acme(), OperationId::from_bytes([0; 16])).await;
    assert!(matches!(got, Err(StoreError::Unavailable(_))), "{got:?}");
}
