//! A provider's keys: fetched, changed while the server serves, away.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use server::auth::{Identity, IdentitySettings, KeySource};

use super::provider::{KeyServer, NEVER, Says, caller, server_from, settings};
use super::signer::{Signer, claims, claims_with, key_set};
use crate::harness::Server;

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(45);

async fn status(server: &Server, token: &str) -> StatusCode {
    caller(server, token).get("/v1/operations").await.status
}

/// A server that gets its keys from there; `refetch_after` is the least time between fetches that tokens cause.
async fn server_at(keys: &KeyServer, refetch_after: Duration) -> Server {
    let server = server_from(KeySource::Url(keys.url.clone()), |settings| settings.keys.refetch_after = refetch_after);
    let server = server.await;
    // The start fetches them.
    keys.was_asked(1).await;
    server
}

#[tokio::test]
async fn keys_that_change_while_the_server_serves_are_fetched_when_a_token_names_them() {
    let (old, new) = (Signer::ec("old"), Signer::ed("new"));
    let keys = KeyServer::start(Says::Keys(key_set(&[&old]))).await;
    let server = server_at(&keys, Duration::ZERO).await;
    let (old_token, new_token) = (old.sign(&claims()), new.sign(&claims()));
    assert_eq!(status(&server, &old_token).await, StatusCode::OK);
    assert_eq!(status(&server, &new_token).await, StatusCode::UNAUTHORIZED, "the provider does not know it yet");

    keys.keys(&[&old, &new]);
    assert_eq!(status(&server, &new_token).await, StatusCode::OK);
    assert_eq!(status(&server, &old_token).await, StatusCode::OK);

    // A key that the provider withdraws is no longer valid, also for tokens that were verified before.
    keys.keys(&[&new]);
    assert_eq!(status(&server, &Signer::ec("other").sign(&claims())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, &old_token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, &new_token).await, StatusCode::OK);
}

