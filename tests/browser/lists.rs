//! Filters, views, actions on several operations, an edited input and schedules: as people use them.

use tempfile::tempdir;

use crate::accessible::judge;
use crate::browser::Browser;
use crate::common::Dev;

fn create(dev: &Dev, kind: &str) -> String {
    dev.run(&["ops", "create", "--kind", kind, "--label", "team=blue", "-o", "id"]).expect(0).line()
}

async fn rows(browser: &Browser) -> u64 {
    browser.script("return document.querySelectorAll('.list tbody tr').length").await.as_u64().unwrap()
}

async fn has_rows(browser: &Browser, count: u64) {
    browser.until(&format!("{count} rows"), || async { rows(browser).await == count }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_is_put_together_saved_and_found_again() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    create(&dev, "scan");
    let cancelled = create(&dev, "scan");
    create(&dev, "build");
    dev.run(&["ops", "cancel", &cancelled]).expect(0);
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/operations").await;
    browser.press("Kind any").await;
    browser.find("input[name=kind][value=scan]").await.click().await.unwrap();
    browser.press("Status any").await;
    browser.find("input[name=status][value=PENDING]").await.click().await.unwrap();
    browser.find("input[name=status][value=FAILED]").await.click().await.unwrap();
    browser.press("Filter").await;
    has_rows(&browser, 2).await;
    let path = browser.path().await;
    assert_eq!(path, "/ui/operations?filter=status+=+(PENDING+OR+FAILED)+AND+kind+=+scan");
    browser.press("Save this filter").await;
    browser.fill("#view-name", "Open scans").await;
    browser.press("Save").await;
    browser
        .until("the view is a tab", || async {
            let tab = "return document.querySelector('.views [aria-current]')?.textContent ?? ''";
            browser.script(tab).await == "Open scans 2"
        })
        .await;
    assert_eq!(browser.path().await, path);

    browser.press("More conditions").await;
    browser.fill("#filter", "attempts >=").await;
    browser.press("Filter").await;
    browser.shows("the end of the filter").await;
    let typed = browser.script("return document.getElementById('filter').value").await;
    assert_eq!(typed, "attempts >=", "what was typed stays");
    browser.fill("#filter", "attempts >= 0 AND labels.team = blue").await;
    browser.press("Filter").await;
    has_rows(&browser, 2).await;
    let label = browser.script("return document.getElementById('label-1').value").await;
    assert_eq!(label, "team=blue", "what there is a field for stands in it");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ticked_is_cancelled_and_all_that_match_is_deleted() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    for _ in 0..3 {
        create(&dev, "scan");
    }
    create(&dev, "build");
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/operations?filter=kind+=+scan").await;
    let is_disabled = "return document.querySelector('#bulk button').disabled";
    assert_eq!(browser.script(is_disabled).await, true, "nothing is picked");
    browser.find("#pick-all").await.click().await.unwrap();
    browser.shows("3 selected").await;
    browser.press("Cancel…").await;
    browser.shows("Cancel 3 operations?").await;
    browser.press("Cancel 3 operations").await;
    browser.shows("cancelled").await;
    browser.until("it is done", || async { browser.text().await.contains("Completed") }).await;

    browser.open("/ui/operations?filter=kind+=+scan").await;
    browser.find("#bulk input[name=all]").await.click().await.unwrap();
    browser.press("Delete…").await;
    browser.shows("Delete 3 operations?").await;
    browser.press("Delete 3 operations").await;
    browser.until("it is done", || async { browser.text().await.contains("Completed") }).await;
    browser.open("/ui/operations?filter=kind+=+scan").await;
    browser.shows("Nothing matches").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_is_announced_where_it_belongs_to_the_list() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    create(&dev, "scan");
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/operations?filter=kind+=+scan+AND+labels.team+=+blue").await;
    let listens = || async { browser.script("return events?.readyState === 1").await == true };
    browser.until("the page listens", listens).await;
    dev.run(&["ops", "create", "--kind", "scan", "--label", "team=red"]).expect(0);
    create(&dev, "scan");
    browser.shows("1 new operation").await;
    browser.find("#news a").await.click().await.unwrap();
    has_rows(&browser, 2).await;
    browser.close().await;
}

/// The choices of the filter's menus: their values, their counts, and whether they are ticked.
const CHOICES: &str = "const told = (label) => [label.control.value, label.querySelector('.count').textContent, \
     label.control.checked ? 'ticked' : ''].join(' ').trim(); \
     return [...document.querySelectorAll('.filter .options .tick')].map(told).join()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_within_the_menus_are_those_of_now() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let scan = create(&dev, "scan");
    let browser = Browser::signed_in(&dev).await;
    let listens = || async { browser.script("return events?.readyState === 1").await == true };
    let are = async |choices: &str| {
        browser
            .until(&format!("the choices are {choices}"), || async { browser.script(CHOICES).await == choices })
            .await;
    };
    browser.open("/ui/operations").await;
    browser.until("the page listens", listens).await;
    are("PENDING 1,RUNNING 0,COMPLETED 0,FAILED 0,scan 1").await;
    browser.press("Kind any").await;
    browser.find("input[name=kind][value=scan]").await.click().await.unwrap();
    for _ in 0..2 {
        create(&dev, "build");
    }
    dev.run(&["ops", "cancel", &scan]).expect(0);
    // There are more builds, but the entries under the pointer stay there.
    are("PENDING 2,RUNNING 0,COMPLETED 0,FAILED 1,scan 1 ticked,build 2").await;
    let is_open = "return document.querySelector('[data-menu=kind]').closest('details').open";
    assert_eq!(browser.script(is_open).await, true, "the menu stays unfolded");
    browser.find("input[name=kind][value=build]").await.click().await.unwrap();
    browser.press("Filter").await;
    has_rows(&browser, 3).await;
    let path = browser.path().await;
    assert_eq!(path, "/ui/operations?filter=kind+=+(build+OR+scan)", "a choice that is new can be taken");

    browser.open("/ui/operations?filter=kind+=+scan").await;
    browser.until("the page listens", listens).await;
    create(&dev, "report");
    browser.press("Kind scan").await;
    // The statuses are those of scans.
    are("PENDING 0,RUNNING 0,COMPLETED 0,FAILED 1,build 2,scan 1 ticked,report 1").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_retried_with_an_edited_input() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id =
        dev.run(&["ops", "create", "--kind", "scan", "--input", r#"{"target":"web-1"}"#, "-o", "id"]).expect(0).line();
    dev.run(&["ops", "cancel", &id]).expect(0);
    let browser = Browser::signed_in(&dev).await;
    browser.open(&format!("/ui/operations/{id}")).await;
    browser.press("Retry with another input…").await;
    browser.fill("#input", "{\"target\": }").await;
    browser.press("Create operation").await;
    browser.shows("is not JSON").await;
    browser.fill("#input", "{\"target\": \"web-2\"}").await;
    browser.press("Create operation").await;
    browser.shows("This operation repeats").await;
    browser.shows("web-2").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_made_paused_and_triggered() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let browser = Browser::signed_in(&dev).await;
    browser.open("/ui/schedules").await;
    browser.press("New schedule").await;
    browser.fill("#name", "nightly-scan").await;
    browser.fill("#cron", "0 3 * *").await;
    browser.fill("#kind", "scan").await;
    browser.press("Create schedule").await;
    browser.find("#cron-wrong").await;
    browser.fill("#cron", "0 3 * * *").await;
    browser.press("Create schedule").await;
    browser.until_path("/ui/schedules/nightly-scan").await;
    let times = browser.script("return document.querySelectorAll('.times li').length").await;
    assert_eq!(times, 5);
    browser.press("Pause").await;
    browser.shows("None while it is paused.").await;
    browser.press("Resume").await;
    browser.press("Trigger now").await;
    browser.shows("nightly-scan").await;
    browser.shows("Pending").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_forms_are_accessible_in_light_and_dark_at_both_widths() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "scan");
    dev.run(&["ops", "cancel", &id]).expect(0);
    dev.run(&["schedules", "create", "nightly", "--cron", "0 3 * * *", "--kind", "scan"]).expect(0);
    dev.run(&["views", "create", "Failed today", "--filter", "status = FAILED AND created_at >= \"-24h\""]).expect(0);
    let browser = Browser::signed_in(&dev).await;
    for page in [
        "/ui/operations?filter=status+=+FAILED+AND+labels.team+=+blue+AND+attempts+%3E=+0",
        "/ui/operations?filter=colour+=+red",
        &format!("/ui/operations/{id}/retry"),
        "/ui/views",
        "/ui/schedules",
        "/ui/schedules:new",
        "/ui/schedules/nightly",
        "/ui/schedules/nightly/edit",
    ] {
        judge(&browser, page).await;
    }
    browser.close().await;
}
