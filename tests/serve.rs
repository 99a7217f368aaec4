//! `longrun serve`, `config`, `migrate` and `doctor`: configuration, the lock on the store, signals, crashes.

use std::path::Path;
use std::time::Instant;

use crate::common::{Dev, PATIENCE, Process, Server, admin_token, command, example, get, run_in, slow_policy};
use tempfile::tempdir;

const CONFIG: &str = "\
listen = \"127.0.0.1:0\"
admin_listen = \"127.0.0.1:0\"
store = \"sqlite:data/longrun.db\"
[evidence]
folder = \"data/evidence\"
[kinds.scan]
type = \"remote\"
[api]
default_page_size = 7
max_page_size = 7
";

fn serve(folder: &Path, args: &[&str]) -> Process {
    Process::start(command().current_dir(folder).arg("serve").args(args))
}

/// The addresses in the line of the log that says where it listens.
fn listening(process: &mut Process) -> (String, String) {
    let line: serde_json::Value = serde_json::from_str(&process.line_with("\"listening\"")).expect("JSON by default");
    (line["url"].as_str().unwrap().to_owned(), line["admin_url"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_server_is_made_from_file_environment_and_flags() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    let mut process = serve(folder.path(), &[]);
    let (url, admin_url) = listening(&mut process);
    let create = [
        "token",
        "create",
        "--config",
        "longrun.toml",
        "--organization",
        "o",
        "--name",
        "n",
        "--scopes",
        "admin",
        "-o",
        "id",
    ];
    let token = run_in(folder.path(), &create).expect(0).line();
    std::fs::write(folder.path().join("token"), &token).unwrap();

    let client = ["--url", &url, "--token-file", "token"];
    run_in(folder.path(), &[&["ops", "create", "--kind", "scan"], &client[..]].concat()).expect(0);
    let undeclared = run_in(folder.path(), &[&["ops", "create", "--kind", "other"], &client[..]].concat()).expect(2);
    undeclared.says("evidence_evaluation").says("scan");
    let page = run_in(folder.path(), &[&["ops", "list", "--page-size", "50", "-o", "json"], &client[..]].concat());
    assert_eq!(page.expect(0).json()["pagination"]["page_size"], 7);

    assert_eq!(get(&admin_url, "/readyz", None), (200, "ready\n".to_owned()));
    assert!(get(&admin_url, "/metrics", None).1.contains("longrun"), "metrics");
    assert_eq!(get(&url, "/metrics", Some(&token)).0, 404, "not for the public");
    process.signal("TERM");
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn two_servers_on_one_store_are_refused() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    let mut first = serve(folder.path(), &[]);
    listening(&mut first);
    let refused = run_in(folder.path(), &["serve"]).expect(2);
    refused.says("another longrun is using data/longrun.db").says("hint:");
    run_in(folder.path(), &["migrate"]).expect(2).says("another longrun");
    run_in(folder.path(), &["doctor"]).expect(0);
    first.kill_9();
    // The lock died with its holder.
    run_in(folder.path(), &["migrate"]).expect(0);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let folder = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run_in(folder.path(), &["serve", "--listen", &address]).expect(2).says(&address).says("--listen");
}

#[test]
fn work_that_a_killed_server_left_is_taken_up_again() {
    let folder = tempdir().unwrap();
    let policy = slow_policy(folder.path());
    let first = Dev::start(folder.path());
    let file = example("evidence/longrun.junit.xml");
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy, "--no-wait", "-o", "id"];
    let running = first.run(&evaluate).expect(0).line();
    first.until_status(&running, "RUNNING");
    let waiting = first.run(&evaluate).expect(0).line();
    first.process.kill_9();

    let second = Dev::start(folder.path());
    let start = Instant::now();
    second.run(&["ops", "wait", &running, &waiting, "--quiet", "--timeout", "60s"]).expect(0);
    assert!(start.elapsed() < PATIENCE);
    run_in(folder.path(), &["doctor", "--data-dir", "data"]).expect(0);
}

#[test]
fn a_server_is_called_the_same_in_its_log_and_in_histories_and_its_work_is_taken_up_at_once() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let store = format!("sqlite:{}", folder.join("longrun.db").display());
    std::fs::write(folder.join("token"), admin_token(&store)).unwrap();
    // A lease so long that nobody would live to see its end.
    let start = || Server::start(folder, &[("store", &store), ("engine.lease", "1h"), ("engine.cancel_grace", "1h")]);
    let ops = |server: &Server, args: &[&str]| {
        let client = ["--url", &server.url, "--token-file", "token", "-o", "json"];
        run_in(folder, &[args, &client].concat()).expect(0).json()
    };
    let (policy, file) = (slow_policy(folder), example("evidence/longrun.junit.xml"));
    let first = start();
    let created = ops(&first, &["evidence", "evaluate", &file, "--policy", &policy, "--no-wait"]);
    let id = created["operation_id"].as_str().or(created["operation"]["id"].as_str()).unwrap().to_owned();
    let deadline = Instant::now() + PATIENCE;
    while ops(&first, &["ops", "get", &id])["operation"]["status"] != "ASYNC_OPERATION_STATUS_RUNNING" {
        assert!(Instant::now() < deadline, "it is not started");
    }
    let first_name = first.name.clone();
    first.process.kill_9();
    let second = start();
    ops(&second, &["ops", "wait", &id, "--timeout", "60s"]);
    assert_ne!(first_name, second.name);
    let history = ops(&second, &["ops", "events", &id]);
    let told: Vec<(&str, &str)> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["worker"].as_str().unwrap()))
        .collect();
    let expected = [
        ("CREATED", ""),
        ("ATTEMPT_STARTED", &*first_name),
        ("ATTEMPT_LOST", &*first_name),
        ("ATTEMPT_STARTED", &*second.name),
        ("COMPLETED", &*second.name),
    ];
    assert_eq!(told, expected);
}

