//! The error model, request ids, and what hostile or broken clients get.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use serde_json::json;
use store::Scope;

use crate::harness::Server;

#[tokio::test]
async fn every_class_of_error_has_its_wire_shape() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsWrite]).await;
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k")];
    caller.send(Method::POST, "/v1/operations", &keyed, r#"{"kind":"scan"}"#).await;
    let answers = [
        ("400 fields", caller.get("/v1/operations?status=9&kind=a&kind=b").await),
        ("400 body", caller.post("/v1/operations", "{").await),
        ("401", server.nobody().get("/v1/operations").await),
        ("403 scope", reader.post("/v1/operations", r#"{"kind":"scan"}"#).await),
        ("403 project", limited.post("/v1/operations", r#"{"kind":"scan"}"#).await),
        ("404 operation", caller.get("/v1/operations/nope").await),
        ("404 path", caller.get("/v2/operations").await),
        ("405", caller.send(Method::DELETE, "/v1/evidence", &[], "").await),
        ("409", caller.send(Method::POST, "/v1/operations", &keyed, r#"{"kind":"scan","priority":1}"#).await),
        ("413", caller.post("/v1/operations", " ".repeat(2 * 1024 * 1024 + 1)).await),
        ("415", caller.send(Method::POST, "/v1/operations", &[("content-type", "text/plain")], "{}").await),
    ];
    let mut shapes = serde_json::Map::new();
    for (name, answer) in answers {
        assert_eq!(answer.status.as_str(), &name[..3], "{answer:?}");
        shapes.insert(name.to_owned(), answer.json());
    }
    insta::assert_json_snapshot!("errors", shapes);
}

#[test]
fn every_reason_is_in_the_documented_table() {
    let source = include_str!("../../src/error.rs");
    let documented = include_str!("../../../../docs/api.md");
    let is_reason = |text: &&str| text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let reasons: Vec<&str> = source.split('"').filter(is_reason).collect();
    assert!(reasons.len() > 40, "{reasons:?}");
    for reason in reasons {
        let is_documented = documented.lines().any(|line| line.split(" | ").nth(2) == Some(&format!("`{reason}`")));
        assert!(is_documented, "{reason} is not in the table of docs/api.md");
    }
}

#[tokio::test]
async fn every_response_has_a_request_id_the_clients_own_when_it_is_harmless() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let longest = "a".repeat(128);
    for id in ["a", "Az0_.-", longest.as_str()] {
        let answer = caller.send(Method::GET, "/v1/operations", &[("x-request-id", id)], "").await;
        assert_eq!(answer.header("x-request-id"), id);
    }
    let too_long = "a".repeat(129);
    for id in ["", "a b", "a\"b", "é", too_long.as_str()] {
        let answer = caller.send(Method::GET, "/v1/operations", &[("x-request-id", id)], "").await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{id}: a new UUID");
    }
    for path in ["/v1/operations/nope", "/nope", "/v1/operations?x=1"] {
        assert_eq!(caller.get(path).await.header("x-request-id").len(), 36, "{path}");
    }
    assert_eq!(server.nobody().get("/v1/operations").await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn only_plain_json_is_taken_for_json() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let send = |headers: Vec<(&'static str, &'static str)>| {
        let caller = caller.clone();
        async move { caller.send(Method::POST, "/v1/operations", &headers, r#"{"kind":"scan"}"#).await.status }
    };
    assert_eq!(send(vec![("content-type", "Application/JSON; charset=utf-8")]).await, StatusCode::OK);
    for headers in [
        vec![],
        vec![("content-type", "application/x-www-form-urlencoded")],
        vec![("content-type", "application/jsonx")],
        vec![("content-type", "application/json"), ("content-encoding", "gzip")],
    ] {
        assert_eq!(send(headers.clone()).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
    }
}

#[tokio::test]
async fn deeply_nested_json_is_refused_without_a_crash() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [100, 10_000, 500_000] {
        let body = format!(r#"{{"kind":"scan","input":{}}}"#, nested(depth));
        assert_eq!(caller.post("/v1/operations", body).await.violated(), ["input"], "{depth}");
        let body = format!(r#"{{"digest":"x","policies":{}}}"#, nested(depth));
        let violated = caller.post("/v1/agents/evaluate-evidence", body).await.violated();
        assert!(violated.contains(&"policies".to_owned()), "{depth} {violated:?}");
        assert_eq!(caller.post("/v1/operations", nested(depth)).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(caller.post("/v1/operations", "[".repeat(1_000_000)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn many_violations_make_a_short_message() {
    let server = Server::start().await;
    let members: serde_json::Map<_, _> = (0..1000).map(|n| (format!("f{n}"), json!(1))).collect();
    let answer = server.acme().await.post("/v1/operations", serde_json::Value::from(members).to_string()).await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.len() < 2_000 && message.contains("more"), "{message}");
    assert!(answer.body.len() < 100_000, "{}", answer.body.len());
}

#[tokio::test]
async fn huge_headers_and_request_lines_are_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let auth = caller.authorization_line();
    let header = format!("GET /v1/operations HTTP/1.1\r\nhost: t\r\n{auth}x: {}\r\n\r\n", "a".repeat(100_000));
    assert!(caller.raw(header.as_bytes(), false).await.starts_with("HTTP/1.1 431"));
    let line = format!("GET /v1/operations?{} HTTP/1.1\r\nhost: t\r\n{auth}\r\n", "a".repeat(100_000));
    let answer = caller.raw(line.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let many = format!("GET /v1/operations HTTP/1.1\r\nhost: t\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    assert!(caller.raw(many.as_bytes(), false).await.starts_with("HTTP/1.1 431"));
    assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK, "others are served");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for bytes in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"] {
        let answer = caller.raw(bytes.as_bytes(), true).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test]
async fn two_different_content_lengths_are_refused() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let auth = caller.authorization_line();
    let request = format!(
        "POST /v1/operations HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\ncontent-length: 15\r\ncontent-length: 16\r\n\r\n{{\"kind\":\"scan\"}}"
    );
    assert!(caller.raw(request.as_bytes(), true).await.starts_with("HTTP/1.1 400"));
    assert!(caller.get("/v1/operations").await.ids().is_empty());
}

#[tokio::test]
async fn headers_that_come_too_slowly_end_the_connection() {
    let server = Server::with_settings(|settings| settings.header_read_timeout = Duration::from_millis(100)).await;
    let caller = server.acme().await;
    // Nothing, half of HTTP/2's preface, all of it without a request, and half of a request of HTTP/1.
    for start in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /v1/operations HTTP/1.1\r\nhost: t\r\n"] {
        let answer = caller.raw(start.as_bytes(), false).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{start:?}: {answer}");
    }
}

#[tokio::test]
async fn bodies_that_pause_for_too_long_are_504() {
    let server = Server::with_settings(|settings| settings.body_idle_timeout = Duration::from_millis(100)).await;
    let caller = server.acme().await;
    let auth = caller.authorization_line();
    for path in ["/v1/operations", "/v1/agents/evaluate-evidence", "/v1/evidence"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"kind\":"
        );
        let answer = caller.raw(request.as_bytes(), false).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{path}: {answer}");
        assert!(answer.contains("\"code\":4"), "{answer}");
    }
    assert!(caller.get("/v1/operations").await.ids().is_empty());
}

#[tokio::test]
async fn requests_that_take_too_long_are_504() {
    let server = Server::with_settings(|settings| settings.request_timeout = Duration::from_millis(100)).await;
    let caller = server.acme().await;
    let auth = caller.authorization_line();
    let request = format!(
        "POST /v1/operations HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    );
    assert!(caller.raw(request.as_bytes(), false).await.starts_with("HTTP/1.1 504"));
}

#[tokio::test]
async fn truncated_bodies_make_nothing() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let auth = caller.authorization_line();
    for (path, framing) in [
        ("/v1/operations", "content-length: 100\r\n\r\n{\"kind\":\"scan\"}"),
        ("/v1/operations", "transfer-encoding: chunked\r\n\r\nf\r\n{\"kind\":\"scan\"}\r\n"),
        ("/v1/evidence", "content-length: 100\r\n\r\nhalf"),
        ("/v1/evidence", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("/v1/evidence", "transfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: t\r\n{auth}content-type: application/json\r\n{framing}");
        let answer = caller.raw(request.as_bytes(), true).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{path} {framing}: {answer}");
    }
    assert!(caller.get("/v1/operations").await.ids().is_empty());
    let digest = store::Digest::of(b"half");
    assert_eq!(caller.get(&format!("/v1/evidence/{digest}")).await.status, StatusCode::NOT_FOUND);
}
