//! Sessions: what a cookie is good for, and what it needs in addition.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::browser::{Browser, PUBLIC, Provider, server_with, settings};
use crate::harness::Server;

const CREATE: &str = r#"{"kind":"scan"}"#;

async fn signed_in() -> (Provider, Server, Browser, String) {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let server = server_with(settings(&provider.issuer)).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.sign_in("ada").await.status, StatusCode::SEE_OTHER);
    let csrf = browser.session().await["csrf_token"].as_str().unwrap().to_owned();
    (provider, server, browser, csrf)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_needs_a_page_of_this_server() {
    let (_provider, server, mut browser, csrf) = signed_in().await;
    let operation = server.pending("scan").await;
    let json = ("content-type", "application/json");
    let (origin, token) = (("origin", PUBLIC), ("x-csrf-token", csrf.as_str()));
    let altered = format!("{csrf}x");
    for headers in [
        vec![json],
        vec![json, origin],
        vec![json, token],
        vec![json, token, ("origin", "https://evil.example.com")],
        vec![json, token, ("origin", "http://longrun.example.com")],
        vec![json, token, ("origin", "https://longrun.example.com.evil.example.com")],
        vec![json, token, ("origin", "null")],
        vec![json, token, ("referer", PUBLIC)],
        vec![json, token, origin, ("origin", "https://evil.example.com")],
        vec![json, origin, ("x-csrf-token", "")],
        vec![json, origin, ("x-csrf-token", &altered)],
        vec![json, origin, token, ("x-csrf-token", "x")],
    ] {
        for (method, path) in [
            (Method::POST, "/v1/operations".to_owned()),
            (Method::POST, format!("/v1/operations/{}:cancel", operation.id)),
            (Method::DELETE, format!("/v1/operations/{}", operation.id)),
            (Method::POST, "/v1/operations:claim".to_owned()),
        ] {
            let page = browser.send(method, &format!("{PUBLIC}{path}"), &headers, Some(CREATE)).await;
            let found = (page.status, page.reason());
            assert_eq!(found, (StatusCode::FORBIDDEN, "CSRF_TOKEN_INVALID".to_owned()), "{path} {headers:?}");
        }
    }
    for headers in [vec![], vec![token], vec![("origin", "https://evil.example.com"), token], vec![origin]] {
        let page = browser.send(Method::POST, &format!("{PUBLIC}/auth/logout"), &headers, Some("")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert!(page.cookies().is_empty(), "{page:?}");
    }
    let list = browser.get(&format!("{PUBLIC}/v1/operations")).await;
    assert_eq!(list.json()["pagination"]["total_count"], 1, "nothing was changed");
    let created = browser.post("/v1/operations", &[origin, token], CREATE).await;
    assert_eq!(created.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_counts_before_the_cookie_and_a_cookie_is_whole_or_nothing() {
    let (_provider, server, mut browser, _) = signed_in().await;
    let list = format!("{PUBLIC}/v1/operations");
    let wrong = browser.send(Method::GET, &list, &[("authorization", "Bearer lrn_wrong")], None).await;
    assert_eq!((wrong.status, wrong.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"));
    // With a token nothing else is needed: no other site can send it.
    let api = server.acme().await.authorization.unwrap();
    let headers = [("authorization", api.as_str()), ("content-type", "application/json")];
    let created = browser.send(Method::POST, &list, &headers, Some(CREATE)).await;
    assert_eq!(created.status, StatusCode::OK);

    let name = "__Host-longrun-session";
    let sealed = browser.cookies[PUBLIC][name].clone();
    let foisted = browser.send(Method::GET, &list, &[("cookie", &format!("{name}={sealed}x"))], None).await;
    assert_eq!(foisted.status, StatusCode::UNAUTHORIZED, "of two none is taken");
    for other in [
        String::new(),
        sealed[..sealed.len() - 1].to_owned(),
        format!("{sealed}A"),
        sealed.replacen(&sealed[20..21], if &sealed[20..21] == "A" { "B" } else { "A" }, 1),
        "A".repeat(5_000),
    ] {
        let mut forged = browser.led_to(&server);
        forged.cookies.get_mut(PUBLIC).unwrap().insert(name.to_owned(), other);
        let page = forged.get(&list).await;
        assert_eq!((page.status, page.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"));
    }
    let mut renamed = browser.led_to(&server);
    let jar = renamed.cookies.get_mut(PUBLIC).unwrap();
    let sealed = jar.remove(name).unwrap();
    jar.insert("longrun-session".to_owned(), sealed.clone());
    jar.insert("__Host-longrun-login".to_owned(), sealed);
    assert_eq!(renamed.get(&list).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get(&list).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_and_what_waits_with_it() {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let mut short = settings(&provider.issuer);
    short.session_time = Duration::from_secs(4);
    let server = server_with(short).await;
    let operation = server.pending("scan").await;
    let mut browser = Browser::new(&server);
    let page = browser.sign_in("ada").await;
    assert!(page.cookies().iter().any(|cookie| cookie.contains("Max-Age=4;")), "{page:?}");
    let wait = format!("{PUBLIC}/v1/operations/{}:wait?timeout=60s", operation.id);
    let page = tokio::time::timeout(Duration::from_secs(45), browser.get(&wait)).await.expect("soon after the session");
    assert_eq!((page.status, page.reason().as_str()), (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"));
    // The browser would have forgotten it; the server does not count on that.
    assert_eq!(browser.get(&format!("{PUBLIC}/auth/session")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_cookies_are_not_marked_for_it() {
    let provider = Provider::start(&[]).await;
    let mut plain = settings(&provider.issuer);
    plain.public_url = "http://127.0.0.1:8080".to_owned();
    let server = server_with(plain).await;
    let mut browser = Browser::new(&server);
    let page = browser.get(&format!("{PUBLIC}/auth/login")).await;
    let [cookie] = page.cookies()[..] else { panic!("{page:?}") };
    assert!(cookie.starts_with("longrun-login=") && cookie.ends_with("; HttpOnly; SameSite=Lax"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_headers_are_refused_and_the_server_goes_on() {
    let server = server_with(settings("http://127.0.0.1:1")).await;
    for line in ["cookie: \u{ff}\u{fe}=;;;==", "cookie: __Host-longrun-session", "cookie: =__Host-longrun-session=a"] {
        let request = format!("GET /auth/session HTTP/1.1\r\nhost: t\r\n{line}\r\nconnection: close\r\n\r\n");
        let answer = server.nobody().raw(request.as_bytes(), false).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /auth/callback?%FF%FE&&&=&code HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let answer = server.nobody().get("/auth/callback?code=%FF&state=%00").await;
    assert_eq!((answer.status, answer.reason().as_str()), (StatusCode::BAD_REQUEST, "SIGN_IN_EXPIRED"));
}
