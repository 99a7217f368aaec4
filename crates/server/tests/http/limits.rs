//! What an organization may not have, as its callers see it.

use http::StatusCode;
use store::{Quota, Quotas, Rate};

use crate::harness::Server;

async fn server(quota: Quota) -> Server {
    let quotas = Quotas { everybody: quota, ..Quotas::default() };
    Server::with(|services| {
        services.store.set_quotas(quotas);
    })
    .await
}

const SCAN: &str = r#"{"kind":"scan"}"#;

#[tokio::test]
async fn more_than_may_be_pending_is_429_with_the_limit_and_what_to_do() {
    let server = server(Quota { max_pending: Some(2), ..Quota::default() }).await;
    let caller = server.acme().await;
    let created = caller.post("/v1/operations", SCAN).await.json()["operation"]["id"].clone();
    let batch = r#"{"operations":[{"kind":"scan"},{"kind":"scan"}]}"#;
    let answer = caller.post("/v1/operations:batchCreate", batch).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_PENDING"));
    assert_eq!(caller.post("/v1/operations", SCAN).await.status, StatusCode::OK);
    let answer = caller.post("/v1/operations", SCAN).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    insta::assert_snapshot!(answer.text(), @r#"{"code":8,"message":"the organization may have at most 2 operations that have not ended: wait until some have ended, or cancel some","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOO_MANY_PENDING","domain":"longrun","metadata":{"limit":"2"}},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}]}"#);
    let cancelled = caller.post(&format!("/v1/operations/{}:cancel", created.as_str().unwrap()), "").await;
    assert_eq!(cancelled.status, StatusCode::OK, "cancelling makes room");
    assert_eq!(caller.post("/v1/operations", SCAN).await.status, StatusCode::OK);
}

#[tokio::test]
async fn faster_than_may_be_is_429_with_the_time_to_wait() {
    // So slow that the test cannot wait for it.
    let rate = Some(Rate { per_second: 0.001, burst: 1.0 });
    let server = server(Quota { rate, ..Quota::default() }).await;
    let caller = server.acme().await;
    assert_eq!(caller.post("/v1/operations", SCAN).await.status, StatusCode::OK);
    let answer = caller.post("/v1/operations", SCAN).await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::TOO_MANY_REQUESTS, "RATE_EXCEEDED"));
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((900..=1_000).contains(&seconds), "{seconds}");
    assert_eq!(answer.json()["details"][1]["retryDelay"], format!("{seconds}s"));
    assert!(answer.json()["message"].as_str().unwrap().contains("0.001 operations per second"), "{answer:?}");
}

#[tokio::test]
async fn an_input_that_is_too_long_is_a_violation_told_by_its_place() {
    let server = server(Quota { max_input: 8, ..Quota::default() }).await;
    let caller = server.acme().await;
    let fits = r#"{"kind":"scan","input":"123456"}"#;
    assert_eq!(caller.post("/v1/operations", fits).await.status, StatusCode::OK);
    let long = r#"{"kind":"scan","input":"1234567"}"#;
    let told = "is 9 bytes long; at most 8 are allowed for an operation of this organization".to_owned();
    let answer = caller.post("/v1/operations", long).await;
    assert_eq!(answer.violations(), [("input".to_owned(), told.clone())]);
    let answer = caller.post("/v1/operations:batchCreate", format!(r#"{{"operations":[{fits},{long}]}}"#)).await;
    assert_eq!(answer.violations(), [("operations[1].input".to_owned(), told)]);
}

#[tokio::test]
async fn a_worker_whose_output_is_too_long_learns_that_the_operation_failed() {
    let server = server(Quota { max_output: 4, ..Quota::default() }).await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let claimed = caller.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await.json();
    let lease = &claimed["operations"][0]["lease_token"];
    let body = format!(r#"{{"results":[{{"id":"{}","lease_token":{lease},"output":"12345"}}]}}"#, operation.id);
    let answer = caller.post("/v1/operations:settle", body).await;
    assert_eq!(answer.json()["results"][0]["status"], "ASYNC_OPERATION_STATUS_FAILED", "{answer:?}");
    let operation = caller.get(&format!("/v1/operations/{}", operation.id)).await.json();
    let message = operation["operation"]["error_message"].as_str().unwrap();
    assert!(message.contains("5 bytes long; at most 4"), "{message}");
}
