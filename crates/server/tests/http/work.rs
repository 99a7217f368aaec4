//! The worker protocol: what a worker is given, what it is answered, and what it may not touch.

use std::sync::Arc;

use http::StatusCode;
use operations::{Access, NewOperation, OperationId};
use serde_json::{Value, json};
use server::KindDefaults;
use store::Scope;

use crate::harness::{Answer, Caller, Server, redact};

/// Workers of `acme`.
pub async fn worker(server: &Server) -> Caller {
    server.caller(Access::organization("acme"), &[Scope::OperationsWork]).await
}

/// Claims of the kind `scan` without waiting.
pub async fn claim(worker: &Caller, max_operations: u32) -> Vec<Value> {
    let body = json!({"kinds": ["scan"], "max_operations": max_operations});
    claimed(&worker.post("/v1/operations:claim", body.to_string()).await)
}

pub fn claimed(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operations"].as_array().unwrap().clone()
}

/// The row of a later call about a claimed operation.
fn row(claimed: &Value, rest: Value) -> Value {
    let mut row = json!({"id": claimed["operation"]["id"], "lease_token": claimed["lease_token"]});
    row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    row
}

async fn settle(worker: &Caller, rows: &[Value]) -> Vec<Value> {
    let answer = worker.post("/v1/operations:settle", json!({"results": rows}).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["results"].as_array().unwrap().clone()
}

async fn heartbeat(worker: &Caller, rows: &[Value]) -> Vec<Value> {
    let answer = worker.post("/v1/operations:heartbeat", json!({"operations": rows}).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_operation_is_claimed_kept_and_settled() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    let create = r#"{"kind":"scan","input":{"image": "alpine", "n": 1.0},"timeout":"1.5s","project_id":"p"}"#;
    let created = server.acme().await.post("/v1/operations", create).await;
    let path = created.header("location").to_owned();

    let answer = worker.post("/v1/operations:claim", r#"{"kinds":["scan"],"max_operations":10,"wait":"60s"}"#).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"operations":[{"operation":{"output":"","error_message":"","project_id":"p","kind":"scan","resource_type":"","created_at":"<time>","started_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_RUNNING"},"organization":"acme","input":{"image": "alpine", "n": 1.0},"attempt":1,"lease_token":"v1.1.1","lease_expires_at":"<time>","timeout":"1.5s","cancel_requested":false}],"lease_duration":"30s"}"#);
    let claimed = claimed(&answer).remove(0);

    let beats = json!({"operations": [row(&claimed, json!({"progress": "half way"}))]}).to_string();
    let answer = worker.post("/v1/operations:heartbeat", beats).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"operations":[{"id":"<id>","lease_expires_at":"<time>","cancel_requested":false}]}"#);
    let extended = answer.json()["operations"][0]["lease_expires_at"].as_str().unwrap().to_owned();
    assert!(extended.as_str() >= claimed["lease_expires_at"].as_str().unwrap(), "{extended}");

    let results = json!({"results": [row(&claimed, json!({"output": "done"}))]}).to_string();
    let answer = worker.post("/v1/operations:settle", results.clone()).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"results":[{"id":"<id>","status":"ASYNC_OPERATION_STATUS_COMPLETED"}]}"#);
    assert_eq!(server.acme().await.get(&path).await.json()["operation"]["output"], "done");

    // An answer may be lost: a worker that asks again is answered with what was recorded.
    let answer = worker.post("/v1/operations:settle", results).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"results":[{"id":"<id>","status":"ASYNC_OPERATION_STATUS_COMPLETED"}]}"#);
    let other = json!({"results": [row(&claimed, json!({"output": "other"}))]}).to_string();
    let answer = worker.post("/v1/operations:settle", other).await;
    insta::assert_snapshot!(answer.redacted(), @r#"{"results":[{"id":"<id>","error":{"code":10,"message":"the lease token does not belong to the current attempt: the attempt was lost or has been settled with another outcome, and this result is not recorded","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"STALE_LEASE","domain":"longrun","metadata":{}}]}}]}"#);
}

#[tokio::test]
async fn a_failure_that_is_told_twice_is_recorded_once() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    for (failure, status) in [
        (json!({"error_message": "busy", "retryable": true}), "ASYNC_OPERATION_STATUS_PENDING"),
        (json!({"error_message": "broken"}), "ASYNC_OPERATION_STATUS_FAILED"),
    ] {
        server.pending("scan").await;
        let claimed = claim(&worker, 1).await.remove(0);
        for _ in 0..2 {
            let told = settle(&worker, &[row(&claimed, failure.clone())]).await;
            assert_eq!(told[0]["status"], status, "{told:?}");
        }
        let told = settle(&worker, &[row(&claimed, json!({"error_message": "other", "retryable": true}))]).await;
        assert_eq!(told[0]["error"]["code"], 10, "{told:?}");
    }
}

