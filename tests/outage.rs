//! The database goes away under a server and comes back: callers are asked to try again, and nobody has to do anything.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Server, admin_token, get, run, slow_policy};
use bytes::Bytes;
use longrun_client::{Client, Error, ListRequest, NewOperation, Settings, Token};
use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tempfile::{TempDir, tempdir};
use testkit::{Cluster, Durability};

struct Setup {
    cluster: Cluster,
    store: String,
    folder: TempDir,
    server: Server,
    token: String,
    client: Client,
}

/// A server on a database of its own, and a client that repeats nothing by itself.
async fn setup() -> Setup {
    let cluster = Cluster::start(Durability::None).unwrap();
    let store = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let server = Server::start(folder.path(), &[("store", &store), ("kinds.allow_undeclared", "true")]);
    let token = admin_token(&store);
    let settings = Settings { retries: 0, ..Settings::default() };
    let client = Client::with_settings(&server.url, Token::new(&token).unwrap(), settings).unwrap();
    Setup { cluster, store, folder, server, token, client }
}

fn scan() -> NewOperation {
    NewOperation { kind: "scan".to_owned(), ..NewOperation::default() }
}

/// HTTP status and `Retry-After` of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, Option<Duration>) {
    match result {
        Err(Error::Refused(refusal)) => (refusal.http_status, refusal.retry_after),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_get_503_while_the_database_is_away_and_the_server_recovers_by_itself() {
    let Setup { cluster, store, folder, mut server, client, .. } = setup().await;
    let evidence = Bytes::from_static(include_bytes!("../examples/evidence/longrun.junit.xml"));
    let digest = client.put_evidence(evidence).await.unwrap().value.digest;
    let policy = std::fs::read_to_string(slow_policy(folder.path())).unwrap();
    let evaluation = NewOperation {
        kind: "evidence_evaluation".to_owned(),
        input: Some(json!({"digest": digest, "policies": [{"embedded": policy}]})),
        ..NewOperation::default()
    };
    let running = client.create(&evaluation, None).await.unwrap().value.operation.id;
    let deadline = Instant::now() + PATIENCE;
    while client.get(&running).await.unwrap().value.operation.short_status() != "RUNNING" {
        assert!(Instant::now() < deadline, "it is not started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // From then on it does not need the database until it ends.
    while !get(&server.admin_url, "/metrics", None).1.contains("\nlongrun_evaluation_processes_busy 1\n") {
        assert!(Instant::now() < deadline, "it is not evaluated");
    }

    cluster.stop().unwrap();
    let (scan, everything) = (scan(), ListRequest::default());
    let (created, listed, got) =
        tokio::join!(client.create(&scan, Some("during")), client.list(&everything), client.get(&running));
    let unavailable = (503, Some(Duration::from_secs(1)));
    assert_eq!([refusal(created), refusal(listed), refusal(got)], [unavailable; 3]);
    assert_eq!(get(&server.admin_url, "/readyz", None).0, 503);
    assert_eq!(get(&server.admin_url, "/healthz", None).0, 200);
    server.process.line_with("could not record the outcome");
    cluster.start_again().unwrap();

    let deadline = Instant::now() + PATIENCE;
    while get(&server.admin_url, "/readyz", None).0 != 200 {
        assert!(Instant::now() < deadline, "it does not recover");
    }
    let ended = client.wait(&running, Some(PATIENCE), |_| ()).await.unwrap().value.operation;
    assert_eq!(ended.short_status(), "COMPLETED", "{}", ended.error_message);
    let mut database = PgConnection::connect(&store).await.unwrap();
    let attempts: Vec<(i32, i64)> =
        sqlx::query_as("SELECT attempts, fence FROM longrun.settled").fetch_all(&mut database).await.unwrap();
    assert_eq!(attempts, [(1, 1)], "the attempt that ended meanwhile was recorded, once, and not repeated");
    let next = client.create(&evaluation, None).await.unwrap().value.operation.id;
    client.wait(&next, Some(PATIENCE), |_| ()).await.unwrap();
    client.create(&scan, Some("during")).await.unwrap();
    assert_eq!(client.list(&ListRequest::default()).await.unwrap().value.pagination.total_count, 3);
    run(&["doctor", "--store", &store]).expect(0);
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_creation_whose_answer_was_lost_is_found_again_by_its_key() {
    let Setup { server, token, client, cluster: _cluster, .. } = setup().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let body = r#"{"kind":"scan"}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/operations HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Idempotency-Key: lost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let created = loop {
        let page = client.list(&ListRequest::default()).await.unwrap().value;
        if let [operation] = &page.operations[..] {
            break operation.id.clone();
        }
        assert!(Instant::now() < deadline, "it is not created");
    };
    // Nobody has read the answer, and nobody will.
    drop(stream);
    assert_eq!(client.create(&scan(), Some("lost")).await.unwrap().value.operation.id, created);
    assert_eq!(client.list(&ListRequest::default()).await.unwrap().value.pagination.total_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_claimed_without_an_answer_of_the_database_runs_all_the_same() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let (store, proxy) = (cluster.database().await.unwrap(), cluster.proxy().await.unwrap());
    let folder = tempdir().unwrap();
    // With one attempt, an operation whose start was charged for nothing would fail.
    let kind = "[kinds.scan]\ntype = \"command\"\ncommand = [\"true\"]\nmax_attempts = 1\n";
    std::fs::write(folder.path().join("longrun.toml"), kind).unwrap();
    let mut server = Server::start(folder.path(), &[("store", &proxy.url(&store))]);
    let settings = Settings { retries: 0, ..Settings::default() };
    let token = Token::new(&admin_token(&store)).unwrap();
    let client = Client::with_settings(&server.url, token, settings).unwrap();
    // Together, so that the engine claims them, a few at a time.
    client.batch_create(&vec![scan(); 100], None).await.unwrap();
    let mut database = PgConnection::connect(&store).await.unwrap();
    let mut ended = async || {
        let ended = sqlx::query_scalar("SELECT count(*) FROM longrun.settled").fetch_one(&mut database);
        ended.await.unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut before: i64 = 0;
    while before < 100 {
        proxy.lose_answers();
        let next = (before + 5).min(100);
        while before < next {
            assert!(Instant::now() < deadline, "some operations never end: {before} have");
            tokio::time::sleep(Duration::from_millis(5)).await;
            before = ended().await;
        }
    }
    server.process.line_with("claims that were not answered were released");
    let ended: Vec<(i16, i32, i64)> =
        sqlx::query_as("SELECT status, attempts, count(*) FROM longrun.settled GROUP BY 1, 2")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(matches!(ended[..], [(3, 1, _)]), "all are completed, each by one attempt: {ended:?}");
    run(&["doctor", "--store", &store]).expect(0);
}
