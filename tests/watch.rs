//! `longrun operations wait`, `watch` and `events` against the real server.

use std::time::{Duration, Instant};

use crate::common::{Dev, PATIENCE, Process, command};
use tempfile::tempdir;

fn create(dev: &Dev, kind: &str) -> String {
    dev.run(&["operations", "create", "--kind", kind, "--max-attempts", "1", "-o", "id"]).expect(0).line()
}

#[test]
fn transitions_are_printed_as_they_happen_and_a_later_watch_goes_on_after_an_event() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let watch = |more: &[&str]| {
        let mut watch = command();
        watch.current_dir(folder.path()).env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
        watch.args(["operations", "watch", "--kind", "task", "-o", "json"]).args(more);
        Process::start(&mut watch)
    };
    let mut watching = watch(&[]);
    // It does not say when it is there: work is made until it tells of some.
    let mut made = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        made.push(create(&dev, "task"));
        create(&dev, "other");
        if let Some(line) = watching.line_within(Duration::from_millis(500)) {
            break line;
        }
        assert!(Instant::now() < deadline, "nothing is printed");
    };
    let event: serde_json::Value = serde_json::from_str(&first).unwrap();
    let id = event["operation"]["id"].as_str().unwrap();
    assert!(made.iter().any(|other| other == id) && event["operation"]["kind"] == "task", "{first}");
    let last = create(&dev, "task");
    watching.line_with(&last);
    watching.signal("INT");
    assert_eq!(watching.exit_code(), 0, "interrupted is no failure");
    let at = made.iter().position(|other| other == id).unwrap();
    let rest: Vec<&String> = made[at + 1..].iter().chain([&last]).collect();
    let limit = rest.len().to_string();
    let mut again = watch(&["--after", event["id"].as_str().unwrap(), "--limit", &limit]);
    for id in rest {
        again.line_with(id);
    }
    assert_eq!(again.exit_code(), 0);
    let refused = dev.run(&["operations", "watch", "--after", "1-1-1"]).expect(2);
    refused.says("Last-Event-ID");
}

#[test]
fn a_wait_returns_soon_after_the_end() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "task");
    dev.run(&["operations", "wait", &id, "--timeout", "300ms"]).expect(2).says("has not ended");
    let mut waiting = command();
    waiting.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
    let waiting = Process::start(waiting.args(["operations", "wait", &id, "-o", "json"]));
    let mut worker = command();
    worker.current_dir(folder.path()).env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
    let _worker = Process::start(worker.args(["worker", "--kind", "task", "--", "sh", "-c", "exit 3"]));
    assert_eq!(waiting.exit_code(), 1, "it has failed");
    let events = dev.run(&["operations", "events", &id, "-o", "json"]).expect(0).json();
    let types: Vec<&str> = events["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["CREATED", "ATTEMPT_STARTED", "FAILED"]);
    let table = dev.run(&["operations", "events", &id]).expect(0).stdout;
    assert!(table.contains("ATTEMPT_STARTED"), "{table}");
}
