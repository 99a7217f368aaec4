//! `examples/transactional-create/`, run as its reader runs it: psql, a server, one database.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Process, command, example, run_in};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

/// Runs a script of the example; returns its output.
fn psql(url: &str, user: &str, script: &str) -> String {
    let url = url.replacen("longrun@", &format!("{user}@"), 1);
    let output = Command::new("psql")
        .args([&url, "--no-psqlrc", "-At", "-v", "organization=acme", "-f"])
        .arg(example(&format!("transactional-create/{script}")))
        .output()
        .expect("psql comes with the server that these tests start");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_can_be_set_up_by_a_plain_owner_of_a_database() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let mut admin = PgConnection::connect(&database).await.unwrap();
    let name = database.rsplit_once('/').unwrap().1;
    admin.execute("CREATE ROLE owner LOGIN").await.unwrap();
    admin.execute(AssertSqlSafe(format!("ALTER DATABASE {name} OWNER TO owner"))).await.unwrap();
    admin.execute("CREATE ROLE shop LOGIN").await.unwrap();
    let folder = tempdir().unwrap();
    let owned = database.replacen("longrun@", "owner@", 1);
    let (process, url) = server(folder.path(), &owned);
    psql(&database, "owner", "setup.sql");
    psql(&database, "shop", "order.sql");
    operations(folder.path(), &url, 1);
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_longrun_makes_itself_is_refused_where_it_is_put_in() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let (process, _) = server(folder.path(), &database);
    let mut app = PgConnection::connect(&database).await.unwrap();
    for sql in [
        "SELECT longrun.create_operation('acme', 'notice')",
        "SELECT longrun.create_operation('acme', 'notice', idempotency_key => 'k')",
        "INSERT INTO longrun.inbox (organization_id, kind) VALUES ('acme', 'notice')",
    ] {
        let refused = app.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("kind notice is reserved: longrun makes its operations itself"), "{refused}");
    }
    let refused = app.execute("SELECT longrun.create_operation('acne', 'scan')").await.unwrap_err().to_string();
    assert!(refused.contains("there is no organization 'acne'"), "{refused}");
    run_in(folder.path(), &["doctor", "--store", &database]).expect(0);
    drop(process);
}

/// A server for the database, with a token of the organization `acme`.
fn server(folder: &Path, database: &str) -> (Process, String) {
    let token = [
        "token",
        "create",
        "--store",
        database,
        "--organization",
        "acme",
        "--name",
        "n",
        "--scopes",
        "admin",
        "-o",
        "id",
    ];
    std::fs::write(folder.join("token"), run_in(folder, &token).expect(0).line()).unwrap();
    let serve = ["serve", "--store", database, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut process = Process::start(command().current_dir(folder).args(serve));
    let line: Value = serde_json::from_str(&process.line_with("\"listening\"")).unwrap();
    (process, line["url"].as_str().unwrap().to_owned())
}

/// The operations, once there are this many.
fn operations(folder: &Path, url: &str, count: u64) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list =
            run_in(folder, &["ops", "list", "--url", url, "--token-file", "token", "-o", "json"]).expect(0).json();
        if list["pagination"]["total_count"].as_u64() >= Some(count) {
            return list["operations"].as_array().unwrap().clone();
        }
        assert!(Instant::now() < deadline, "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_ships_what_was_ordered_and_nothing_else() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let (process, url) = server(folder.path(), &database);
    psql(&database, "longrun", "setup.sql");
    let placed = psql(&database, "shop", "order.sql");
    let row = placed.lines().find(|line| line.starts_with("1|lamp|")).expect("the order");
    assert!(!placed.contains("chair"), "{placed}");

    let found = operations(folder.path(), &url, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    let operation = &found[0];
    assert_eq!(row, format!("1|lamp|{}", operation["id"].as_str().unwrap()), "the id that the order was told");
    assert_eq!((operation["kind"].as_str(), operation["resource_id"].as_str()), (Some("ship_order"), Some("1")));
    assert_eq!(
        operation["status"], "ASYNC_OPERATION_STATUS_PENDING",
        "no server runs this kind: it waits for a worker"
    );
    run_in(folder.path(), &["doctor", "--store", &database]).expect(0);
    drop(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_row_is_an_operation_within_milliseconds() {
    const ROUNDS: usize = 40;
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let (process, _) = server(folder.path(), &database);
    let mut app = PgConnection::connect(&database).await.unwrap();
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        let sql = format!("SELECT longrun.create_operation('acme', 'scan', '{round}')");
        app.execute(AssertSqlSafe(sql)).await.unwrap();
        let committed = Instant::now();
        loop {
            let rows: i64 =
                sqlx::query_scalar("SELECT count(*) FROM longrun.active").fetch_one(&mut app).await.unwrap();
            if rows > i64::try_from(round).unwrap() {
                break;
            }
            assert!(committed.elapsed() < PATIENCE, "row {round}");
        }
        waits.push(committed.elapsed());
    }
    waits.sort();
    println!("commit to operation: median {:?}, longest {:?}", waits[ROUNDS / 2], waits[ROUNDS - 1]);
    // Far above the time that it takes, far below a poll interval of seconds.
    assert!(waits[ROUNDS / 2] < Duration::from_millis(100), "{waits:?}");
    drop(process);
}
