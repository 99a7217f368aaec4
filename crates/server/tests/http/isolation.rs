//! Nothing of one organization is seen or touched by another, whatever the call; nor outside of a token's projects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use operations::{Access, NewOperation, OperationId, Resource};
use serde_json::json;
use store::{Digest, Scope};

use crate::harness::{Answer, Caller, Server};

const POLICY: &str = "apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: always}
spec: {policies: [{kind: STRING, embedded: \"package main\\nimport rego.v1\\nviolations := []\\n\"}]}
";

#[tokio::test]
async fn no_call_shows_or_uses_what_another_organization_has() {
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
async fn what_an_organization_makes_is_its_own() {
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

#[tokio::test]
async fn an_idempotency_key_shows_nothing_to_those_who_may_not_see_what_it_made() {
    let server = Server::start().await;
    let keyed = |caller: &Caller, body: &str| {
        let (caller, body) = (caller.clone(), body.to_owned());
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        async move { caller.send(Method::POST, "/v1/operations", &headers, body).await }
    };
    let (in_p, in_q) = (r#"{"kind":"scan","project_id":"p"}"#, r#"{"kind":"scan","project_id":"q"}"#);
    let id = |answer: &Answer| answer.json()["operation"]["id"].as_str().unwrap().to_owned();
    let everything = server.acme().await;
    let of_p = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let again_of_p = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let of_q = server.caller(Access::projects("acme", ["q"]), &[Scope::Admin]).await;
    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;

    let first = id(&keyed(&everything, in_p).await);
    assert_eq!(keyed(&of_q, in_p).await.status, StatusCode::FORBIDDEN, "not even the same request");
    let made_by_q = keyed(&of_q, in_q).await;
    assert_eq!(made_by_q.status, StatusCode::OK, "409 would tell that the key is in use elsewhere");
    let made_by_other = keyed(&other, in_p).await;
    let made_by_p = keyed(&of_p, in_p).await;
    let ids = [first.clone(), id(&made_by_q), id(&made_by_other), id(&made_by_p)];
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 4, "{ids:?}");

    assert_eq!(id(&keyed(&everything, in_p).await), first);
    assert_eq!(id(&keyed(&again_of_p, in_p).await), id(&made_by_p), "another token of the same projects repeats");
    assert_eq!(keyed(&everything, in_q).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_limited_token_learns_of_other_projects_from_no_error_and_no_tag() {
    let server = Server::start().await;
    let operation =
        server.create(NewOperation { project_id: "hidden".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let path = format!("/v1/operations/{}", operation.id);
    let etag = server.acme().await.get(&path).await.header("etag").to_owned();
    let nowhere = format!("/v1/operations/{}", OperationId::new(server.store.now()));
    for tag in ["*", &etag] {
        let headers = [("if-none-match", tag)];
        let (hidden, absent) = (
            limited.send(Method::GET, &path, &headers, "").await,
            limited.send(Method::GET, &nowhere, &headers, "").await,
        );
        assert_eq!((hidden.status, &hidden.body), (StatusCode::NOT_FOUND, &absent.body));
        assert_eq!(hidden.header("etag"), "");
        assert_eq!(hidden.header("retry-after"), "");
    }
    let refused = limited.post("/v1/operations", r#"{"kind":"scan","project_id":"hidden"}"#).await;
    let unknown = limited.post("/v1/operations", r#"{"kind":"scan","project_id":"nobodys"}"#).await;
    assert_eq!(
        (refused.status, &refused.body),
        (StatusCode::FORBIDDEN, &unknown.body),
        "its own projects are named only"
    );
    for query in ["?kind=scan", "?status=1", "?pagination.page=7"] {
        assert_eq!(limited.get(&format!("/v1/operations{query}")).await.json()["pagination"]["total_count"], 0);
    }
}
