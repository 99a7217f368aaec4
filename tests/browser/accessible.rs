//! Every page is judged by axe-core, in light and dark and at two widths: no violation of WCAG 2.2 AA, nor of what axe
//! calls best practice.

use serde_json::Value;
use tempfile::tempdir;

use crate::browser::{Browser, NARROW, WIDE};
use crate::common::Dev;

/// Installed by `make test`, from tests/browser/package-lock.json.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/browser/node_modules/axe-core/axe.min.js");

/// Runs in the page; answers what is wrong as lines.
const JUDGE: &str = "
    const done = arguments[arguments.length - 1];
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    axe.run(document, { runOnly: tags, resultTypes: ['violations'] }).then(
      (found) => done(found.violations.flatMap((rule) => rule.nodes.map(
        (node) => `${rule.id}: ${node.html.slice(0, 200)}: ${node.failureSummary}`))),
      (error) => done([String(error)]));";

/// Fails with everything that is wrong with the page, in each form of it.
pub async fn judge(browser: &Browser, page: &str) {
    let axe = std::fs::read_to_string(AXE).unwrap_or_else(|error| panic!("{AXE}: {error}: `make test` installs it"));
    let mut wrong = Vec::new();
    for width in [WIDE, NARROW] {
        for dark in [false, true] {
            browser.look(width, dark).await;
            browser.open(page).await;
            browser.script(&axe).await;
            let found = browser.client.execute_async(JUDGE, Vec::new()).await.unwrap();
            let found = found.as_array().unwrap().iter().filter_map(Value::as_str);
            let colours = if dark { "dark" } else { "light" };
            wrong.extend(found.map(|violation| format!("{page} at {width} px, {colours}: {violation}")));
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
    let dev = Dev::start(folder.path());
    let input = r#"{"target":"web-1","depth":{"links":3}}"#;
    let create = ["ops", "create", "--kind", "scan", "--input", input, "-o", "id"];
    let id = dev.run(&create).expect(0).line();
    dev.run(&["ops", "cancel", &dev.run(&create).expect(0).line()]).expect(0);
    let browser = Browser::start(&dev).await;
    judge(&browser, "/ui/sign-in").await;
    browser.sign_in(&dev.token).await;
    for page in ["/ui/operations", "/ui/operations?kind=nothing", "/ui/operations/nonsense"] {
        judge(&browser, page).await;
    }
    judge(&browser, &format!("/ui/operations/{id}")).await;
    browser.close().await;
}
