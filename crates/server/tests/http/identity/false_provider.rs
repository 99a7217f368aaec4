//! A provider that answers a sign-in with an ID token that is wrong: nobody is let in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use reqwest::Url;
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::browser::{Browser, PUBLIC, Page, server_with, settings};
use super::signer::{Signer, encoded, now};

/// What the provider answers.
#[derive(Clone)]
struct Answers(Arc<Mutex<Said>>);

#[derive(Clone)]
struct Said {
    document: Value,
    keys: Value,
    tokens: (StatusCode, Value),
}

/// A provider that shows these keys and gives the answers that the test sets.
async fn provider(signers: &[&Signer]) -> (String, Answers) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let said = Said {
        document: json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        }),
        keys: json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}),
        tokens: (StatusCode::OK, Value::Null),
    };
    let answers = Answers(Arc::new(Mutex::new(said)));
    let (of_document, of_keys, of_tokens) = (answers.clone(), answers.clone(), answers.clone());
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(async move || Json(of_document.0.lock().unwrap().document.clone())),
        )
        .route("/keys", get(async move || Json(of_keys.0.lock().unwrap().keys.clone())))
        .route(
            "/token",
            post(async move || {
                let (status, body) = of_tokens.0.lock().unwrap().tokens.clone();
                (status, Json(body))
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    (issuer, answers)
}

/// Claims that are right for a sign-in with this nonce.
fn claims(issuer: &str, nonce: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "aud": "longrun", "sub": "ada", "groups": ["acme"], "nonce": nonce,
        "iat": now(), "exp": now() + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A sign-in that the provider ends with the ID token that `token` makes of the nonce.
async fn ends_with(browser: &mut Browser, answers: &Answers, token: impl FnOnce(&str) -> String) -> Page {
    let at_provider = Url::parse(&browser.begin("/auth/login").await).unwrap();
    let parameter = |name| at_provider.query_pairs().find(|(given, _)| given == name).unwrap().1.into_owned();
    let body = json!({"access_token": "a", "token_type": "Bearer", "id_token": token(&parameter("nonce"))});
    answers.0.lock().unwrap().tokens = (StatusCode::OK, body);
    browser.get(&format!("{PUBLIC}/auth/callback?code=c&state={}", parameter("state"))).await
}

#[tokio::test]
async fn an_id_token_of_each_algorithm_is_taken() {
    let signers = [Signer::rsa("r"), Signer::ec("e"), Signer::ed("d")];
    let (issuer, answers) = provider(&signers.each_ref()).await;
    let server = server_with(settings(&issuer)).await;
    for signer in &signers {
        let mut browser = Browser::new(&server);
        let page = ends_with(&mut browser, &answers, |nonce| signer.sign(&claims(&issuer, nonce, &json!({})))).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}: {page:?}", signer.algorithm());
        assert_eq!(browser.session().await["organization"], "acme");
    }
}

#[tokio::test]
async fn claims_that_are_not_used_may_be_written_as_providers_write_them() {
    let signer = Signer::ec("e");
    let (issuer, answers) = provider(&[&signer]).await;
    let server = server_with(settings(&issuer)).await;
    for change in [
        json!({"updated_at": "2026-11-30T09:00:00.000Z"}),
        json!({"email": "ada@acme.example", "email_verified": "true"}),
        json!({"exp": now() - 30}),
        json!({"nbf": now() + 30, "iat": now() + 30}),
    ] {
        let mut browser = Browser::new(&server);
        let page = ends_with(&mut browser, &answers, |nonce| signer.sign(&claims(&issuer, nonce, &change))).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{change}: {page:?}");
    }
}

#[tokio::test]
async fn a_key_that_replaces_another_of_its_id_is_fetched() {
    let (old, new) = (Signer::ec("e"), Signer::ec("e"));
    let (issuer, answers) = provider(&[&old]).await;
    let server = server_with(settings(&issuer)).await;
    let sign_in = async |signer: &Signer| {
        let mut browser = Browser::new(&server);
        ends_with(&mut browser, &answers, |nonce| signer.sign(&claims(&issuer, nonce, &json!({})))).await.status
    };
    assert_eq!(sign_in(&old).await, StatusCode::SEE_OTHER);
    answers.0.lock().unwrap().keys = json!({"keys": [new.jwk()]});
    // Keys are not fetched twice within five seconds.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    assert_eq!(sign_in(&new).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_id_token_that_is_wrong_lets_nobody_in() {
    let (rsa, ec, stranger) = (Signer::rsa("r"), Signer::ec("e"), Signer::ec("e"));
    let (issuer, answers) = provider(&[&rsa, &ec]).await;
    let server = server_with(settings(&issuer)).await;
    let issuer = issuer.as_str();
    let hmac_with = |secret: &[u8], nonce: &str| {
        let header = json!({"alg": "HS256", "kid": "r"});
        let message =
            format!("{}.{}", encoded(header.to_string()), encoded(claims(issuer, nonce, &json!({})).to_string()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encoded(signature))
    };
    let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
    type Forge<'f> = Box<dyn Fn(&str) -> String + Send + 'f>;
    let mut table: Vec<(&str, Forge<'_>)> = vec![
        ("by a stranger", Box::new(|nonce| stranger.sign(&claims(issuer, nonce, &json!({}))))),
        ("HMAC with the public key", Box::new(|nonce| hmac_with(public.as_bytes(), nonce))),
        // The standard would allow this if it were agreed on.
        ("HMAC with the client's secret", Box::new(|nonce| hmac_with(b"a secret that the provider gave", nonce))),
        (
            "unsigned",
            Box::new(|nonce| {
                let claims = claims(issuer, nonce, &json!({})).to_string();
                format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims))
            }),
        ),
        ("no token", Box::new(|_| String::new())),
    ];
    let changes = [
        ("of another sign-in", json!({"nonce": "another"})),
        ("without the nonce", json!({"nonce": null})),
        ("for another client", json!({"aud": "another"})),
        ("for others too", json!({"aud": ["longrun", "another"]})),
        ("of another issuer", json!({"iss": "https://evil.example.com"})),
        ("expired", json!({"exp": now() - 61})),
        ("not valid yet", json!({"nbf": now() + 90})),
        ("of the future", json!({"iat": now() + 90, "exp": now() + 300})),
        ("without an end", json!({"exp": null})),
        ("without a subject", json!({"sub": null})),
        ("with a subject that is no text for a log", json!({"sub": "ada\nroot"})),
    ];
    let ec = &ec;
    for (name, change) in changes {
        table.push((name, Box::new(move |nonce| ec.sign(&claims(issuer, nonce, &change)))));
    }
    for (name, forge) in table {
        let mut browser = Browser::new(&server);
        let page = ends_with(&mut browser, &answers, forge).await;
        let found = (page.status, page.reason());
        assert_eq!(found, (StatusCode::SERVICE_UNAVAILABLE, "IDENTITY_PROVIDER_UNAVAILABLE".to_owned()), "{name}");
        assert_eq!(browser.get(&format!("{PUBLIC}/auth/session")).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn a_document_of_another_provider_or_none_is_not_used() {
    for change in [
        json!({"issuer": "https://evil.example.com"}),
        json!({"jwks_uri": "http://id.example.com/keys"}),
        json!({"authorization_endpoint": null}),
        json!({"padding": "x".repeat(1 << 20)}),
    ] {
        let (issuer, answers) = provider(&[&Signer::ec("e")]).await;
        for (name, value) in change.as_object().unwrap() {
            answers.0.lock().unwrap().document[name] = value.clone();
        }
        let server = server_with(settings(&issuer)).await;
        let page = Browser::new(&server).get(&format!("{PUBLIC}/auth/login")).await;
        let found = (page.status, page.reason());
        assert_eq!(
            found,
            (StatusCode::SERVICE_UNAVAILABLE, "IDENTITY_PROVIDER_UNAVAILABLE".to_owned()),
            "{change:.99}"
        );
    }
}

#[tokio::test]
async fn a_session_that_does_not_fit_into_a_cookie_is_told() {
    let signer = Signer::ec("e");
    let (issuer, answers) = provider(&[&signer]).await;
    let mut settings = settings(&issuer);
    settings.claims.projects_claim = "projects".to_owned();
    let server = server_with(settings).await;
    let projects: Vec<String> = (0..500).map(|number| format!("project-{number}")).collect();
    let mut browser = Browser::new(&server);
    let changes = json!({ "projects": projects });
    let page = ends_with(&mut browser, &answers, |nonce| signer.sign(&claims(&issuer, nonce, &changes))).await;
    assert_eq!((page.status, page.reason().as_str()), (StatusCode::FORBIDDEN, "ACCOUNT_NOT_ALLOWED"), "{page:?}");
    assert!(page.body.contains("does not fit into a cookie"), "{page:?}");
}

#[tokio::test]
async fn failed_sign_ins_count_with_the_wrong_tokens_of_an_address() {
    let (issuer, answers) = provider(&[&Signer::ec("e")]).await;
    let server = {
        let identity = server::auth::Identity::new(server::auth::IdentitySettings {
            jwt: Vec::new(),
            oidc: Some(settings(&issuer)),
        });
        let identity = identity.unwrap();
        crate::harness::Server::with(|services| {
            services.identity = identity.into();
            services.settings.proxies.clear();
        })
        .await
    };
    let mut browser = Browser::new(&server);
    // A page of any site can have a visitor's browser send this.
    for _ in 0..101 {
        let page = browser.get(&format!("{PUBLIC}/auth/callback?code=c&state=s")).await;
        assert_eq!(page.reason(), "SIGN_IN_EXPIRED");
    }
    let mut end = async |status: StatusCode, body: Value| {
        answers.0.lock().unwrap().tokens = (status, body);
        let at_provider = Url::parse(&browser.begin("/auth/login").await).unwrap();
        let state = at_provider.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        browser.get(&format!("{PUBLIC}/auth/callback?code=c&state={state}")).await
    };
    // A provider that is not well is not the person's fault.
    let page = end(StatusCode::INTERNAL_SERVER_ERROR, Value::Null).await;
    assert_eq!(page.reason(), "IDENTITY_PROVIDER_UNAVAILABLE");
    for _ in 0..100 {
        let page = end(StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"})).await;
        assert_eq!(page.reason(), "SIGN_IN_EXPIRED");
    }
    let page = end(StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"})).await;
    assert_eq!((page.status, page.reason().as_str()), (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_UNKNOWN_TOKENS"));
}
