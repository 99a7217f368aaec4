//! Counters of resources that have many operations, in PostgreSQL: counting begins while others write.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;
use operations::{Access, Filter, NewOperation, PageRequest, Resource};
use sqlx::Executor as _;
use store::{ClaimRequest, Settlement, Store};

/// More than it takes to be counted.
const MANY: usize = 1_500;

fn thing() -> Resource {
    Resource { resource_type: "thing".to_owned(), resource_id: "x".to_owned() }
}

fn about_it(n: usize) -> NewOperation {
    NewOperation { project_id: format!("p{}", n % 3), ..about(["scan", "export"][n % 2], "thing", "x") }
}

async fn total(store: &dyn Store) -> u64 {
    let filter = Filter { resource: Some(thing()), ..Filter::default() };
    store.list(&Access::organization("acme"), &filter, PageRequest::default()).await.unwrap().page.total_count
}

fn scans(limit: u32) -> ClaimRequest {
    ClaimRequest { access: Some(Access::organization("acme")), ..claim_request(&["scan", "export"], limit) }
}

/// Creates, claims and ends operations of the resource, until stopped; returns how many it has made.
async fn work(store: Arc<dyn Store>, stop: Arc<AtomicBool>) -> u64 {
    let mut made = 0;
    while !stop.load(Ordering::SeqCst) {
        let new = (0..5).map(about_it).chain([about("scan", "thing", "another")]).collect();
        store.create("acme", new, None).await.unwrap();
        made += 5;
        for (n, claimed) in store.claim(scans(4)).await.unwrap().into_iter().enumerate() {
            let outcome = if n == 0 { failed("again", true) } else { completed("ok") };
            let retry_after = std::time::Duration::ZERO;
            store.settle(vec![Settlement { lease: claimed.lease, outcome, retry_after }]).await.unwrap();
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counting_begins_while_two_servers_write() {
    let fixture = fixture(Engine::Postgres).await;
    let other = fixture.second_server().await;
    fixture.store.create("acme", (0..MANY).map(about_it).collect(), None).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = [&fixture.store, &other, &fixture.store]
        .map(|store| tokio::spawn(work(Arc::clone(store), Arc::clone(&stop))))
        .into_iter()
        .collect();
    fixture.count_resource("acme", &thing()).await;
    // By the counters, and by its own count on the server that has not noticed it yet, while they go on changing.
    let seen = total(&*fixture.store).await;
    assert!(total(&*other).await >= seen);
    fixture.assert_sound().await;
    stop.store(true, Ordering::SeqCst);
    let mut made = MANY as u64;
    for worker in workers {
        made += worker.await.unwrap();
    }
    for store in [&fixture.store, &other] {
        assert_eq!(total(&**store).await, made);
        assert_eq!(total(&**store).await, made, "by the counters, once they are known of");
    }
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_statement_that_began_before_is_waited_for() {
    let fixture = fixture(Engine::Postgres).await;
    fixture.store.create("acme", (0..MANY).map(about_it).collect(), None).await.unwrap();
    let foreign = fixture.foreign_postgres().await;
    let mut before = foreign.acquire().await.unwrap();
    before.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    before.execute("SELECT count(*) FROM active").await.unwrap();
    total(&*fixture.store).await;
    let looks = "SELECT max(query_start)::text FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE '%pg_stat_activity AS s%' AND pid <> pg_backend_pid()
            AND application_name = 'longrun server'";
    let backdate = "UPDATE counted_resources SET marked_at = '2000-01-01'";
    // The mark is there and old, and was read twice since.
    let (mut seen, mut looked) = (None, 0);
    while looked < 3 {
        let is_marked = sqlx::query(backdate).execute(&foreign).await.unwrap().rows_affected() > 0;
        let last: Option<String> = sqlx::query_scalar(looks).fetch_one(&foreign).await.unwrap();
        if is_marked && last.is_some() && last != seen {
            (seen, looked) = (last, looked + 1);
        }
        tokio::task::yield_now().await;
    }
    // Like a statement that does not see the mark: it adds nothing to the resource's deltas.
    let removal = "
        WITH gone AS (
            DELETE FROM queue WHERE seq = 1
        ), row AS (
            DELETE FROM active WHERE seq = 1 RETURNING *
        ), removed AS (
            UPDATE organizations SET removed = removed + 1
        )
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT organization_id, 0, project_id, kind, -1, 0, 0, 0 FROM row";
    before.execute(removal).await.unwrap();
    before.execute("COMMIT").await.unwrap();
    fixture.count_resource("acme", &thing()).await;
    assert_eq!(total(&*fixture.store).await, MANY as u64 - 1);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn doctor_finds_a_wrong_counter_of_a_resource() {
    let fixture = fixture(Engine::Postgres).await;
    fixture.store.create("acme", (0..MANY).map(|_| about("scan", "thing", "x")).collect(), None).await.unwrap();
    fixture.count_resource("acme", &thing()).await;
    fixture.tamper("UPDATE resource_counters SET pending = pending + 1 WHERE level = 24").await;
    let findings = fixture.store.doctor().await.unwrap().findings;
    let details: Vec<&str> = findings.iter().map(|finding| finding.detail.as_str()).collect();
    assert_eq!(details, ["acme resource thing x level 24 bucket 0 scan: counters {1501,0,0,0}, rows {1500,0,0,0}"]);
}

#[tokio::test]
async fn counters_of_resources_go_with_their_organization() {
    let fixture = fixture(Engine::Postgres).await;
    fixture.store.create("acme", (0..MANY).map(about_it).collect(), None).await.unwrap();
    fixture.count_resource("acme", &thing()).await;
    for claimed in fixture.store.claim(scans(100)).await.unwrap() {
        fixture.settle(&claimed, completed("ok")).await.unwrap();
    }
    fixture.store.begin_deletion("acme", true).await.unwrap();
    while fixture.store.delete_part("acme", 400).await.unwrap() > Some(0) {
        fixture.assert_sound().await;
    }
    fixture.store.end_deletion("acme").await.unwrap();
    // A statement that fails when there is a row.
    for table in ["resource_counters", "resource_deltas", "counted_resources"] {
        fixture.tamper(&format!("INSERT INTO secrets SELECT NULL, NULL FROM {table} LIMIT 1")).await;
    }
    // Created anew, the organization has its own; it is forgotten that a key stood for its resource.
    fixture.tamper("UPDATE organizations SET deleted = 0").await;
    fixture.store.create("acme", (0..3).map(about_it).collect(), None).await.unwrap();
    assert_eq!(total(&*fixture.store).await, 3);
    fixture.assert_sound().await;
}
