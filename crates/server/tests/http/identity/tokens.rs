//! Tokens that are valid: what their callers may do, and for how long.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::{Access, NewOperation};
use serde_json::json;
use server::auth::Role;
use store::Scope;

use super::provider::{caller, server_of};
use super::signer::{Signer, claims, claims_with, now};
use crate::harness::Server;

const CREATE: &str = r#"{"kind":"scan","project_id":"p1"}"#;

async fn status(server: &Server, token: &str) -> StatusCode {
    caller(server, token).get("/v1/operations").await.status
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_a_caller_beside_those_with_api_tokens() {
    let signers = [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")];
    let server = server_of(&signers.each_ref(), |_| {}).await;
    let operation = server.acme().await.post("/v1/operations", CREATE).await;
    assert_eq!(operation.status, StatusCode::OK, "{operation:?}");
    for signer in &signers {
        let caller = caller(&server, &signer.sign(&claims()));
        assert_eq!(caller.get("/v1/operations").await.ids().len(), 1, "{}", signer.algorithm());
    }
    let created = caller(&server, &signers[1].sign(&claims())).post("/v1/operations", CREATE).await;
    assert_eq!(created.status, StatusCode::OK, "{created:?}");
    assert_eq!(server.acme().await.get("/v1/operations").await.ids().len(), 2);
}

#[tokio::test]
async fn a_token_may_do_what_its_scopes_say_in_its_organization_and_no_more() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    let operation = server.pending("scan").await;
    let path = format!("/v1/operations/{}", operation.id);
    let with = |changes| caller(&server, &signer.sign(&claims_with(changes)));
    assert_eq!(with(json!({})).get(&path).await.status, StatusCode::OK);
    let stranger = with(json!({"tenant": "globex"}));
    assert_eq!(stranger.get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.get("/v1/operations").await.ids(), Vec::<String>::new());
    let reader = with(json!({"scope": ["operations:read"]}));
    let refused = reader.post("/v1/operations", CREATE).await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::FORBIDDEN, "SCOPE_MISSING"));
    let nothing = with(json!({"scope": "openid profile"})).get(&path).await;
    assert_eq!((nothing.status, nothing.reason().as_str()), (StatusCode::FORBIDDEN, "SCOPE_MISSING"));
}

#[tokio::test]
async fn a_token_sees_its_projects_only() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |settings| settings.claims.projects_claim = "repository".to_owned()).await;
    for project in ["p1", "p2", ""] {
        server.create(NewOperation { project_id: project.to_owned(), ..NewOperation::of_kind("scan") }).await;
    }
    let with = |changes| caller(&server, &signer.sign(&claims_with(changes)));
    assert_eq!(with(json!({"repository": "p1"})).get("/v1/operations").await.ids().len(), 1);
    assert_eq!(with(json!({"repository": ["p1", "p2"]})).get("/v1/operations").await.ids().len(), 2);
    assert_eq!(with(json!({})).get("/v1/operations").await.ids().len(), 0, "who names no project sees none");
    let denied = with(json!({"repository": "p2"})).post("/v1/operations", CREATE).await;
    assert_eq!((denied.status, denied.reason().as_str()), (StatusCode::FORBIDDEN, "PERMISSION_DENIED"));
}