#[tokio::test]
async fn an_operation_without_input_has_null_and_the_servers_time_limit() {
    let server = Server::start().await;
    server.pending("scan").await;
    let claimed = claim(&worker(&server).await, 1).await.remove(0);
    assert_eq!((&claimed["input"], &claimed["timeout"]), (&Value::Null, &json!("600s")));
}

#[tokio::test]
async fn the_time_limit_of_a_kind_goes_before_the_servers() {
    let limit = KindDefaults { timeout: Some(std::time::Duration::from_secs(3)), ..KindDefaults::default() };
    let server = Server::with(|services| services.defaults = Arc::new([("scan".to_owned(), limit)].into())).await;
    // As from an inbox, which knows no kinds.
    server.pending("scan").await;
    assert_eq!(claim(&worker(&server).await, 1).await.remove(0)["timeout"], "3s");
}

#[tokio::test]
async fn a_stale_token_changes_nothing_and_the_other_rows_stand() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    server.pending("scan").await;
    let first = claim(&worker, 1).await.remove(0);
    settle(&worker, &[row(&first, json!({"release": true}))]).await;
    let second = claim(&worker, 1).await.remove(0);
    assert_eq!(second["operation"]["id"], first["operation"]["id"]);
    server.pending("scan").await;
    let other = claim(&worker, 1).await.remove(0);

    let told = heartbeat(&worker, &[row(&first, json!({})), row(&other, json!({}))]).await;
    assert_eq!((&told[0]["error"]["code"], &told[1]["error"]), (&json!(10), &Value::Null));
    let rows = [row(&first, json!({"output": "late"})), row(&other, json!({"output": "done"}))];
    let told = settle(&worker, &rows).await;
    assert_eq!(told[0]["error"]["details"][0]["reason"], "STALE_LEASE");
    assert_eq!(told[1]["status"], "ASYNC_OPERATION_STATUS_COMPLETED");
    assert_eq!(settle(&worker, &[row(&second, json!({"output": "x"}))]).await[0]["error"], Value::Null, "still held");
}

#[tokio::test]
async fn a_failure_is_final_unless_it_is_retryable_and_a_release_is_not_charged() {
    let server = Server::with_settings(|settings| settings.work.backoff.base = std::time::Duration::ZERO).await;
    let worker = worker(&server).await;
    server.create(NewOperation { max_attempts: 2, ..NewOperation::of_kind("scan") }).await;
    let first = claim(&worker, 1).await.remove(0);
    let told = settle(&worker, &[row(&first, json!({"release": true}))]).await;
    assert_eq!(told[0], json!({"id": first["operation"]["id"]}));
    for (attempt, status) in [(1, "ASYNC_OPERATION_STATUS_PENDING"), (2, "ASYNC_OPERATION_STATUS_FAILED")] {
        let claimed = claim(&worker, 1).await.remove(0);
        assert_eq!(claimed["attempt"], attempt);
        let failure = json!({"error_message": "no luck", "retryable": true});
        assert_eq!(settle(&worker, &[row(&claimed, failure)]).await[0]["status"], status);
    }
    server.pending("scan").await;
    let claimed = claim(&worker, 1).await.remove(0);
    let told = settle(&worker, &[row(&claimed, json!({"error_message": "bad input"}))]).await;
    assert_eq!(told[0]["status"], "ASYNC_OPERATION_STATUS_FAILED");
}

