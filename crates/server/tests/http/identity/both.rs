//! A browser in which somebody signed in with an API token, and somebody else at the provider.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::{Scope, Token};

use super::browser::{Browser, PUBLIC, Provider, server_with, settings};
use crate::harness::{Caller, Server};

/// The cookie of a session that began with an API token.
const TOKEN_SESSION: &str = "__Host-longrun-page";

/// A provider that knows Ada, and a server with one operation of `acme`, where she works.
async fn with_ada() -> (Provider, Server) {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let server = server_with(settings(&provider.issuer)).await;
    server.pending("scan").await;
    (provider, server)
}

/// Somebody of another organization.
async fn stranger(server: &Server) -> (Caller, Token) {
    server.caller_and_token(Access::organization("globex"), &[Scope::Admin]).await
}

/// Signs in with the token of a caller; returns the cookie.
async fn enter_token(browser: &mut Browser, token_of: &Caller) -> String {
    let secret = token_of.authorization.as_deref().unwrap().strip_prefix("Bearer ").unwrap();
    let (to, entered) = (format!("{PUBLIC}/ui/sign-in"), format!("token={secret}"));
    let page = browser.send(Method::POST, &to, &[], Some(&entered)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{page:?}");
    browser.cookies[PUBLIC][TOKEN_SESSION].clone()
}

/// How many operations there are for the person who is signed in.
async fn seen(browser: &mut Browser) -> Value {
    let page = browser.get(&format!("{PUBLIC}/v1/operations")).await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    page.json()["pagination"]["total_count"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_in_at_the_provider_takes_the_place_of_who_entered_a_token() {
    let (_provider, server) = with_ada().await;
    let mut browser = Browser::new(&server);
    enter_token(&mut browser, &stranger(&server).await.0).await;
    assert_eq!(seen(&mut browser).await, 0, "as somebody of globex");
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    assert!(!browser.cookies[PUBLIC].contains_key(TOKEN_SESSION), "{:?}", browser.cookies);
    assert_eq!(seen(&mut browser).await, 1, "as Ada");
    assert_eq!(browser.get(&format!("{PUBLIC}/ui/operations")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_token_session_does_not_stand_before_another_one() {
    let (_provider, server) = with_ada().await;
    let (caller, token) = stranger(&server).await;
    let mut other = Browser::new(&server);
    let ended = enter_token(&mut other, &caller).await;
    server.store.revoke_token(&token.id).await.unwrap();
    // What is known of a token is checked again after a second at most.
    let refused = async {
        while other.get(&format!("{PUBLIC}/v1/operations")).await.status != StatusCode::UNAUTHORIZED {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("within a second or so");

    let mut browser = Browser::new(&server);
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    for left in [ended.as_str(), "x", "AAAA"] {
        for browser in [&mut browser, &mut other] {
            browser.cookies.get_mut(PUBLIC).unwrap().insert(TOKEN_SESSION.to_owned(), left.to_owned());
        }
        assert_eq!(seen(&mut browser).await, 1, "{left}");
        assert_eq!(browser.get(&format!("{PUBLIC}/ui/operations")).await.status, StatusCode::OK, "{left}");
        let page = other.get(&format!("{PUBLIC}/ui/operations")).await;
        assert_eq!(page.header("location"), "/ui/sign-in?return_to=%2Fui%2Foperations", "{left}: alone it is nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_that_another_site_can_set_does_not_stand_before_a_session() {
    let (_provider, server) = with_ada().await;
    let planted = enter_token(&mut Browser::new(&server), &stranger(&server).await.0).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    let csrf = browser.session().await["csrf_token"].as_str().unwrap().to_owned();
    // Without the prefix, a page of a sibling domain, or somebody on the way to it, can set it.
    browser.cookies.get_mut(PUBLIC).unwrap().insert("longrun-page".to_owned(), planted);
    assert_eq!(seen(&mut browser).await, 1, "as Ada");
    let out = browser.post("/auth/logout", &[("origin", PUBLIC), ("x-csrf-token", &csrf)], "").await;
    assert_eq!(out.status, StatusCode::OK, "{out:?}");
    assert!(browser.cookies[PUBLIC].is_empty(), "{:?}", browser.cookies);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_has_the_browser_forget_a_token_session_too() {
    let (_provider, server) = with_ada().await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    let csrf = browser.session().await["csrf_token"].as_str().unwrap().to_owned();
    enter_token(&mut browser, &stranger(&server).await.0).await;
    let out = browser.post("/auth/logout", &[("origin", PUBLIC), ("x-csrf-token", &csrf)], "").await;
    assert_eq!(out.status, StatusCode::OK, "{out:?}");
    assert!(browser.cookies[PUBLIC].is_empty(), "{:?}", browser.cookies);
    assert_eq!(browser.get(&format!("{PUBLIC}/v1/operations")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_enters_a_token_takes_the_place_of_who_signed_in_at_the_provider() {
    let (_provider, server) = with_ada().await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    let mut copy = Browser::new(&server);
    copy.cookies = browser.cookies.clone();
    assert_eq!(seen(&mut copy).await, 1, "as Ada");
    enter_token(&mut browser, &stranger(&server).await.0).await;
    assert_eq!(browser.cookies[PUBLIC].keys().collect::<Vec<_>>(), [TOKEN_SESSION]);
    assert_eq!(seen(&mut browser).await, 0, "as somebody of globex");
    let page = copy.get(&format!("{PUBLIC}/v1/operations")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "a copy of the cookie is of no use either: {page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_entered_at_the_public_address_behind_a_proxy_that_changes_the_host() {
    let (_provider, server) = with_ada().await;
    let (caller, _) = stranger(&server).await;
    let secret = caller.authorization.as_deref().unwrap().strip_prefix("Bearer ").unwrap();
    for (origin, status) in [(PUBLIC, StatusCode::SEE_OTHER), ("https://evil.example", StatusCode::FORBIDDEN)] {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin)];
        let answer = server.nobody().send(Method::POST, "/ui/sign-in", &headers, format!("token={secret}")).await;
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
    }
}
