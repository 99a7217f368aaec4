//! The whole way of a person: to the provider, back, in, and out again.

use http::StatusCode;
use reqwest::Url;
use serde_json::json;
use server::auth::OidcSettings;

use super::browser::{Browser, PUBLIC, Provider, server_beside, server_with, settings, shared_key};

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(given, _)| given == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_works_and_signs_out() {
    let ada = json!({"sub": "ada", "name": "Ada Lovelace", "email": "ada@acme.example", "groups": ["staff", "acme"]});
    let provider = Provider::start(&[ada]).await;
    let server = server_with(settings(&provider.issuer)).await;
    let operation = server.pending("scan").await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.get(&format!("{PUBLIC}/auth/session")).await.status, StatusCode::UNAUTHORIZED);

    // To the provider, with everything that the flow needs.
    let page = browser.get(&format!("{PUBLIC}/auth/login?return_to=%2Foperations%3Fpage%3D2")).await;
    assert_eq!((page.status, page.header("cache-control")), (StatusCode::SEE_OTHER, "no-store"));
    let at_provider = page.header("location").to_owned();
    assert!(at_provider.starts_with(&format!("{}/oauth2/authorize?", provider.issuer)), "{at_provider}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "longrun"),
        ("redirect_uri", "https://longrun.example.com/auth/callback"),
        ("code_challenge_method", "S256"),
        ("scope", "openid profile email"),
    ] {
        assert_eq!(parameter(&at_provider, name), value);
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert!(parameter(&at_provider, name).len() >= 43, "{name} has 256 bits");
    }
    let [cookie] = page.cookies()[..] else { panic!("{page:?}") };
    assert!(cookie.starts_with("__Host-longrun-login="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    for secret in ["state", "nonce"] {
        assert!(!cookie.contains(&parameter(&at_provider, secret)), "it is sealed");
    }

    // Back, and where the person wanted to go.
    let back = browser.authorize(&at_provider, "sub=ada").await;
    let page = browser.get(&back).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/operations?page=2"), "{page:?}");
    let cookies = page.cookies();
    let session = cookies.iter().find(|cookie| cookie.starts_with("__Host-longrun-session=")).unwrap();
    assert!(session.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"), "{session}");
    assert!(cookies.contains(&"__Host-longrun-login=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"));

    let session = browser.session().await;
    assert_eq!((&session["name"], &session["subject"]), (&json!("Ada Lovelace"), &json!("ada")));
    assert_eq!((&session["organization"], &session["scopes"]), (&json!("acme"), &json!(["admin"])));
    assert!(session["expires_at"].as_str().unwrap().ends_with('Z') && session.get("projects").is_none());

    // A caller like one with a token.
    let list = browser.get(&format!("{PUBLIC}/v1/operations")).await;
    assert_eq!(
        (list.status, list.json()["operations"][0]["id"].clone()),
        (StatusCode::OK, json!(operation.id.to_string()))
    );
    let csrf = session["csrf_token"].as_str().unwrap();
    let headers = [("origin", PUBLIC), ("x-csrf-token", csrf)];
    let created = browser.post("/v1/operations", &headers, r#"{"kind":"scan"}"#).await;
    assert_eq!(created.status, StatusCode::OK);

    // Out.
    let out = browser.post("/auth/logout", &headers, "").await;
    assert_eq!((out.status, out.body.as_str()), (StatusCode::OK, "{}"), "{out:?}");
    assert_eq!(browser.get(&format!("{PUBLIC}/v1/operations")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_claims_grant_is_what_the_session_may_do() {
    let users = [
        json!({"sub": "grace", "groups": ["readers"]}),
        json!({"sub": "eve", "groups": ["staff"]}),
        json!({"sub": "mallory"}),
    ];
    let provider = Provider::start(&users).await;
    let server = server_with(settings(&provider.issuer)).await;
    let mut reader = Browser::new(&server);
    reader.sign_in("grace").await;
    let session = reader.session().await;
    assert_eq!(session["scopes"], json!(["operations:read"]));
    assert_eq!(session["name"], "grace", "the subject, for want of a name");
    let csrf = session["csrf_token"].as_str().unwrap();
    let headers = [("origin", PUBLIC), ("x-csrf-token", csrf)];
    let refused = reader.post("/v1/operations", &headers, r#"{"kind":"scan"}"#).await;
    assert_eq!(refused.reason(), "SCOPE_MISSING");

    for stranger in ["eve", "mallory"] {
        let mut browser = Browser::new(&server);
        let page = browser.sign_in(stranger).await;
        assert_eq!((page.status, page.reason().as_str()), (StatusCode::FORBIDDEN, "ACCOUNT_NOT_ALLOWED"), "{page:?}");
        assert!(page.json()["message"].as_str().unwrap().contains("ask its operator"), "{page:?}");
        assert_eq!(browser.get(&format!("{PUBLIC}/auth/session")).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_of_the_store_with_the_key_and_the_configuration_takes_the_session() {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let with_key = |key| OidcSettings { session_key: key, ..settings(&provider.issuer) };
    let first = server_with(with_key(shared_key())).await;
    let second = server_beside(&first, with_key(shared_key())).await;
    let other_key = server_beside(&first, with_key(Some(vec![8; 32].into()))).await;
    let store_key = server_beside(&first, with_key(None)).await;
    let mut mapped_otherwise = with_key(shared_key());
    mapped_otherwise.claims.organization = "globex".to_owned();
    let mapped_otherwise = server_beside(&first, mapped_otherwise).await;
    let other_store = server_with(with_key(shared_key())).await;

    // The sign-in may also begin at one server and end at another.
    let mut browser = Browser::new(&first);
    let at_provider = browser.begin("/auth/login").await;
    let back = browser.authorize(&at_provider, "sub=ada").await;
    let mut browser = browser.led_to(&second);
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    for (server, status) in [
        (&first, StatusCode::OK),
        (&second, StatusCode::OK),
        (&other_key, StatusCode::UNAUTHORIZED),
        (&store_key, StatusCode::UNAUTHORIZED),
        (&mapped_otherwise, StatusCode::UNAUTHORIZED),
        (&other_store, StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(browser.led_to(server).get(&format!("{PUBLIC}/v1/operations")).await.status, status);
    }
}
