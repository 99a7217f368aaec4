//! Signing in and out, and what ends a session.

use tempfile::tempdir;

use crate::browser::Browser;
use crate::common::{Dev, run_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_token_signs_in_sees_the_list_and_signs_out() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = dev.run(&["ops", "create", "--kind", "scan", "-o", "id"]).expect(0).line();
    let browser = Browser::start(&dev).await;
    browser.open("/ui/operations").await;
    browser.until_path("/ui/sign-in").await;
    browser.fill("#token", "lrn_mistyped").await;
    browser.press("Sign in").await;
    browser.shows("This token is not valid").await;
    browser.fill("#token", &dev.token).await;
    browser.press("Sign in").await;
    browser.until_path("/ui/operations").await;
    browser.shows(&id[id.len() - 12..]).await;
    browser.press("Sign out").await;
    browser.until_path("/ui/sign-in").await;
    browser.open("/ui/operations").await;
    browser.until_path("/ui/sign-in").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_that_dev_prints_signs_in_once() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let browser = Browser::start(&dev).await;
    browser.open(&dev.page).await;
    browser.until_path("/ui").await;
    browser.shows("Overview").await;
    assert_eq!(browser.path().await, "/ui", "the code is not in the address any more");
    browser.press("Sign out").await;
    browser.until_path("/ui/sign-in").await;
    browser.open(&dev.page).await;
    browser.shows("This link has been used").await;
    assert_eq!(browser.path().await.split('?').next(), Some("/ui/sign-in"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_when_its_token_is_revoked() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = ["token", "create", "--data-dir", "data", "--organization", "dev", "--name", "reader"];
    let create = [&create[..], &["--scopes", "operations:read", "-o", "json"]].concat();
    let token = run_in(folder.path(), &create).expect(0).json();
    let browser = Browser::start(&dev).await;
    browser.sign_in(token["secret"].as_str().unwrap()).await;
    browser.shows("reader").await;
    let links = browser.script("return [...document.querySelectorAll('header nav a')].map((a) => a.textContent)").await;
    let links = links.to_string();
    assert!(links.contains("Operations") && !links.contains("Tokens") && !links.contains("Audit"), "{links}");
    run_in(folder.path(), &["token", "revoke", token["id"].as_str().unwrap(), "--data-dir", "data"]).expect(0);
    let is_ended = || async {
        browser.open("/ui/operations").await;
        browser.path().await.starts_with("/ui/sign-in")
    };
    browser.until("the session has ended", is_ended).await;
    browser.close().await;
}
