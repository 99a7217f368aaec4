//! `/v1/organizations` for callers that manage them.

use http::StatusCode;
use operations::Access;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Caller, Server};

async fn create(caller: &Caller, wish: Value) -> crate::harness::Answer {
    caller.post("/v1/organizations", wish.to_string()).await
}

#[tokio::test]
async fn organizations_are_made_listed_limited_and_deleted_by_a_token_of_the_instance() {
    let server = Server::start().await;
    let manager = server.instance(&[], &[Scope::Admin]).await;
    let made = create(&manager, json!({"name": "acme", "limits": {"max_pending": 1, "weight": 3}})).await;
    assert_eq!(made.json()["organization"]["limits"]["max_pending"], 1);
    assert_eq!(made.json()["organization"]["limits"]["weight"], 3);
    let again = create(&manager, json!({"name": "acme"})).await;
    assert_eq!((again.status, again.reason()), (StatusCode::CONFLICT, "ORGANIZATION_EXISTS".to_owned()));
    create(&manager, json!({"name": "other"})).await;

    let acme = server.acme().await;
    assert_eq!(acme.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);
    assert_eq!(acme.post("/v1/operations", r#"{"kind":"scan"}"#).await.reason(), "TOO_MANY_PENDING");
    let limited = manager.post("/v1/organizations/acme:setLimits", r#"{"max_pending":2}"#).await;
    assert_eq!(limited.json()["organization"]["limits"]["weight"], 1, "what is left out is as configured");
    assert_eq!(acme.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);

    let page = manager.get("/v1/organizations?page_size=1").await.json();
    assert_eq!((&page["organizations"][0]["name"], &page["organizations"][0]["pending"]), (&json!("acme"), &json!(2)));
    let page = manager.get("/v1/organizations?page_token=acme").await.json();
    assert_eq!((&page["organizations"][0]["name"], &page["next_page_token"]), (&json!("other"), &json!("")));

    let refused = manager.delete("/v1/organizations/acme").await;
    assert_eq!((refused.status, refused.reason()), (StatusCode::BAD_REQUEST, "ORGANIZATION_NOT_EMPTY".to_owned()));
    assert!(refused.text().contains("2 operations"), "{}", refused.text());
    assert_eq!(manager.delete("/v1/organizations/other").await.json()["done"], true, "it has nothing");
    let deleted = manager.delete("/v1/organizations/acme?force=true").await.json();
    assert_eq!(deleted["done"], true);
    assert!(deleted["removed_rows"].as_u64().unwrap() >= 2);
    assert_eq!(manager.get("/v1/organizations").await.json()["organizations"], json!([]));
    assert_eq!(manager.delete("/v1/organizations/acme").await.status, StatusCode::NOT_FOUND);
    server.store.doctor().await.map(|report| assert_eq!(report.findings, [])).unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_limits_is_told_where_it_stands() {
    let server = Server::start().await;
    let manager = server.instance(&[], &[Scope::Admin]).await;
    let wish = json!({"name": " ", "limits": {"weight": 0, "burst": 5, "max_input": 2_000_000, "speed": 1}});
    let mut violated = create(&manager, wish).await.violated();
    violated.sort();
    assert_eq!(violated, ["limits.burst", "limits.max_input", "limits.speed", "limits.weight", "name"]);
    create(&manager, json!({"name": "acme"})).await;
    let answer = manager.post("/v1/organizations/acme:setLimits", r#"{"weight":1001}"#).await;
    assert_eq!(answer.violated(), ["weight"]);
    assert_eq!(manager.delete("/v1/organizations/acme?force=yes").await.violated(), ["force"]);
}

#[tokio::test]
async fn limits_are_set_as_they_are_shown() {
    let server = Server::start().await;
    let manager = server.instance(&[], &[Scope::Admin]).await;
    create(&manager, json!({"name": "acme"})).await;
    for limits in [
        json!({"rate": 50, "burst": 100}),
        json!({"rate": 50.0}),
        json!({"rate": 0.5, "max_pending": 7, "max_input": 1000, "max_output": 1000, "weight": 3}),
        json!({"max_running": {"scan": 4, "export": 1}}),
        json!({}),
    ] {
        let set = manager.post("/v1/organizations/acme:setLimits", limits.to_string()).await;
        assert_eq!(set.status, StatusCode::OK, "{limits}: {set:?}");
        let shown = set.json()["organization"]["limits"].clone();
        for (name, value) in limits.as_object().unwrap() {
            assert_eq!((shown[name].as_f64(), shown[name].is_object()), (value.as_f64(), value.is_object()), "{name}");
        }
        let again = manager.post("/v1/organizations/acme:setLimits", shown.to_string()).await;
        assert_eq!(again.json()["organization"]["limits"], shown, "{limits}");
    }
    for (limits, field) in [
        (r#"{"max_running":{"scan":-1}}"#, "max_running.scan"),
        (r#"{"max_running":{"scan":1.5}}"#, "max_running.scan"),
        (r#"{"max_running":[]}"#, "max_running"),
        (r#"{"rate":-0.5}"#, "rate"),
        (r#"{"rate":"50"}"#, "rate"),
    ] {
        let refused = manager.post("/v1/organizations/acme:setLimits", limits).await;
        assert_eq!(refused.violated(), [field], "{limits}");
    }
}

#[tokio::test]
async fn tokens_of_organizations_manage_none_and_others_only_what_they_reach() {
    let server = Server::start().await;
    let acme = server.acme().await;
    server.caller(Access::organization("other"), &[Scope::Admin]).await;
    for refused in [
        create(&acme, json!({"name": "new"})).await,
        acme.get("/v1/organizations").await,
        acme.post("/v1/organizations/acme:setLimits", "{}").await,
        acme.delete("/v1/organizations/acme?force=true").await,
    ] {
        assert_eq!((refused.status, refused.reason()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED".to_owned()));
    }
    let worker = server.instance(&[], &[Scope::OperationsWork]).await;
    assert_eq!(worker.get("/v1/organizations").await.reason(), "SCOPE_MISSING");
    let manager = server.instance(&["acme"], &[Scope::Admin]).await;
    let names = |page: Value| page["organizations"].as_array().unwrap().len();
    assert_eq!(names(manager.get("/v1/organizations").await.json()), 1);
    assert_eq!(manager.get("/v1/organizations/acme").await.status, StatusCode::OK);
    for refused in [
        manager.get("/v1/organizations/other").await,
        manager.post("/v1/organizations/other:pause", "").await,
        manager.post("/v1/organizations/other:setLimits", "{}").await,
        manager.delete("/v1/organizations/other?force=true").await,
    ] {
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
    }
    assert_eq!(create(&manager, json!({"name": "new"})).await.violated(), ["name"]);
    assert_eq!(manager.post("/v1/organizations/acme:pause", "").await.json()["organization"]["paused"], true);
    assert_eq!(acme.get("/v1/organizations/acme").await.json()["organization"]["paused"], true);
}