#[test]
fn sigterm_lets_what_runs_end_and_exits_with_0() {
    let folder = tempdir().unwrap();
    let policy = slow_policy(folder.path());
    let first = Dev::start(folder.path());
    let file = example("evidence/longrun.junit.xml");
    let evaluate = ["evidence", "evaluate", &file, "--policy", &policy, "--no-wait", "-o", "id"];
    let id = first.run(&evaluate).expect(0).line();
    first.until_status(&id, "RUNNING");
    first.process.signal("TERM");
    assert_eq!(first.process.exit_code(), 0);

    let second = Dev::start(folder.path());
    let operation = second.run(&["ops", "get", &id, "-o", "json"]).expect(0).json();
    assert_eq!(operation["operation"]["status"], "ASYNC_OPERATION_STATUS_COMPLETED", "it ended before the server did");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempdir().unwrap();
    let policy = slow_policy(folder.path());
    let mut dev = Dev::start(folder.path());
    let file = example("evidence/longrun.junit.xml");
    let id = dev.run(&["evidence", "evaluate", &file, "--policy", &policy, "--no-wait", "-o", "id"]).expect(0).line();
    dev.until_status(&id, "RUNNING");
    dev.process.signal("INT");
    dev.process.line_with("stopping: accepting no new calls");
    dev.process.signal("TERM");
    dev.process.line_with("stopping at once");
    assert_eq!(dev.process.exit_code(), 2);
}

#[test]
fn http_to_a_port_of_tls_is_told() {
    let folder = tempdir().unwrap();
    let file = |name: &str| {
        let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/http/tls").join(name);
        tls.to_str().unwrap().to_owned()
    };
    let (cert, key) = (file("localhost.crt"), file("localhost.key"));
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("token"), "lrn_x").unwrap();
    let mut process = serve(folder.path(), &["--tls-cert", &cert, "--tls-key", &key]);
    let (url, _) = listening(&mut process);
    assert!(url.starts_with("https://"), "{url}");
    let plain = url.replace("https:", "http:");
    let told = run_in(folder.path(), &["ops", "list", "--url", &plain, "--token-file", "token"]).expect(2);
    told.says("This port speaks TLS: use an address that begins with https://").says(&format!("try {url}"));
}

