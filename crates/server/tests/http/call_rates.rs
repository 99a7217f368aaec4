//! Limits on how many calls a token and an organization make.

use http::StatusCode;
use operations::{Access, NewOperation};
use server::{CallLimit, CallLimits};
use store::{Rate, Scope};

use crate::harness::{Caller, Server};
use crate::work::claim;

/// So slow that nothing is saved up during a test.
fn rate(burst: f64) -> Option<Rate> {
    Some(Rate { per_second: 0.001, burst })
}

async fn limited(everybody: CallLimit) -> Server {
    let named = [("free".to_owned(), CallLimit::default())].into();
    Server::with(|services| services.call_limits = CallLimits { everybody, named }.into()).await
}

async fn admin(server: &Server, organization: &str) -> Caller {
    server.caller(Access::organization(organization), &[Scope::Admin]).await
}

#[tokio::test]
async fn over_the_limit_of_a_token_calls_are_429_with_the_time_to_wait() {
    let server = limited(CallLimit { token: rate(2.0), organization: None }).await;
    let (one, other) = (admin(&server, "acme").await, admin(&server, "acme").await);
    let first = one.get("/v1/operations").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.header("ratelimit-policy"), "\"token\";q=2;w=2000");
    assert_eq!(first.header("ratelimit"), "\"token\";r=1;t=1000");
    assert_eq!(one.post("/v1/operations", "not even JSON").await.status, StatusCode::BAD_REQUEST, "it counts too");
    let refused = one.get("/v1/operations").await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::TOO_MANY_REQUESTS, "CALL_RATE_EXCEEDED".to_owned()));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((900..=1_000).contains(&wait), "{refused:?}");
    assert!(refused.text().contains("the token may make 0.001 calls per second, and 2 at once"), "{refused:?}");
    assert_eq!(refused.header("ratelimit"), format!("\"token\";r=0;t={wait}"));
    assert!(server.services.metrics.render().contains("longrun_shed_total{reason=\"call_rate\"} 1"));
    assert_eq!(other.get("/v1/operations").await.status, StatusCode::OK, "each token has its own");
    let stranger = server.nobody().get("/v1/operations").await;
    assert_eq!((stranger.status, stranger.header("ratelimit")), (StatusCode::UNAUTHORIZED, ""));
}

#[tokio::test]
async fn an_organization_has_a_limit_over_all_its_tokens_and_some_have_none() {
    let server = limited(CallLimit { token: rate(100.0), organization: rate(2.0) }).await;
    for _ in 0..2 {
        assert_eq!(admin(&server, "acme").await.get("/v1/operations").await.status, StatusCode::OK);
    }
    let refused = admin(&server, "acme").await.get("/v1/operations").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("the organization may make"), "{refused:?}");
    assert_eq!(admin(&server, "globex").await.get("/v1/operations").await.status, StatusCode::OK);
    let free = admin(&server, "free").await;
    for _ in 0..5 {
        let answer = free.get("/v1/operations").await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (StatusCode::OK, ""));
    }
}

#[tokio::test]
async fn work_that_was_claimed_is_kept_and_ended_whatever_the_limit() {
    let server = limited(CallLimit { token: rate(1.0), organization: rate(1.0) }).await;
    let worker = server.acme().await;
    server.create(NewOperation::of_kind("scan")).await;
    let work = claim(&worker, 1).await.remove(0);
    assert_eq!(worker.get("/v1/operations").await.status, StatusCode::TOO_MANY_REQUESTS);
    let (id, lease) = (work["operation"]["id"].as_str().unwrap(), work["lease_token"].as_str().unwrap());
    let beat = format!(r#"{{"operations":[{{"id":"{id}","lease_token":"{lease}"}}]}}"#);
    for _ in 0..3 {
        assert_eq!(worker.post("/v1/operations:heartbeat", beat.clone()).await.status, StatusCode::OK);
    }
    let result = format!(r#"{{"results":[{{"id":"{id}","lease_token":"{lease}","output":"done"}}]}}"#);
    assert_eq!(worker.post("/v1/operations:settle", result).await.status, StatusCode::OK);
}
