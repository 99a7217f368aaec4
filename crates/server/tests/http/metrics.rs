//! Exported is what `docs/metrics.md` says, and whatever the dashboard, the alerts and their tests name is exported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use store::meters::{DeliveryLabel, Outcome as Ended, Queue, QueueLabel};
use tokio_util::sync::CancellationToken;

use crate::harness::{Caller, Server};
use crate::operators::admin;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A server on which every metric has a value.
async fn all_measured() -> (Server, Caller) {
    let server = Server::with(|services| {
        services.store.meters().kinds.name(["scan", "notice"]);
        // The program, which has the log, adds it.
        services.metrics.add_counter("log_lines_lost", "Lines of the log that could not be written", || 0);
    })
    .await;
    let meters = server.store.meters();
    server.store.begin_statistics().await.unwrap();
    let engine =
        engine::Engine::start(server.store.clone(), engine::Registry::new(), engine::Settings::default(), "test");
    let caller = server.acme().await;
    assert_eq!(caller.get("/v1/operations").await.status, StatusCode::OK);
    server.completed("scan", "1").await;
    let claimed = {
        server.pending("scan").await;
        server.claim("scan").await
    };
    server.store.release(vec![claimed.lease]).await.unwrap();
    // Events that do not happen on a quiet day.
    meters.lost.get_or_create(&meters.kind("scan")).inc_by(0);
    meters.batch_failures.get_or_create(&QueueLabel { queue: Queue::all }).inc_by(0);
    meters.notice_attempts.get_or_create(&DeliveryLabel { outcome: Ended::failed }).inc_by(0);
    // A store without cells has none.
    meters.cell_up("a").set(1);
    let admin = admin(&server, CancellationToken::new()).await;
    let counted = async {
        let mut rows = tokio::time::interval(Duration::from_millis(20));
        loop {
            rows.tick().await;
            let text = admin.get("/metrics").await.text().to_owned();
            let is_there = |name: &str| text.lines().any(|line| line.starts_with(name));
            if is_there("longrun_operations_returned_total{")
                && is_there("longrun_operations_ended_total{")
                && is_there("longrun_operations_pending{")
                && is_there("longrun_task_seconds_since_success{")
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), counted).await.expect("the changes are counted in time");
    engine.drain().await;
    (server, admin)
}

/// The metrics of a text: their types, and the names of their labels.
fn exported(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut metrics = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|of| of.split_once(' ')) {
            metrics.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (sample, labels) = line.split_once('{').unwrap_or((line.split(' ').next().unwrap(), ""));
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix));
            let name = histogram.filter(|name| metrics.contains_key(*name)).unwrap_or(sample);
            let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
            let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            let of = metrics.get_mut(name).unwrap_or_else(|| panic!("{sample} has no type"));
            of.1.extend(names.filter(|name| name != "le"));
        }
    }
    metrics
}

/// The rows of the table of `docs/metrics.md`, in the same form.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = text_of("docs/metrics.md");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let labels = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (cells[0].to_owned(), (cells[1].to_owned(), labels.filter(|label| !label.is_empty()).collect()))
    })
    .collect()
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    // Names with colons are those of recording rules.
    words.filter(|word| word.starts_with("longrun_") && !word.contains(':')).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_exported_is_what_the_documentation_says_and_all_that_dashboard_and_alerts_name() {
    let (_server, admin) = all_measured().await;
    let answer = admin.get("/metrics").await;
    let exported = exported(answer.text());
    assert_eq!(exported, documented(), "of the documentation and what is exported, one is not true");
    for path in ["deploy/grafana/longrun.json", "deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml"] {
        let text = text_of(path);
        // The words of JSON strings include the escaped ones; names of metrics have none.
        for name in named(&text) {
            let metric = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_histogram = metric.is_some_and(|metric| exported.get(metric).is_some_and(|of| of.0 == "histogram"));
            assert!(is_histogram || exported.contains_key(&name), "{path} names {name}, which is not exported");
        }
    }
    // The dashboard shows every metric.
    let dashboard = named(&text_of("deploy/grafana/longrun.json"));
    let shown =
        |name: &String| dashboard.iter().any(|shown| shown == name || shown.strip_suffix("_bucket") == Some(name));
    let unseen: Vec<_> = exported.keys().filter(|name| name.starts_with("longrun_") && !shown(name)).collect();
    let of_means = ["longrun_store_batch_writes"];
    assert_eq!(unseen, of_means, "the dashboard shows these by their means, and all others");
}

#[tokio::test]
async fn openmetrics_is_for_those_who_ask_for_it() {
    let server = Server::start().await;
    let admin = admin(&server, CancellationToken::new()).await;
    let accept = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let answer = admin.send(http::Method::GET, "/metrics", &accept, "").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"), "{answer:?}");
    assert!(answer.text().ends_with("# EOF\n"));
    assert!(admin.get("/metrics").await.header("content-type").starts_with("text/plain; version=0.0.4"));
}

/// Runs promtool, which `scripts/setup.sh` installs.
fn promtool(arguments: &[&str]) {
    let ran = Command::new("promtool").args(arguments).current_dir(root().join("deploy/prometheus")).output();
    let ran = ran.unwrap_or_else(|error| panic!("promtool, of the package prometheus, cannot be run: {error}"));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn the_rules_are_in_order_and_pass_their_tests() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let (rules, tests) = (text_of("deploy/prometheus/alerts.yml"), text_of("deploy/prometheus/alerts_test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    // A row that expects none is written on one line, `{…, exp_alerts: []}`.
    let fires = |alert: &&&str| tests.lines().any(|line| line.trim() == format!("alertname: {alert}"));
    let silent: Vec<_> = alerts.iter().filter(|alert| !fires(alert)).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[tokio::test]
async fn prometheus_reads_what_is_exported() {
    use std::io::Write as _;
    let (_server, admin) = all_measured().await;
    let answer = admin.get("/metrics").await;
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut check = check.spawn().expect("promtool, of the package prometheus, can be run");
    check.stdin.take().unwrap().write_all(answer.text().as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_expressions_of_the_dashboard_are_in_order() {
    let dashboard: serde_json::Value = serde_json::from_str(&text_of("deploy/grafana/longrun.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array());
    let expressions: Vec<&str> = targets.flatten().map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() > 40, "{}", expressions.len());
    // As a file of recording rules, with the values that Grafana puts in for its variables.
    let rules = expressions.iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$kind", ".*");
        serde_json::json!({ "record": format!("of:dashboard:{number}"), "expr": expression })
    });
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.yml");
    std::fs::write(&path, file.to_string()).unwrap();
    promtool(&["check", "rules", "--lint=none", path.to_str().unwrap()]);
}
