//! `GET /v1/operations/{id}`.

use http::{Method, StatusCode};
use operations::Access;
use store::Scope;

use crate::harness::Server;

#[tokio::test]
async fn an_operation_has_its_twelve_fields_an_etag_and_no_retry_after_once_it_ended() {
    let server = Server::start().await;
    let operation = server.completed("scan", "{\"ok\":true}").await;
    let answer = server.acme().await.get(&format!("/v1/operations/{}", operation.id)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("retry-after"), "");
    assert!(answer.header("etag").starts_with('"'), "strong: {answer:?}");
    insta::assert_snapshot!(answer.redacted(), @r#"{"operation":{"output":"{\"ok\":true}","error_message":"","finished_at":"<time>","project_id":"","kind":"scan","resource_type":"","created_at":"<time>","started_at":"<time>","resource_id":"","id":"<id>","project_version_id":"","status":"ASYNC_OPERATION_STATUS_COMPLETED"}}"#);
}

#[tokio::test]
async fn retry_after_is_sent_while_not_terminal() {
    let server = Server::start().await;
    let operation = server.pending("scan").await;
    let answer = server.acme().await.get(&format!("/v1/operations/{}", operation.id)).await;
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.text().contains("started_at"), "times that are not set are left out: {answer:?}");
}

#[tokio::test]
async fn if_none_match_answers_304_until_the_operation_changes() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let operation = server.pending("scan").await;
    let path = format!("/v1/operations/{}", operation.id);
    let etag = caller.get(&path).await.header("etag").to_owned();
    for matching in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = caller.send(Method::GET, &path, &[("if-none-match", &matching)], "").await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0), "{matching}");
        assert_eq!(answer.header("etag"), etag);
    }
    let other = caller.send(Method::GET, &path, &[("if-none-match", "\"x\"")], "").await;
    assert_eq!(other.status, StatusCode::OK);

    let request = store::ClaimRequest {
        kinds: vec!["scan".to_owned()],
        access: None,
        among: None,
        limit: 1,
        worker: "w".to_owned(),
        lease: std::time::Duration::from_secs(60),
    };
    assert_eq!(server.store.claim(request).await.unwrap().len(), 1);
    let changed = caller.send(Method::GET, &path, &[("if-none-match", &etag)], "").await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), etag);
}

#[tokio::test]
async fn ids_that_do_not_exist_are_no_uuid_or_belong_to_others_are_indistinguishable() {
    let server = Server::start().await;
    let operation = server.pending("scan").await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let acme = server.acme().await;
    let own = format!("/v1/operations/{}", operation.id);
    let mut answers = vec![other.get(&own).await, limited.get(&own).await];
    for unknown in ["0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000", "nope", "%ff", "a%2Fb", &format!("{}:nap", operation.id)] {
        answers.push(acme.get(&format!("/v1/operations/{unknown}")).await);
    }
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
    }
}

#[tokio::test]
async fn head_is_get_without_body() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let path = format!("/v1/operations/{}", server.pending("scan").await.id);
    let (got, head) = (caller.get(&path).await, caller.send(Method::HEAD, &path, &[], "").await);
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    for name in ["etag", "retry-after", "content-type"] {
        assert_eq!(head.header(name), got.header(name), "{name}");
    }
    assert_eq!(caller.send(Method::PUT, &path, &[], "").await.header("allow"), "GET,HEAD,DELETE");
    for (verb, methods) in [("wait", "GET,HEAD"), ("cancel", "POST"), ("retry", "POST")] {
        let answer = caller.send(Method::PUT, &format!("{path}:{verb}"), &[], "").await;
        assert_eq!(answer.header("allow"), methods, "{verb}");
    }
}
