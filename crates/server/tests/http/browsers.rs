//! What answers say to browsers, and which pages may call.

use http::{Method, StatusCode};

use crate::harness::{Answer, Server};

const ORIGIN: &str = "https://app.example.com";

/// The headers that every answer has.
fn assert_protected(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("cache-control", "no-store"),
        // Without TLS it must not be sent.
        ("strict-transport-security", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_it() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let operation = server.completed("scan", "done").await;
    let stored = acme.send(Method::POST, "/v1/evidence", &[], "evidence").await;
    let digest = stored.json()["digest"].as_str().unwrap().to_owned();
    let one = acme.get(&format!("/v1/operations/{}", operation.id)).await;
    let known = [("if-none-match", one.header("etag"))];
    let answers = [
        acme.get("/v1/operations").await,
        acme.send(Method::GET, &format!("/v1/operations/{}", operation.id), &known, "").await,
        acme.send(Method::HEAD, "/v1/operations", &[], "").await,
        acme.get(&format!("/v1/evidence/{digest}")).await,
        acme.get("/nowhere").await,
        acme.send(Method::PUT, "/v1/operations", &[], "").await,
        acme.post("/v1/operations", "{").await,
        server.nobody().get("/v1/operations").await,
        one,
    ];
    assert_eq!(answers[1].status, StatusCode::NOT_MODIFIED);
    answers.iter().for_each(assert_protected);
}

#[tokio::test]
async fn no_cache_keeps_what_any_call_reads() {
    let server = Server::start().await;
    let (acme, operation) = (server.acme().await, server.completed("scan", "done").await);
    let token = server.store.tokens(Some("acme")).await.unwrap().remove(0).id;
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let reads: Vec<&String> = paths.filter(|(_, methods)| methods.get("get").is_some()).map(|(path, _)| path).collect();
    assert!(reads.len() >= 10, "{reads:?}");
    for path in reads {
        let path = path.replace("{operation_id}", &operation.id.to_string()).replace("{token_id}", &token);
        let path = path.replace("{name}", "acme").replace("{digest}", "none");
        for caller in [&acme, &server.nobody()] {
            // An answer that has no end is answered for a HEAD request all the same.
            let answer = caller.send(Method::HEAD, &path, &[], "").await;
            assert_eq!(answer.header("cache-control"), "no-store", "{path}: {answer:?}");
            assert_eq!(answer.header("vary"), "Authorization, Cookie", "{path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn without_a_setting_no_page_of_others_may_call() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let asked = [("origin", ORIGIN), ("access-control-request-method", "GET")];
    for (method, status) in [(Method::OPTIONS, StatusCode::METHOD_NOT_ALLOWED), (Method::GET, StatusCode::OK)] {
        let answer = acme.send(method, "/v1/operations", &asked, "").await;
        assert_eq!(answer.status, status);
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")), "{answer:?}");
        assert_eq!(answer.header("vary"), "Authorization, Cookie");
    }
}

#[tokio::test]
async fn pages_of_origins_that_are_named_may_call_and_no_others() {
    let server = Server::with_settings(|settings| {
        settings.cors_origins = vec![ORIGIN.parse().unwrap(), "http://b".parse().unwrap()]
    })
    .await;
    let (acme, nobody) = (server.acme().await, server.nobody());
    // A browser asks first, without the token.
    let asked = [("origin", ORIGIN), ("access-control-request-method", "POST")];
    for path in ["/v1/operations", "/v1/operations/x:cancel", "/v1/operations:watch", "/nowhere"] {
        let answer = nobody.send(Method::OPTIONS, path, &asked, "").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
        assert_eq!(answer.header("access-control-allow-methods"), "GET, HEAD, POST, PATCH, DELETE");
        assert!(answer.header("access-control-allow-headers").contains("Authorization, Content-Type, Idempotency-Key"));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        assert_eq!((answer.header("access-control-max-age"), answer.header("vary")), ("600", "Origin"));
    }
    // Then it calls; errors can be read as well.
    for (answer, status) in [
        (acme.send(Method::GET, "/v1/operations", &[("origin", ORIGIN)], "").await, StatusCode::OK),
        (nobody.send(Method::GET, "/v1/operations", &[("origin", ORIGIN)], "").await, StatusCode::UNAUTHORIZED),
        (acme.send(Method::GET, "/nowhere", &[("origin", ORIGIN)], "").await, StatusCode::NOT_FOUND),
    ] {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, ORIGIN));
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.starts_with("X-Request-Id, ETag, Location, Retry-After"), "{exposed}");
    }
    for other in ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"] {
        for method in [Method::OPTIONS, Method::GET] {
            let asked = [("origin", other), ("access-control-request-method", "GET")];
            let answer = acme.send(method.clone(), "/v1/operations", &asked, "").await;
            assert_eq!(answer.header("access-control-allow-origin"), "", "{other}");
            assert_eq!(answer.header("vary"), "Origin");
            assert_eq!(answer.status == StatusCode::METHOD_NOT_ALLOWED, method == Method::OPTIONS);
        }
    }
}
