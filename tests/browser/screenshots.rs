//! Pictures of every page for docs/images, with the data of a small shop's week. `make screenshots` makes them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tempfile::tempdir;

use crate::browser::{Browser, NARROW, WIDE};
use crate::common::{Dev, example};
use crate::week;

const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images");
/// Longer pages are cut off.
const MOST_HEIGHT: u64 = 1_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes pictures; `make screenshots` runs it"]
async fn every_page() {
    // A week of commits is slow on a disk, and nobody needs it afterwards.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempdir()).unwrap();
    let week = week::live(&folder.path().join("data")).await;
    let policies = example("policies");
    let dev = Dev::start_with(folder.path(), "127.0.0.1:0", &["--policies", &policies]);
    let digest = evaluate(&dev);
    dev.run(&["token", "create", "--organization", "dev", "--name", "deploy", "--scopes", "operations:write"])
        .expect(0);
    saved(&dev);
    let browser = Browser::start(&dev).await;
    take(&browser, "sign-in", "/ui/sign-in", &[false]).await;
    browser.sign_in(&dev.token).await;
    let pages = [
        ("overview", "/ui".to_owned(), &[false, true][..]),
        ("operations", "/ui/operations".to_owned(), &[false, true]),
        ("operation", format!("/ui/operations/{}", week.failed), &[false]),
        ("views", "/ui/views".to_owned(), &[false]),
        ("schedules", "/ui/schedules".to_owned(), &[false]),
        ("schedule", "/ui/schedules/nightly-scan".to_owned(), &[false]),
        ("schedule-form", "/ui/schedules/nightly-scan/edit".to_owned(), &[false]),
        ("workers", "/ui/workers".to_owned(), &[false]),
        ("tokens", "/ui/tokens".to_owned(), &[false]),
        ("audit", "/ui/audit".to_owned(), &[false]),
        ("evidence-list", "/ui/evidence".to_owned(), &[false]),
        ("waivers", "/ui/waivers".to_owned(), &[false]),
        ("evidence", format!("/ui/evidence/{digest}"), &[false]),
    ];
    for (name, path, colours) in pages {
        take(&browser, name, &path, colours).await;
    }
    browser.close().await;
}

/// Views and schedules, as a team keeps them.
fn saved(dev: &Dev) {
    for (name, filter) in [
        ("Failed today", "status = FAILED AND created_at >= \"-24h\""),
        ("Waiting for long", "status = PENDING AND created_at < \"-15m\""),
        ("Everything but reports", "kind != report"),
    ] {
        dev.run(&["views", "create", name, "--filter", filter]).expect(0);
    }
    let schedules = [
        ["nightly-scan", "--cron", "0 3 * * *", "--time-zone", "Europe/Berlin", "--kind", "scan"].to_vec(),
        ["report", "--cron", "0 8 * * 1", "--kind", "report"].to_vec(),
        ["thumbnails", "--every", "10m", "--kind", "thumbnail"].to_vec(),
    ];
    for schedule in schedules {
        dev.run(&[&["schedules", "create"], &schedule[..]].concat()).expect(0);
    }
}

/// Two evaluations of one piece of evidence, of which the second found more; returns its digest.
fn evaluate(dev: &Dev) -> String {
    let evidence = example("evidence/longrun.cdx.json");
    let digest = dev.run(&["evidence", "put", &evidence, "-o", "id"]).expect(0).line();
    for banned in ["licenses=Unicode-3.0,CC0-1.0", "licenses=CC0-1.0,BSD-3-Clause"] {
        let policy = ["--policy-ref", "sbom-banned-licenses", "--with", banned];
        dev.run(&[&["evidence", "evaluate", &evidence][..], &policy].concat());
    }
    let reason = "Bought from its author; the contract is in the wiki";
    let waiver = ["waiver", "add", "sbom-banned-licenses", "--subject", "longrun.cdx.json", "--expires-in", "90d"];
    let finding = ["--finding", "CC0-1.0", "--reason", reason];
    dev.run(&[&waiver[..], &finding].concat()).expect(0);
    digest
}

async fn take(browser: &Browser, name: &str, path: &str, colours: &[bool]) {
    std::fs::create_dir_all(IMAGES).unwrap();
    for width in [WIDE, NARROW] {
        for dark in colours {
            browser.look(width, *dark).await;
            browser.open(path).await;
            let height = browser.script("return document.documentElement.scrollHeight").await.as_u64().unwrap();
            let clip = json!({"x": 0, "y": 0, "width": width, "height": height.min(MOST_HEIGHT), "scale": 1});
            let wish = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
            let picture = browser.devtools("Page.captureScreenshot", wish).await;
            let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
            let colours = if *dark { "-dark" } else { "" };
            std::fs::write(image(&format!("{name}-{width}{colours}.png")), bytes).unwrap();
        }
    }
}

fn image(name: &str) -> PathBuf {
    Path::new(IMAGES).join(name)
}
