//! The access log: one line per request, with what operators need and without secrets.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use http::Method;
use serde_json::Value;

use crate::faults::{Fault, SECRET_CAUSE, faulty};
use crate::harness::Server;

thread_local! {
    /// What this thread logged. Each test has a thread and a runtime of its own, its server included.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to [`LINES`].
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on. One subscriber for all threads: `tracing` caches per call site, not per thread,
/// whether anybody listens.
fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt().json().with_writer(|| Writer).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What was logged.
fn logged() -> String {
    LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap())
}

/// The fields of the one line of a request.
fn line_of(request_id: &str) -> Value {
    let text = logged();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_it = |line: &Value| line["target"] == "longrun::access" && line["fields"]["request_id"] == request_id;
    lines.find(is_it).unwrap_or_else(|| panic!("no line of {request_id} in {text}"))["fields"].clone()
}

#[tokio::test]
async fn a_request_is_one_line_that_says_who_what_and_how_it_went() {
    capture();
    let server = Server::start().await;
    let caller = server.acme().await;
    let answer = caller.send(Method::GET, "/v1/operations?kind=secret-kind", &[("x-request-id", "r-1")], "").await;
    let fields = line_of("r-1");
    assert_eq!(fields["method"], "GET");
    assert_eq!((&fields["route"], &fields["path"]), (&"/v1/operations".into(), &"/v1/operations".into()));
    assert_eq!((&fields["status"], &fields["bytes"]), (&200.into(), &answer.body.len().into()));
    assert_eq!((&fields["whole"], &fields["organization"]), (&true.into(), &"acme".into()));
    let token = server.store.tokens(None).await.unwrap().remove(0);
    assert_eq!(fields["token"], token.id);
    assert!(fields["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    let headers = [("x-request-id", "r-2"), ("x-forwarded-for", "192.0.2.7")];
    caller.send(Method::GET, "/v1/operations", &headers, "").await;
    assert_eq!(line_of("r-2")["client"], "192.0.2.7", "as the proxy says");
    assert!(fields["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(!logged().contains("secret-kind"), "the query is not logged");
}

#[tokio::test]
async fn the_line_of_a_grpc_call_has_its_method_and_its_code() {
    capture();
    let server = Server::start().await;
    let path = "/longrun.v1.AsyncOperationsService/GetOperation";
    let headers = [("content-type", "application/grpc"), ("x-request-id", "r-2")];
    server.acme().await.send(Method::POST, path, &headers, b"\0\0\0\0\0".to_vec()).await;
    let fields = line_of("r-2");
    assert_eq!((&fields["route"], &fields["path"]), (&path.into(), &path.into()));
    assert_eq!((&fields["status"], &fields["grpc_code"]), (&404.into(), &5.into()));
}

#[tokio::test]
async fn tokens_are_never_logged_wherever_they_are_put() {
    capture();
    let server = Server::start().await;
    let caller = server.acme().await;
    let secret = caller.authorization.as_deref().unwrap()["Bearer ".len()..].to_owned();
    let escaped = secret.replace('_', "%5F").replace("lrn", "%6Crn");
    for path in ["/v1/operations", &format!("/v1/operations/{escaped}"), &format!("/{secret}?token={secret}")] {
        caller.get(path).await;
        server.nobody().send(Method::GET, path, &[("x-request-id", &secret)], "").await;
    }
    caller.post("/v1/operations", format!("{{\"{secret}\":1}}")).await;
    assert_eq!(logged().matches("longrun::access").count(), 7);
    assert!(!logged().contains(&secret["lrn_".len()..]), "{}", logged());
}

#[tokio::test]
async fn what_looks_like_a_token_of_a_provider_is_not_logged() {
    capture();
    let server = Server::start().await;
    let caller = server.acme().await;
    let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
    for path in [
        format!("/v1/operations/{jwt}"),
        format!("/{unsigned}"),
        format!("/v1/tokens/{}", jwt.replace('.', "%2E")),
        format!("/v1/kinds/x={jwt}:pause"),
    ] {
        caller.send(Method::GET, &path, &[("x-request-id", jwt)], "").await;
    }
    assert_eq!(logged().matches("(hidden: it contains a token)").count(), 4, "{}", logged());
    assert!(!logged().contains("eyJzdWIiOiJhIn0"), "{}", logged());
    caller
        .send(Method::GET, "/v1/evidence/v1.2.3-a_long_name_that_is_none", &[("x-request-id", "release-1.2.3")], "")
        .await;
    assert_eq!(line_of("release-1.2.3")["path"], "/v1/evidence/v1.2.3-a_long_name_that_is_none", "names are shown");
}

#[tokio::test]
async fn what_went_wrong_inside_is_logged_with_the_request_id_of_the_answer() {
    capture();
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    for fault in [Fault::Unavailable, Fault::Database, Fault::Panic] {
        switch(fault);
        let id = caller.get("/v1/operations").await.header("x-request-id").to_owned();
        let text = logged();
        let mut errors = text.lines().filter(|line| line.contains("\"ERROR\"") && line.contains(&id));
        assert!(errors.next().unwrap().contains(SECRET_CAUSE), "{text}");
    }
}

#[tokio::test]
async fn what_went_wrong_inside_is_logged_with_the_request_id_over_grpc_too() {
    capture();
    let (server, switch) = faulty().await;
    let caller = server.acme().await;
    let path = "/longrun.v1.AsyncOperationsService/ListOperations";
    for (fault, code) in [(Fault::Unavailable, "14"), (Fault::Database, "13"), (Fault::Panic, "13")] {
        switch(fault);
        let headers = [("content-type", "application/grpc")];
        let answer = caller.send(Method::POST, path, &headers, b"\0\0\0\0\0".to_vec()).await;
        assert_eq!(answer.header("grpc-status"), code, "{answer:?}");
        let text = logged();
        let id = answer.header("x-request-id");
        let mut errors = text.lines().filter(|line| line.contains("\"ERROR\"") && line.contains(id));
        assert!(errors.next().unwrap().contains(SECRET_CAUSE), "{text}");
    }
}
