//! `POST /v1/operations:bulk`, and concurrency keys of creations.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome, Projects};
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

const PATH: &str = "/v1/operations:bulk";

async fn bulk(caller: &Caller, body: Value) -> Answer {
    caller.post(PATH, body.to_string()).await
}

/// A server with operations of acme that failed: 20 of the project a and 10 of the project b.
async fn with_failures() -> Server {
    let server = Server::start().await;
    for (project, count) in [("a", 20), ("b", 10)] {
        for _ in 0..count {
            let new = NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") };
            server.ended(new, Outcome::Failed { message: "broken".to_owned(), retryable: false }).await;
        }
    }
    server
}

#[tokio::test]
async fn a_dry_run_tells_how_many_match_and_changes_nothing() {
    let server = with_failures().await;
    let caller = server.acme().await;
    let answer = bulk(&caller, json!({"action": "delete", "filter": "status = FAILED", "dry_run": true})).await;
    assert_eq!(answer.json(), json!({"matching_count": 30, "count_is_exact": true}));
    assert_eq!(caller.get("/v1/operations").await.json()["pagination"]["total_count"], 30);
}

#[tokio::test]
async fn it_begins_an_operation_that_lists_show_and_the_audit_log_tells() {
    let server = with_failures().await;
    let (caller, _) = server.caller_and_token(Access::organization("acme"), &Scope::ALL).await;
    let answer = bulk(&caller, json!({"action": "retry", "filter": "status = FAILED AND created_at >= \"-1h\""})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let operation = answer.json()["operation"].clone();
    assert_eq!((&operation["kind"], &answer.json()["matching_count"]), (&json!("bulk"), &json!(30)));
    assert_eq!(caller.get("/v1/operations?kind=bulk").await.ids(), [operation["id"].as_str().unwrap()]);
    let entry = caller.get("/v1/audit").await.json()["entries"][0].clone();
    assert_eq!(entry["action"], "operations.bulk");
    let targets = entry["targets"].to_string();
    let expected = ["bulk/retry", "status = FAILED", operation["id"].as_str().unwrap()];
    assert!(expected.iter().all(|part| targets.contains(part)), "{targets}");
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_although_nothing_matches_any_more() {
    let server = with_failures().await;
    let caller = server.acme().await;
    let order = || json!({"action": "retry", "filter": "status = FAILED", "expected_count": 30}).to_string();
    let call = async |key: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        caller.send(Method::POST, PATH, &headers, order()).await
    };
    let first = call("k").await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    // It is carried out by an engine; here, by hand.
    for id in caller.get("/v1/operations?status=ASYNC_OPERATION_STATUS_FAILED").await.ids() {
        caller.post(&format!("/v1/operations/{id}:retry"), "").await;
    }
    let again = call("k").await;
    assert_eq!((again.status, &again.json()["operation"]["id"]), (StatusCode::OK, &first.json()["operation"]["id"]));
    assert_eq!(call("another").await.reason(), "COUNT_DIFFERS");
}

#[tokio::test]
async fn a_count_that_differs_by_more_than_a_tenth_is_409_with_the_count_now() {
    let server = with_failures().await;
    let caller = server.acme().await;
    let expecting = |count| json!({"action": "cancel", "filter": "status = FAILED", "expected_count": count});
    for count in [26, 34, 0] {
        let answer = bulk(&caller, expecting(count)).await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::CONFLICT, "COUNT_DIFFERS"));
        assert!(answer.json()["message"].as_str().unwrap().starts_with("30 operations match now"), "{answer:?}");
        assert!(answer.text().contains(r#""count":"30""#), "{answer:?}");
    }
    assert_eq!(caller.get("/v1/operations?kind=bulk").await.ids(), Vec::<String>::new());
    assert_eq!(bulk(&caller, expecting(28)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_is_told_field_by_field() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let answer = bulk(&caller, json!({"action": "explode", "filter": "colour = red", "expected_count": -1})).await;
    let mut violated = answer.violated();
    violated.sort();
    assert_eq!(violated, ["action", "expected_count", "filter"]);
    assert_eq!(bulk(&caller, json!({"action": "cancel"})).await.violated(), ["filter"]);
}

#[tokio::test]
async fn a_repeated_request_with_a_key_begins_one() {
    let server = with_failures().await;
    let caller = server.acme().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let body = json!({"action": "retry", "filter": "created_at >= \"-1h\""}).to_string();
    let first = caller.send(Method::POST, PATH, &headers, body.clone()).await.json();
    let again = caller.send(Method::POST, PATH, &headers, body).await.json();
    assert_eq!(first["operation"]["id"], again["operation"]["id"]);
    let other = json!({"action": "delete", "filter": "created_at >= \"-1h\""}).to_string();
    assert_eq!(caller.send(Method::POST, PATH, &headers, other).await.reason(), "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_limited_caller_learns_of_its_projects_alone() {
    let server = with_failures().await;
    let projects = Projects::Only(BTreeSet::from(["b".to_owned()]));
    let access = Access { organization: "acme".to_owned(), projects };
    let caller = server.caller(access, &[Scope::OperationsWrite]).await;
    let answer = bulk(&caller, json!({"action": "delete", "filter": "status = FAILED", "dry_run": true})).await;
    assert_eq!(answer.json()["matching_count"], 10);
}

#[tokio::test]
async fn a_limited_caller_sees_and_stops_the_operation_that_it_began() {
    let server = with_failures().await;
    for (projects, filter) in [
        (vec!["b"], "status = FAILED"),
        (vec!["b"], "status = FAILED AND project_id = a"),
        (vec!["a", "b"], "status = FAILED AND project_id = b"),
        (vec!["b", "c"], "status = FAILED AND project_id = (a OR b)"),
    ] {
        let access = Access::projects("acme", projects);
        let caller = server.caller(access, &[Scope::OperationsRead, Scope::OperationsWrite]).await;
        let begun = bulk(&caller, json!({"action": "retry", "filter": filter})).await;
        assert_eq!(begun.status, StatusCode::OK, "{filter}: {begun:?}");
        let operation = begun.json()["operation"].clone();
        assert_eq!(operation["project_id"], "b", "{filter}");
        let path = format!("/v1/operations/{}", operation["id"].as_str().unwrap());
        assert_eq!(caller.get(&path).await.status, StatusCode::OK, "{filter}");
        assert_eq!(caller.post(&format!("{path}:cancel"), "{}").await.status, StatusCode::OK, "{filter}");
    }
}

#[tokio::test]
async fn who_is_limited_to_several_projects_names_one() {
    let server = with_failures().await;
    let access = Access::projects("acme", ["a", "b"]);
    let caller = server.caller(access, &[Scope::OperationsRead, Scope::OperationsWrite]).await;
    for filter in ["status = FAILED", "project_id = (a OR b)", "project_id = c"] {
        let refused = bulk(&caller, json!({"action": "retry", "filter": filter})).await.violations();
        assert_eq!((refused.len(), refused[0].0.as_str()), (1, "filter"), "{filter}: {refused:?}");
        assert!(refused[0].1.contains("project_id = "), "{filter}: {refused:?}");
        let counted = bulk(&caller, json!({"action": "retry", "filter": filter, "dry_run": true})).await;
        assert_eq!(counted.status, StatusCode::OK, "{filter}: {counted:?}");
    }
    assert_eq!(server.acme().await.get("/v1/operations?kind=bulk").await.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_creates_operations_of_the_kind_bulk() {
    let server = Server::with(|services| services.allow_undeclared_kinds = true).await;
    let caller = server.acme().await;
    let answer = caller.post("/v1/operations", r#"{"kind":"bulk","input":{}}"#).await;
    assert_eq!(answer.violated(), ["kind"]);
}

#[tokio::test]
async fn a_creation_has_a_concurrency_key_with_a_limit() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for body in [
        json!({"kind": "scan", "concurrency_key": "prod"}),
        json!({"kind": "scan", "concurrency_key": "prod", "concurrency_limit": 1}),
    ] {
        assert_eq!(caller.post("/v1/operations", body.to_string()).await.status, StatusCode::OK);
    }
    let claim = r#"{"kinds":["scan"],"max_operations":10}"#;
    let worker = server.caller(Access::organization("acme"), &[Scope::OperationsWork]).await;
    let claimed = worker.post("/v1/operations:claim", claim).await.json();
    assert_eq!(claimed["operations"].as_array().unwrap().len(), 1, "{claimed}");
    let wrong = json!({"kind": "scan", "concurrency_key": "x".repeat(256), "concurrency_limit": 0});
    let violated = caller.post("/v1/operations", wrong.to_string()).await.violated();
    assert_eq!(violated, ["concurrency_key", "concurrency_limit"]);
    let alone = caller.post("/v1/operations", r#"{"kind":"scan","concurrency_limit":2}"#).await;
    assert_eq!(alone.violated(), ["concurrency_limit"]);
}
