//! Creations over HTTP and gRPC take part in the trace of their caller, and workers get it.

use http::Method;
use proto::longrun::v1 as wire;
use proto::longrun::v1::async_operations_service_client::AsyncOperationsServiceClient;
use proto::longrun::v1::worker_service_client::WorkerServiceClient;
use serde_json::{Value, json};
use tonic::Request;
use traces::Traces;

use crate::grpc::connect;
use crate::harness::{Caller, Server};
use crate::work::{claim, worker};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A server that passes on the traces of others.
async fn handing_on() -> Server {
    Server::with(|services| services.traces = Traces::handed_on()).await
}

/// What the worker of an operation gets that was created with these headers.
async fn told(server: &Server, caller: &Caller, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = caller.send(Method::POST, path, &headers, body.to_string()).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let mut claimed = claim(&worker(server).await, 10).await;
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)["traceparent"].take()
}

#[tokio::test]
async fn a_worker_is_told_the_trace_of_the_creation_and_of_nothing_that_is_no_traceparent() {
    let server = handing_on().await;
    let caller = server.acme().await;
    let scan = || json!({"kind": "scan"});
    let create = "/v1/operations";
    let sent = [("traceparent", TRACEPARENT), ("tracestate", "vendor=1")];
    assert_eq!(told(&server, &caller, create, &sent, scan()).await, TRACEPARENT);
    let batch = json!({"operations": [scan()]});
    let sent = [("traceparent", TRACEPARENT)];
    assert_eq!(told(&server, &caller, "/v1/operations:batchCreate", &sent, batch).await, TRACEPARENT);
    assert_eq!(told(&server, &caller, create, &[], scan()).await, Value::Null);
    // A creation succeeds even with a header that is malformed, or there twice.
    for bad in ["", "nonsense", "00-00000000000000000000000000000000-b7ad6b7169203331-01", &TRACEPARENT.to_uppercase()]
    {
        assert_eq!(told(&server, &caller, create, &[("traceparent", bad)], scan()).await, Value::Null, "{bad:?}");
    }
    let twice = [("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)];
    assert_eq!(told(&server, &caller, create, &twice, scan()).await, Value::Null);
}

#[tokio::test]
async fn the_trace_passes_through_grpc() {
    let server = handing_on().await;
    let mut caller = AsyncOperationsServiceClient::new(connect(&server.acme().await).await);
    let mut worker = WorkerServiceClient::new(connect(&worker(&server).await).await);
    for (sent, told) in [(Some(TRACEPARENT), TRACEPARENT), (None, "")] {
        let mut request = Request::new(wire::CreateOperationRequest { kind: "scan".to_owned(), ..Default::default() });
        if let Some(sent) = sent {
            request.metadata_mut().insert("traceparent", sent.parse().unwrap());
        }
        caller.create_operation(request).await.unwrap();
        let claim = wire::ClaimOperationsRequest { kinds: vec!["scan".to_owned()], ..Default::default() };
        let claimed = worker.claim_operations(claim).await.unwrap().into_inner().operations;
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].traceparent, told);
    }
}

#[tokio::test]
async fn a_server_that_does_not_trace_tells_nothing() {
    let server = Server::start().await;
    let sent = [("traceparent", TRACEPARENT)];
    assert_eq!(
        told(&server, &server.acme().await, "/v1/operations", &sent, json!({"kind": "scan"})).await,
        Value::Null
    );
}

#[tokio::test]
async fn a_repeated_creation_stays_in_its_first_trace() {
    let server = handing_on().await;
    let caller = server.acme().await;
    let create = async |traceparent: &str| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k"), ("traceparent", traceparent)];
        caller.send(Method::POST, "/v1/operations", &headers, r#"{"kind":"scan"}"#).await.json()["operation"]["id"]
            .clone()
    };
    let other = TRACEPARENT.replace("0af7", "1bf7");
    assert_eq!(create(TRACEPARENT).await, create(&other).await, "the trace is no part of the request's fingerprint");
    let claimed = claim(&worker(&server).await, 10).await;
    assert_eq!(claimed[0]["traceparent"], TRACEPARENT);
}
