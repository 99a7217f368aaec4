//! `/v1/tokens`: tokens that are managed over the API.

use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

async fn create(caller: &Caller, wish: Value) -> Answer {
    caller.post("/v1/tokens", wish.to_string()).await
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["token"]["id"].as_str().unwrap().to_owned()
}

async fn listed(caller: &Caller, query: &str) -> Vec<String> {
    let answer = caller.get(&format!("/v1/tokens{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let tokens = answer.json()["tokens"].as_array().unwrap().clone();
    tokens.iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_token_is_made_with_its_secret_shown_once() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let made =
        create(&admin, json!({"name": "ci", "scopes": ["operations:read"], "projects": ["p"], "expires_in": "60s"}))
            .await;
    assert_eq!(made.header("cache-control"), "no-store");
    let (token, secret) = (made.json()["token"].clone(), made.json()["secret"].clone());
    assert_eq!((&token["name"], &token["organization"]), (&json!("ci"), &json!("acme")));
    assert_eq!((&token["scopes"], &token["projects"]), (&json!(["operations:read"]), &json!(["p"])));
    assert_eq!((&token["state"], &token["instance"]), (&json!("valid"), &json!(false)));
    let holder = admin.with_secret(&secret);
    assert_eq!(holder.get("/v1/operations").await.status, StatusCode::OK);
    assert_eq!(holder.post("/v1/operations", r#"{"kind":"scan"}"#).await.reason(), "SCOPE_MISSING");
    for path in ["/v1/tokens".to_owned(), format!("/v1/tokens/{}", id(&made))] {
        let answer = admin.get(&path).await;
        assert!(!answer.text().contains("lrn_") && !answer.text().contains("hash"), "{}", answer.text());
    }
    assert_eq!(create(&holder, json!({"name": "x", "scopes": ["operations:read"]})).await.reason(), "SCOPE_MISSING");
}

#[tokio::test]
async fn what_is_too_much_is_told_field_by_field() {
    let server = Server::start().await;
    let limited = server.caller(Access::projects("acme", ["a"]), &[Scope::Admin]).await;
    let wish = json!({"name": "", "scopes": ["everything"], "projects": ["b"], "expires_in": "soon", "colour": 1});
    let mut violated = create(&limited, wish).await.violated();
    violated.sort();
    assert_eq!(violated, ["colour", "expires_in", "name", "scopes"]);
    let wish = json!({"name": "n", "scopes": ["root"], "expires_in": "0s", "projects": [""]});
    let mut violated = create(&limited, wish).await.violated();
    violated.sort();
    assert_eq!(violated, ["expires_in", "projects", "scopes"]);
    let wish = json!({"name": "", "scopes": ["admin"], "projects": ["b"]});
    assert_eq!(create(&limited, wish).await.violated(), ["name"]);
    for (projects, violated) in [(json!(["b"]), "projects"), (json!([]), "projects"), (json!(["a", "b"]), "projects")] {
        let mut wish = json!({"name": "n", "scopes": ["admin"]});
        // An empty list cannot be sent: then the field is left out.
        if projects != json!([]) {
            wish["projects"] = projects;
        }
        assert_eq!(create(&limited, wish).await.violated(), [violated]);
    }
    id(&create(&limited, json!({"name": "n", "scopes": ["admin"], "projects": ["a"]})).await);
    let elsewhere = create(&limited, json!({"name": "n", "scopes": ["admin"], "organization": "other"})).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    let instance = create(&limited, json!({"name": "n", "scopes": ["admin"], "instance": true})).await;
    assert_eq!(instance.violated(), ["instance"]);
}

#[tokio::test]
async fn tokens_are_listed_by_pages_and_only_within_reach() {
    let server = Server::start().await;
    let (admin, other) = (server.acme().await, server.caller(Access::organization("other"), &[Scope::Admin]).await);
    for _ in 0..4 {
        id(&create(&admin, json!({"name": "n", "scopes": ["operations:read"]})).await);
    }
    let all = listed(&admin, "").await;
    assert_eq!(all.len(), 5);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/v1/tokens?page_size=2&page_token={token}")).await.json();
        seen.extend(page["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned()));
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, all);
    assert_eq!(admin.get("/v1/tokens?page_token=x").await.violated(), ["page_token"]);
    assert_eq!(listed(&other, "").await.len(), 1);
    assert_eq!(listed(&other, "?organization=acme").await, [""; 0]);
    for path in [format!("/v1/tokens/{}", all[1]), "/v1/tokens/tok_none".to_owned()] {
        assert_eq!(other.get(&path).await.status, StatusCode::NOT_FOUND);
        for verb in ["revoke", "rotate"] {
            assert_eq!(other.post(&format!("{path}:{verb}"), "{}").await.status, StatusCode::NOT_FOUND);
        }
    }
    assert_eq!(admin.get(&format!("/v1/tokens/{}", all[1])).await.json()["token"]["state"], "valid");
    assert_eq!(admin.post(&format!("/v1/tokens/{}", all[1]), "").await.header("allow"), "GET,HEAD");
    assert_eq!(admin.send(Method::DELETE, "/v1/tokens", &[], "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_stays_revoked() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let made = create(&admin, json!({"name": "ci", "scopes": ["admin"]})).await;
    let path = format!("/v1/tokens/{}:revoke", id(&made));
    let revoked = admin.post(&path, "").await.json();
    assert_eq!(revoked["token"]["state"], "revoked");
    assert_eq!(admin.post(&path, "").await.json(), revoked, "again");
    // It was never used here, so that nothing is remembered of it.
    let holder = admin.with_secret(&made.json()["secret"]);
    assert_eq!(holder.get("/v1/operations").await.status, StatusCode::UNAUTHORIZED);
    let rotated = admin.post(&format!("/v1/tokens/{}:rotate", id(&made)), "{}").await;
    assert_eq!((rotated.status, rotated.reason()), (StatusCode::BAD_REQUEST, "TOKEN_ENDED".to_owned()));
}

#[tokio::test]
async fn a_rotated_token_has_another_secret_and_the_old_one_for_the_overlap() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let old = create(&admin, json!({"name": "ci", "scopes": ["operations:read"], "projects": ["p"]})).await;
    let path = format!("/v1/tokens/{}", id(&old));
    assert_eq!(admin.post(&format!("{path}:rotate"), r#"{"overlap":"2592001s"}"#).await.violated(), ["overlap"]);
    let new = admin.post(&format!("{path}:rotate"), "{}").await;
    assert_ne!(id(&new), id(&old));
    for field in ["name", "scopes", "projects", "organization"] {
        assert_eq!(new.json()["token"][field], old.json()["token"][field], "{field}");
    }
    for answer in [&old, &new] {
        let holder = admin.with_secret(&answer.json()["secret"]);
        assert_eq!(holder.get("/v1/operations").await.status, StatusCode::OK, "both are valid");
    }
    assert!(admin.get(&path).await.json()["token"]["expires_at"].is_string(), "the old one ends");
    assert!(new.json()["token"]["expires_at"].is_null());
    let last = admin.post(&format!("{path}:rotate"), r#"{"overlap":"0s","expires_in":"60s"}"#).await;
    assert!(last.json()["token"]["expires_at"].is_string());
    assert_eq!(admin.get(&path).await.json()["token"]["state"], "expired");
}

#[tokio::test]
async fn a_token_of_the_instance_manages_those_of_the_organizations_that_it_reaches() {
    let server = Server::start().await;
    server.acme().await;
    server.caller(Access::organization("other"), &[Scope::Admin]).await;
    let manager = server.instance(&["acme"], &[Scope::Admin]).await;
    let made = create(&manager, json!({"name": "n", "scopes": ["operations:write"], "organization": "acme"})).await;
    let holder = manager.with_secret(&made.json()["secret"]);
    assert_eq!(holder.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);
    for organization in ["other", "new"] {
        let refused = create(&manager, json!({"name": "n", "scopes": ["admin"], "organization": organization})).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{organization}");
    }
    assert_eq!(create(&manager, json!({"name": "n", "scopes": ["admin"]})).await.violated(), ["organization"]);
    let wider = json!({"name": "n", "scopes": ["admin", "operations:work"], "instance": true});
    let mut violated = create(&manager, wider).await.violated();
    violated.sort();
    assert_eq!(violated, ["organizations", "scopes"]);
    let within = json!({"name": "n", "scopes": ["admin"], "instance": true, "organizations": ["acme"]});
    assert_eq!(create(&manager, within).await.json()["token"]["organizations"], json!(["acme"]));
    assert_eq!(listed(&manager, "?organization=acme").await.len(), 2);
    assert_eq!(listed(&manager, "?organization=other").await, [""; 0]);
}

#[tokio::test]
async fn a_token_of_the_instance_does_nothing_within_organizations() {
    let server = Server::start().await;
    let operation = server.pending("scan").await;
    let manager = server.instance(&[], &[Scope::Admin, Scope::OperationsWork]).await;
    for (method, path, body) in [
        (Method::GET, "/v1/operations".to_owned(), ""),
        (Method::GET, format!("/v1/operations/{}", operation.id), ""),
        (Method::POST, format!("/v1/operations/{}:cancel", operation.id), ""),
        (Method::DELETE, format!("/v1/operations/{}", operation.id), ""),
        (Method::POST, "/v1/operations".to_owned(), r#"{"kind":"scan"}"#),
        (Method::GET, "/v1/operations:watch".to_owned(), ""),
        (Method::POST, "/v1/evidence".to_owned(), "x"),
        (Method::POST, "/v1/kinds/scan:pause".to_owned(), ""),
    ] {
        let answer = manager.send(method.clone(), &path, &[("content-type", "application/json")], body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {answer:?}");
    }
    assert_eq!(server.store.organizations().await.unwrap().len(), 1, "no organization without a name was made");
}
