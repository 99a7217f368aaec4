//! The admin listener: `/healthz`, `/readyz`, `/metrics`.

use http::{Method, StatusCode};
use server::http::{admin_router, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Caller, Server};

/// The admin listener of a server, which `shutdown` makes not ready.
pub async fn admin(server: &Server, shutdown: CancellationToken) -> Caller {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = admin_router(&server.services, shutdown);
    // It answers as long as the test runs, also while the API drains.
    tokio::spawn(serve(listener, router, None, CancellationToken::new(), server.services.settings.clone()));
    Caller { address, authorization: None }
}

#[tokio::test]
async fn a_draining_server_is_alive_but_not_ready() {
    let server = Server::start().await;
    let shutdown = CancellationToken::new();
    let admin = admin(&server, shutdown.clone()).await;
    assert_eq!(admin.get("/healthz").await.text(), "ok\n");
    assert_eq!(admin.get("/readyz").await.text(), "ready\n");
    shutdown.cancel();
    assert_eq!(admin.get("/healthz").await.status, StatusCode::OK);
    let answer = admin.get("/readyz").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"));
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_class() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let admin = admin(&server, CancellationToken::new()).await;
    for _ in 0..3 {
        caller.get("/v1/operations").await;
    }
    for path in ["/v1/operations/a", "/v1/operations/b", "/nope/1", "/nope/2", "/nope/lrn_x"] {
        caller.get(path).await;
    }
    let answer = admin.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "longrun_http_requests_total{route=\"/v1/operations\",method=\"GET\",status=\"2xx\"} 3",
        "longrun_http_requests_total{route=\"/v1/operations/{id}\",method=\"GET\",status=\"4xx\"} 2",
        "longrun_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"4xx\"} 3",
        "longrun_http_request_duration_seconds_count{route=\"/v1/operations\",method=\"GET\"} 3",
        "longrun_http_requests_in_flight 0",
    ] {
        assert!(answer.text().lines().any(|l| l == line), "{line} is missing from\n{}", answer.text());
    }
    assert!(!answer.text().contains("nope"), "labels do not grow with what clients try");
}

#[tokio::test]
async fn the_admin_listener_shows_nothing_else() {
    let server = Server::start().await;
    let admin = admin(&server, CancellationToken::new()).await;
    assert_eq!(admin.get("/v1/operations").await.status, StatusCode::NOT_FOUND);
    assert_eq!(admin.send(Method::POST, "/healthz", &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.acme().await.get("/metrics").await.status, StatusCode::NOT_FOUND);
}
