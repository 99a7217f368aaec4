//! The memory of bodies: taken as they arrive, shared by organizations, never refused to workers because of others.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use proto::longrun::v1 as wire;
use proto::longrun::v1::async_operations_service_client::AsyncOperationsServiceClient;
use proto::longrun::v1::evidence_service_client::EvidenceServiceClient;
use proto::longrun::v1::worker_service_client::WorkerServiceClient;
use serde_json::json;
use store::Scope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::grpc::connect;
use crate::harness::{Caller, Server};
use crate::work::{claim, worker};

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(30);
const CREATE: &str = "/v1/operations";
const BATCH: &str = "/v1/operations:batchCreate";

async fn evil(server: &Server) -> Caller {
    server.caller(Access::organization("evil"), &[Scope::Admin]).await
}

/// Asks until it is so; `what` says what did not come about otherwise.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect(what);
}

/// Waits until the server has this number of requests under way.
async fn under_way(server: &Server, requests: usize) {
    let line = format!("longrun_http_requests_in_flight {requests}\n");
    until("the requests arrive", async || server.services.metrics.render().contains(&line)).await;
}

/// A server with little memory for bodies: four of the largest, two of them for one organization.
async fn small() -> Server {
    Server::with_settings(|settings| {
        settings.body_limit = 64 * 1024;
        settings.body_memory = 256 * 1024;
    })
    .await
}

/// A creation of about this number of bytes.
fn creation(bytes: usize) -> String {
    json!({"kind": "scan", "input": "x".repeat(bytes)}).to_string()
}

/// Begins calls with such bodies that never end, until there is no capacity for another one of the caller's.
async fn take_the_share(caller: &Caller, path: &str, bytes: usize) -> Vec<tokio::net::TcpStream> {
    let body = vec![b' '; bytes];
    let mut held = Vec::new();
    let taking = async {
        loop {
            let answer = caller.post(path, body.clone()).await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!((answer.reason().as_str(), answer.header("retry-after")), ("TOO_MANY_LARGE_BODIES", "1"));
                return;
            }
            held.push(caller.begin(path, bytes + 1, &body).await);
        }
    };
    tokio::time::timeout(DEADLINE, taking).await.expect("the share has an end");
    assert!(!held.is_empty(), "there was no room for the first");
    held
}

