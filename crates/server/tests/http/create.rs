//! `POST /v1/operations`.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use serde_json::json;
use server::KindDefaults;
use store::{ClaimRequest, Claimed, LeaseRef, Scope};

use crate::harness::{Answer, Caller, Server};

async fn claim(server: &Server) -> Claimed {
    let request = ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
    };
    server.store.claim(request).await.unwrap().remove(0)
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operation"]["id"].as_str().unwrap().to_owned()
}

async fn post_with_key(caller: &Caller, key: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    caller.send(Method::POST, "/v1/operations", &headers, body.to_owned()).await
}

#[tokio::test]
async fn a_created_operation_is_answered_with_its_location() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let body = r#"{"kind":"scan","resource_type":"repo","resource_id":"r","project_id":"p","project_version_id":"v"}"#;
    let answer = caller.post("/v1/operations", body).await;
    let id = id(&answer);
    insta::assert_snapshot!(answer.redacted(), @r#"{"operation":{"output":"","error_message":"","project_id":"p","kind":"scan","resource_type":"repo","created_at":"<time>","resource_id":"r","id":"<id>","project_version_id":"v","status":"ASYNC_OPERATION_STATUS_PENDING"}}"#);
    assert_eq!(answer.header("location"), format!("/v1/operations/{id}"));
    let got = caller.get(answer.header("location")).await;
    assert_eq!(got.body, answer.body);
}

#[tokio::test]
async fn the_proto3_json_spelling_and_nulls_are_accepted() {
    let server = Server::start().await;
    let body = r#"{"kind":"scan","resourceType":"repo","resourceId":"r","projectId":"p","projectVersionId":null,
        "maxAttempts":2,"retainFor":"3600s","timeout":"1.5s","runAfter":"2000-01-01T00:00:00Z","priority":-5}"#;
    let answer = server.acme().await.post("/v1/operations", body).await;
    assert_eq!(answer.json()["operation"]["resource_id"], "r");
    assert_eq!(claim(&server).await.timeout, Some(Duration::from_millis(1_500)));
}

