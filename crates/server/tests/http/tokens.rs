//! Tokens: who gets in, and what for.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use operations::Access;
use server::auth::Secret;
use store::{NewToken, Scope};

use crate::harness::{Caller, Server};

#[tokio::test]
async fn missing_malformed_unknown_expired_and_revoked_tokens_get_one_indistinguishable_answer() {
    let server = Server::start().await;
    let (valid, token) = server.caller_and_token(Access::organization("acme"), &[Scope::Admin]).await;
    let secret = valid.authorization.clone().unwrap()["Bearer ".len()..].to_owned();
    assert_eq!(valid.get("/v1/operations").await.status, StatusCode::OK);

    let expired = Secret::generate().unwrap();
    let new = NewToken {
        hash: expired.hash(),
        name: "expired".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::Admin].into(),
        expires_at: Some(server.store.now()),
        instance: None,
    };
    server.store.create_token(new).await.unwrap();
    let unknown = Secret::generate().unwrap();
    let mut headers = vec![
        None,
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(secret.clone()),
        Some(format!("Basic {secret}")),
        Some(format!("Bearer {secret}x")),
        Some(format!("Bearer {}", secret.to_lowercase())),
        Some(format!("Bearer {secret} {secret}")),
        Some(format!("Bearer {}", unknown.expose())),
        Some(format!("Bearer {}", expired.expose())),
    ];
    assert!(server.store.revoke_token(&token.id).await.unwrap());
    headers.push(Some(format!("Bearer {secret}")));
    // A server trusts a token for a second.
    let deadline = Instant::now() + Duration::from_secs(30);
    while valid.get("/v1/operations").await.status == StatusCode::OK {
        assert!(Instant::now() < deadline, "a revoked token is taken for ever");
    }
    let first = server.nobody().get("/v1/operations").await;
    insta::assert_snapshot!(first.text(), @r#"{"code":16,"message":"a valid API token is needed: send the header Authorization: Bearer lrn_…","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOKEN_INVALID","domain":"longrun","metadata":{}}]}"#);
    for authorization in headers {
        let caller = Caller { authorization: authorization.clone(), ..server.nobody() };
        let answer = caller.get("/v1/operations").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{authorization:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert_eq!(answer.body, first.body, "{authorization:?}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_none() {
    let server = Server::start().await;
    let caller = server.acme().await;
    let second = [("authorization", caller.authorization.as_deref().unwrap())];
    assert_eq!(caller.send(Method::GET, "/v1/operations", &second, "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_scheme_is_case_insensitive() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for scheme in ["bearer ", "BEARER ", "Bearer  "] {
        let authorization = caller.authorization.as_ref().map(|a| a.replace("Bearer ", scheme));
        let caller = Caller { authorization, ..caller.clone() };
        assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK, "{scheme:?}");
    }
}

#[tokio::test]
async fn the_last_use_is_noted_off_the_request_path() {
    let server = Server::start().await;
    let (caller, token) = server.caller_and_token(Access::organization("acme"), &[Scope::Admin]).await;
    assert_eq!(token.last_used_at, None);
    caller.get("/v1/operations").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let tokens = server.store.tokens(Some("acme")).await.unwrap();
        if tokens[0].last_used_at.is_some() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{tokens:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
