//! `longrun operations wait`, `watch` and `events` against the real server.

use std::time::{Duration, Instant};

use crate::common::{Dev, PATIENCE, Process, command, free_address, run_in};
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
    // It does not say when it is ready: operations are created until it reports one.
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
fn lines_begin_with_the_time_at_which_they_were_told() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (again, gone) = (create(&dev, "task"), create(&dev, "task"));
    let worker = dev.start_client(&["worker", "--kind", "task", "--", "false"]);
    dev.run(&["operations", "wait", &again, &gone, "--quiet"]).expect(1);
    drop(worker);
    let ended = dev.run(&["operations", "get", &again, "-o", "json"]).expect(0).json();
    let ended = ended["operation"]["finished_at"].as_str().unwrap();
    let mut watching = dev.start_client(&["operations", "watch", "--kind", "task"]);
    let deadline = Instant::now() + PATIENCE;
    while watching.line_within(Duration::from_millis(500)).is_none() {
        assert!(Instant::now() < deadline, "nothing is printed");
        create(&dev, "task");
    }
    dev.run(&["operations", "retry", &again]).expect(0);
    dev.run(&["operations", "delete", &gone]).expect(0);
    // The texts of times sort in the order of the times.
    let pending = watching.line_with(&again);
    assert!(pending.contains(&format!("Z  {again}  PENDING  task")) && &*pending > ended, "{pending} after {ended}");
    let deleted = watching.line_with(&gone);
    assert!(deleted.ends_with(&format!("Z  {gone}  DELETED")) && deleted[..24] >= pending[..24], "{deleted}");
}

#[test]
fn a_wait_returns_soon_after_the_end() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "task");
    let over = dev.run(&["operations", "wait", &id, "--timeout", "300ms"]).expect(5);
    assert_eq!(over.stderr.lines().next(), Some(format!("error: operation {id} has not ended within 0.3 s").as_str()));
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

#[test]
fn a_wait_and_a_watch_outlive_a_server_that_restarts() {
    let folder = tempdir().unwrap();
    let address = free_address();
    let mut first = Dev::start_at(folder.path(), &address);
    let (one, two) = (create(&first, "task"), create(&first, "task"));
    let mut waiting = first.start_client(&["operations", "wait", &one, &two, "--timeout", "5m", "-o", "id"]);
    // The log reports its first look, which has been answered.
    first.process.line_with(":wait");
    let mut watching = first.start_client(&["operations", "watch", "--kind", "task", "-o", "json"]);
    let deadline = Instant::now() + PATIENCE;
    let seen = loop {
        create(&first, "task");
        if let Some(line) = watching.line_within(Duration::from_millis(500)) {
            break line;
        }
        assert!(Instant::now() < deadline, "nothing is printed");
    };
    let first_seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
    first.process.kill_9();
    for client in [&mut waiting, &mut watching] {
        client.line_with(&format!("warning: lost http://{address}: "));
    }
    let second = Dev::start_at(folder.path(), &address);
    for client in [&mut waiting, &mut watching] {
        client.line_with(&format!("note: http://{address} is back"));
    }
    let last = create(&second, "task");
    let worker = second.start_client(&["worker", "--kind", "task", "--concurrency", "4", "--", "true"]);
    for id in [&one, &two] {
        waiting.line_with(id);
    }
    assert_eq!(waiting.exit_code(), 0);
    for id in second.run(&["operations", "list", "--kind", "task", "-o", "id"]).expect(0).stdout.lines() {
        second.run(&["operations", "wait", id, "--quiet"]).expect(0);
    }
    drop(worker);
    // Each event once and in order, the same that another watch gets from the first one on.
    let mut lines = vec![seen];
    let is_the_last = |line: &str| line.contains(&last) && line.contains("COMPLETED");
    while !is_the_last(lines.last().unwrap()) {
        let line = watching.line_with("");
        if line.starts_with('{') {
            lines.push(line);
        }
    }
    let (after, limit) = (first_seen["id"].as_str().unwrap(), (lines.len() - 1).to_string());
    let again = ["operations", "watch", "--kind", "task", "-o", "json", "--after", after, "--limit", &limit];
    let again = second.run(&again).expect(0).stdout;
    let ids = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone();
    assert_eq!(lines[1..].iter().map(|l| ids(l)).collect::<Vec<_>>(), again.lines().map(ids).collect::<Vec<_>>());
}

#[test]
fn a_server_that_does_not_come_back_is_given_up_when_it_is_asked_for() {
    let folder = tempdir().unwrap();
    let mut dev = Dev::start(folder.path());
    let id = create(&dev, "task");
    let waiting = dev.start_client(&["operations", "wait", &id, "--reconnect-for", "500ms"]);
    dev.process.line_with(":wait");
    let mut watching = dev.start_client(&["operations", "watch", "--reconnect-for", "500ms"]);
    let deadline = Instant::now() + PATIENCE;
    while watching.line_within(Duration::from_millis(500)).is_none() {
        assert!(Instant::now() < deadline, "nothing is printed");
        create(&dev, "task");
    }
    dev.process.kill_9();
    assert_eq!(waiting.exit_code(), 6);
    assert_eq!(watching.exit_code(), 6);
    // Where nobody has ever answered, it does not wait.
    let args = ["operations", "wait", &id, "--url", &dev.url, "--token-file", "data/token"];
    run_in(folder.path(), &args).expect(6).says("cannot connect").says("hint:");
}
