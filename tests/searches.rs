//! `operations search`, `count` and `bulk`, `views`, `schedules` and `stats` against the real server.

use crate::common::{Dev, Process, command};
use tempfile::tempdir;

fn create(dev: &Dev, kind: &str) -> String {
    dev.run(&["operations", "create", "--kind", kind, "--max-attempts", "1", "-o", "id"]).expect(0).line()
}

#[test]
fn a_search_shows_what_matches_and_a_count_tells_it_apart() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (scan, build) = (create(&dev, "scan"), create(&dev, "build"));
    let found = dev.run(&["operations", "search", "kind = scan AND status = PENDING"]).expect(0);
    assert!(found.stdout.contains(&scan) && !found.stdout.contains(&build), "{}", found.stdout);
    found.shows("1 of 1 operation");
    let ids = dev.run(&["operations", "search", "", "--oldest-first", "-o", "id"]).expect(0).stdout;
    assert_eq!(ids.lines().collect::<Vec<_>>(), [&scan, &build]);
    let some = dev.run(&["operations", "search", "", "--limit", "1", "-o", "json"]).expect(0);
    assert_eq!(some.json()["operations"].as_array().unwrap().len(), 1);
    some.says("1 of 2 operations are shown");
    dev.run(&["operations", "search", "status = DONE"]).expect(2).says("is not a status").says("PENDING");
    let counts = dev.run(&["operations", "count", "--group-by", "kind,status", "-o", "json"]).expect(0).json();
    assert_eq!((&counts["total_count"], counts["groups"].as_array().unwrap().len()), (&serde_json::json!(2), 2));
    dev.run(&["operations", "count", "kind = scan"]).expect(0).shows("1 operation in all");
}

#[test]
fn a_bulk_action_tells_what_it_would_do_and_what_came_of_it() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let ids: Vec<String> = (0..3).map(|_| create(&dev, "scan")).collect();
    let bulk = |more: &[&str]| dev.run(&[&["operations", "bulk", "cancel", "--filter", "kind = scan"], more].concat());
    bulk(&["--dry-run"]).expect(0).shows("3 operations match");
    bulk(&["--expect", "100"]).expect(2);
    assert!(dev.run(&["operations", "get", &ids[0], "-o", "json"]).expect(0).stdout.contains("PENDING"));
    let waited = bulk(&["--wait"]).expect(0).shows("COMPLETED").shows("OUTCOME").shows("3 matched").stdout;
    let changed = waited.lines().find(|line| line.starts_with("changed")).unwrap();
    assert_eq!(changed.split_whitespace().collect::<Vec<_>>(), ["changed", "3"]);
    for id in &ids {
        dev.until_status(id, "FAILED");
    }
    // They have ended: each is refused, and the refusals are counted.
    bulk(&["--wait"]).expect(0).shows("refused: ").shows("3 matched");
    dev.run(&["operations", "bulk", "delete", "--filter", "kind = scan", "--wait"]).expect(0);
    dev.run(&["operations", "count", "kind = scan", "-o", "id"]).expect(0).shows("0");
}

#[test]
fn a_view_shows_its_count_and_its_operations() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (scan, build) = (create(&dev, "scan"), create(&dev, "build"));
    let make =
        ["views", "create", "scans", "--filter", "kind = scan", "--columns", "id,status", "--visibility", "shared"];
    dev.run(&make).expect(0);
    dev.run(&["views", "list"]).expect(0).shows("scans").shows("shared").shows("kind = scan");
    let shown = dev.run(&["views", "show", "scans"]).expect(0).shows(&scan).shows("1 of 1 operation").stdout;
    assert!(!shown.contains(&build), "{shown}");
    let bare = dev.run(&["views", "show", "scans", "--limit", "0"]).expect(0).stdout;
    assert!(!bare.contains(&scan), "{bare}");
    let json = dev.run(&["views", "show", "scans", "-o", "json"]).expect(0).json();
    assert_eq!((&json["view"]["name"], &json["view"]["count"]), (&"scans".into(), &1.into()));
    dev.run(&["views", "delete", "scans", "-o", "json"]).expect(2).says("unexpected argument '-o'");
    dev.run(&["views", "delete", "scans"]).expect(0).says("was deleted");
    dev.run(&["views", "show", "scans"]).expect(4).says("there is no view");
    dev.run(&["operations", "get", &scan]).expect(0);
}

#[test]
fn a_schedule_is_made_changed_triggered_and_deleted() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let make =
        ["schedules", "create", "nightly", "--kind", "scan", "--cron", "0 3 * * *", "--time-zone", "Europe/Berlin"];
    dev.run(&make).expect(0).shows("Europe/Berlin");
    dev.run(&make).expect(2).says("has a schedule of this name already");
    dev.run(&["schedules", "list"]).expect(0).shows("nightly").shows("0 3 * * *");
    dev.run(&["schedules", "pause", "nightly"]).expect(0);
    dev.run(&["schedules", "list"]).expect(0).shows("paused");
    dev.run(&["schedules", "resume", "nightly"]).expect(0);
    dev.run(&["schedules", "trigger", "nightly"]).expect(0);
    dev.run(&["operations", "count", "kind = scan", "-o", "id"]).expect(0).shows("1");
    dev.run(&["schedules", "update", "nightly", "--every", "1h"]).expect(0).shows("every");
    dev.run(&["schedules", "create", "broken", "--kind", "scan", "--cron", "not a time"]).expect(2).says("cron");
    dev.run(&["schedules", "get", "nightly", "other"]).expect(4).shows("nightly");
    dev.run(&["schedules", "delete", "nightly"]).expect(0);
    dev.run(&["schedules", "list"]).expect(0).shows("no schedules");
}

#[test]
fn statistics_count_what_happened() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "task");
    let mut worker = command();
    worker.current_dir(folder.path()).env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
    let _worker = Process::start(worker.args(["worker", "--kind", "task", "--", "true"]));
    dev.run(&["operations", "wait", &id, "--quiet"]).expect(0);
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    loop {
        let stats = dev.run(&["stats", "--since", "10m", "--kind", "task", "--json"]).expect(0).json();
        let completed = |point: &serde_json::Value| point["completed"].as_u64().unwrap_or(0);
        if stats["points"].as_array().unwrap().iter().map(completed).sum::<u64>() == 1 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{stats}");
    }
    dev.run(&["stats", "--since", "10m", "--by-kind"]).expect(0).shows("task").shows("1 created");
    dev.run(&["stats", "--since", "yesterday"]).expect(2).says("--since is not a time");
}
