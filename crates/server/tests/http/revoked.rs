//! A token that is revoked while one of its calls waits: nothing that comes after that is delivered.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use operations::{Access, Outcome};
use store::{Scope, Token};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::faults::{Seen, watched};
use crate::harness::{Answer, Caller, Server};
use crate::work::{claimed, worker};

/// A test that waits longer than this for something has failed; less than the calls below wait.
const DEADLINE: Duration = Duration::from_secs(45);

/// A caller of `acme` who may do everything.
async fn caller(server: &Server) -> (Caller, Token) {
    server.caller_and_token(Access::organization("acme"), &[Scope::Admin]).await
}

/// Revokes the token and waits until the server knows.
async fn revoke(server: &Server, caller: &Caller, token: &Token) {
    assert!(server.store.revoke_token(&token.id).await.unwrap());
    let known = async {
        while caller.get("/v1/operations").await.status != StatusCode::UNAUTHORIZED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, known).await.expect("a revoked token is refused soon");
}

async fn refused(waiting: JoinHandle<Answer>) {
    let answer = tokio::time::timeout(DEADLINE, waiting).await.expect("long before the wait is over").unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"), "{answer:?}");
}

/// A claim that waits and has looked.
async fn waiting_claim(caller: &Caller, seen: &mut Seen) -> JoinHandle<Answer> {
    let asking = caller.clone();
    let claim = r#"{"kinds":["scan"],"wait":"60s"}"#;
    let waiting = tokio::spawn(async move { asking.post("/v1/operations:claim", claim).await });
    seen.claims.wait_for(|claims| *claims > 0).await.unwrap();
    waiting
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_waits_gets_nothing_and_the_operation_is_not_charged() {
    let (server, mut seen) = watched(|_| {}).await;
    let (caller, token) = caller(&server).await;
    let waiting = waiting_claim(&caller, &mut seen).await;
    revoke(&server, &caller, &token).await;
    let operation = server.pending("scan").await;
    server.services.waker.wake();
    refused(waiting).await;
    let next = worker(&server).await.post("/v1/operations:claim", r#"{"kinds":["scan"],"wait":"60s"}"#).await;
    let next = claimed(&next).remove(0);
    assert_eq!((&next["operation"]["id"], &next["attempt"]), (&operation.id.to_string().into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_waits_in_vain_is_sent_away() {
    let (server, mut seen) = watched(|_| {}).await;
    let (caller, token) = caller(&server).await;
    let waiting = waiting_claim(&caller, &mut seen).await;
    revoke(&server, &caller, &token).await;
    refused(waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_401_whether_the_operation_ends_or_not() {
    let (server, mut seen) = watched(|_| {}).await;
    for ends in [true, false] {
        let (caller, token) = caller(&server).await;
        let operation = server.pending("scan").await;
        let reads = seen.reads.borrow().ids;
        let (asking, path) = (caller.clone(), format!("/v1/operations/{}:wait?timeout=60s", operation.id));
        let waiting = tokio::spawn(async move { asking.get(&path).await });
        seen.reads.wait_for(|seen| seen.ids > reads).await.unwrap();
        revoke(&server, &caller, &token).await;
        if ends {
            let claimed = server.claim("scan").await;
            server.settle(claimed, Outcome::Completed { output: "secret".to_owned() }).await;
        }
        refused(waiting).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_and_says_why_whether_something_happens_or_not() {
    let server = Server::start().await;
    for happens in [true, false] {
        let (caller, token) = caller(&server).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("/v1/operations:watch")
            .header("host", "test")
            .header("authorization", caller.authorization.as_deref().unwrap())
            .body(Empty::<Bytes>::new())
            .unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b": watching"), "{first:?}");
        revoke(&server, &caller, &token).await;
        if happens {
            server.pending("scan").await;
        }
        let rest = tokio::time::timeout(DEADLINE, body.collect()).await.expect("it ends soon").unwrap().to_bytes();
        let rest = std::str::from_utf8(&rest).unwrap();
        // Keep-alives may come before.
        let (_, end) = rest.split_once("event: error\ndata: ").unwrap_or_else(|| panic!("{rest}"));
        let error: serde_json::Value = serde_json::from_str(end.trim_end()).unwrap();
        assert_eq!(error["code"], 16);
        assert!(!rest.contains("operation\""), "{rest}");
        connection.abort();
    }
}