#[tokio::test]
async fn run_after_keeps_an_operation_from_being_claimed() {
    let server = Server::start().await;
    let caller = server.acme().await;
    id(&caller.post("/v1/operations", r#"{"kind":"scan","run_after":"2999-01-01T00:00:00+02:00"}"#).await);
    let due = server.store.next_due(server.store.now()).await.unwrap().unwrap();
    assert_eq!(due.to_string(), "2998-12-31T22:00:00.000Z");
}

#[tokio::test]
async fn the_input_reaches_the_worker_digit_for_digit() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let input = r#"{ "b": 1.0, "a": [123456789012345678901234567890, "\u00e9"] }"#;
    id(&caller.post("/v1/operations", format!(r#"{{"kind":"scan","input":{input}}}"#)).await);
    assert_eq!(claim(&server).await.input, input);
}

#[tokio::test]
async fn every_violation_is_told_at_once() {
    let server = Server::start().await;
    let body = json!({
        "kind": "no spaces", "resource_type": "repo", "project_id": 7, "priority": -32768, "run_after": "tomorrow",
        "timeout": "1m", "max_attempts": 0, "retain_for": "-1s", "colour": "red", "input": {"fine": true},
    });
    let answer = server.acme().await.post("/v1/operations", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    insta::assert_json_snapshot!("create_violations", answer.json());
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name_with_the_known_ones() {
    let server = Server::start().await;
    let answer = server.acme().await.post("/v1/operations", r#"{"kind":"scan","max_attempt":1}"#).await;
    let violations = answer.violations();
    assert_eq!(violations[0].0, "max_attempt");
    for known in ["kind", "max_attempts", "retain_for"] {
        assert!(violations[0].1.contains(known), "{violations:?}");
    }
}

#[tokio::test]
async fn duplicate_keys_are_refused_at_any_depth() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for (body, field) in [
        (r#"{"kind":"scan","kind":"scan"}"#, "kind"),
        (r#"{"kind":"scan","resource_id":"a","resourceId":"a","resource_type":"t"}"#, "resource_id"),
        (r#"{"kind":"scan","input":{"a":[{"b":1,"b":2}]}}"#, "input"),
    ] {
        assert_eq!(caller.post("/v1/operations", body).await.violated(), [field], "{body}");
    }
}

#[tokio::test]
async fn an_undeclared_kind_is_400_naming_the_known_kinds_unless_allowed() {
    let server = Server::start().await;
    let violations = server.acme().await.post("/v1/operations", r#"{"kind":"dance"}"#).await.violations();
    assert_eq!(violations[0].0, "kind");
    assert!(violations[0].1.contains("evidence_evaluation, scan"), "{violations:?}");
    let server = Server::with(|services| services.allow_undeclared_kinds = true).await;
    id(&server.acme().await.post("/v1/operations", r#"{"kind":"dance"}"#).await);
    // A caller could have anything signed and sent in the name of longrun.
    let violations = server.acme().await.post("/v1/operations", r#"{"kind":"notice"}"#).await.violations();
    assert!(violations[0].1.contains("reserved"), "{violations:?}");
}

#[tokio::test]
async fn what_a_creation_does_not_say_is_as_its_kind_says() {
    let defaults = KindDefaults { max_attempts: 2, timeout: Some(Duration::from_secs(7)) };
    let server = Server::with(|services| services.defaults = Arc::new([("scan".to_owned(), defaults)].into())).await;
    let caller = server.acme().await;
    id(&caller.post("/v1/operations", r#"{"kind":"scan"}"#).await);
    let claimed = claim(&server).await;
    assert_eq!(claimed.timeout, defaults.timeout);
    // Two attempts may be charged.
    let lose = |lease: LeaseRef| server.store.lose(vec![(lease, Duration::ZERO)]);
    lose(claimed.lease).await.unwrap();
    let claimed = claim(&server).await;
    let id_of_it = claimed.operation.id;
    lose(claimed.lease).await.unwrap();
    let operation = server.store.get(&Access::organization("acme"), id_of_it).await.unwrap().unwrap();
    assert_eq!(operation.status, operations::Status::Failed);
    id(&caller.post("/v1/operations", r#"{"kind":"scan","timeout":"3s"}"#).await);
    assert_eq!(claim(&server).await.timeout, Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn the_same_key_and_the_same_request_create_once_however_it_is_spelt() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let first = id(&post_with_key(&caller, "k 1", r#"{"kind":"scan","input":{"a":1,"b":2},"project_id":"p"}"#).await);
    for same in [
        r#"{"kind":"scan","input":{"a":1,"b":2},"project_id":"p"}"#,
        r#"{ "projectId":"p", "input":{"b":2, "\u0061":1}, "kind":"scan", "priority": 0 }"#,
    ] {
        assert_eq!(id(&post_with_key(&caller, "k 1", same).await), first, "{same}");
    }
    assert_ne!(id(&post_with_key(&caller, "k 2", r#"{"kind":"scan"}"#).await), first);
    assert_eq!(caller.get("/v1/operations").await.ids().len(), 2);
}

#[tokio::test]
async fn the_same_key_and_another_request_are_409() {
    let server = Server::start().await;
    let caller = server.acme().await;
    id(&post_with_key(&caller, "k", r#"{"kind":"scan","input":{"a":1}}"#).await);
    for other in [
        r#"{"kind":"scan","input":{"a":1.0}}"#,
        r#"{"kind":"scan"}"#,
        r#"{"kind":"scan","input":{"a":1},"priority":1}"#,
    ] {
        let answer = post_with_key(&caller, "k", other).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{other}");
        assert_eq!(answer.reason(), "IDEMPOTENCY_KEY_REUSED");
    }
}

#[tokio::test]
async fn keys_of_two_organizations_are_apart() {
    let server = Server::start().await;
    let other = server.caller(Access::organization("other"), &[Scope::OperationsWrite]).await;
    let first = id(&post_with_key(&server.acme().await, "k", r#"{"kind":"scan"}"#).await);
    assert_ne!(id(&post_with_key(&other, "k", r#"{"kind":"scan","priority":1}"#).await), first);
}

#[tokio::test]
async fn a_key_is_1_to_256_printable_bytes_once() {
    let server = Server::start().await;
    let caller = server.acme().await;
    id(&post_with_key(&caller, &"k".repeat(256), r#"{"kind":"scan"}"#).await);
    for bad in ["", &"k".repeat(257), "a\tb", "é"] {
        assert_eq!(post_with_key(&caller, bad, r#"{"kind":"scan"}"#).await.violated(), ["Idempotency-Key"], "{bad}");
    }
    let twice = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = caller.send(Method::POST, "/v1/operations", &twice, r#"{"kind":"scan"}"#).await;
    assert_eq!(answer.violated(), ["Idempotency-Key"]);
}

#[tokio::test]
async fn a_token_limited_to_projects_creates_only_there() {
    let server = Server::start().await;
    let limited = server.caller(Access::projects("acme", ["p", "q"]), &[Scope::OperationsWrite]).await;
    id(&limited.post("/v1/operations", r#"{"kind":"scan","project_id":"p"}"#).await);
    for body in [r#"{"kind":"scan"}"#, r#"{"kind":"scan","project_id":"x"}"#] {
        let answer = limited.post("/v1/operations", body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{body}");
        assert_eq!(answer.json()["code"], 7);
        assert_eq!(answer.reason(), "PERMISSION_DENIED");
        assert!(answer.json()["message"].as_str().unwrap().contains("p, q"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_input_above_the_limit_is_400_saying_where_to_put_it() {
    let server = Server::start().await;
    let body = format!(r#"{{"kind":"scan","input":"{}"}}"#, "x".repeat(operations::MAX_INLINE_BYTES));
    let violations = server.acme().await.post("/v1/operations", body).await.violations();
    assert_eq!(violations[0].0, "input");
    assert!(violations[0].1.contains("/v1/evidence"), "{violations:?}");
}

#[tokio::test]
async fn a_creation_wakes_the_engine() {
    struct Echo;
    #[async_trait::async_trait]
    impl engine::Handler for Echo {
        async fn run(&self, attempt: engine::Attempt) -> Result<String, engine::Failure> {
            Ok(attempt.input)
        }
    }
    let mut running = None;
    let server = Server::with(|services| {
        // Nothing but the waker makes this engine look within the time of the test.
        let settings = engine::Settings { poll: Duration::from_secs(3600), ..engine::Settings::default() };
        let registry = engine::Registry::new().with("scan", Echo);
        let engine = engine::Engine::start(services.store.clone(), registry, settings, "test");
        services.waker = engine.waker();
        running = Some(engine);
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let caller = server.acme().await;
    let answer = caller.post("/v1/operations", r#"{"kind":"scan","input":{"n":1}}"#).await;
    let path = answer.header("location").to_owned();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let operation = caller.get(&path).await.json()["operation"].clone();
        if operation["status"] == "ASYNC_OPERATION_STATUS_COMPLETED" {
            assert_eq!(operation["output"], r#"{"n":1}"#);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{operation}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.unwrap().drain().await;
}