#[test]
fn a_renewed_certificate_is_taken_at_a_hangup() {
    let folder = tempdir().unwrap();
    let place = |name: &str, of: &str, file: &str| {
        let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/http/tls").join(format!("{of}.{file}"));
        let new = folder.path().join("new");
        std::fs::copy(tls, &new).unwrap();
        std::fs::rename(new, folder.path().join(format!("{name}.{file}"))).unwrap();
    };
    for file in ["crt", "key"] {
        place("tls", "localhost", file);
        place("old", "localhost", file);
        place("renewed", "renewed", file);
    }
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("token"), "lrn_x").unwrap();
    let mut process = serve(folder.path(), &["--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
    let url = listening(&mut process).0.replace("127.0.0.1", "localhost");
    // Exit code 2: the server is trusted, and refuses the token; 6: it is not trusted.
    let call = |trusted: &str| {
        let mut list = command();
        list.current_dir(folder.path()).env("SSL_CERT_FILE", trusted);
        list.args(["ops", "list", "--url", &url, "--token-file", "token"]).output().unwrap().status.code()
    };
    assert_eq!((call("old.crt"), call("renewed.crt")), (Some(2), Some(6)));
    place("tls", "renewed", "crt");
    process.signal("HUP");
    process.line_with("the renewed TLS certificate cannot be used; the previous one stays in use");
    assert_eq!(call("old.crt"), Some(2));
    place("tls", "renewed", "key");
    process.signal("HUP");
    process.line_with("the TLS certificate was reloaded");
    assert_eq!((call("old.crt"), call("renewed.crt")), (Some(6), Some(2)));
    process.signal("TERM");
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn a_finding_of_the_doctor_says_what_is_wrong_and_then_what_must_hold() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.run(&["ops", "create", "--kind", "scan"]).expect(0);
    let Dev { process, .. } = dev;
    process.signal("TERM");
    assert_eq!(process.exit_code(), 0);
    let doctor = ["doctor", "--data-dir", "data"];
    run_in(folder.path(), &doctor).expect(0);
    let damage = async {
        use sqlx::{Connection, SqliteConnection};
        let url = format!("sqlite:{}", folder.path().join("data/longrun.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query("UPDATE organizations SET next_seq = next_seq + 1").execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(damage);
    let shown = run_in(folder.path(), &doctor).expect(1).stdout;
    let finding = "✗ dev: 2 numbers, 0 removed, 1 operations up to 1 (must hold: an organization's numbers have no gap";
    assert!(shown.contains(finding), "{shown}");
    run_in(folder.path(), &["doctor", "--store", "sqlite:none.db"]).expect(4).says("there is no store at none.db");
    run_in(folder.path(), &["doctor", "--store", "postgres://me@127.0.0.1:9/none"]).expect(6);
}

#[test]
fn a_check_of_the_configuration_names_its_file() {
    let folder = tempdir().unwrap();
    let check = |args: &[&str]| run_in(folder.path(), &[&["config", "check"], args].concat()).expect(0).stdout;
    assert!(check(&[]).contains("no file was read"));
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("other.toml"), CONFIG).unwrap();
    assert_eq!(check(&[]), "the configuration of longrun.toml is valid\n");
    assert_eq!(check(&["--config", "other.toml"]), "the configuration of other.toml is valid\n");
    let misspelt =
        command().current_dir(folder.path()).env("LONGRUN_API_MAXPAGE", "7").args(["config", "check"]).output();
    let told = String::from_utf8(misspelt.unwrap().stderr).unwrap();
    assert!(told.contains("LONGRUN_API_MAXPAGE has no effect; did you mean LONGRUN_API_MAX_PAGE_SIZE?"), "{told}");
}

#[test]
fn problems_of_the_configuration_are_told_all_at_once() {
    let folder = tempdir().unwrap();
    let text = "lisen = \"127.0.0.1:1\"\n[api]\nfirst_page = 2\nmax_page_size = \"many\"\n";
    std::fs::write(folder.path().join("longrun.toml"), text).unwrap();
    for args in [&["config", "check"][..], &["serve"], &["config", "show"]] {
        let told = run_in(folder.path(), args).expect(2);
        told.says("did you mean listen?")
            .says("longrun.toml:1")
            .says("api.first_page: must be 0 or 1")
            .says("api.max_page_size");
    }
    std::fs::write(folder.path().join("longrun.toml"), "listen = \n").unwrap();
    run_in(folder.path(), &["config", "check"]).expect(2).says("longrun.toml is not valid TOML");
    run_in(folder.path(), &["config", "check", "--config", "none.toml"]).expect(2).says("none.toml");
}

#[test]
fn the_effective_configuration_says_where_each_value_came_from() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("longrun.toml"), CONFIG).unwrap();
    let output = command()
        .current_dir(folder.path())
        .env("LONGRUN_ENGINE_LEASE", "45s")
        .args(["config", "show", "--log-format", "human", "-o", "json"])
        .output()
        .unwrap();
    let entries: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = |key: &str| {
        let entry = entries.as_array().unwrap().iter().find(|entry| entry["key"] == key).unwrap();
        format!("{} ({})", entry["value"].as_str().unwrap(), entry["origin"].as_str().unwrap())
    };
    assert_eq!(entry("api.max_page_size"), "7 (longrun.toml:10)");
    assert_eq!(entry("engine.lease"), "45s (environment LONGRUN_ENGINE_LEASE)");
    assert_eq!(entry("log.format"), "human (flag --log-format)");
    assert_eq!(entry("api.first_page"), "0 (default)");
    assert_eq!(output.status.code(), Some(0));
}
