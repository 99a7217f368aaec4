//! `/v1/sessions`: sessions are listed and ended, on all servers.

use std::time::Duration;

use http::{Method, StatusCode};
use operations::Access;
use serde_json::json;
use store::Scope;

use super::browser::{Browser, PUBLIC, Provider, server_beside, server_with, settings, shared_key};
use crate::harness::{Caller, Server};

const LIST: &str = "https://longrun.example.com/v1/operations";

async fn two_servers() -> (Provider, Server, Server) {
    let people = [json!({"sub": "ada", "groups": ["acme"]}), json!({"sub": "bob", "groups": ["readers"]})];
    let provider = Provider::start(&people).await;
    let settings = || server::auth::OidcSettings { session_key: shared_key(), ..settings(&provider.issuer) };
    let first = server_with(settings()).await;
    let second = server_beside(&first, settings()).await;
    (provider, first, second)
}

/// The ids of the sessions that a caller sees, oldest first.
async fn ids(caller: &Caller) -> Vec<String> {
    let page = caller.get("/v1/sessions").await.json();
    page["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a server that did not end the session itself has learned of it: a second at most.
async fn until_refused(browser: &mut Browser) {
    let refused = async { while browser.get(LIST).await.status != StatusCode::UNAUTHORIZED {} };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("soon after it was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_out_ends_the_session_on_all_servers() {
    let (_provider, first, second) = two_servers().await;
    // The organization exists, and has a log.
    let admin = first.acme().await;
    let mut browser = Browser::new(&first);
    browser.sign_in("ada").await;
    let csrf = browser.session().await["csrf_token"].as_str().unwrap().to_owned();
    // Somebody has copied the cookie.
    let (mut here, mut there) = (browser.led_to(&first), browser.led_to(&second));
    assert_eq!((here.get(LIST).await.status, there.get(LIST).await.status), (StatusCode::OK, StatusCode::OK));
    let headers = [("origin", PUBLIC), ("x-csrf-token", csrf.as_str())];
    assert_eq!(browser.post("/auth/logout", &headers, "").await.status, StatusCode::OK);
    assert_eq!(here.get(LIST).await.status, StatusCode::UNAUTHORIZED, "at once where it was ended");
    until_refused(&mut there).await;
    let log = admin.get("/v1/audit?action=sessions.").await.json();
    let actions: Vec<_> = log["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["sessions.end", "sessions.begin"]);
    assert_eq!(log["entries"][0]["actor"]["id"], "oidc:ada");
    assert_ne!(log["entries"][0]["address"], "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_lists_and_ends_sessions() {
    let (_provider, first, second) = two_servers().await;
    let (mut ada, mut bob) = (Browser::new(&first), Browser::new(&second));
    ada.sign_in("ada").await;
    bob.sign_in("bob").await;
    let admin = first.acme().await;
    let page = admin.get("/v1/sessions?page_size=1").await.json();
    let shown = &page["sessions"][0];
    assert_eq!(
        (&shown["subject"], &shown["organization"], &shown["state"]),
        (&json!("ada"), &json!("acme"), &json!("valid"))
    );
    let token = page["next_page_token"].as_str().unwrap();
    let page = admin.get(&format!("/v1/sessions?page_token={token}")).await.json();
    assert_eq!((&page["sessions"][0]["subject"], &page["next_page_token"]), (&json!("bob"), &json!("")));
    let bobs = page["sessions"][0]["id"].as_str().unwrap().to_owned();
    let cookie = &bob.cookies[PUBLIC]["__Host-longrun-session"];
    assert!(!page.to_string().contains(cookie.as_str()));

    // An operation for which bob waits, who is signed out before it ends.
    let operation = first.pending("scan").await;
    let mut waiting = bob.led_to(&second);
    let url = format!("{PUBLIC}/v1/operations/{}:wait?timeout=60s", operation.id);
    let waiting = tokio::spawn(async move { waiting.get(&url).await });
    let ended = admin.post(&format!("/v1/sessions/{bobs}:revoke"), "").await;
    assert_eq!((ended.status, &ended.json()["session"]["state"]), (StatusCode::OK, &json!("revoked")));
    until_refused(&mut bob).await;
    let waited = tokio::time::timeout(Duration::from_secs(45), waiting).await.expect("long before its time").unwrap();
    assert_eq!(waited.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ada.get(LIST).await.status, StatusCode::OK, "hers goes on");
    let again = admin.post(&format!("/v1/sessions/{bobs}:revoke"), "").await.json();
    assert_eq!(again, ended.json(), "it stays as it was ended");
    let log = admin.get(&format!("/v1/audit?target=sessions/{bobs}&action=sessions.revoke")).await.json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_out_of_reach_do_not_exist() {
    let (_provider, server, _second) = two_servers().await;
    let mut ada = Browser::new(&server);
    ada.sign_in("ada").await;
    let admin = server.acme().await;
    let id = ids(&admin).await.remove(0);
    let revoke = format!("/v1/sessions/{id}:revoke");

    let other = server.caller(Access::organization("other"), &[Scope::Admin]).await;
    assert_eq!(ids(&other).await, Vec::<String>::new());
    assert_eq!(other.get("/v1/sessions?organization=acme").await.status, StatusCode::NOT_FOUND);
    assert_eq!(other.post(&revoke, "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(other.post(&format!("{revoke}?organization=acme"), "").await.status, StatusCode::NOT_FOUND);
    let limited = server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await;
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    for refused in [&limited, &reader] {
        assert_eq!(refused.get("/v1/sessions").await.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.post(&revoke, "").await.status, StatusCode::FORBIDDEN);
    }
    let elsewhere = server.instance(&["other"], &[Scope::Admin]).await;
    assert_eq!(elsewhere.post(&format!("{revoke}?organization=acme"), "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.get(LIST).await.status, StatusCode::OK, "nobody has ended it");

    let manager = server.instance(&[], &[Scope::Admin]).await;
    assert_eq!(manager.get("/v1/sessions").await.violated(), ["organization"]);
    let page = manager.get("/v1/sessions?organization=acme").await.json();
    assert_eq!(page["sessions"][0]["id"], id);
    assert_eq!(manager.post(&format!("{revoke}?organization=acme"), "").await.status, StatusCode::OK);
    assert_eq!(ada.get(LIST).await.status, StatusCode::UNAUTHORIZED);
    for (path, status) in
        [("/v1/sessions/x:end", StatusCode::NOT_FOUND), ("/v1/sessions/x", StatusCode::METHOD_NOT_ALLOWED)]
    {
        assert_eq!(admin.send(Method::POST, path, &[], "").await.status, status, "{path}");
    }
    assert_eq!(admin.get("/v1/sessions?page_token=x&colour=1").await.violated(), ["colour", "page_token"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deletion_of_an_organization_ends_its_sessions() {
    let (_provider, first, second) = two_servers().await;
    first.acme().await;
    let mut ada = Browser::new(&second);
    ada.sign_in("ada").await;
    assert_eq!(ada.get(LIST).await.status, StatusCode::OK);
    let manager = first.instance(&[], &[Scope::Admin]).await;
    assert_eq!(manager.delete("/v1/organizations/acme?force=true").await.json()["done"], true);
    until_refused(&mut ada).await;
}
