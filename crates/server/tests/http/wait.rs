//! `GET /v1/operations/{id}:wait`.

use std::time::{Duration, Instant};

use http::StatusCode;
use operations::{Access, NewOperation, Outcome};
use store::Scope;

use crate::faults::counted;
use crate::harness::Server;

fn done() -> Outcome {
    Outcome::Completed { output: "done".to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_returns_when_the_operation_ends() {
    let (server, _, _, mut reads) = counted().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let path = format!("/v1/operations/{}:wait?timeout=60s", operation.id);
    let waiting = tokio::spawn(async move { caller.get(&path).await });
    reads.wait_for(|reads| reads.ids == 1).await.unwrap();
    let claimed = server.claim("scan").await;
    let before = reads.borrow().changes;
    // The first of these may have been under way.
    reads.wait_for(|reads| reads.changes >= before + 3).await.unwrap();
    assert_eq!(reads.borrow().ids, 1, "a start is no end");
    server.settle(claimed, done()).await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::OK, ""));
    assert_eq!(answer.json()["operation"]["output"], "done");
    assert_eq!(reads.borrow().ids, 2);
    let again = server.acme().await.get(&format!("/v1/operations/{}:wait", operation.id)).await;
    assert_eq!(again.body, answer.body, "what has ended is answered at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_returns_when_the_operation_is_cancelled_or_deleted() {
    let (server, _, _, mut reads) = counted().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let path = format!("/v1/operations/{}", operation.id);
    let wait = || {
        let (caller, path) = (caller.clone(), format!("{path}:wait?timeout=60s"));
        tokio::spawn(async move { caller.get(&path).await })
    };
    let waiting = wait();
    reads.wait_for(|reads| reads.ids == 1).await.unwrap();
    assert_eq!(caller.post(&format!("{path}:cancel"), "").await.status, StatusCode::OK);
    assert_eq!(waiting.await.unwrap().json()["operation"]["error_message"], "cancelled");
    assert_eq!(caller.post(&format!("{path}:retry"), "").await.status, StatusCode::OK);
    let seen = reads.borrow().ids;
    let waiting = wait();
    reads.wait_for(|reads| reads.ids == seen + 1).await.unwrap();
    caller.post(&format!("{path}:cancel"), "").await;
    caller.send(http::Method::DELETE, &path, &[], "").await;
    // Whichever of the two it saw.
    let answer = waiting.await.unwrap();
    assert!(answer.status == StatusCode::NOT_FOUND || answer.json()["operation"]["error_message"] == "cancelled");
}

#[tokio::test]
async fn it_returns_after_the_timeout_as_things_are() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    for (timeout, least) in [("0s", 0), ("0.2s", 200)] {
        let start = Instant::now();
        let answer = caller.get(&format!("/v1/operations/{}:wait?timeout={timeout}", operation.id)).await;
        assert!(start.elapsed() >= Duration::from_millis(least));
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::OK, "1"));
        assert_eq!(answer.json()["operation"]["status"], "ASYNC_OPERATION_STATUS_PENDING");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    for (query, field) in [
        ("timeout=30", "timeout"),
        ("timeout=-1s", "timeout"),
        ("timeout=1s&timeout=1s", "timeout"),
        ("wait=1s", "wait"),
    ] {
        let answer = caller.get(&format!("/v1/operations/{}:wait?{query}", operation.id)).await;
        assert_eq!(answer.violated(), [field], "{query}");
    }
}

#[tokio::test]
async fn whoever_may_not_see_it_does_not_wait() {
    let server = Server::start().await;
    let operation = server.create(NewOperation { project_id: "a".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let path = format!("/v1/operations/{}:wait?timeout=20s", operation.id);
    let start = Instant::now();
    for access in [Access::organization("other"), Access::projects("acme", ["b"]), Access::projects("acme", ["", "b"])]
    {
        let answer = server.caller(access, &[Scope::OperationsRead]).await.get(&path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
    let acme = server.acme().await;
    for unknown in ["nope:wait", "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000:wait", ":wait"] {
        assert_eq!(acme.get(&format!("/v1/operations/{unknown}")).await.status, StatusCode::NOT_FOUND, "{unknown}");
    }
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(writer.get(&path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(server.nobody().get(&path).await.status, StatusCode::UNAUTHORIZED);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stops_answers_who_waits() {
    let (server, _, _, mut reads) = counted().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let path = format!("/v1/operations/{}:wait?timeout=60s", operation.id);
    let waiting = tokio::spawn(async move { caller.get(&path).await });
    reads.wait_for(|reads| reads.ids == 1).await.unwrap();
    server.shutdown.cancel();
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["operation"]["status"], "ASYNC_OPERATION_STATUS_PENDING");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_thousand_who_wait_cost_no_reads_of_their_own() {
    const WAITERS: usize = 2_000;
    let (server, _, _, mut reads) = counted().await;
    let caller = server.acme().await;
    let new = (0..WAITERS).map(|_| NewOperation::of_kind("scan")).collect();
    let operations = server.store.create("acme", new, None).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for operation in operations {
        let caller = caller.clone();
        let path = format!("/v1/operations/{}:wait?timeout=60s", operation.id);
        waiting.spawn(async move { caller.get(&path).await });
    }
    reads.wait_for(|reads| reads.ids == WAITERS).await.unwrap();
    let before = *reads.borrow();
    let quiet = *reads.wait_for(|reads| reads.changes >= before.changes + 10).await.unwrap();
    assert_eq!((quiet.looks, quiet.ids), (before.looks, before.ids), "while nothing happens the feed alone is read");
    for _ in 0..WAITERS / 100 {
        let request = store::ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: Some(Access::organization("acme")),
            among: None,
            limit: 100,
            worker: "test".to_owned(),
            lease: Duration::from_secs(60),
        };
        let claimed = server.store.claim(request).await.unwrap();
        let settle = |claimed: store::Claimed| store::Settlement {
            lease: claimed.lease,
            outcome: done(),
            retry_after: Duration::ZERO,
        };
        server.store.settle(claimed.into_iter().map(settle).collect()).await.unwrap();
    }
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().json()["operation"]["status"], "ASYNC_OPERATION_STATUS_COMPLETED");
    }
    let after = *reads.borrow();
    assert_eq!(after.ids, 2 * WAITERS, "each looked once before and once after");
    let looks = after.looks - quiet.looks;
    assert!(looks <= WAITERS / 5, "{looks} reads for {WAITERS} who were told");
}
