//! `GET /v1/audit`: who called what.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Caller, Server};

async fn entries(caller: &Caller, query: &str) -> Vec<Value> {
    let answer = caller.get(&format!("/v1/audit{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["entries"].as_array().unwrap().clone()
}

/// The actions, oldest first.
async fn actions(caller: &Caller, query: &str) -> Vec<String> {
    let entries = entries(caller, query).await;
    entries.iter().rev().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_call_that_changes_something_is_told_with_who_what_and_where_from() {
    let server = Server::start().await;
    let (admin, token) = server.caller_and_token(Access::organization("acme"), &[Scope::Admin]).await;
    let headers = [("content-type", "application/json"), ("x-request-id", "req-1")];
    let created = admin.send(Method::POST, "/v1/operations", &headers, r#"{"kind":"scan"}"#).await.json();
    let id = created["operation"]["id"].as_str().unwrap();
    let entry = entries(&admin, "").await.remove(0);
    assert_eq!(entry["number"], 1);
    assert_eq!(entry["actor"], json!({"kind": "token", "id": token.id, "name": "test"}));
    assert_eq!(entry["targets"], json!([format!("operations/{id}")]));
    let rest = ["action", "address", "request_id", "code", "organization"].map(|field| entry[field].clone());
    assert_eq!(rest, [json!("operations.create"), json!("127.0.0.1"), json!("req-1"), json!(0), json!("acme")]);

    admin.post("/v1/operations:batchCreate", r#"{"operations":[{"kind":"scan"},{"kind":"scan"}]}"#).await;
    admin.send(Method::POST, "/v1/evidence", &[], "evidence").await;
    admin.post(&format!("/v1/operations/{id}:cancel"), "").await;
    admin.post(&format!("/v1/operations/{id}:retry"), "").await;
    admin.post(&format!("/v1/operations/{id}:cancel"), "").await;
    admin.delete(&format!("/v1/operations/{id}")).await;
    admin.post("/v1/kinds/scan:pause", "").await;
    admin.post("/v1/kinds/scan:resume", "").await;
    let made = admin.post("/v1/tokens", r#"{"name":"n","scopes":["admin"]}"#).await.json();
    let made = made["token"]["id"].as_str().unwrap();
    admin.post(&format!("/v1/tokens/{made}:rotate"), "{}").await;
    admin.post(&format!("/v1/tokens/{made}:revoke"), "{}").await;
    admin.post("/v1/organizations/acme:pause", "").await;
    let wanted = [
        "operations.create",
        "operations.batch_create",
        "evidence.put",
        "operations.cancel",
        "operations.retry",
        "operations.cancel",
        "operations.delete",
        "kinds.pause",
        "kinds.resume",
        "tokens.create",
        "tokens.rotate",
        "tokens.revoke",
        "organizations.pause",
    ];
    assert_eq!(actions(&admin, "").await, wanted);
    assert_eq!(actions(&admin, "?action=tokens.").await, wanted[9..12]);
    assert_eq!(actions(&admin, &format!("?target=operations/{id}")).await.len(), 5);
    assert_eq!(actions(&admin, &format!("?target=tokens/{made}")).await.len(), 3);
    assert_eq!(actions(&admin, "?actor=tok_none").await, [""; 0]);
    assert_eq!(actions(&admin, "?until=2020-01-01T00:00:00Z").await, [""; 0]);
    assert_eq!(actions(&admin, "?since=2020-01-01T00:00:00Z").await.len(), 13);
}

#[tokio::test]
async fn what_changes_nothing_and_what_workers_do_is_not_told() {
    let server = Server::start().await;
    let admin = server.acme().await;
    server.pending("scan").await;
    let claimed = admin.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await.json();
    let (id, lease) = (&claimed["operations"][0]["operation"]["id"], &claimed["operations"][0]["lease_token"]);
    let row = json!({"id": id, "lease_token": lease});
    admin.post("/v1/operations:heartbeat", json!({"operations": [row]}).to_string()).await;
    let row = json!({"id": id, "lease_token": lease, "output": "x"});
    let settled = admin.post("/v1/operations:settle", json!({"results": [row]}).to_string()).await.json();
    assert!(settled["results"][0]["error"].is_null(), "{settled}");
    admin.get("/v1/operations").await;
    admin.post("/v1/operations", "{}").await;
    admin.post(&format!("/v1/operations/{}:cancel", id.as_str().unwrap()), "").await;
    assert_eq!(actions(&admin, "").await, [""; 0]);
}

#[tokio::test]
async fn administrative_calls_that_were_refused_are_told() {
    let server = Server::start().await;
    let (admin, reader) =
        (server.acme().await, server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await);
    assert_eq!(reader.post("/v1/tokens", r#"{"name":"n","scopes":["admin"]}"#).await.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.delete("/v1/organizations/acme").await.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.post("/v1/tokens/tok_none:revoke", "").await.status, StatusCode::NOT_FOUND);
    let told = entries(&admin, "").await;
    let told: Vec<_> =
        told.iter().map(|entry| (entry["action"].as_str().unwrap(), entry["code"].as_i64().unwrap())).collect();
    assert_eq!(told, [("tokens.revoke", 5), ("organizations.delete", 7), ("tokens.create", 7)]);
    let instance = server.instance(&[], &[Scope::Admin]).await;
    assert_eq!(actions(&instance, "").await, [""; 0], "nobody writes into its log who does not manage organizations");
}

#[tokio::test]
async fn behind_a_proxy_the_client_is_told() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let headers = [("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "192.0.2.7, 127.0.0.1")];
    admin.send(Method::POST, "/v1/kinds/scan:pause", &headers, "").await;
    assert_eq!(entries(&admin, "").await[0]["address"], "192.0.2.7");
    let direct = Server::with_settings(|settings| settings.proxies.clear()).await;
    let admin = direct.acme().await;
    admin.send(Method::POST, "/v1/kinds/scan:pause", &headers, "").await;
    assert_eq!(entries(&admin, "").await[0]["address"], "127.0.0.1", "anybody can send the header");
}

#[tokio::test]
async fn a_refused_call_on_a_token_is_told_with_the_token() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let (limited, token) = server.caller_and_token(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let target = json!([format!("tokens/{}", token.id)]);
    for (caller, action, status) in
        [(&admin, "rotate", StatusCode::BAD_REQUEST), (&limited, "rotate", StatusCode::FORBIDDEN)]
    {
        let answer = caller.post(&format!("/v1/tokens/{}:{action}", token.id), r#"{"expires_in":"0s"}"#).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(entries(&admin, "").await[0]["targets"], target);
    }
    admin.post(&format!("/v1/tokens/{}:revoke", token.id), "").await;
    let entry = entries(&admin, "").await.remove(0);
    assert_eq!((&entry["targets"], &entry["code"]), (&target, &json!(0)), "a target is named once");
}

#[tokio::test]
async fn nobody_keeps_the_refusals_of_others_out_of_the_log() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let (noisy, token) = server.caller_and_token(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let other = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    for _ in 0..50 {
        noisy.post("/v1/organizations/acme:pause", "").await;
    }
    other.post("/v1/organizations/acme:pause", "").await;
    let of_noisy = format!("?actor={}", token.id);
    assert_eq!(entries(&admin, &of_noisy).await.len(), 20, "the log is not filled by who is refused");
    assert_eq!(entries(&admin, "").await.len(), 21, "{:?}", entries(&admin, "").await);
    // What was left out is told when the minute is over, or the server stops.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let told = loop {
        let told = entries(&admin, &format!("{of_noisy}&action=audit.omit")).await;
        if let [told] = &told[..] {
            break told.clone();
        }
    };
    assert_eq!((&told["targets"], &told["code"]), (&json!(["refusals/30"]), &json!(7)));
}

#[tokio::test]
async fn nobody_reads_the_log_of_another() {
    let server = Server::start().await;
    let admin = server.acme().await;
    admin.post("/v1/operations", r#"{"kind":"scan"}"#).await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(actions(&other, "").await, [""; 0]);
    assert_eq!(other.get("/v1/audit?organization=acme").await.status, StatusCode::NOT_FOUND);
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    assert_eq!(limited.get("/v1/audit").await.status, StatusCode::FORBIDDEN);
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    assert_eq!(reader.get("/v1/audit").await.reason(), "SCOPE_MISSING");
    let manager = server.instance(&[], &[Scope::Admin]).await;
    assert_eq!(actions(&manager, "?organization=acme").await, ["operations.create"]);
    let of_other = server.instance(&["other"], &[Scope::Admin]).await;
    for query in ["", "?organization=acme"] {
        assert_eq!(of_other.get(&format!("/v1/audit{query}")).await.status, StatusCode::NOT_FOUND, "{query}");
    }
}

#[tokio::test]
async fn a_bad_filter_is_refused_by_name() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let mut violated = admin.get("/v1/audit?since=yesterday&until=x&page_token=y&who=z").await.violated();
    violated.sort();
    assert_eq!(violated, ["page_token", "since", "until", "who"]);
}
