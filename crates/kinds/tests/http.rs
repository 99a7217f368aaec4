//! Calls over real sockets: what is sent, what each answer means, and which calls are not made.
use std::time::Duration;

use crate::support::{DEADLINE, Receiver, SECRET, answer};
use engine::{Attempt, Failure, Handler, Progress};
use kinds::http::HttpHandler;
use kinds::webhook::{Endpoint, EndpointSettings, Secrets};
use operations::{NewOperation, Resource, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const LIMIT: usize = 100;

fn endpoint(url: String, allow_private_addresses: bool) -> Endpoint {
    let settings = EndpointSettings { url, allow_private_addresses, ..EndpointSettings::default() };
    Endpoint::new(&settings, Secrets::parse(SECRET).unwrap()).unwrap()
}

fn handler(receiver: &Receiver) -> HttpHandler {
    HttpHandler::new(endpoint(format!("http://{}/scan?v=1", receiver.address), true), LIMIT)
}

fn attempt(input: &str) -> Attempt {
    let resource = Resource { resource_type: "repo".to_owned(), resource_id: "a/b".to_owned() };
    let new = NewOperation { resource: Some(resource), project_id: "p1".to_owned(), ..NewOperation::of_kind("scan") };
    Attempt {
        organization: "acme".to_owned(),
        operation: new.to_operation(Timestamp::from_millis(0)),
        input: input.to_owned(),
        number: 2,
        trace: None,
        cancelled: CancellationToken::new(),
        progress: Progress::default(),
    }
}

async fn run(handler: &HttpHandler, input: &str) -> Result<String, Failure> {
    tokio::time::timeout(DEADLINE, handler.run(attempt(input))).await.expect("in time")
}

/// The result of an attempt that got this one answer.
async fn answered(response: String) -> Result<String, Failure> {
    let receiver = Receiver::start(move |_| response.clone()).await;
    run(&handler(&receiver), "null").await
}

#[tokio::test]
async fn a_call_carries_the_operation_and_is_signed() {
    let mut receiver = Receiver::start(|_| answer("200 OK", "", "{\"found\":0}")).await;
    let attempt = attempt(r#"{"depth": 1.0}"#);
    let id = attempt.operation.id.to_string();
    assert_eq!(handler(&receiver).run(attempt).await, Ok("{\"found\":0}".to_owned()));
    let request = receiver.next().await;
    assert_eq!(request.line, "POST /scan?v=1 HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["webhook-id"], id, "the same for each attempt");
    request.assert_signed();
    assert!(request.body.ends_with(br#""input":{"depth": 1.0}}"#), "the input is passed on digit for digit");
    let expected = json!({
        "id": id, "kind": "scan", "attempt": 2, "organization": "acme", "resource_type": "repo", "resource_id": "a/b",
        "project_id": "p1", "project_version_id": "", "input": {"depth": 1.0},
    });
    assert_eq!(request.json(), expected);
    run(&handler(&receiver), "").await.unwrap();
    assert_eq!(receiver.next().await.json()["input"], json!(null));
}

#[tokio::test]
async fn a_success_is_the_output_within_its_limit() {
    assert_eq!(answered(answer("201 Created", "", &"x".repeat(LIMIT))).await, Ok("x".repeat(LIMIT)));
    assert_eq!(answered("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()).await, Ok(String::new()));
    let failure = answered(answer("200 OK", "", &"x".repeat(LIMIT + 1))).await.unwrap_err();
    assert!(!failure.retryable && failure.message.contains("longer than the 100 bytes"), "{failure:?}");
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1_000_000));
    assert!(!answered(endless).await.unwrap_err().retryable, "the body is not read to its end");
}

#[tokio::test]
async fn refusals_are_final_and_troubles_are_not() {
    let failure = answered(answer("422 Unprocessable Entity", "", "no such\r\n\tbranch")).await.unwrap_err();
    assert_eq!(failure, Failure::permanent("the answer is 422 Unprocessable Entity: no such branch"));
    let failure = answered(answer("503 Service Unavailable", "Retry-After: 7\r\n", "")).await.unwrap_err();
    let expected = Failure::transient("the answer is 503 Service Unavailable");
    assert_eq!(failure, Failure { retry_after: Some(Duration::from_secs(7)), ..expected });
    let failure = answered("HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhalf".to_owned()).await;
    assert!(
        failure.as_ref().is_err_and(|failure| failure.retryable && failure.message.contains("broke off")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let mut elsewhere = Receiver::start(|_| answer("200 OK", "", "secret")).await;
    let location = format!("Location: http://{}/\r\n", elsewhere.address);
    let failure = answered(answer("307 Temporary Redirect", &location, "")).await.unwrap_err();
    assert!(!failure.retryable && failure.message.contains("redirects are not followed"), "{failure:?}");
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let receiver = Receiver::start(|_| String::new()).await;
    let handler = handler(&receiver);
    drop(receiver);
    let failure = loop {
        // The listener closes when its task has ended, which happens soon.
        match tokio::time::timeout(Duration::from_millis(200), handler.run(attempt("null"))).await {
            Ok(result) => break result.unwrap_err(),
            Err(_) => continue,
        }
    };
    assert!(failure.retryable && failure.message.starts_with("127.0.0.1 could not be called: "), "{failure:?}");
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_called() {
    let mut receiver = Receiver::start(|_| answer("200 OK", "", "secret")).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let failure = run(&HttpHandler::new(endpoint(url.clone(), false), LIMIT), "null").await.unwrap_err();
    assert!(!failure.retryable && failure.message.contains("localhost is a private address"), "{failure:?}");
    assert!(receiver.requests.try_recv().is_err());
    // The same name is called when that is allowed.
    assert_eq!(run(&HttpHandler::new(endpoint(url, true), LIMIT), "null").await, Ok("secret".to_owned()));
}

#[tokio::test]
async fn a_cancelled_call_ends() {
    let mut receiver = Receiver::start(|_| String::new()).await;
    let (handler, attempt) = (handler(&receiver), attempt("null"));
    let cancelled = attempt.cancelled.clone();
    let call = tokio::spawn(async move { handler.run(attempt).await });
    receiver.next().await;
    cancelled.cancel();
    let result = tokio::time::timeout(DEADLINE, call).await.expect("in time").unwrap();
    assert_eq!(result, Err(Failure::transient("the call was stopped")));
}
