//! The list and one operation: filtering, pages, what happens meanwhile, and actions on an operation.

use std::time::Duration;

use longrun_client::{ClaimRequest, Client, Heartbeat, Token};
use tempfile::tempdir;

use crate::browser::Browser;
use crate::common::Dev;

/// Creates an operation, returns its id.
fn create(dev: &Dev, kind: &str) -> String {
    dev.run(&["ops", "create", "--kind", kind, "-o", "id"]).expect(0).line()
}

/// How many operations the list shows.
async fn rows(browser: &Browser) -> u64 {
    browser.script("return document.querySelectorAll('tbody tr').length").await.as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_filtered_and_has_pages() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let batch: Vec<_> = (0..30).map(|_| serde_json::json!({"kind": "build"})).collect();
    std::fs::write(folder.path().join("batch.json"), serde_json::to_string(&batch).unwrap()).unwrap();
    dev.run(&["ops", "create-batch", "batch.json"]).expect(0);
    let id = create(&dev, "scan");
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/operations").await;
    assert_eq!(rows(&browser).await, 25);
    browser.press("Next ›").await;
    browser.until("the second page", || async { rows(&browser).await == 6 }).await;
    browser.open("/ui/operations?kind=scan").await;
    assert_eq!(rows(&browser).await, 1);
    browser.shows(&id[id.len() - 12..]).await;
    browser.open("/ui/operations?kind=nothing").await;
    browser.shows("Nothing matches").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_operation_is_announced_and_nothing_moves() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let first = create(&dev, "scan");
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/operations").await;
    browser
        .until("the page listens", || async { browser.script("return events?.readyState === 1").await == true })
        .await;
    let second = create(&dev, "scan");
    browser.shows("1 new operation").await;
    let spoken = browser.script("return document.getElementById('announcer').textContent").await;
    assert_eq!(spoken, "1 new operation", "it is said to those who do not see it");
    assert_eq!(rows(&browser).await, 1, "nothing came in under the pointer");
    browser.find("td.pick input").await.click().await.unwrap();
    dev.run(&["ops", "cancel", &first]).expect(0);
    let row = "const row = document.querySelector('tbody tr'); return [row.querySelector('.badge').textContent.trim(), \
               row.querySelector('.took').textContent, row.querySelector('input').checked].join()";
    let is_told = || async { browser.script(row).await == "⊘ Cancelled,never ran,true" };
    browser.until("the row changes where it stands, and stays picked", is_told).await;
    let counts =
        "return [...document.querySelectorAll('.tabs .count, .total strong')].map((of) => of.textContent).join()";
    let are_told = || async { browser.script(counts).await == "2,2,1,0,0,1" };
    browser.until("the numbers of the list are those of now", are_told).await;
    assert_eq!(rows(&browser).await, 1, "nothing came in under the pointer");
    browser.find("#news a").await.click().await.unwrap();
    browser.shows(&second[second.len() - 12..]).await;
    assert_eq!(rows(&browser).await, 2);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_an_operation_tells_its_progress_and_leaves_the_focus_alone() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "scan");
    let client = Client::new(&dev.url, Token::new(&dev.token).unwrap()).unwrap();
    let kinds = vec!["scan".to_owned()];
    let claim = ClaimRequest { kinds, max_operations: 1, wait: Duration::ZERO, organizations: Vec::new() };
    let claimed = client.claim(&claim).await.unwrap().value.operations.remove(0);
    let browser = Browser::signed_in(&dev).await;
    browser.open(&format!("/ui/operations/{id}")).await;
    let listens = || async { browser.script("return events?.readyState === 1").await == true };
    browser.until("the page listens", listens).await;
    browser.script("document.querySelector('.actions button').focus()").await;
    let heartbeat = Heartbeat {
        id,
        lease_token: claimed.lease_token,
        organization: String::new(),
        progress: Some("half of it".to_owned()),
    };
    client.heartbeat(&[heartbeat]).await.unwrap();
    browser.shows("half of it").await;
    let focused = browser.script("return document.activeElement.textContent").await;
    assert_eq!(focused, "Cancel", "the focus stays where it was");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_cancelled_and_tried_again_and_its_page_follows() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "scan");
    let browser = Browser::signed_in(&dev).await;
    browser.open(&format!("/ui/operations/{id}")).await;
    browser.press("Cancel").await;
    assert_eq!(browser.client.get_alert_text().await.unwrap(), "Cancel this operation?");
    browser.client.dismiss_alert().await.unwrap();
    browser.shows("Pending").await;
    browser.press("Cancel").await;
    browser.client.accept_alert().await.unwrap();
    browser.shows("Cancelled").await;
    browser.press("Retry").await;
    browser.shows("Pending").await;
    let listens = || async { browser.script("return events?.readyState === 1").await == true };
    browser.until("the page listens", listens).await;
    dev.run(&["ops", "cancel", &id]).expect(0);
    browser.shows("Cancelled").await;
    browser.close().await;
}
