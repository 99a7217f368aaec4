//! The inbox: operations that applications create in transactions of their own, with no other right than that.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use operations::{Access, Filter, NewOperation, Operation, OperationId, PageRequest, Status};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use store::postgres::Limits;
use store::{ClaimRequest, NewToken, PostgresStore, Scope, Store as _, StoreError};
use testkit::{Cluster, Durability};
use uuid::Uuid;

const LIMIT: u32 = 500;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(Durability::None).unwrap())
}

/// A store with the organization `acme`, and its database.
async fn fixture() -> (PostgresStore, String) {
    let url = cluster().database().await.unwrap();
    let store = PostgresStore::connect(&url, 8).await.unwrap();
    make_organization(&store, "acme").await;
    (store, url)
}

async fn make_organization(store: &PostgresStore, name: &str) {
    let token = NewToken {
        hash: *Uuid::new_v4().as_bytes().repeat(2).first_chunk().unwrap(),
        name: "first".to_owned(),
        access: Access::organization(name),
        scopes: BTreeSet::from([Scope::Admin]),
        expires_at: None,
        instance: None,
    };
    store.create_token(token).await.unwrap();
}

/// A connection of the application, which has its own tables in the same database; here with all rights.
async fn application(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// A connection of a role with these rights and no others.
async fn limited(url: &str, grants: &[&str]) -> PgConnection {
    let role = format!("app_{}", Uuid::new_v4().as_simple());
    let mut owner = application(url).await;
    owner.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN"))).await.unwrap();
    for grant in grants {
        owner.execute(AssertSqlSafe(format!("GRANT {grant} TO {role}"))).await.unwrap();
    }
    let options: PgConnectOptions = url.parse().unwrap();
    PgConnection::connect_with(&options.username(&role)).await.unwrap()
}

const CALL: [&str; 2] = ["USAGE ON SCHEMA longrun", "EXECUTE ON FUNCTION longrun.create_operation"];

/// Calls the function with these arguments and returns the id.
async fn call(connection: &mut PgConnection, arguments: &str) -> Result<OperationId, sqlx::Error> {
    let sql = format!("SELECT longrun.create_operation({arguments})");
    let id: Uuid = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await?;
    Ok(OperationId::from_bytes(*id.as_bytes()))
}

/// What the database says about a refused statement.
fn said<T: std::fmt::Debug>(result: Result<T, sqlx::Error>) -> (String, String) {
    let error = result.unwrap_err();
    let error = error.as_database_error().unwrap();
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

/// Takes everything out of the inbox.
async fn drain(store: &PostgresStore) -> u64 {
    let mut rows = 0;
    loop {
        match store.drain_inbox(LIMIT).await.unwrap() {
            Some(0) => return rows,
            taken => rows += taken.unwrap(),
        }
    }
}

/// The operations of an organization in the order of their numbers.
async fn operations(store: &PostgresStore, organization: &str) -> Vec<Operation> {
    let (access, mut found) = (Access::organization(organization), Vec::new());
    loop {
        let page = PageRequest { page: u32::try_from(found.len() / 100).unwrap(), page_size: 100 };
        let listing = store.list(&access, &Filter::default(), page).await.unwrap();
        let full = listing.entries.len() == 100;
        found.extend(listing.entries.into_iter().map(|entry| entry.operation));
        if !full {
            found.reverse();
            return found;
        }
    }
}

fn resource_ids(operations: &[Operation]) -> Vec<&str> {
    operations.iter().map(|operation| operation.resource.as_ref().unwrap().resource_id.as_str()).collect()
}

async fn assert_sound(store: &PostgresStore) {
    assert_eq!(store.doctor().await.unwrap().findings, [], "longrun doctor finds nothing");
}

#[tokio::test]
async fn a_committed_call_becomes_the_operation_whose_id_it_was_told() {
    let (store, url) = fixture().await;
    let mut app = application(&url).await;
    let arguments =
        "'acme', 'scan', '{\"image\": \"alpine\", \"n\": 10000000000000000000001}', 'order', '7', 'p1', 'v1',
        priority => 5, run_after => now() - interval '1 minute', timeout => '90 seconds', max_attempts => 2";
    let id = call(&mut app, arguments).await.unwrap();
    assert_eq!(&id.to_string()[14..15], "7", "a UUIDv7: {id}");
    let millis = u64::from_be_bytes([&[0, 0], &id.as_bytes()[..6]].concat().try_into().unwrap());
    assert!(millis.abs_diff(store.now().as_millis().unsigned_abs()) < 60_000, "made now: {millis}");

    assert_eq!(drain(&store).await, 1);
    let operation = store.get(&Access::organization("acme"), id).await.unwrap().unwrap();
    assert_eq!((operation.kind.as_str(), operation.status), ("scan", Status::Pending));
    assert_eq!(resource_ids(std::slice::from_ref(&operation)), ["7"]);
    assert_eq!((operation.project_id.as_str(), operation.project_version_id.as_str()), ("p1", "v1"));
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "test".to_owned(),
        lease: Duration::from_secs(30),
    };
    let claimed = store.claim(request).await.unwrap().remove(0);
    assert_eq!((claimed.operation.id, claimed.timeout), (id, Some(Duration::from_secs(90))));
    assert_eq!(claimed.input, r#"{"n": 10000000000000000000001, "image": "alpine"}"#, "as jsonb writes it");
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_row_that_is_rolled_back_never_existed() {
    let (store, url) = fixture().await;
    let mut app = application(&url).await;
    app.execute("CREATE TABLE orders (id int)").await.unwrap();
    let mut transaction = app.begin().await.unwrap();
    transaction.execute("INSERT INTO orders VALUES (1)").await.unwrap();
    call(&mut transaction, "'acme', 'ship', null, 'order', '1'").await.unwrap();
    assert_eq!(drain(&store).await, 0, "not before the commit");
    transaction.rollback().await.unwrap();
    assert_eq!(drain(&store).await, 0);

    let mut transaction = app.begin().await.unwrap();
    for statement in ["INSERT INTO orders VALUES (2)", "SAVEPOINT half"] {
        transaction.execute(statement).await.unwrap();
    }
    call(&mut transaction, "'acme', 'ship', null, 'order', 'half'").await.unwrap();
    transaction.execute("ROLLBACK TO half").await.unwrap();
    call(&mut transaction, "'acme', 'ship', null, 'order', '2'").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(drain(&store).await, 1);
    assert_eq!(resource_ids(&operations(&store, "acme").await), ["2"]);
    assert_sound(&store).await;
}

#[tokio::test]
async fn rows_keep_the_order_of_their_transactions_and_within_them() {
    let (store, url) = fixture().await;
    let (mut first, mut second) = (application(&url).await, application(&url).await);
    // One statement with many rows, faster than a clock could tell apart.
    first
        .execute(
            "INSERT INTO longrun.inbox (organization_id, kind, resource_type, resource_id)
            SELECT 'acme', 'scan', 'n', n::text FROM generate_series(0, 1999) numbers (n) ORDER BY numbers.n",
        )
        .await
        .unwrap();
    let mut long = first.begin().await.unwrap();
    call(&mut long, "'acme', 'scan', null, 'n', 'long 1'").await.unwrap();
    call(&mut second, "'acme', 'scan', null, 'n', '2000'").await.unwrap();
    long.execute("SAVEPOINT s").await.unwrap();
    call(&mut long, "'acme', 'scan', null, 'n', 'long 2'").await.unwrap();
    assert_eq!(drain(&store).await, 2_001, "what is not committed holds nothing up");
    call(&mut second, "'acme', 'scan', null, 'n', '2001'").await.unwrap();
    long.commit().await.unwrap();
    assert_eq!(drain(&store).await, 3);
    let found = operations(&store, "acme").await;
    let found = resource_ids(&found);
    let expected: Vec<String> = (0..=2_000).map(|n| n.to_string()).collect();
    assert!(found[..2_001] == expected[..], "as they were inserted");
    assert_eq!(found[2_001..], ["long 1", "long 2", "2001"], "by the start of their transactions");
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_servers_make_each_row_an_operation_exactly_once_and_in_order() {
    const APPLICATIONS: usize = 4;
    const TRANSACTIONS: usize = 60;
    const ROWS: usize = 5;
    let (store, url) = fixture().await;
    make_organization(&store, "globex").await;
    let done = Arc::new(AtomicBool::new(false));
    let mut servers = Vec::new();
    for _ in 0..4 {
        let (server, done) = (PostgresStore::connect(&url, 4).await.unwrap(), Arc::clone(&done));
        servers.push(tokio::spawn(async move {
            let mut rows = 0;
            loop {
                let is_ending = done.load(Ordering::SeqCst);
                // A small limit, so that the servers alternate.
                let taken = server.drain_inbox(7).await.unwrap().unwrap();
                rows += taken;
                // Creations by the API take numbers of the same sequence meanwhile.
                server.create("acme", vec![NewOperation::of_kind("api")], None).await.unwrap();
                if is_ending && taken == 0 {
                    return rows;
                }
            }
        }));
    }
    let applications: Vec<_> = (0..APPLICATIONS)
        .map(|application_number| {
            let url = url.clone();
            tokio::spawn(async move {
                let mut app = application(&url).await;
                let mut ids = Vec::new();
                for number in 0..TRANSACTIONS {
                    let mut transaction = app.begin().await.unwrap();
                    let mut reported = Vec::new();
                    for row in 0..ROWS {
                        let organization = if row == ROWS - 1 { "globex" } else { "acme" };
                        let name = format!("{application_number}/{number:03}/{row}");
                        let arguments = format!("'{organization}', 'scan', null, 'n', '{name}'");
                        reported.push(call(&mut transaction, &arguments).await.unwrap());
                    }
                    if number % 3 == 0 {
                        transaction.rollback().await.unwrap();
                    } else {
                        transaction.commit().await.unwrap();
                        ids.append(&mut reported);
                    }
                }
                ids
            })
        })
        .collect();
    let mut reported = BTreeSet::new();
    for application in applications {
        reported.extend(application.await.unwrap());
    }
    done.store(true, Ordering::SeqCst);
    let mut taken = 0;
    for server in servers {
        taken += server.await.unwrap();
    }
    assert_eq!(taken, reported.len() as u64, "each row was taken once");
    let mut found: Vec<Operation> = operations(&store, "globex").await;
    found.extend(operations(&store, "acme").await.into_iter().filter(|operation| operation.kind == "scan"));
    let ids: BTreeSet<OperationId> = found.iter().map(|operation| operation.id).collect();
    assert_eq!((ids.len(), &ids), (found.len(), &reported), "what was committed, each once");
    // Of the transactions of one application, each began after the one before it was committed.
    for organization in ["acme", "globex"] {
        let of_organization = operations(&store, organization).await;
        for number in 0..APPLICATIONS {
            let prefix = format!("{number}/");
            let own = of_organization.iter().filter(|operation| operation.kind == "scan").cloned().collect::<Vec<_>>();
            let own: Vec<&str> = resource_ids(&own).into_iter().filter(|name| name.starts_with(&prefix)).collect();
            assert!(own.is_sorted(), "{organization}: {own:?}");
        }
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_role_that_may_call_the_function_may_do_nothing_else() {
    let (store, url) = fixture().await;
    let mut app = limited(&url, &CALL).await;
    let id = call(&mut app, "'acme', 'scan', idempotency_key => 'k'").await.unwrap();
    let mut owner = application(&url).await;
    let relations: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'longrun'::regnamespace AND relkind = 'r'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(relations.len() > 10, "{relations:?}");
    for relation in relations {
        for statement in [format!("SELECT FROM longrun.{relation}"), format!("DELETE FROM longrun.{relation}")] {
            assert_eq!(
                said(app.execute(AssertSqlSafe(statement)).await).0,
                "42501",
                "{relation}: insufficient privilege"
            );
        }
    }
    let insert = app.execute("INSERT INTO longrun.inbox (organization_id, kind) VALUES ('acme', 'scan')").await;
    assert_eq!(said(insert).0, "42501");
    assert_eq!(drain(&store).await, 1);
    assert!(store.get(&Access::organization("acme"), id).await.unwrap().is_some());

    let mut nobody = limited(&url, &CALL[..1]).await;
    assert_eq!(said(call(&mut nobody, "'acme', 'scan'").await).0, "42501", "nothing is granted to every role");
}

#[tokio::test]
async fn what_the_caller_sets_cannot_lead_the_function_astray() {
    let (store, url) = fixture().await;
    let mut app = limited(&url, &CALL).await;
    // The caller's own tables and functions, in front of those that the function means.
    for statement in [
        "CREATE TEMP TABLE organizations (organization_id text)",
        "CREATE TEMP TABLE inbox (organization_id text)",
        "INSERT INTO pg_temp.organizations VALUES ('elsewhere')",
        "SET search_path = pg_temp, longrun",
    ] {
        app.execute(statement).await.unwrap();
    }
    assert_eq!(said(call(&mut app, "'elsewhere', 'scan'").await).1, "there is no organization 'elsewhere'");
    call(&mut app, "'acme', 'scan'").await.unwrap();
    assert_eq!(drain(&store).await, 1);
}

#[tokio::test]
async fn a_role_with_insert_can_be_held_to_one_organization() {
    let (store, url) = fixture().await;
    make_organization(&store, "globex").await;
    let grants = ["USAGE ON SCHEMA longrun", "INSERT (organization_id, kind, input) ON longrun.inbox"];
    let mut app = limited(&url, &grants).await;
    let mut owner = application(&url).await;
    let insert = |organization: &str| {
        AssertSqlSafe(format!(
            "INSERT INTO longrun.inbox (organization_id, kind, input) VALUES ('{organization}', 'scan', '[1.50]')"
        ))
    };
    app.execute(insert("globex")).await.unwrap();
    owner.execute("ALTER TABLE longrun.inbox ENABLE ROW LEVEL SECURITY").await.unwrap();
    owner
        .execute("CREATE POLICY acme_only ON longrun.inbox FOR INSERT WITH CHECK (organization_id = 'acme')")
        .await
        .unwrap();
    app.execute(insert("acme")).await.unwrap();
    assert_eq!(said(app.execute(insert("globex")).await).0, "42501");
    assert_eq!(
        said(
            app.execute(
                "INSERT INTO longrun.inbox (organization_id, kind, id) VALUES ('acme', 'scan', gen_random_uuid())"
            )
            .await
        )
        .0,
        "42501"
    );
    assert_eq!(drain(&store).await, 2, "the servers see all");
    assert_sound(&store).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_the_callers_transaction_and_told() {
    let (store, url) = fixture().await;
    let mut app = limited(&url, &CALL).await;
    let too_long = "jsonb_build_array(repeat('x', 1048576))";
    for (arguments, code, words) in [
        ("'nobody', 'scan'", "23503", "there is no organization 'nobody'"),
        ("null, 'scan'", "23503", "there is no organization NULL"),
        ("'acme', 'no spaces'", "23514", "kind must be"),
        ("'acme', E'scan\\n'", "23514", "kind must be"),
        ("'acme', ''", "23514", "kind must be"),
        ("'acme', null", "23502", "\"kind\""),
        (&format!("'acme', 'scan', {too_long}"), "23514", "input must be a JSON text of at most 1048576 bytes"),
        ("'acme', 'scan', 'no json'", "22P02", "json"),
        ("'acme', 'scan', null, 'order'", "23514", "both or neither"),
        ("'acme', 'scan', null, 'order', E'a\\u0085'", "23514", "resource_id must be"),
        ("'acme', 'scan', null, E'a\\tb', '1'", "23514", "resource_type must be"),
        ("'acme', 'scan', project_id => repeat('é', 129)", "23514", "project_id must be"),
        ("'acme', 'scan', project_version_id => E'\\x7f'", "23514", "project_version_id must be"),
        ("'acme', 'scan', priority => 101", "23514", "priority must be between -100 and 100"),
        ("'acme', 'scan', run_after => 'infinity'", "23514", "run_after must be a finite time"),
        ("'acme', 'scan', timeout => '0'", "23514", "timeout must be between"),
        ("'acme', 'scan', retain_for => '11 years'", "23514", "retain_for must be between"),
        ("'acme', 'scan', max_attempts => 0", "23514", "max_attempts must be between 1 and 100"),
        ("'acme', 'scan', idempotency_key => ''", "23514", "idempotency_key must be"),
    ] {
        let (reported, message) = said(call(&mut app, arguments).await);
        assert_eq!(reported, code, "{arguments}: {message}");
        assert!(message.contains(words), "{arguments}: {message}");
    }
    assert_eq!(drain(&store).await, 0);
}

#[tokio::test]
async fn every_check_of_the_table_has_its_whole_name() {
    let (_store, url) = fixture().await;
    let mut owner = application(&url).await;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint WHERE conrelid = 'longrun.inbox'::regclass AND contype = 'c'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(names.len() > 10 && names.iter().all(|name| name.len() < 63), "none was cut: {names:?}");
}

#[tokio::test]
async fn what_the_domain_takes_the_inbox_takes() {
    let (store, url) = fixture().await;
    let mut app = application(&url).await;
    for arguments in [
        "'acme', '9/b.c-d_E'",
        "'acme', repeat('a', 128), 'null'",
        "'acme', 'scan', '\"x\"', 'ÄÖ', repeat('é', 128), priority => -100, max_attempts => 100",
        "'acme', 'scan', timeout => '1 ms', retain_for => '3650 days', run_after => now() + interval '100 years'",
        "'acme', 'scan', jsonb_build_array(repeat('x', 1048572))",
    ] {
        call(&mut app, arguments).await.unwrap();
    }
    assert_eq!(drain(&store).await, 5);
    assert_eq!(operations(&store, "acme").await.len(), 5);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_key_that_was_used_answers_the_id_of_its_first_use() {
    let (store, url) = fixture().await;
    let mut app = limited(&url, &CALL).await;
    let used = "'acme', 'scan', '[1]', idempotency_key => 'k'";
    let first = call(&mut app, used).await.unwrap();
    assert_eq!(call(&mut app, used).await.unwrap(), first, "while it waits in the inbox");
    assert_eq!(drain(&store).await, 1);
    assert_eq!(call(&mut app, used).await.unwrap(), first, "once it is an operation");
    let (code, message) = said(call(&mut app, "'acme', 'scan', '[2]', idempotency_key => 'k'").await);
    assert_eq!(code, "23505");
    assert!(message.contains("used for another request"), "{message}");
    assert_eq!(drain(&store).await, 0, "a use that was answered with an earlier one leaves nothing behind");
    let other = call(&mut app, "'acme', 'scan', '[2]', idempotency_key => 'other'").await.unwrap();
    assert_ne!(other, first);
    drain(&store).await;
    assert_eq!(operations(&store, "acme").await.len(), 2);
    assert_sound(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_two_transactions_use_at_once_creates_once() {
    let (store, url) = fixture().await;
    let (mut first, mut second) = (application(&url).await, application(&url).await);
    let used = "'acme', 'scan', idempotency_key => 'k'";
    for ending in ["COMMIT", "ROLLBACK"] {
        first.execute("BEGIN").await.unwrap();
        let reported = call(&mut first, used).await.unwrap();
        let waiting = tokio::spawn(async move {
            let id = call(&mut second, used).await.unwrap();
            (second, id)
        });
        first.execute("SELECT pg_sleep(0.1)").await.unwrap();
        assert!(!waiting.is_finished(), "the second waits for the first");
        first.execute(ending).await.unwrap();
        let (connection, id) = waiting.await.unwrap();
        second = connection;
        assert_eq!(id == reported, ending == "COMMIT");
        assert_eq!(drain(&store).await, 1);
        sqlx::query("DELETE FROM longrun.idempotency_keys").execute(&mut first).await.unwrap();
    }
    assert_eq!(operations(&store, "acme").await.len(), 2);
    assert_sound(&store).await;
}

#[tokio::test]
async fn what_cannot_become_an_operation_stays_is_told_and_holds_nothing_up() {
    let (store, url) = fixture().await;
    let mut owner = application(&url).await;
    let first = call(&mut owner, "'acme', 'scan', null, 'n', '1'").await.unwrap();
    assert_eq!(drain(&store).await, 1);
    // By INSERT, which cannot check: an organization that does not exist, an id that an operation has.
    owner.execute("INSERT INTO longrun.inbox (organization_id, kind) VALUES ('nobody', 'scan')").await.unwrap();
    let insert = format!("INSERT INTO longrun.inbox (organization_id, kind, id) VALUES ('acme', 'scan', '{first}')");
    owner.execute(AssertSqlSafe(insert)).await.unwrap();
    call(&mut owner, "'acme', 'scan', null, 'n', '2'").await.unwrap();
    assert_eq!(drain(&store).await, 2);
    assert_eq!(resource_ids(&operations(&store, "acme").await), ["1", "2"]);
    let reported: Vec<String> =
        store.doctor().await.unwrap().findings.into_iter().map(|finding| finding.detail).collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported.iter().any(|detail| detail.contains("another operation has its id")), "{reported:?}");
    assert!(reported.iter().any(|detail| detail.ends_with("there is no such organization")), "{reported:?}");

    make_organization(&store, "nobody").await;
    assert_eq!(drain(&store).await, 1, "it waited for its organization");
    owner.execute("UPDATE longrun.inbox SET refused = NULL, id = DEFAULT").await.unwrap();
    assert_eq!(drain(&store).await, 1, "and what was put right is taken");
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_organization_that_fails_holds_up_no_other() {
    let (store, url) = fixture().await;
    make_organization(&store, "globex").await;
    let mut owner = application(&url).await;
    owner.execute("ALTER TABLE longrun.active ADD CONSTRAINT broken CHECK (organization_id <> 'acme')").await.unwrap();
    call(&mut owner, "'acme', 'scan', null, 'n', '1'").await.unwrap();
    call(&mut owner, "'globex', 'scan', null, 'n', '2'").await.unwrap();
    assert_eq!(store.drain_inbox(LIMIT).await.unwrap(), Some(1));
    assert_eq!(resource_ids(&operations(&store, "globex").await), ["2"]);
    assert!(store.drain_inbox(LIMIT).await.is_err(), "and gets an error");
    owner.execute("ALTER TABLE longrun.active DROP CONSTRAINT broken").await.unwrap();
    assert_eq!(drain(&store).await, 1, "nothing was lost");
    assert_sound(&store).await;
}

#[tokio::test]
async fn large_inputs_are_taken_in_bounded_batches() {
    let (store, url) = fixture().await;
    let mut app = application(&url).await;
    app.execute(
        "INSERT INTO longrun.inbox (organization_id, kind, input)
            SELECT 'acme', 'scan', to_json(repeat('x', 1000000)) FROM generate_series(1, 20)",
    )
    .await
    .unwrap();
    let first = store.drain_inbox(LIMIT).await.unwrap().unwrap();
    assert!((8..20).contains(&first), "eight megabytes, one row may go over: {first}");
    assert_eq!(first + drain(&store).await, 20);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_backlog_is_read_once_and_not_for_every_batch() {
    const ROWS: i64 = 20_000;
    let (store, url) = fixture().await;
    let mut app = application(&url).await;
    // No statistics for the planner, as after a bulk load.
    let insert = format!(
        "INSERT INTO longrun.inbox (organization_id, kind) SELECT 'acme', 'scan' FROM generate_series(1, {ROWS})"
    );
    app.execute("ALTER TABLE longrun.inbox SET (autovacuum_enabled = off)").await.unwrap();
    app.execute(AssertSqlSafe(insert)).await.unwrap();
    assert_eq!(i64::try_from(drain(&store).await).unwrap(), ROWS);
    store.close().await;
    app.execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let read = loop {
        // The statistics of sessions that have ended come in a moment later.
        let (deleted, sequential, by_index): (i64, i64, i64) = sqlx::query_as(
            "SELECT n_tup_del, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'longrun.inbox'::regclass",
        )
        .fetch_one(&mut app)
        .await
        .unwrap();
        if deleted == ROWS {
            break sequential + by_index;
        }
        assert!(std::time::Instant::now() < deadline, "{deleted} deleted");
    };
    assert!(read < 4 * ROWS, "{read} rows were read for {ROWS}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_that_is_locked_keeps_no_other_one_waiting() {
    let url = cluster().database().await.unwrap();
    let limits = Limits { lock: Duration::from_millis(500), statement: Duration::from_secs(3), ..Limits::default() };
    let store = PostgresStore::connect_with_limits(&url, 4, limits).await.unwrap();
    let mut app = application(&url).await;
    for organization in ["acme", "zeta"] {
        make_organization(&store, organization).await;
        call(&mut app, &format!("'{organization}', 'scan'")).await.unwrap();
    }
    app.execute("BEGIN; SELECT FROM longrun.organizations WHERE organization_id = 'acme' FOR UPDATE").await.unwrap();
    assert_eq!(store.drain_inbox(LIMIT).await.unwrap(), Some(1));
    assert_eq!(operations(&store, "zeta").await.len(), 1);
    let refused = store.drain_inbox(LIMIT).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("lock timeout")), "{refused:?}");
    app.execute("ROLLBACK").await.unwrap();
    assert_eq!(drain(&store).await, 1);
    assert_eq!(operations(&store, "acme").await.len(), 1);
    assert_sound(&store).await;
}
