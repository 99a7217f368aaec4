//! What `deploy/` says of the binary is true: environment names, flags, ports and paths; and its files can be read.
//!
//! Neither Docker, Helm nor a network is needed: what they would do is not tested here, only what they are given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

use crate::common::{command, run, run_in};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below `deploy/` and the workflow, with their content. Files that are not text are not ours.
fn files() -> Vec<(String, String)> {
    fn look(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    look(&root().join("deploy"), &mut found);
    look(&root().join(".github/workflows"), &mut found);
    found
}

/// The words of a text that begin like this, of letters, digits and underscores.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let starts = text.match_indices(beginning).map(|(at, _)| &text[at..]);
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    starts.map(word).filter(|word| word.len() > beginning.len()).collect()
}

#[test]
fn every_environment_name_is_one_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let shown = run_in(folder.path(), &["config", "show", "-o", "json"]).expect(0).json();
    let known: BTreeSet<String> = shown.as_object().map_or_else(
        || shown.as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap().to_owned()).collect(),
        |entries| entries.keys().cloned().collect(),
    );
    let known: BTreeSet<String> =
        known.iter().map(|key| format!("LONGRUN_{}", key.replace('.', "_").to_uppercase())).collect();
    assert!(known.contains("LONGRUN_STORE") && known.contains("LONGRUN_ADMIN_LISTEN"), "{known:?}");
    // Which image compose runs; what the command line reads as a client; what the templates for pipelines take; what
    // Kubernetes would set.
    let others = [
        "LONGRUN_IMAGE",
        "LONGRUN_URL",
        "LONGRUN_TOKEN",
        "LONGRUN_FILES",
        "LONGRUN_OPTIONS",
        "LONGRUN_POLICIES",
        "LONGRUN_PORT",
    ];
    for (path, text) in files() {
        for name in words(&text, "LONGRUN_") {
            assert!(known.contains(&name) || others.contains(&name.as_str()), "{path} sets {name}");
        }
    }
}

#[test]
fn every_command_and_flag_that_is_used_exists() {
    for (path, line) in [
        ("deploy/docker/Dockerfile", "CMD [\"serve\"]"),
        ("deploy/docker/Dockerfile", "\"/usr/bin/longrun\", \"health\""),
        ("deploy/systemd/longrun.service", "/usr/bin/longrun serve --config /etc/longrun/longrun.toml"),
        ("deploy/helm/longrun/templates/deployment.yaml", "args: [\"serve\"]"),
        ("deploy/debian/README.Debian", "longrun token create --config /etc/longrun/longrun.toml"),
    ] {
        assert!(read(path).contains(line), "{path} does not say {line:?} any more: adapt this test");
    }
    run(&["serve", "--help"]).expect(0).shows("--config");
    run(&["health", "--help"]).expect(0).shows("--live");
    let create = run(&["token", "create", "--help"]).expect(0);
    create.shows("--config").shows("--organization").shows("--name").shows("--scopes");
}

#[test]
fn ports_and_paths_of_probes_are_those_of_the_image() {
    let image = read("deploy/docker/Dockerfile");
    assert!(image.contains("LONGRUN_LISTEN=0.0.0.0:8080") && image.contains("LONGRUN_ADMIN_LISTEN=0.0.0.0:9090"));
    assert!(image.contains("EXPOSE 8080 9090") && image.contains("USER 65532:65532"));
    let pods = read("deploy/helm/longrun/templates/deployment.yaml");
    for part in [
        "containerPort: 8080",
        "containerPort: 9090",
        "path: /healthz",
        "path: /readyz",
        "runAsUser: 65532",
        "enableServiceLinks: false",
    ] {
        assert!(pods.contains(part), "{part}");
    }
    assert!(read("deploy/helm/longrun/templates/monitor.yaml").contains("path: /metrics"));
    assert!(read("deploy/compose/prometheus.yml").contains("longrun:9090"));
    let compose: Value = yaml_serde::from_str(&read("deploy/compose/compose.yaml")).unwrap();
    for service in ["longrun", "prometheus", "grafana"] {
        for port in compose["services"][service]["ports"].as_sequence().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{service} is open on this machine only");
        }
    }
}

