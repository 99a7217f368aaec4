//! `GET /v1/stats`: how much happened, and how long it took.

use http::StatusCode;
use operations::{Access, NewOperation, Outcome};
use serde_json::{Value, json};
use store::{STATISTICS_CONSUMER, Scope};

use crate::harness::{Caller, Server};

/// A server in whose store an operation of the project `p` has ended and one without a project waits, all counted.
async fn counted() -> Server {
    let server = Server::start().await;
    server.store.begin_statistics().await.unwrap();
    let in_project = NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") };
    server.ended(in_project, Outcome::Completed { output: String::new() }).await;
    server.create(NewOperation::of_kind("build")).await;
    for (organization, from) in server.store.uncommitted(STATISTICS_CONSUMER, "", 10).await.unwrap() {
        assert!(server.store.count_changes(&organization, from, 100).await.unwrap());
    }
    server
}

async fn stats(caller: &Caller, query: &str) -> Value {
    let answer = caller.get(&format!("/v1/stats{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Kind, created, started, completed and failed of each point.
fn told(stats: &Value) -> Vec<(Option<&str>, [u64; 4])> {
    let number = |point: &Value, field: &str| point[field].as_u64().unwrap();
    let points = stats["points"].as_array().unwrap().iter();
    let told = points.map(|point| {
        (point["kind"].as_str(), ["created", "started", "completed", "failed"].map(|field| number(point, field)))
    });
    told.collect()
}

#[tokio::test]
async fn what_happened_is_told_by_step_and_by_kind() {
    let server = counted().await;
    let acme = server.acme().await;
    let together = stats(&acme, "?step=day").await;
    assert_eq!(told(&together), [(None, [2, 1, 1, 0])]);
    assert_eq!(together["step"], "day");
    assert!(together["available_since"].is_string() && together["complete_until"].is_string());
    assert!(together["lag_ms"].is_u64());
    let point = &together["points"][0];
    assert_eq!((&point["waiting"]["count"], &point["running"]["count"]), (&json!(1), &json!(1)));
    assert!(point["running"]["p99_ms"].as_u64().unwrap() >= point["running"]["p50_ms"].as_u64().unwrap());
    let by_kind = stats(&acme, "?step=minute&group_by=kind").await;
    assert_eq!(told(&by_kind), [(Some("build"), [1, 0, 0, 0]), (Some("scan"), [1, 1, 1, 0])]);
    assert!(by_kind["points"][0]["waiting"].get("p50_ms").is_none(), "nothing has waited");
    assert_eq!(told(&stats(&acme, "?kind=build").await), [(None, [1, 0, 0, 0])]);
    assert_eq!(told(&stats(&acme, "?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").await), []);
}

#[tokio::test]
async fn callers_see_what_happened_to_operations_that_they_may_see() {
    let server = counted().await;
    let read = [Scope::OperationsRead];
    let of = |access| server.caller(access, &read);
    assert_eq!(told(&stats(&of(Access::projects("acme", ["p"])).await, "").await), [(None, [1, 1, 1, 0])]);
    assert_eq!(told(&stats(&of(Access::projects("acme", ["q"])).await, "").await), []);
    assert_eq!(told(&stats(&of(Access::organization("other")).await, "").await), []);
    let worker = server.caller(Access::organization("acme"), &[Scope::OperationsWork]).await;
    assert_eq!(worker.get("/v1/stats").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn before_a_server_has_begun_to_count_it_says_so() {
    let server = Server::start().await;
    let answer = stats(&server.acme().await, "").await;
    assert_eq!(answer["points"], json!([]));
    assert!(answer.get("available_since").is_none() && answer.get("complete_until").is_none(), "{answer}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_field_and_the_bound() {
    let server = counted().await;
    let acme = server.acme().await;
    for (query, field, says) in [
        ("?step=week", "step", "minute, hour or day"),
        ("?group_by=project", "group_by", "kind"),
        ("?from=yesterday", "from", "2026-01-31T12:00:00Z"),
        ("?to=", "to", "2026-01-31T12:00:00Z"),
        ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "before"),
        ("?step=minute&from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from", "at most 2000"),
        ("?step=day&from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z", "from", "at most 2000"),
        ("?steps=hour", "steps", ""),
    ] {
        let answer = acme.get(&format!("/v1/stats{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        let violation = answer.json()["details"][1]["fieldViolations"][0].clone();
        assert_eq!(violation["field"], field, "{query}");
        assert!(violation["description"].as_str().unwrap().contains(says), "{query}: {violation}");
    }
    // 2,000 hours are allowed, and 2,001 are not.
    let from = |hours: i64| operations::Timestamp::from_millis(1_767_225_600_000 - hours * 3_600_000);
    let query = |hours| format!("/v1/stats?to=2026-01-01T00:00:00Z&from={}", from(hours));
    assert_eq!(acme.get(&query(2_000)).await.status, StatusCode::OK);
    assert_eq!(acme.get(&query(2_001)).await.status, StatusCode::BAD_REQUEST);
}
