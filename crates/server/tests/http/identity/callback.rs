//! Sign-ins that fail: each answer says what to do, to a person as a page, to a program as any error.

use http::StatusCode;
use serde_json::json;

use super::browser::{Browser, PUBLIC, Page, Provider, server_with, settings};

const PAGE: &[(&str, &str)] = &[("accept", "text/html,application/xhtml+xml;q=0.9")];

fn refused(page: &Page, status: StatusCode, reason: &str) {
    assert_eq!((page.status, page.reason().as_str()), (status, reason), "{page:?}");
    assert!(!page.cookies().iter().any(|cookie| cookie.contains("session")), "nobody is signed in: {page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_counts_once_in_the_browser_that_began_it() {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let server = server_with(settings(&provider.issuer)).await;
    let stale = (StatusCode::BAD_REQUEST, "SIGN_IN_EXPIRED");
    let mut browser = Browser::new(&server);
    let at_provider = browser.begin("/auth/login").await;
    let back = browser.authorize(&at_provider, "sub=ada").await;

    let mut other = Browser::new(&server);
    refused(&other.get(&back).await, stale.0, stale.1);
    other.begin("/auth/login").await;
    refused(&other.get(&back).await, stale.0, stale.1);

    // Without the state, with another one, with one twice, without a code, from another provider.
    for address in [
        back.replace("state=", "stat="),
        back.replace("state=", "state=x"),
        format!("{back}&state=x"),
        back.replace("code=", "cod="),
        format!("{back}&iss=https%3A%2F%2Fevil.example.com"),
    ] {
        let mut copy = browser.led_to(&server);
        refused(&copy.get(&address).await, stale.0, stale.1);
    }
    // A cookie that somebody invented.
    let mut forged = browser.led_to(&server);
    let jar = forged.cookies.get_mut(PUBLIC).unwrap();
    jar.insert("__Host-longrun-login".to_owned(), "A".repeat(200));
    refused(&forged.get(&back).await, stale.0, stale.1);

    let mut again = browser.led_to(&server);
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    refused(&again.get(&back).await, stale.0, stale.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_of_one_sign_in_is_none_of_another() {
    let provider = Provider::start(&[json!({"sub": "ada", "groups": ["acme"]})]).await;
    let server = server_with(settings(&provider.issuer)).await;
    let code = |back: &str| back.split_once("code=").unwrap().1.split('&').next().unwrap().to_owned();
    let (mut victim, mut attacker) = (Browser::new(&server), Browser::new(&server));
    let at_provider = attacker.begin("/auth/login").await;
    let stolen = code(&attacker.authorize(&at_provider, "sub=ada").await);
    let at_provider = victim.begin("/auth/login").await;
    let back = victim.authorize(&at_provider, "sub=ada").await;
    let injected = back.replace(&code(&back), &stolen);
    // The provider refuses it: the verifier is a different one.
    refused(&victim.get(&injected).await, StatusCode::BAD_REQUEST, "SIGN_IN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_says_no_and_one_whose_provider_is_away_are_told() {
    let provider = Provider::start(&[]).await;
    let issuer = provider.issuer.clone();
    let server = server_with(settings(&issuer)).await;
    let mut browser = Browser::new(&server);
    let at_provider = browser.begin("/auth/login").await;
    let back = browser.authorize(&at_provider, "action=deny").await;
    let mut page = browser.led_to(&server);
    refused(&browser.get(&back).await, StatusCode::FORBIDDEN, "SIGN_IN_REFUSED");
    let shown = page.send(http::Method::GET, &back, PAGE, None).await;
    assert_eq!((shown.status, shown.header("content-type")), (StatusCode::FORBIDDEN, "text/html; charset=utf-8"));
    assert_eq!(shown.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert!(shown.body.contains("access_denied") && shown.body.contains("href=\"/auth/login\""), "{shown:?}");
    // The words of a provider are shown as text, whatever they are.
    let at_provider = page.begin("/auth/login").await;
    let state = at_provider.split_once("state=").unwrap().1.split('&').next().unwrap();
    let hostile = format!("{PUBLIC}/auth/callback?state={state}&error=%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    let shown = page.send(http::Method::GET, &hostile, PAGE, None).await;
    assert!(shown.body.contains("&lt;script&gt;") && !shown.body.contains("<script>"), "{shown:?}");

    // The document is kept for a while, so that the code is what fails.
    let at_provider = browser.begin("/auth/login").await;
    let back = browser.authorize(&at_provider, "sub=ada").await;
    drop(provider);
    let away = (StatusCode::SERVICE_UNAVAILABLE, "IDENTITY_PROVIDER_UNAVAILABLE");
    let page = browser.get(&back).await;
    refused(&page, away.0, away.1);
    assert_eq!(page.header("retry-after"), "5");
    assert!(!page.body.contains("127.0.0.1"), "the cause is for the log: {page:?}");
    let fresh = server_with(settings(&issuer)).await;
    let mut browser = Browser::new(&fresh);
    refused(&browser.get(&format!("{PUBLIC}/auth/login")).await, away.0, away.1);
    let shown = browser.send(http::Method::GET, &format!("{PUBLIC}/auth/login"), PAGE, None).await;
    assert_eq!(shown.status, away.0);
    assert!(shown.body.contains("try again later"), "{shown:?}");
}

#[tokio::test]
async fn only_paths_of_this_server_are_returned_to() {
    let server = server_with(settings("http://127.0.0.1:1")).await;
    let mut browser = Browser::new(&server);
    for (query, field) in [
        ("return_to=https%3A%2F%2Fevil.example.com", "return_to"),
        ("return_to=%2F%2Fevil.example.com", "return_to"),
        ("return_to=%2F%5Cevil.example.com", "return_to"),
        ("return_to=%2Fa%0D%0Aset-cookie%3A%20a%3Db", "return_to"),
        ("return_to=", "return_to"),
        ("return_to=%2Fa&return_to=%2Fb", "return_to"),
        ("returnto=%2Fa", "returnto"),
    ] {
        let page = browser.get(&format!("{PUBLIC}/auth/login?{query}")).await;
        assert_eq!((page.status, page.reason().as_str()), (StatusCode::BAD_REQUEST, "INVALID_FIELDS"), "{page:?}");
        assert_eq!(page.json()["details"][1]["fieldViolations"][0]["field"], field, "{query}");
        assert!(page.cookies().is_empty());
    }
}
