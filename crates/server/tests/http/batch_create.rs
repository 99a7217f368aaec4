//! `POST /v1/operations:batchCreate`.

use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

const PATH: &str = "/v1/operations:batchCreate";

async fn batch(caller: &Caller, operations: Value) -> Answer {
    caller.post(PATH, json!({ "operations": operations }).to_string()).await
}

async fn count(caller: &Caller) -> Value {
    caller.get("/v1/operations").await.json()["pagination"]["total_count"].clone()
}

#[tokio::test]
async fn a_batch_is_created_whole_and_in_its_order() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operations = json!([{"kind": "scan", "project_id": "a"}, {"kind": "scan", "input": [1.0], "maxAttempts": 2}]);
    let answer = batch(&caller, operations).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"operations":[{"output":"","error_message":"","project_id":"a","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_PENDING"},{"output":"","error_message":"","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_PENDING"}]}"#);
    let mut newest_first = caller.get("/v1/operations").await.ids();
    newest_first.reverse();
    assert_eq!(answer.ids(), newest_first);
}

#[tokio::test]
async fn errors_name_the_entry_and_nothing_is_created() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operations = json!([
        {"kind": "scan"}, {"kind": "no spaces", "priority": 101}, 7, {"kind": "dance", "colour": "red"},
        {"kind": "scan", "resource_id": "r"},
    ]);
    let mut violated = batch(&caller, operations).await.violated();
    violated.sort();
    let expected = [
        "operations[1].kind",
        "operations[1].priority",
        "operations[2]",
        "operations[3].colour",
        "operations[3].kind",
        "operations[4].resource_id",
    ];
    assert_eq!(violated, expected);
    let evaluation = json!([{"kind": "scan"}, {"kind": "evidence_evaluation", "input": {"digest": "sha256:0"}}]);
    let violated = batch(&caller, evaluation).await.violated();
    assert!(
        !violated.is_empty() && violated.iter().all(|field| field.starts_with("operations[1].input")),
        "{violated:?}"
    );
    assert_eq!(count(&caller).await, 0);
}

#[tokio::test]
async fn a_batch_has_1_to_1000_entries() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for body in [json!({}), json!({"operations": []}), json!({"operations": vec![json!({"kind": "scan"}); 1_001]})] {
        assert_eq!(caller.post(PATH, body.to_string()).await.violated(), ["operations"]);
    }
    assert_eq!(caller.post(PATH, r#"{"operations":[{"kind":"scan"}],"x":1}"#).await.violated(), ["x"]);
    let large: Vec<Value> =
        (0..1_000).map(|n| json!({"kind": "scan", "input": "x".repeat(3_000), "priority": n % 7})).collect();
    let answer = batch(&caller, Value::from(large)).await;
    assert_eq!(answer.ids().len(), 1_000, "3 MB are more than a single creation may have");
    assert_eq!(count(&caller).await, 1_000);
    assert_eq!(server.store.doctor().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_batch_with_a_key_is_created_once() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let send = async |body: &'static str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        caller.send(Method::POST, PATH, &headers, body).await
    };
    let first = send(r#"{"operations":[{"kind":"scan"},{"kind":"scan","priority":1}]}"#).await;
    let same = send(r#"{"operations":[{"priority":0,"kind":"scan"}, {"kind":"scan","priority":1}]}"#).await;
    assert_eq!(first.ids(), same.ids());
    let another = send(r#"{"operations":[{"kind":"scan","priority":1},{"kind":"scan"}]}"#).await;
    assert_eq!((another.status, another.reason().as_str()), (StatusCode::CONFLICT, "IDEMPOTENCY_KEY_REUSED"));
    let deleted = format!("/v1/operations/{}", first.ids()[1]);
    caller.send(Method::POST, &format!("{deleted}:cancel"), &[], "").await;
    caller.send(Method::DELETE, &deleted, &[], "").await;
    let repeated = send(r#"{"operations":[{"kind":"scan"},{"kind":"scan","priority":1}]}"#).await;
    assert_eq!(repeated.reason(), "IDEMPOTENT_OPERATION_DELETED");
    assert_eq!(count(&caller).await, 1);
}

#[tokio::test]
async fn a_batch_stays_within_the_projects_of_its_token() {
    let server = Server::start().await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsWrite]).await;
    let allowed = json!({"kind": "scan", "project_id": "p"});
    let answer = batch(&limited, json!([allowed, {"kind": "scan", "project_id": "q"}])).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("operations[1].project_id is not one of the token"), "{message}");
    assert_eq!(batch(&limited, json!([allowed])).await.status, StatusCode::OK);
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    assert_eq!(batch(&reader, json!([allowed])).await.reason(), "SCOPE_MISSING");
    assert_eq!(count(&reader).await, 1);
}

#[tokio::test]
async fn of_violations_without_number_the_first_are_told() {
    let server = Server::start().await;
    let caller = server.acme().await;
    // Each unknown member is a violation, and so is each key except the first one.
    let row = format!("{{\"kind\":\"scan\",\"unique_key\":\"a\"{}}}", ",\"x\":0".repeat(400));
    let body = format!("{{\"operations\":[{}]}}", vec![row; 300].join(","));
    let answer = caller.post(PATH, body).await;
    let violated = answer.violated();
    assert_eq!(violated.len(), 100);
    assert!(violated.iter().all(|field| field == "operations[0].x"), "{violated:?}");
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("; and 96 more"), "{message}");
    // Where there is space for all, keys that occur twice are reported with the rest.
    let few = json!([{"kind": "scan", "unique_key": "a", "x": 0}, {"kind": "scan", "unique_key": "a"}]);
    assert_eq!(batch(&caller, few).await.violated(), ["operations[0].x", "operations[1].unique_key"]);
}
