//! Nothing of one organisation is seen or touched by another, whatever the call; nor outside of a token's projects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use operations::{Access, NewOperation, Resource};
use serde_json::json;
use store::{Digest, Scope};

use crate::harness::Server;

const POLICY: &str = "apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: always}
spec: {policies: [{kind: STRING, embedded: \"package main\\nimport rego.v1\\nviolations := []\\n\"}]}
";

#[tokio::test]
async fn no_call_shows_or_uses_what_another_organisation_has() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let content = b"secret evidence";
    let digest = Digest::of(content);
    acme.send(Method::POST, "/v1/evidence", &[], content.as_slice()).await;
    let resource = Resource { resource_type: "evidence".to_owned(), resource_id: digest.to_string() };
    let operation = server.create(NewOperation { resource: Some(resource), ..NewOperation::of_kind("scan") }).await;

    for query in ["", "?kind=scan", "?status=1", &format!("?resource_type=evidence&resource_id={digest}")] {
        let answer = other.get(&format!("/v1/operations{query}")).await;
        assert!(answer.ids().is_empty(), "{query}");
        assert_eq!(answer.json()["pagination"]["total_count"], 0, "{query}");
        assert_eq!(acme.get(&format!("/v1/operations{query}")).await.ids().len(), 1, "{query}");
    }
    for method in [Method::GET, Method::HEAD] {
        for path in [format!("/v1/operations/{}", operation.id), format!("/v1/evidence/{digest}")] {
            assert_eq!(other.send(method.clone(), &path, &[], "").await.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(acme.send(method.clone(), &path, &[], "").await.status, StatusCode::OK, "{path}");
            let etag = acme.get(&path).await.header("etag").to_owned();
            let conditional = other.send(method.clone(), &path, &[("if-none-match", &etag)], "").await;
            assert_eq!(conditional.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let evaluation = json!({"digest": digest.to_string(), "policies": [{"embedded": POLICY}]});
    let answer = other.post("/v1/agents/evaluate-evidence", evaluation.to_string()).await;
    assert_eq!(answer.violated(), ["digest"], "another's digest is as unknown as any");
    let create = json!({"kind": "evidence_evaluation", "input": evaluation}).to_string();
    assert_eq!(other.post("/v1/operations", create).await.violated(), ["input.digest"]);
}

#[tokio::test]
async fn what_an_organisation_makes_is_its_own() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    other.post("/v1/operations", r#"{"kind":"scan"}"#).await;
    let evaluation = json!({"content": STANDARD.encode("their evidence"), "policies": [{"embedded": POLICY}]});
    assert_eq!(other.post("/v1/agents/evaluate-evidence", evaluation.to_string()).await.status, StatusCode::OK);
    other.send(Method::POST, "/v1/evidence", &[], "more of it").await;
    assert_eq!(other.get("/v1/operations").await.ids().len(), 2);
    assert!(acme.get("/v1/operations").await.ids().is_empty());
    for content in ["their evidence", "more of it"] {
        let path = format!("/v1/evidence/{}", Digest::of(content.as_bytes()));
        assert_eq!(other.get(&path).await.status, StatusCode::OK);
        assert_eq!(acme.get(&path).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_project_list_hides_other_projects_and_operations_without_one() {
    let server = Server::start().await;
    let mut of_project = Vec::new();
    for project in ["p", "q", ""] {
        let operation = NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") };
        of_project.push(server.create(operation).await.id.to_string());
    }
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let listed = limited.get("/v1/operations").await;
    assert_eq!(listed.ids(), of_project[..1]);
    assert_eq!(listed.json()["pagination"]["total_count"], 1);
    assert_eq!(limited.get(&format!("/v1/operations/{}", of_project[0])).await.status, StatusCode::OK);
    for hidden in &of_project[1..] {
        assert_eq!(limited.get(&format!("/v1/operations/{hidden}")).await.status, StatusCode::NOT_FOUND);
    }
    let evaluation = |project: &str| {
        json!({"content": "eA==", "project_id": project, "policies": [{"embedded": POLICY}]}).to_string()
    };
    for (project, status) in [("p", StatusCode::OK), ("q", StatusCode::FORBIDDEN), ("", StatusCode::FORBIDDEN)] {
        let answer = limited.post("/v1/agents/evaluate-evidence", evaluation(project)).await;
        assert_eq!(answer.status, status, "{project:?} {answer:?}");
    }
}