#[tokio::test]
async fn a_heartbeat_tells_that_the_operation_is_to_be_stopped() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    server.pending("scan").await;
    let claimed = claim(&worker, 1).await.remove(0);
    server.want_all_stopped().await;
    assert_eq!(heartbeat(&worker, &[row(&claimed, json!({}))]).await[0]["cancel_requested"], true);
    let failure = json!({"error_message": "stopped", "retryable": true});
    let told = settle(&worker, &[row(&claimed, failure)]).await;
    assert_eq!(told[0]["status"], "ASYNC_OPERATION_STATUS_FAILED");
}

#[tokio::test]
async fn a_token_of_some_projects_works_on_nothing_else() {
    let server = Server::start().await;
    let of = |project: &str| NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") };
    for project in ["q", "", "p"] {
        server.create(of(project)).await;
    }
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsWork]).await;
    let ours = claim(&limited, 10).await;
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0]["operation"]["project_id"], "p");
    let theirs = claim(&worker(&server).await, 10).await;
    assert_eq!(theirs.len(), 2);
    let nowhere =
        json!({"operation": {"id": OperationId::new(server.store.now()).to_string()}, "lease_token": "v1.1.1"});
    let other = server.caller(Access::organization("other"), &[Scope::OperationsWork]).await;
    for (caller, hidden) in [(&limited, &theirs[0]), (&limited, &theirs[1]), (&other, &theirs[0])] {
        for absent in [hidden, &nowhere] {
            let told = heartbeat(caller, &[row(absent, json!({}))]).await;
            assert_eq!(told[0]["error"]["details"][0]["reason"], "STALE_LEASE", "as if there were none");
            let told = settle(caller, &[row(absent, json!({"output": "forged"}))]).await;
            assert_eq!(told[0]["error"]["details"][0]["reason"], "STALE_LEASE");
        }
    }
    assert!(claim(&other, 10).await.is_empty());
    let told = settle(&limited, &[row(&ours[0], json!({"output": "done"}))]).await;
    assert_eq!(told[0]["status"], "ASYNC_OPERATION_STATUS_COMPLETED");
}

