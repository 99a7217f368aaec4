//! Nobody reads the log: a server whose standard error is closed, or full, goes on serving and keeps up its
//! maintenance.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, admin_token, command, get};
use longrun_client::{ClaimRequest, Client, NewOperation, Token};
use tempfile::tempdir;

/// More log than a pipe holds.
const REQUESTS: usize = 1_000;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks a server after `lose` did something to the reading end of its log.
async fn attack(lose: impl FnOnce(BufReader<ChildStderr>) -> Option<BufReader<ChildStderr>>) {
    let folder = tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    let token = admin_token(&store);
    let mut serve = command();
    serve.current_dir(folder.path()).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    serve.env("LONGRUN_STORE", &store).env("LONGRUN_KINDS_ALLOW_UNDECLARED", "true");
    serve.env("LONGRUN_ENGINE_LEASE", "300ms").env("LONGRUN_LOG_FILTER", "info");
    let mut server = Server(serve.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(server.0.stderr.take().unwrap());
    let listening = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
        if line.contains("\"listening\"") {
            break serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    };
    let address = |key: &str| listening[key].as_str().unwrap().to_owned();
    let (url, admin_url) = (address("url"), address("admin_url"));
    let log = lose(log);

    let client = Client::new(&url, Token::new(&token).unwrap()).unwrap();
    for _ in 0..REQUESTS {
        assert_eq!(get(&url, "/v1/operations", Some(&token)).0, 200);
    }
    let scan = NewOperation { kind: "scan".to_owned(), ..NewOperation::default() };
    let id = client.create(&scan, None).await.unwrap().value.operation.id;
    // A worker that claims it and is not heard of again, twice.
    for lost in 1..=2 {
        let claim = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            max_operations: 1,
            wait: Duration::ZERO,
            organizations: vec![],
        };
        let deadline = Instant::now() + PATIENCE;
        while client.claim(&claim).await.unwrap().value.operations.is_empty() {
            assert!(Instant::now() < deadline, "it does not become due");
        }
        while client.get(&id).await.unwrap().value.operation.short_status() != "PENDING" {
            assert!(Instant::now() < deadline, "lease {lost} was not rescued");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(get(&admin_url, "/readyz", None).0, 200);
    let metrics = get(&admin_url, "/metrics", None).1;
    let lost = metrics.lines().find_map(|line| line.strip_prefix("longrun_log_lines_lost_total "));
    let lost: u64 = lost.expect("the counter").parse().unwrap();
    assert!(log.is_some() || lost > 0, "lines that cannot be written are counted");
    for line in metrics.lines().filter(|line| line.starts_with("longrun_task_restarts_total{")) {
        assert!(line.ends_with(" 0"), "{line}");
    }
    let id = server.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = server.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_log_goes_nowhere_works_on() {
    attack(|log| {
        drop(log);
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_log_nobody_reads_works_on() {
    attack(Some).await;
}

#[test]
fn a_server_without_a_standard_error_works() {
    let folder = tempdir().unwrap();
    let binary = command();
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec \"$0\" dev --listen 127.0.0.1:0 --data-dir data --log info 2>&-"])
        .arg(binary.get_program());
    shell.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = Server(shell.spawn().unwrap());
    let mut printed = BufReader::new(server.0.stdout.take().unwrap());
    let mut after = |label: &str| loop {
        let mut line = String::new();
        assert!(printed.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some(rest) = line.strip_prefix(label) {
            return rest.trim().to_owned();
        }
    };
    let (url, token) = (after("listening"), after("token"));
    for _ in 0..3 {
        assert_eq!(get(&url, "/v1/operations", Some(&token)).0, 200);
    }
    drop(server);
    let mut rest = Vec::new();
    printed.read_to_end(&mut rest).unwrap();
}

/// A remark next to the answer must not cost the answer.
#[test]
fn a_command_whose_remarks_cannot_be_written_does_what_it_was_asked() {
    let folder = tempdir().unwrap();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let create =
        ["token", "create", "--store", "sqlite:t.db", "--organization", "o", "--name", "n", "--scopes", "admin"];
    let created = command().current_dir(folder.path()).args(create).args(["-o", "id"]).stderr(full()).output().unwrap();
    assert!(created.status.success(), "{created:?}");
    assert!(created.stdout.starts_with(b"lrn_"));
    let pause = ["kinds", "pause", "nosuch", "--store", "sqlite:t.db"];
    let paused = command().current_dir(folder.path()).args(pause).stderr(full()).output().unwrap();
    assert!(paused.status.success(), "{paused:?}");
}