async fn until_it_is_taken(caller: &Caller, path: &str, body: &[u8]) {
    let is_taken = async || caller.post(path, body.to_vec()).await.status != StatusCode::TOO_MANY_REQUESTS;
    until("what was broken off is free again", is_taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_announced_and_not_sent_takes_no_memory() {
    let server = Server::start().await;
    let (evil, acme) = (evil(&server).await, server.acme().await);
    // As much as there is for all, 256 MiB, and half as much again.
    let mut held = Vec::new();
    for _ in 0..192 {
        held.push(evil.begin(CREATE, 2 * 1024 * 1024, b"{").await);
    }
    under_way(&server, held.len()).await;
    for caller in [&acme, &evil] {
        let answer = caller.post(CREATE, creation(10_000)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organization_cannot_take_the_memory_of_all() {
    let server = small().await;
    let (evil, acme) = (evil(&server).await, server.acme().await);
    let held = take_the_share(&evil, CREATE, 60 * 1024).await;
    let answer = acme.post(CREATE, creation(60_000)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    // Bodies of workers' calls are counted separately, also those of the organization itself.
    for access in [Access::organization("evil"), Access::organization("acme")] {
        let worker = server.caller(access.clone(), &[Scope::OperationsWork]).await;
        server.store.create(&access.organization, vec![operations::NewOperation::of_kind("scan")], None).await.unwrap();
        let claimed = claim(&worker, 1).await.remove(0);
        let row = json!({"id": claimed["operation"]["id"], "lease_token": claimed["lease_token"]});
        let beat = json!({"operations": [row]}).to_string();
        assert_eq!(worker.post("/v1/operations:heartbeat", beat).await.status, StatusCode::OK);
        let mut end = row.clone();
        end["output"] = "x".repeat(50_000).into();
        let answer = worker.post("/v1/operations:settle", json!({"results": [end]}).to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    drop(held);
    until_it_is_taken(&evil, CREATE, creation(60_000).as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_workers_send_is_bounded_too_and_shared() {
    let server = small().await;
    let evil = evil(&server).await;
    let _held = take_the_share(&evil, "/v1/operations:settle", 60 * 1024).await;
    // As large as a body may be, and read as a whole before it is refused because of its content.
    let answer = worker(&server).await.post("/v1/operations:heartbeat", vec![b' '; 64 * 1024]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "of another organization: {answer:?}");
    let answer = evil.post(CREATE, creation(60_000)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_organization_cannot_take_the_places_of_large_bodies() {
    let server = Server::with_settings(|settings| settings.body_limit = 8 * 1024).await;
    let (evil, acme) = (evil(&server).await, server.acme().await);
    // A body that is only announced takes no place.
    let mut announced = Vec::new();
    for _ in 0..8 {
        announced.push(evil.begin(BATCH, 30_000, b"{").await);
    }
    under_way(&server, announced.len()).await;
    let batch = json!({"operations": [{"kind": "scan", "input": "x".repeat(20_000)}]}).to_string();
    assert_eq!(evil.post(BATCH, batch.clone()).await.status, StatusCode::OK);
    let held = take_the_share(&evil, BATCH, 20_000).await;
    let answer = acme.post(BATCH, batch.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    drop(held);
    until_it_is_taken(&evil, BATCH, batch.as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_given_up() {
    let server = Server::with_settings(|settings| {
        settings.body_idle_timeout = Duration::from_secs(2);
        settings.body_min_rate = 1024 * 1024;
        settings.request_timeout = Duration::from_secs(600);
    })
    .await;
    let acme = server.acme().await;
    for path in [CREATE, "/v1/evidence"] {
        let stream = acme.begin(path, 60_000, b"{").await;
        let (mut answers, mut body) = stream.into_split();
        // Never silent for as long as a body may pause.
        let trickling = tokio::spawn(async move {
            while body.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answer = [0; 4096];
        let read = tokio::time::timeout(DEADLINE, answers.read(&mut answer)).await.expect("it is given up").unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 504"), "{path}: {answer}");
        assert!(answer.contains("waiting for the request's body took too long"), "{path}: {answer}");
        trickling.abort();
    }
    // A client that pauses now and then, but is fast overall, is not refused.
    let (content, auth) = ("x".repeat(50_000), acme.authorization_line());
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("POST /v1/evidence HTTP/1.1\r\nhost: t\r\n{auth}content-length: 50000\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for half in content.as_bytes().chunks(25_000) {
        stream.write_all(half).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_taken_up_to_the_limit() {
    let server = Server::with_settings(|settings| settings.body_limit = 64 * 1024).await;
    let acme = server.acme().await;
    let chunked = |body: String| {
        let auth = acme.authorization_line();
        let length = body.len();
        format!(
            "POST /v1/operations HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{auth}content-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    let answer = acme.raw(chunked(creation(65_000)).as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = acme.raw(chunked(creation(66_000)).as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(acme.send(Method::GET, CREATE, &[], "").await.ids().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_body_over_http_need_no_memory_over_grpc_either() {
    let server = small().await;
    let acme = server.acme().await;
    let id = server.pending("scan").await.id.to_string();
    let mut client = AsyncOperationsServiceClient::new(connect(&acme).await);
    // Each takes as much memory as a message of unknown length, and some are refused.
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(acme.begin(CREATE, 60 * 1024, b"{").await);
    }
    let request = wire::CreateOperationRequest { kind: "scan".to_owned(), ..Default::default() };
    let mut refused = None;
    until("its share is used up", async || {
        refused = client.create_operation(request.clone()).await.err().map(|status| status.code());
        refused.is_some()
    })
    .await;
    assert_eq!(refused, Some(tonic::Code::ResourceExhausted));
    let request = wire::GetOperationRequest { operation_id: id.clone(), ..Default::default() };
    client.get_operation(request).await.unwrap();
    let request = wire::CancelOperationRequest { operation_id: id.clone() };
    let cancelled = client.cancel_operation(request).await.unwrap().into_inner().operation.unwrap();
    assert_eq!(cancelled.status(), wire::AsyncOperationStatus::Failed);
    // They are as long as a path and a query may be.
    let request = wire::GetOperationRequest { operation_id: id.repeat(1_000), ..Default::default() };
    assert_eq!(client.get_operation(request).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_wait_over_grpc_leave_the_memory_to_others() {
    // An organization has space for two messages of unknown length.
    let server = Server::with_settings(|settings| {
        settings.body_limit = 20 * 1024;
        settings.body_memory = 0;
    })
    .await;
    let worker = worker(&server).await;
    let claim = |seconds| wire::ClaimOperationsRequest {
        kinds: vec!["scan".to_owned()],
        wait: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let mut waiting = Vec::new();
    for requests in 1..=2 {
        let mut client = WorkerServiceClient::new(connect(&worker).await);
        let request = claim(60);
        waiting.push(tokio::spawn(async move { client.claim_operations(request).await }));
        under_way(&server, requests).await;
    }
    let mut client = WorkerServiceClient::new(connect(&worker).await);
    // A moment ago they may still have been read.
    until("claims that wait hold no memory", async || client.claim_operations(claim(0)).await.is_ok()).await;
    assert!(waiting.iter().all(|waits| !waits.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_evidence_over_grpc_take_memory_until_they_have_arrived() {
    use futures_util::{StreamExt, stream};
    // An organization has space for one part.
    let server = Server::with_settings(|settings| {
        settings.body_limit = 64 * 1024;
        settings.body_memory = 4 * 1024 * 1024;
    })
    .await;
    let (acme, evil) = (server.acme().await, evil(&server).await);
    let part = wire::PutEvidenceRequest { content: "part".into(), ..Default::default() };
    let mut slow = EvidenceServiceClient::new(connect(&evil).await);
    let first = part.clone();
    let unfinished = tokio::spawn(async move {
        // Refused while one of those below is stored.
        while slow.put_evidence(stream::iter([first.clone()]).chain(stream::pending())).await.is_err() {}
    });
    let mut client = EvidenceServiceClient::new(connect(&evil).await);
    let mut put =
        async || client.put_evidence(stream::iter([part.clone()])).await.map(drop).map_err(|status| status.code());
    until("another part has no space", async || put().await == Err(tonic::Code::ResourceExhausted)).await;
    let mut other = EvidenceServiceClient::new(connect(&acme).await);
    other.put_evidence(stream::iter([part.clone()])).await.unwrap();
    unfinished.abort();
    until("what was broken off is free again", async || put().await.is_ok()).await;
}