#[tokio::test]
async fn what_the_server_runs_itself_is_neither_claimed_nor_ended_by_a_worker() {
    let server = Server::with(|services| services.local_kinds = ["evidence_evaluation".to_owned()].into()).await;
    let worker = worker(&server).await;
    let answer = worker.post("/v1/operations:claim", r#"{"kinds":["scan","evidence_evaluation"]}"#).await;
    let told = "evidence_evaluation is run by the server itself; leave it out";
    assert_eq!(answer.violations(), [("kinds".to_owned(), told.to_owned())]);
    // The engine holds one; its fencing token is easily guessed.
    let operation = server.pending("evidence_evaluation").await;
    let request = store::ClaimRequest {
        kinds: vec!["evidence_evaluation".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "engine".to_owned(),
        lease: std::time::Duration::from_secs(60),
    };
    assert_eq!(server.store.claim(request).await.unwrap().len(), 1);
    let guessed = json!({"operation": {"id": operation.id.to_string()}, "lease_token": "v1.1.1"});
    let told = settle(&worker, &[row(&guessed, json!({"output": "{\"status\":\"passed\"}"}))]).await;
    assert_eq!(told[0]["error"]["code"], 10);
}

#[tokio::test]
async fn the_scope_is_operations_work() {
    let server = Server::start().await;
    let others = [Scope::OperationsRead, Scope::OperationsWrite, Scope::EvidenceRead, Scope::EvidenceWrite];
    let caller = server.caller(Access::organization("acme"), &others).await;
    for call in ["claim", "heartbeat", "settle"] {
        let path = format!("/v1/operations:{call}");
        let answer = caller.post(&path, "{}").await;
        assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::FORBIDDEN, "SCOPE_MISSING"), "{call}");
        assert_eq!(server.nobody().post(&path, "{}").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(caller.get(&path).await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_field_and_row() {
    let server = Server::start().await;
    let worker = worker(&server).await;
    let id = OperationId::new(server.store.now()).to_string();
    let row = |rest: &str| format!(r#"{{"results":[{{"id":"{id}","lease_token":"v1.1.1",{rest}}}]}}"#);
    let kinds: Vec<String> = (0..101).map(|n| format!("k{n}")).collect();
    let rows =
        |field: &str, count: usize| json!({field: vec![json!({"id": id, "lease_token": "v1.1.1"}); count]}).to_string();
    for (call, body, fields) in [
        ("claim", "{}".to_owned(), vec!["kinds"]),
        ("claim", r#"{"kinds":"scan"}"#.to_owned(), vec!["kinds"]),
        ("claim", r#"{"kinds":["no spaces"]}"#.to_owned(), vec!["kinds"]),
        ("claim", r#"{"kinds":["undeclared"]}"#.to_owned(), vec!["kinds"]),
        ("claim", json!({"kinds": kinds}).to_string(), vec!["kinds"]),
        ("claim", r#"{"kinds":["scan"],"max_operations":0}"#.to_owned(), vec!["max_operations"]),
        ("claim", r#"{"kinds":["scan"],"max_operations":1001}"#.to_owned(), vec!["max_operations"]),
        ("claim", r#"{"kinds":["scan"],"wait":"1m"}"#.to_owned(), vec!["wait"]),
        ("claim", r#"{"kinds":["scan"],"worker":"me"}"#.to_owned(), vec!["worker"]),
        ("heartbeat", "{}".to_owned(), vec!["operations"]),
        ("heartbeat", r#"{"operations":[]}"#.to_owned(), vec!["operations"]),
        ("heartbeat", rows("operations", 1001), vec!["operations"]),
        ("heartbeat", r#"{"operations":[{}]}"#.to_owned(), vec!["operations[0].id", "operations[0].lease_token"]),
        (
            "heartbeat",
            json!({"operations": [{"id": id, "lease_token": "v1.1.1", "progress": "x".repeat(1025)}]}).to_string(),
            vec!["operations[0].progress"],
        ),
        ("settle", rows("results", 1001), vec!["results"]),
        ("settle", r#"{"results":[1]}"#.to_owned(), vec!["results[0]"]),
        ("settle", row(r#""output":"a","error_message":"b""#), vec!["results[0].output"]),
        ("settle", row(r#""release":false"#), vec!["results[0].output"]),
        ("settle", row(r#""output":{"a":1}"#), vec!["results[0].output"]),
        ("settle", row(r#""output":"a","retryable":true"#), vec!["results[0].retryable"]),
        ("settle", row(r#""output":"a","nope":true"#), vec!["results[0].nope"]),
        (
            "settle",
            json!({"results": [{"id": id, "lease_token": "v1.1.1", "output": "x".repeat(1024 * 1024 + 1)}]})
                .to_string(),
            vec!["results[0].output"],
        ),
    ] {
        let answer = worker.post(&format!("/v1/operations:{call}"), body.clone()).await;
        assert_eq!(answer.violated(), fields, "{call} {}", redact(&body[..body.len().min(200)]));
    }
    let largest = json!({"results": [{"id": id, "lease_token": "v1.1.1", "output": "x".repeat(1024 * 1024)}]});
    assert_eq!(worker.post("/v1/operations:settle", largest.to_string()).await.status, StatusCode::OK);
    assert_eq!(worker.post("/v1/operations:heartbeat", rows("operations", 1000)).await.status, StatusCode::OK);
}
