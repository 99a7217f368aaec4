//! `/v1/views`: saved views.

use http::{Method, StatusCode};
use operations::{Access, NewOperation};
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Caller, Server};

async fn made(caller: &Caller, body: Value) -> Value {
    let answer = caller.post("/v1/views", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["view"].clone()
}

/// Name, visibility and count of each view.
async fn listed(caller: &Caller) -> Vec<(String, String, Option<u64>)> {
    let answer = caller.get("/v1/views").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let views = answer.json()["views"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    views.iter().map(|view| (text(&view["name"]), text(&view["visibility"]), view["count"].as_u64())).collect()
}

fn entry(name: &str, visibility: &str, count: u64) -> (String, String, Option<u64>) {
    (name.to_owned(), visibility.to_owned(), Some(count))
}

#[tokio::test]
async fn a_view_is_made_listed_with_its_count_changed_and_deleted() {
    let server = Server::start().await;
    let acme = server.acme().await;
    server.create(NewOperation::of_kind("scan")).await;
    server.create(NewOperation::of_kind("build")).await;
    let scans = made(&acme, json!({"name": "Scans", "filter": "kind = scan", "columns": ["id", "kind"]})).await;
    assert_eq!(scans["visibility"], "private");
    assert_eq!(scans["columns"], json!(["id", "kind"]));
    made(&acme, json!({"name": "All", "visibility": "shared"})).await;
    assert_eq!(listed(&acme).await, [entry("All", "shared", 2), entry("Scans", "private", 1)]);
    let path = format!("/v1/views/{}", scans["id"].as_str().unwrap());
    let got = acme.get(&path).await.json();
    assert_eq!((&got["view"]["count"], &got["view"]["count_is_exact"]), (&json!(1), &json!(true)));
    let changed = acme.post(&format!("{path}:update"), r#"{"name":"Builds","filter":"kind = build"}"#).await.json();
    assert_eq!((&changed["view"]["name"], &changed["view"]["columns"]), (&json!("Builds"), &json!([])));
    assert_eq!(acme.delete(&path).await.status, StatusCode::OK);
    assert_eq!(acme.delete(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(listed(&acme).await, [entry("All", "shared", 2)]);
    // The log says who changed what.
    let log = acme.get("/v1/audit?action=views.").await.json();
    let actions: Vec<&str> =
        log["entries"].as_array().unwrap().iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["views.create", "views.create", "views.update", "views.delete"]);
    assert_eq!(log["entries"][0]["targets"], json!([format!("views/{}", scans["id"].as_str().unwrap())]));
}

#[tokio::test]
async fn what_is_private_is_its_tokens_own_and_what_is_shared_is_not_for_those_who_see_a_part() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let stranger = server.caller(Access::organization("globex"), &[Scope::Admin]).await;
    server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") }).await;
    server.create(NewOperation::of_kind("scan")).await;
    let shared = made(&acme, json!({"name": "n", "visibility": "shared"})).await;
    let private = made(&acme, json!({"name": "n"})).await;
    made(&reader, json!({"name": "mine"})).await;
    made(&limited, json!({"name": "mine"})).await;
    assert_eq!(listed(&acme).await, [entry("n", "shared", 2), entry("n", "private", 2)]);
    assert_eq!(listed(&reader).await, [entry("n", "shared", 2), entry("mine", "private", 2)]);
    assert_eq!(listed(&limited).await, [entry("mine", "private", 1)], "it counts its own projects only");
    assert_eq!(listed(&stranger).await, []);
    let path = |view: &Value| format!("/v1/views/{}", view["id"].as_str().unwrap());
    for (caller, view, status) in [
        (&reader, &shared, StatusCode::FORBIDDEN),
        (&reader, &private, StatusCode::NOT_FOUND),
        (&limited, &shared, StatusCode::NOT_FOUND),
        (&stranger, &shared, StatusCode::NOT_FOUND),
    ] {
        let update = caller.post(&format!("{}:update", path(view)), r#"{"name":"other"}"#).await;
        assert_eq!(update.status, status, "{update:?}");
        assert_eq!(caller.delete(&path(view)).await.status, status);
    }
    assert_eq!(reader.get(&path(&shared)).await.status, StatusCode::OK);
    for caller in [&reader, &limited] {
        let answer = caller.post("/v1/views", r#"{"name":"x","visibility":"shared"}"#).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    }
    assert_eq!(listed(&acme).await.len(), 2, "nobody has changed anything");
}

#[tokio::test]
async fn a_token_that_replaces_another_one_takes_its_views_over_and_a_revoked_one_leaves_none() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let (old, token) = server.caller_and_token(Access::organization("acme"), &[Scope::Admin]).await;
    made(&old, json!({"name": "mine"})).await;
    let rotated = acme.post(&format!("/v1/tokens/{}:rotate", token.id), r#"{"overlap":"3600s"}"#).await.json();
    let authorization = Some(format!("Bearer {}", rotated["secret"].as_str().unwrap()));
    let new = Caller { address: server.address, authorization };
    assert_eq!(listed(&new).await, [entry("mine", "private", 0)]);
    assert_eq!(listed(&old).await, []);
    let id = rotated["token"]["id"].as_str().unwrap();
    assert_eq!(acme.post(&format!("/v1/tokens/{id}:revoke"), "{}").await.status, StatusCode::OK);
    let left = server.store.views(&store::ViewReach::of(&Access::organization("acme"), id)).await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let acme = server.acme().await;
    made(&acme, json!({"name": "taken"})).await;
    let other = made(&acme, json!({"name": "other"})).await;
    for (body, field, says) in [
        (json!({}), "name", ""),
        (json!({"name": "taken"}), "name", "another view"),
        (json!({"name": "x", "filter": "colour = red"}), "filter", "at character 1"),
        (json!({"name": "x", "filter": "output : \"a\""}), "filter", ""),
        (json!({"name": "x", "visibility": "public"}), "visibility", "private or shared"),
        (json!({"name": "x", "columns": [""]}), "columns[0]", "empty"),
        (json!({"name": "x", "colour": "red"}), "colour", ""),
        (json!({"name": "x", "columns": vec!["c"; 33]}), "columns", ""),
    ] {
        let answer = acme.post("/v1/views", body.to_string()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let violation = answer.json()["details"][1]["fieldViolations"][0].clone();
        assert_eq!(violation["field"], field, "{body}: {violation}");
        assert!(violation["description"].as_str().unwrap().contains(says), "{body}: {violation}");
    }
    let path = format!("/v1/views/{}", other["id"].as_str().unwrap());
    let renamed = acme.post(&format!("{path}:update"), r#"{"name":"taken"}"#).await;
    assert_eq!(renamed.status, StatusCode::BAD_REQUEST, "{renamed:?}");
    let without_verb = acme.send(Method::POST, &path, &[("content-type", "application/json")], "{}").await;
    assert_eq!(without_verb.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(listed(&acme).await, [entry("other", "private", 0), entry("taken", "private", 0)]);
    for number in 2..50 {
        made(&acme, json!({"name": format!("view {number}")})).await;
    }
    let answer = acme.post("/v1/views", r#"{"name":"one too many"}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["message"].as_str().unwrap().contains("50"), "{answer:?}");
}