#[tokio::test]
async fn another_key_under_the_same_id_ends_what_the_first_one_signed() {
    let (old, new) = (Signer::ec("k"), Signer::ec("k"));
    let keys = KeyServer::start(Says::Keys(key_set(&[&old]))).await;
    let server = server_at(&keys, Duration::ZERO).await;
    let old_token = old.sign(&claims());
    assert_eq!(status(&server, &old_token).await, StatusCode::OK);
    keys.keys(&[&new]);
    assert_eq!(status(&server, &Signer::ec("other").sign(&claims())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, &old_token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, &new.sign(&claims())).await, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_fetched_again_from_time_to_time() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let keys = KeyServer::start(Says::Keys(key_set(&[&old]))).await;
    let server = server_from(KeySource::Url(keys.url.clone()), |settings| {
        settings.keys.refresh = Duration::from_millis(50);
        settings.keys.refetch_after = NEVER;
    })
    .await;
    keys.was_asked(1).await;
    keys.keys(&[&new]);
    // One after the other: when the second begins, the first has fetched the new key.
    let fetches = keys.was_asked(keys.asked() + 2);
    tokio::time::timeout(DEADLINE, fetches).await.expect("keys are fetched without being asked for");
    assert_eq!(status(&server, &new.sign(&claims())).await, StatusCode::OK);
    assert_eq!(status(&server, &old.sign(&claims())).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn unknown_key_ids_do_not_make_the_server_hammer_the_provider() {
    let signer = Signer::ec("e");
    let keys = KeyServer::start(Says::Keys(key_set(&[&signer]))).await;
    let server = server_at(&keys, NEVER).await;
    assert_eq!(status(&server, &signer.sign(&claims())).await, StatusCode::OK);
    for number in 0..50 {
        let forged = Signer::ec(&format!("unknown-{number}")).sign(&claims());
        assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(keys.asked(), 1, "by the start alone");
}

#[tokio::test]
async fn a_provider_that_is_away_does_not_fail_known_keys() {
    let signer = Signer::ec("e");
    let keys = KeyServer::start(Says::Keys(key_set(&[&signer]))).await;
    let server = server_at(&keys, Duration::ZERO).await;
    assert_eq!(status(&server, &signer.sign(&claims())).await, StatusCode::OK);
    for (number, away) in [
        Says::Error(StatusCode::INTERNAL_SERVER_ERROR),
        Says::Error(StatusCode::FOUND),
        Says::Keys("<html>".to_owned()),
        Says::Keys(String::new()),
        Says::Keys(format!(r#"{{"keys":[],"padding":"{}"}}"#, "x".repeat(1 << 20))),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = keys.asked();
        keys.says(away);
        assert_eq!(status(&server, &Signer::ec("unknown").sign(&claims())).await, StatusCode::UNAUTHORIZED);
        assert!(keys.asked() > asked, "it was asked");
        let fresh = signer.sign(&claims_with(json!({ "jti": number })));
        assert_eq!(status(&server, &fresh).await, StatusCode::OK, "{number}");
    }
}

#[tokio::test]
async fn a_provider_that_says_nothing_holds_up_only_those_whose_key_is_unknown() {
    let signer = Signer::ec("e");
    let keys = KeyServer::start(Says::Keys(key_set(&[&signer]))).await;
    let server = server_at(&keys, Duration::ZERO).await;
    assert_eq!(status(&server, &signer.sign(&claims())).await, StatusCode::OK);
    let asked = keys.asked();
    keys.says(Says::Nothing);
    let stranger = caller(&server, &Signer::ec("unknown").sign(&claims()));
    let waiting = tokio::spawn(async move { stranger.get("/v1/operations").await.status });
    keys.was_asked(asked + 1).await;
    assert_eq!(status(&server, &signer.sign(&claims_with(json!({"jti": "1"})))).await, StatusCode::OK);
    assert!(!waiting.is_finished(), "the provider has said nothing yet");
    keys.keys(&[&signer]);
    assert_eq!(waiting.await.unwrap(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_provider_that_is_away_at_the_start_is_asked_again() {
    let signer = Signer::ec("e");
    let keys = KeyServer::start(Says::Error(StatusCode::SERVICE_UNAVAILABLE)).await;
    let server = server_at(&keys, Duration::ZERO).await;
    let token = signer.sign(&claims());
    let early = caller(&server, &token).get("/v1/operations").await;
    assert_eq!((early.status, early.reason().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"));
    assert!(early.headers.contains_key("retry-after"), "{early:?}");
    let elsewhere = signer.sign(&claims_with(json!({"iss": "https://elsewhere.example.com"})));
    assert_eq!(status(&server, &elsewhere).await, StatusCode::UNAUTHORIZED);
    assert_eq!(server.acme().await.get("/v1/operations").await.status, StatusCode::OK, "API tokens need no provider");
    keys.keys(&[&signer]);
    assert_eq!(status(&server, &token).await, StatusCode::OK);
}

#[tokio::test]
async fn a_file_of_keys_that_changes_is_read_again() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, key_set(&[&old])).unwrap();
    let server = server_from(KeySource::File(path.clone()), |settings| {
        settings.keys.refetch_after = Duration::ZERO;
    })
    .await;
    assert_eq!(status(&server, &old.sign(&claims())).await, StatusCode::OK);
    std::fs::write(&path, key_set(&[&new])).unwrap();
    assert_eq!(status(&server, &new.sign(&claims())).await, StatusCode::OK);
    std::fs::write(&path, "half a fi").unwrap();
    assert_eq!(status(&server, &Signer::ec("unknown").sign(&claims())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, &new.sign(&claims_with(json!({"jti": "1"})))).await, StatusCode::OK);
}

#[test]
fn a_file_that_holds_no_keys_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let identity = |source| Identity::new(IdentitySettings { jwt: vec![settings(source)], oidc: None });
    let missing = identity(KeySource::File(path.clone())).unwrap_err().to_string();
    assert!(missing.contains("keys.json"), "{missing}");
    std::fs::write(&path, "[]").unwrap();
    assert!(identity(KeySource::File(path)).unwrap_err().to_string().contains("not a JWK set"));
    assert!(identity(KeySource::Url("http://id.example.com/keys".to_owned())).is_err(), "unencrypted");
}