#[test]
fn the_services_configuration_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("longrun.toml"), read("deploy/systemd/longrun.toml")).unwrap();
    run_in(folder.path(), &["config", "check", "--config", "longrun.toml"]).expect(0);
    let unit = read("deploy/systemd/longrun.service");
    for part in ["User=longrun", "StateDirectory=longrun", "WorkingDirectory=/var/lib/longrun", "NoNewPrivileges=yes"] {
        assert!(unit.contains(part), "{part}");
    }
}

#[test]
fn yaml_can_be_read_and_every_value_of_a_template_has_a_default() {
    for (path, text) in files() {
        let is_yaml = path.ends_with(".yaml") || path.ends_with(".yml");
        if is_yaml && !path.contains("/templates/") {
            for document in text.split("\n---\n") {
                yaml_serde::from_str::<Value>(document).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        }
        if path.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
    let defaults: Value = yaml_serde::from_str(&read("deploy/helm/longrun/values.yaml")).unwrap();
    let mut used = BTreeSet::new();
    for (path, text) in files().into_iter().filter(|(path, _)| path.contains("/templates/")) {
        let (opened, closed) = (text.matches("{{").count(), text.matches("}}").count());
        assert_eq!(opened, closed, "{path}: braces");
        let begins = ["if ", "range ", "with ", "define "]
            .map(|word| text.matches(&format!("{{{{- {word}")).count() + text.matches(&format!("{{{{ {word}")).count());
        let ends = text.matches("{{- end }}").count() + text.matches("{{- end -}}").count();
        assert_eq!(begins.iter().sum::<usize>(), ends, "{path}: each block has an end");
        for (at, _) in text.match_indices(".Values.") {
            let rest = &text[at + ".Values.".len()..];
            let value: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
            let found = value.split('.').try_fold(&defaults, |of, key| of.get(key));
            assert!(found.is_some(), "{path} uses .Values.{value}, which has no default");
            used.insert(value.split('.').next().unwrap().to_owned());
        }
    }
    let known = defaults.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap().to_owned());
    assert_eq!(used, known.collect::<BTreeSet<String>>(), "each default is used");
}

#[test]
fn what_compose_mounts_is_there_and_prometheus_finds_its_rules() {
    let compose: Value = yaml_serde::from_str(&read("deploy/compose/compose.yaml")).unwrap();
    let mut targets = BTreeSet::new();
    for (_, service) in compose["services"].as_mapping().unwrap() {
        let mounts = service["volumes"].as_sequence().into_iter().flatten().map(|mount| mount.as_str().unwrap());
        for (source, rest) in mounts.filter_map(|mount| mount.split_once(':')).filter(|(of, _)| of.starts_with('.')) {
            assert!(root().join("deploy/compose").join(source).is_file(), "{source} is mounted");
            targets.insert(rest.trim_end_matches(":ro").to_owned());
        }
    }
    let prometheus: Value = yaml_serde::from_str(&read("deploy/compose/prometheus.yml")).unwrap();
    for rules in prometheus["rule_files"].as_sequence().unwrap() {
        let path = format!("/etc/prometheus/{}", rules.as_str().unwrap());
        assert!(targets.contains(&path), "{path} is mounted");
    }
    let dashboards: Value = yaml_serde::from_str(&read("deploy/compose/grafana-dashboards.yaml")).unwrap();
    let folder = dashboards["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(targets.contains(&format!("{folder}/longrun.json")), "Grafana looks for dashboards in {folder}");
}

#[test]
fn versions_are_those_of_the_program() {
    let version = command().arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.trim().rsplit(' ').next().unwrap().to_owned();
    let chart: Value = yaml_serde::from_str(&read("deploy/helm/longrun/Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"].as_str(), Some(version.as_str()));
}

#[test]
fn health_says_whether_a_server_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let server = crate::common::Server::start(folder.path(), &[]);
    let ask = |more: &[&str]| run(&[&["health", "--admin-url", &server.admin_url], more].concat());
    ask(&[]).expect(0).shows("ready");
    ask(&["--live"]).expect(0).shows("ok");
    run(&["health", "--admin-url", "http://127.0.0.1:1"]).expect(6).says("127.0.0.1:1");
    run(&["health"]).expect(2).says("admin_listen");
    run(&["health", "--admin-listen", "0.0.0.0:1"]).expect(6).says("http://127.0.0.1:1");
}
