//! Texts that can be nobody's name and no id, on both stores: PostgreSQL takes no text with the character U+0000.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use store::{PostgresStore, Scope, Store};
use testkit::{Cluster, Durability};

use crate::harness::{Caller, Server};
use crate::work::worker;

/// The id of no operation.
const NOBODYS: &str = "01a20e1a-1194-75ec-b562-a042f01e7eac";

async fn assert_not_found(caller: &Caller, calls: &[(Method, &str, &str)]) {
    for (method, path, body) in calls {
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let answer = caller.send(method.clone(), path, headers, (*body).to_owned()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {answer:?}");
    }
}

/// What a worker is answered about a lease that it does not have, in an organization of this name.
async fn told(worker: &Caller, path: &str, rows: &str, more: Value, organization: &str) -> Value {
    let mut row = json!({"id": NOBODYS, "lease_token": "v1.1.1", "organization": organization});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = worker.post(path, json!({rows: [row]}).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{path} {organization:?}: {answer:?}");
    answer.json()[rows][0].clone()
}

async fn nothing_is_called_so(server: Server) {
    server.pending("scan").await;
    let acme = server.acme().await;
    let post = Method::POST;
    assert_not_found(
        &acme,
        &[
            (Method::GET, "/v1/schedules/%00", ""),
            (Method::PATCH, "/v1/schedules/%00", r#"{"overlap":"skip"}"#),
            (Method::DELETE, "/v1/schedules/%00", ""),
            (post.clone(), "/v1/schedules/%00:pause", ""),
            (post.clone(), "/v1/schedules/%00:resume", ""),
            (post.clone(), "/v1/schedules/%00:trigger", ""),
            (Method::GET, "/v1/tokens/%00", ""),
            (post.clone(), "/v1/tokens/%00:revoke", ""),
            (post.clone(), "/v1/tokens/%00:rotate", "{}"),
            (post.clone(), "/v1/sessions/%00:revoke", ""),
            (Method::DELETE, "/v1/waivers/%00", ""),
            (Method::GET, "/v1/organizations/%00", ""),
        ],
    )
    .await;
    for path in ["/v1/tokens?page_token=1.%00", "/v1/sessions?page_token=1.%00"] {
        assert_eq!(acme.get(path).await.violated(), ["page_token"], "{path}");
    }

    let instance = server.instance(&[], &[Scope::Admin]).await;
    assert_not_found(
        &instance,
        &[
            (Method::GET, "/v1/organizations/%00", ""),
            (post.clone(), "/v1/organizations/%00:pause", ""),
            (post.clone(), "/v1/organizations/%00:resume", ""),
            (post.clone(), "/v1/organizations/%00:setLimits", "{}"),
            (Method::DELETE, "/v1/organizations/%00", ""),
            (Method::GET, "/v1/audit?organization=%00", ""),
            (Method::GET, "/v1/sessions?organization=%00", ""),
            (post, "/v1/sessions/a:revoke?organization=%00", ""),
        ],
    )
    .await;
    assert_eq!(instance.get("/v1/tokens?organization=%00").await.violated(), ["organization"]);

    let worker = worker(&server).await;
    for (path, rows, more) in [
        ("/v1/operations:heartbeat", "operations", json!({})),
        ("/v1/operations:settle", "results", json!({"output": "done"})),
        ("/v1/operations:settle", "results", json!({"release": true})),
    ] {
        let unknown = told(&worker, path, rows, more.clone(), "nobody").await;
        assert!(!unknown["error"].is_null(), "{path}: {unknown}");
        assert_eq!(told(&worker, path, rows, more, "\0").await, unknown, "{path}");
    }
}

#[tokio::test]
async fn nothing_is_called_by_what_is_no_name_on_sqlite() {
    nothing_is_called_so(Server::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_called_by_what_is_no_name_on_postgres() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, 6).await.unwrap());
    nothing_is_called_so(Server::with(|services| services.store = store).await).await;
}