#[tokio::test]
async fn roles_of_the_provider_are_scopes_and_organizations_here() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |settings| {
        let mapping = &mut settings.claims;
        mapping.organization_claim.clear();
        mapping.scopes_claim.clear();
        mapping.roles_claim = "realm_access.roles".to_owned();
        let scopes = [Scope::OperationsRead].into();
        let role = Role { organization: "acme".to_owned(), scopes, projects: Vec::new() };
        mapping.roles.insert("acme-readers".to_owned(), role);
    })
    .await;
    server.pending("scan").await;
    let with = |roles| caller(&server, &signer.sign(&claims_with(json!({"realm_access": {"roles": roles}}))));
    let reader = with(json!(["uma_authorization", "acme-readers"]));
    assert_eq!(reader.get("/v1/operations").await.ids().len(), 1);
    assert_eq!(reader.post("/v1/operations", CREATE).await.status, StatusCode::FORBIDDEN);
    assert_eq!(with(json!(["others"])).get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn times_are_taken_with_the_leeway_and_audiences_and_types_as_they_come() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    let header = |typ: &str| json!({"alg": "ES256", "kid": "e", "typ": typ});
    for (name, token) in [
        ("expired within the leeway", signer.sign(&claims_with(json!({"exp": now() - 10})))),
        ("begins within the leeway", signer.sign(&claims_with(json!({"nbf": now() + 20, "iat": now() + 20})))),
        ("a time with a fraction", signer.sign(&claims_with(json!({"exp": now() as f64 + 60.5})))),
        ("no iat", signer.sign(&claims_with(json!({"iat": null})))),
        ("one of two audiences", signer.sign(&claims_with(json!({"aud": ["elsewhere", "other"]})))),
        ("no type", signer.sign_with(&json!({"alg": "ES256", "kid": "e"}), &claims())),
        ("an access token", signer.sign_with(&header("at+jwt"), &claims())),
        ("an access token, spelt out", signer.sign_with(&header("application/at+JWT"), &claims())),
        ("the only key there is", signer.sign_with(&json!({"alg": "ES256"}), &claims())),
    ] {
        assert_eq!(status(&server, &token).await, StatusCode::OK, "{name}");
    }
    let token = signer.sign(&claims());
    let headers = [("authorization", format!("bearer   {token} "))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = server.nobody().send(Method::GET, "/v1/operations", &headers, "").await;
    assert_eq!(answer.status, StatusCode::OK, "the case of the scheme and spaces do not matter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_and_one_that_watches_end_when_the_token_expires() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |settings| settings.leeway = Duration::ZERO).await;
    let operation = server.pending("scan").await;
    let short = caller(&server, &signer.sign(&claims_with(json!({"exp": now() + 6}))));
    assert_eq!(short.get("/v1/operations").await.status, StatusCode::OK);
    let path = format!("/v1/operations/{}:wait?timeout=60s", operation.id);
    let (waited, watched) = tokio::time::timeout(Duration::from_secs(45), async {
        tokio::join!(short.get(&path), short.get("/v1/operations:watch"))
    })
    .await
    .expect("they end soon after the token");
    assert_eq!((waited.status, waited.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"), "{waited:?}");
    let (_, end) = watched.text().split_once("event: error\ndata: ").unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(end.trim_end()).unwrap()["code"], 16);
}

#[tokio::test]
async fn a_worker_with_a_token_of_a_provider_is_named_in_the_history() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    let operation = server.pending("scan").await;
    let worker = caller(&server, &signer.sign(&claims_with(json!({"sub": "repo:acme/app:ref:refs/heads/main"}))));
    let claimed = worker.post("/v1/operations:claim", r#"{"kinds":["scan"]}"#).await;
    assert_eq!(claimed.status, StatusCode::OK, "{claimed:?}");
    let events = worker.get(&format!("/v1/operations/{}/events", operation.id)).await;
    assert!(events.text().contains("jwt:test:repo:acme/app:ref:refs/heads/main"), "{events:?}");
}

#[tokio::test]
async fn many_forged_tokens_of_an_address_are_refused_together_with_unknown_ones_and_known_callers_go_on() {
    let (signer, stranger) = (Signer::ec("e"), Signer::ec("e"));
    let server = server_of(&[&signer], |_| {}).await;
    let (api, jwt) = (server.acme().await, caller(&server, &signer.sign(&claims())));
    for known in [&api, &jwt] {
        assert_eq!(known.get("/v1/operations").await.status, StatusCode::OK);
    }
    for number in 0..50 {
        let forged = stranger.sign(&claims_with(json!({ "jti": number })));
        assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED);
        let unknown = server::auth::Secret::generate().unwrap();
        assert_eq!(status(&server, unknown.expose()).await, StatusCode::UNAUTHORIZED);
    }
    let answer = caller(&server, &stranger.sign(&claims())).get("/v1/operations").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(answer.reason(), "TOO_MANY_UNKNOWN_TOKENS");
    for known in [&api, &jwt] {
        assert_eq!(known.get("/v1/operations").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn tokens_that_have_expired_do_not_count_among_the_forged() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    for number in 0..110 {
        let expired = signer.sign(&claims_with(json!({"exp": now() - 100, "jti": number})));
        assert_eq!(status(&server, &expired).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(status(&server, &signer.sign(&claims())).await, StatusCode::OK);
}

#[tokio::test]
async fn an_api_token_of_another_organization_stays_in_its_own() {
    let signer = Signer::ec("e");
    let server = server_of(&[&signer], |_| {}).await;
    caller(&server, &signer.sign(&claims())).post("/v1/operations", CREATE).await;
    let globex = server.caller(Access::organization("globex"), &[Scope::Admin]).await;
    assert_eq!(globex.get("/v1/operations").await.ids(), Vec::<String>::new());
}
