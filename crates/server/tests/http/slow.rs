//! Clients that do not read, bodies that are refused, and what many of them may take.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use operations::Access;
use serde_json::json;
use store::{ContentStore, Digest, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Caller, Server};

/// More than the buffers of a connection on this machine hold.
const LARGE: usize = 64 * 1024 * 1024;

/// A server with a large piece of evidence, on which one large body at a time may be in memory.
async fn with_large_evidence(folder: &tempfile::TempDir) -> (Server, Caller, String) {
    let server = Server::with(|services| {
        services.content = ContentStore::local(folder.path(), 2 * LARGE as u64).unwrap();
        services.settings.max_large_bodies = 1;
        services.settings.body_idle_timeout = Duration::from_millis(300);
    })
    .await;
    let caller = server.acme().await;
    let content = Bytes::from(vec![b'x'; LARGE]);
    let path = format!("/v1/evidence/{}", Digest::of(&content));
    assert_eq!(caller.send(Method::POST, "/v1/evidence", &[], content).await.status, StatusCode::OK);
    (server, caller, path)
}

/// Waits until another large piece may be read.
async fn until_there_is_a_place(caller: &Caller, path: &str) {
    assert_eq!(caller.get(path).await.status, StatusCode::TOO_MANY_REQUESTS, "the slow client has the place");
    let free = async {
        while caller.get(path).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), free).await.expect("the slow client keeps the place");
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, caller, path) = with_large_evidence(&folder).await;
    let mut slow = TcpStream::connect(caller.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\n{}\r\n", caller.authorization_line());
    slow.write_all(request.as_bytes()).await.unwrap();
    // It has begun to read, so the answer is under way.
    slow.read_exact(&mut [0; 64]).await.unwrap();
    until_there_is_a_place(&caller, &path).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest)).await.expect("it was cut");
    assert!(rest.len() < LARGE, "{} bytes came", rest.len());
}

#[tokio::test]
async fn a_stream_that_reads_nothing_loses_its_place_though_its_connection_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, caller, path) = with_large_evidence(&folder).await;
    let stream = TcpStream::connect(caller.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://t{path}"))
        .header("authorization", caller.authorization.as_deref().unwrap())
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    until_there_is_a_place(&caller, &path).await;
    assert!(http_body_util::BodyExt::collect(answer.into_body()).await.is_err(), "half an answer is no whole one");
}

/// A client that writes its whole body before it reads gets the answer, and not a reset.
#[tokio::test]
async fn the_answer_to_a_large_body_that_is_refused_unread_arrives() {
    let server = Server::start().await;
    let reader = server.caller(Access::organization("acme"), &[Scope::EvidenceRead]).await;
    let writer = server.acme().await;
    let stranger = "authorization: Bearer lrn_nobody\r\n".to_owned();
    for (path, authorization, status) in [
        ("/v1/evidence", String::new(), "401"),
        ("/v1/evidence", stranger.clone(), "401"),
        ("/v1/evidence", reader.authorization_line(), "403"),
        ("/v1/agents/evaluate-evidence", stranger, "401"),
        ("/v1/agents/evaluate-evidence", reader.authorization_line(), "403"),
        ("/v1/evidence", writer.authorization_line(), "413"),
        ("/v1/operations", format!("{}content-type: text/plain\r\n", writer.authorization_line()), "415"),
        ("/v1/nowhere", writer.authorization_line(), "404"),
        ("/v1/evidence/x", writer.authorization_line(), "405"),
    ] {
        let size = 3 * 1024 * 1024;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{authorization}content-length: {size}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The second half comes long after the refusal is decided.
        for half in [0, 1] {
            tokio::time::sleep(Duration::from_millis(200 * half)).await;
            let written = stream.write_all(&vec![b'x'; size / 2]).await;
            written.unwrap_or_else(|error| panic!("{path} {status}: {error}"));
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap_or_else(|error| panic!("{path} {status}: {error}"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {status}: {answer}");
        assert!(answer.contains("\"code\":"), "{answer}");
    }
}

#[tokio::test]
async fn who_expects_to_be_told_to_continue_is_refused_at_once() {
    let server = Server::start().await;
    let head = "POST /v1/evidence HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 3000000\r\n\r\n";
    let answer = server.nobody().raw(head.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn members_and_policies_without_number_are_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let members = format!("{{{}\"kind\":\"scan\"}}", "\"x\":1,".repeat(20_000));
    let answer = caller.post("/v1/operations", members).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "MALFORMED_REQUEST"));
    assert!(answer.text().contains("more than 10000 members"), "{answer:?}");

    let evaluate = |members: serde_json::Value| {
        let caller = caller.clone();
        async move { caller.post("/v1/agents/evaluate-evidence", members.to_string()).await.violations().remove(0) }
    };
    let (field, problem) = evaluate(json!({"content": "eA==", "policies": vec![json!({"ref": "x"}); 101]})).await;
    assert_eq!((field.as_str(), problem.as_str()), ("policies", "101 are too many; at most 100 are allowed"));
    let (field, _) = evaluate(json!({"content": "eA==", "policy_groups": vec![json!({"ref": "x"}); 21]})).await;
    assert_eq!(field, "policy_groups");
    let (field, problem) = evaluate(json!({"content": "eA==", "policies": [{"ref": "x".repeat(1_100_000)}]})).await;
    assert_eq!((field.as_str(), problem.contains("is longer than")), ("policies", true), "{problem}");
    let (field, _) = evaluate(json!({"content": "eA==", "name": "x".repeat(257), "policies": [{"ref": "x"}]})).await;
    assert_eq!(field, "name");
}
