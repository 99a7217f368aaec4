//! Workers for several organizations.

use http::StatusCode;
use operations::NewOperation;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Caller, Server};

async fn fill(server: &Server, organizations: &[&str], each: usize) {
    for organization in organizations {
        server.store.create(organization, vec![NewOperation::of_kind("scan"); each], None).await.unwrap();
    }
}

async fn claim(caller: &Caller, more: Value) -> Vec<Value> {
    let mut body = json!({"kinds": ["scan"], "max_operations": 10});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = caller.post("/v1/operations:claim", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["operations"].as_array().unwrap().clone()
}

fn organizations(claimed: &[Value]) -> Vec<&str> {
    let mut found: Vec<&str> = claimed.iter().map(|one| one["organization"].as_str().unwrap()).collect();
    found.sort_unstable();
    found
}

fn row(claimed: &Value, more: Value) -> Value {
    let mut row = json!({"id": claimed["operation"]["id"], "lease_token": claimed["lease_token"],
        "organization": claimed["organization"]});
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row
}

#[tokio::test]
async fn one_worker_runs_what_is_of_several_organizations() {
    let server = Server::start().await;
    fill(&server, &["a", "b", "c"], 2).await;
    let worker = server.instance(&["a", "b"], &[Scope::OperationsWork]).await;
    let claimed = claim(&worker, json!({})).await;
    assert_eq!(organizations(&claimed), ["a", "a", "b", "b"]);
    let beats: Vec<Value> = claimed.iter().map(|one| row(one, json!({"progress": "half"}))).collect();
    let answer = worker.post("/v1/operations:heartbeat", json!({"operations": beats}).to_string()).await.json();
    assert!(answer["operations"].as_array().unwrap().iter().all(|state| state["error"].is_null()), "{answer}");
    let ends: Vec<Value> = claimed.iter().map(|one| row(one, json!({"output": "done"}))).collect();
    let answer = worker.post("/v1/operations:settle", json!({"results": ends}).to_string()).await.json();
    let results = answer["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["status"] == "ASYNC_OPERATION_STATUS_COMPLETED"), "{answer}");
    server.store.doctor().await.map(|report| assert_eq!(report.findings, [])).unwrap();
}

#[tokio::test]
async fn a_claim_can_name_some_of_them_and_no_others() {
    let server = Server::start().await;
    fill(&server, &["a", "b", "c"], 1).await;
    let worker = server.instance(&["a", "b"], &[Scope::OperationsWork]).await;
    assert_eq!(organizations(&claim(&worker, json!({"organizations": ["b"]})).await), ["b"]);
    let body = r#"{"kinds":["scan"],"organizations":["b","c"]}"#;
    assert_eq!(worker.post("/v1/operations:claim", body).await.violated(), ["organizations"]);
    let all = server.instance(&[], &[Scope::OperationsWork]).await;
    assert_eq!(organizations(&claim(&all, json!({"organizations": ["c", "none"]})).await), ["c"]);
    assert_eq!(organizations(&claim(&all, json!({})).await), ["a"]);
    let acme = server.acme().await;
    assert_eq!(acme.post("/v1/operations:claim", body).await.violated(), ["organizations"]);
    assert_eq!(claim(&acme, json!({"organizations": ["acme"]})).await.len(), 0);
    let manager = server.instance(&[], &[Scope::Admin]).await;
    let refused = manager.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await;
    assert_eq!(refused.reason(), "SCOPE_MISSING", "who manages organizations does not run what is theirs");
}

#[tokio::test]
async fn what_is_out_of_reach_is_answered_like_a_lease_that_was_lost() {
    let server = Server::start().await;
    fill(&server, &["a", "acme"], 1).await;
    let all = server.instance(&[], &[Scope::OperationsWork]).await;
    let claimed = claim(&all, json!({})).await;
    let of_acme = claimed.iter().find(|one| one["organization"] == "acme").unwrap();
    let of_a = claimed.iter().find(|one| one["organization"] == "a").unwrap();
    let only_a = server.instance(&["a"], &[Scope::OperationsWork]).await;
    let (acme, mut moved) = (server.acme().await, of_acme.clone());
    moved["organization"] = json!("a");
    for (worker, foreign) in [(&only_a, of_acme), (&only_a, &moved), (&acme, of_a)] {
        let beat = json!({"operations": [row(foreign, json!({}))]}).to_string();
        let answer = worker.post("/v1/operations:heartbeat", beat).await.json();
        assert_eq!(answer["operations"][0]["error"]["code"], 10, "{answer}");
        for end in [json!({"output": "forged"}), json!({"error_message": "forged"}), json!({"release": true})] {
            let end = json!({"results": [row(foreign, end)]}).to_string();
            let answer = worker.post("/v1/operations:settle", end).await.json();
            assert_eq!(answer["results"][0]["error"]["code"], 10, "{answer}");
        }
    }
    let mut without = row(of_a, json!({"output": "x"}));
    without.as_object_mut().unwrap().remove("organization");
    let answer = only_a.post("/v1/operations:settle", json!({"results": [without]}).to_string()).await;
    assert_eq!(answer.violated(), ["results[0].organization"]);
    // The workers of the organization itself end them, also without naming the organization.
    let mut own = row(of_acme, json!({"output": "done"}));
    own.as_object_mut().unwrap().remove("organization");
    let answer = acme.post("/v1/operations:settle", json!({"results": [own]}).to_string()).await.json();
    assert!(answer["results"][0]["error"].is_null(), "{answer}");
}

#[tokio::test]
async fn one_that_waits_gets_what_comes_in_any_of_them() {
    let server = Server::start().await;
    fill(&server, &["a", "b"], 1).await;
    let worker = server.instance(&["a", "b"], &[Scope::OperationsWork]).await;
    assert_eq!(claim(&worker, json!({})).await.len(), 2);
    let waiting = tokio::spawn(async move { claim(&worker, json!({"wait": "60s"})).await });
    let (caller, token) =
        (server.instance(&[], &[Scope::Admin]).await, r#"{"name":"n","scopes":["admin"],"organization":"b"}"#);
    let made = caller.post("/v1/tokens", token).await.json();
    let created = caller.with_secret(&made["secret"]).post("/v1/operations", r#"{"kind":"scan"}"#).await;
    assert_eq!(created.status, StatusCode::OK);
    assert_eq!(organizations(&waiting.await.unwrap()), ["b"]);
}
