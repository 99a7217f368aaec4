//! `GET /v1/operations/{id}/events`.

use std::time::Duration;

use http::StatusCode;
use operations::{Access, NewOperation, Outcome};
use store::{Heartbeat, Scope};

use crate::harness::Server;

#[tokio::test]
async fn a_history_tells_attempts_progress_and_the_end() {
    let server = Server::start().await;
    let operation = server.create(NewOperation { project_id: "a".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let first = server.claim("scan").await;
    let beat = Heartbeat { lease: first.lease.clone(), progress: Some("half way".to_owned()) };
    server.store.heartbeat(vec![beat], Duration::from_secs(60)).await.unwrap();
    server.settle(first, Outcome::Failed { message: "no luck".to_owned(), retryable: true }).await;
    let second = server.claim("scan").await;
    let path = format!("/v1/operations/{}/events", operation.id);
    let caller = server.acme().await;
    let types = |answer: &crate::harness::Answer| -> Vec<String> {
        let json = answer.json();
        json["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    let under_way = ["CREATED", "ATTEMPT_STARTED", "PROGRESS", "ATTEMPT_FAILED", "ATTEMPT_STARTED"];
    assert_eq!(types(&caller.get(&path).await), under_way);
    server.settle(second, Outcome::Completed { output: "done".to_owned() }).await;
    let answer = caller.get(&path).await;
    assert_eq!(answer.status, StatusCode::OK);
    insta::assert_snapshot!(answer.redacted().replace("},{", "},\n{"), @r#"
    {"events":[{"time":"<time>","type":"CREATED","attempt":0,"worker":"","message":""},
    {"time":"<time>","type":"ATTEMPT_STARTED","attempt":1,"worker":"test","message":""},
    {"time":"<time>","type":"PROGRESS","attempt":1,"worker":"test","message":"half way"},
    {"time":"<time>","type":"ATTEMPT_FAILED","attempt":1,"worker":"test","message":"no luck"},
    {"time":"<time>","type":"ATTEMPT_STARTED","attempt":2,"worker":"test","message":""},
    {"time":"<time>","type":"COMPLETED","attempt":2,"worker":"test","message":""}]}
    "#);
    assert_eq!(caller.get(&format!("{path}?page=1")).await.violated(), ["page"]);
    for access in [Access::organization("other"), Access::projects("acme", ["b"])] {
        let stranger = server.caller(access, &[Scope::OperationsRead]).await;
        assert_eq!(stranger.get(&path).await.status, StatusCode::NOT_FOUND);
    }
    for unknown in ["nope", "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"] {
        assert_eq!(caller.get(&format!("/v1/operations/{unknown}/events")).await.status, StatusCode::NOT_FOUND);
    }
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite]).await;
    assert_eq!(writer.get(&path).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_long_history_comes_in_pages() {
    let server = Server::start().await;
    let operation = server.pending("scan").await;
    let attempts = 130;
    for _ in 0..attempts {
        let claimed = server.claim("scan").await;
        server.store.release(vec![claimed.lease]).await.unwrap()[0].unwrap();
    }
    let caller = server.acme().await;
    let path = format!("/v1/operations/{}/events", operation.id);
    let whole = caller.get(&format!("{path}?page_size=5000")).await.json();
    let whole = whole["events"].as_array().unwrap();
    assert_eq!(whole.len(), 1 + 2 * attempts);
    let (mut told, mut token) = (Vec::new(), String::new());
    loop {
        let page = caller.get(&format!("{path}?page_token={token}")).await.json();
        told.extend(page["events"].as_array().unwrap().iter().cloned());
        assert!(page["events"].as_array().unwrap().len() <= 100);
        let Some(next) = page.get("next_page_token") else { break };
        token = next.as_str().unwrap().to_owned();
    }
    assert_eq!(&told, whole);
    assert_eq!(caller.get(&format!("{path}?pageSize=0")).await.json()["events"].as_array().unwrap().len(), 100);
    let refused = caller.get(&format!("{path}?page_size=-1&page_token=nonsense")).await;
    assert_eq!(refused.violated(), ["page_size", "page_token"]);
}
