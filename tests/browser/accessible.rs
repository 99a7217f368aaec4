//! Every page is judged by axe-core, in light and dark and at two widths: no violation of WCAG 2.2 AA, nor of what axe
//! calls best practice.

use std::time::Duration;

use longrun_client::{ClaimRequest, Client, Token};
use serde_json::Value;
use tempfile::tempdir;

use crate::browser::{Browser, NARROW, WIDE};
use crate::common::{Dev, example};

/// Installed by `make test`, from tests/browser/package-lock.json.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/browser/node_modules/axe-core/axe.min.js");

/// Runs in the page; returns the violations as lines.
const JUDGE: &str = "
    const done = arguments[arguments.length - 1];
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    axe.run(document, { runOnly: tags, resultTypes: ['violations'] }).then(
      (found) => done(found.violations.flatMap((rule) => rule.nodes.map(
        (node) => `${rule.id}: ${node.html.slice(0, 200)}: ${node.failureSummary}`))),
      (error) => done([String(error)]));";

/// The violations on the page that is open.
async fn violations(browser: &Browser) -> Vec<String> {
    let axe = std::fs::read_to_string(AXE).unwrap_or_else(|error| panic!("{AXE}: {error}: `make test` installs it"));
    browser.script(&axe).await;
    let found = browser.client.execute_async(JUDGE, Vec::new()).await.unwrap();
    found.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fails with everything that is wrong with the page, in each form of it.
pub async fn judge(browser: &Browser, page: &str) {
    let mut wrong = Vec::new();
    for width in [WIDE, NARROW] {
        for dark in [false, true] {
            browser.look(width, dark).await;
            browser.open(page).await;
            let found = violations(browser).await;
            let colours = if dark { "dark" } else { "light" };
            wrong.extend(found.iter().map(|violation| format!("{page} at {width} px, {colours}: {violation}")));
            let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            let overflow = browser.script(overflow).await.as_i64().unwrap();
            if overflow > 0 {
                wrong.push(format!("{page} at {width} px is {overflow} px wider than the window"));
            }
        }
    }
    browser.look(WIDE, false).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_accessible_in_light_and_dark_at_both_widths() {
    let folder = tempdir().unwrap();
    let dev = Dev::start_with(folder.path(), "127.0.0.1:0", &["--policies", &example("policies")]);
    let input = r#"{"target":"web-1","depth":{"links":3}}"#;
    let create = ["ops", "create", "--kind", "scan", "--input", input, "--label", "team=web", "-o", "id"];
    let id = dev.run(&create).expect(0).line();
    dev.run(&["ops", "cancel", &dev.run(&create).expect(0).line()]).expect(0);
    let client = Client::new(&dev.url, Token::new(&dev.token).unwrap()).unwrap();
    let kinds = vec!["scan".to_owned()];
    let claim = ClaimRequest { kinds, max_operations: 1, wait: Duration::ZERO, organizations: Vec::new() };
    assert_eq!(client.claim(&claim).await.unwrap().value.operations.len(), 1);
    let evidence = example("evidence/longrun.cdx.json");
    for banned in ["licenses=CC0-1.0", "licenses=BSD-3-Clause"] {
        let policy = ["--policy-ref", "sbom-banned-licenses", "--with", banned];
        dev.run(&[&["evidence", "evaluate", &evidence][..], &policy].concat());
    }
    let digest = dev.run(&["evidence", "put", &evidence, "-o", "id"]).expect(0).line();

    let browser = Browser::start(&dev).await;
    judge(&browser, "/ui/sign-in").await;
    browser.sign_in(&dev.token).await;
    let counted = || async {
        browser.open("/ui").await;
        browser.text().await.contains("Throughput")
            && browser.script("return document.querySelectorAll('svg').length").await == 4
    };
    browser.until("what happened is counted and drawn", counted).await;
    for page in [
        "/ui",
        "/ui?range=week&kind=nothing",
        "/ui/operations",
        "/ui/operations?kind=nothing",
        "/ui/operations/nonsense",
        "/ui/workers",
        "/ui/evidence",
        "/ui/evidence?name=nothing",
        "/ui/waivers",
        "/ui/tokens",
        "/ui/audit",
        "/ui/audit?since=nonsense",
    ] {
        judge(&browser, page).await;
    }
    judge(&browser, &format!("/ui/operations/{id}")).await;
    judge(&browser, &format!("/ui/evidence/{digest}")).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_accessible_is_found() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let browser = Browser::start(&dev).await;
    browser.open("/ui/sign-in").await;
    assert_eq!(violations(&browser).await, Vec::<String>::new());
    let spoil =
        "document.querySelector('h1 img').removeAttribute('alt'); document.querySelector('h1').style.color = '#ccc'";
    browser.script(spoil).await;
    let found = violations(&browser).await.join("\n");
    assert!(found.contains("image-alt:") && found.contains("color-contrast:"), "{found}");
    browser.close().await;
}
