//! How pages are read: by keyboard alone, on a phone, in the dark.

use tempfile::tempdir;

use crate::browser::{Browser, NARROW, WIDE};
use crate::common::Dev;

/// The keys as WebDriver names them.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// The element that has the focus, as people would call it.
async fn focused(browser: &Browser) -> String {
    let name = "const e = document.activeElement; return e.id ? '#' + e.id : (e.textContent || e.tagName).trim()";
    browser.script(name).await.as_str().unwrap_or_default().to_owned()
}

/// Goes on with the tab key until this has the focus, which must be seen.
async fn tab_to(browser: &Browser, name: &str) {
    for _ in 0..60 {
        browser.keys(TAB).await;
        if focused(browser).await == name {
            let outline = "return getComputedStyle(document.activeElement).outlineStyle";
            assert_ne!(browser.script(outline).await, "none", "the focus on {name} is seen");
            return;
        }
    }
    panic!("the tab key does not come to {name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_done_by_keyboard_alone() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = dev.run(&["ops", "create", "--kind", "scan", "-o", "id"]).expect(0).line();
    let browser = Browser::start(&dev).await;
    browser.open("/ui/operations").await;
    browser.until("the field has the focus", || async { focused(&browser).await == "#token" }).await;
    browser.keys(&format!("{}{ENTER}", dev.token)).await;
    browser.until_path("/ui/operations").await;
    browser.keys(TAB).await;
    assert_eq!(focused(&browser).await, "Skip to the content");
    browser.keys(ENTER).await;
    browser.until("the content has the focus", || async { focused(&browser).await == "#main" }).await;
    let row = format!("scan {}", &id[id.len() - 12..]);
    tab_to(&browser, &row).await;
    browser.keys(ENTER).await;
    browser.until_path(&format!("/ui/operations/{id}")).await;
    tab_to(&browser, "Cancel").await;
    browser.keys(ENTER).await;
    browser.client.accept_alert().await.unwrap();
    browser.shows("Cancelled").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone_there_is_a_menu_and_the_list_becomes_cards() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.run(&["ops", "create", "--kind", "scan"]).expect(0);
    let browser = Browser::signed_in(&dev).await;
    browser.look(NARROW, false).await;
    browser.open("/ui/operations").await;
    let shown = |css: &str| format!("return document.querySelector('{css}').checkVisibility()");
    assert_eq!(browser.script(&shown(".site-menu nav")).await, false);
    let place =
        "const { x, y } = document.querySelector('.site-menu summary').getBoundingClientRect(); return `${x} ${y}`";
    let before = browser.script(place).await;
    browser.press("Menu").await;
    assert_eq!(browser.script(place).await, before, "the button stays under the pointer");
    browser.press("Overview").await;
    browser.until_path("/ui").await;
    browser.open("/ui/operations").await;
    let display = "return getComputedStyle(document.querySelector('tbody tr')).display";
    assert_eq!(browser.script(display).await, "block");
    for width in [360, NARROW, 768, 1024, 1201, WIDE, 1920] {
        browser.look(width, false).await;
        for page in ["/ui", "/ui/operations"] {
            browser.open(page).await;
            let wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.script(wider).await, 0, "{page} at {width} px");
            let way_out = "return [...document.querySelectorAll('.site-menu summary, .session button')] \
                           .filter((one) => one.checkVisibility()).map((one) => one.textContent.trim()).join()";
            let expected = if width > 1200 { "Sign out" } else { "Menu" };
            assert_eq!(browser.script(way_out).await, expected, "{page} at {width} px");
        }
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_chooses_light_or_dark() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let browser = Browser::signed_in(&dev).await;
    let ground = "return getComputedStyle(document.documentElement).backgroundColor";
    let light = browser.script(ground).await;
    browser.look(WIDE, true).await;
    let dark = browser.script(ground).await;
    assert_eq!((light, dark), ("rgb(246, 247, 249)".into(), "rgb(16, 21, 28)".into()));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_stays_true_while_somebody_looks_at_it() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let browser = Browser::signed_in(&dev).await;
    let waiting = "return document.querySelector('.tile.pending .figure').textContent";
    assert_eq!(browser.script(waiting).await, "0");
    dev.run(&["ops", "create", "--kind", "scan"]).expect(0);
    browser.until("one waits", || async { browser.script(waiting).await == "1" }).await;
    browser.press_within("//*[@id='overview']", "1").await;
    browser.until_path("/ui/operations").await;
    browser.close().await;
}
