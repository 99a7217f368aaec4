//! Completion notices, sent by the real server to a real receiver that fails and while servers are killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use crate::common::{PATIENCE, Server, admin_token, command, example, run_in};
use serde_json::Value;
use tempfile::tempdir;
use testkit::{Cluster, Durability};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How a receiver answers.
enum Reply {
    Status(&'static str),
    /// It stays silent and keeps the connection open.
    Silence,
}

/// A receiver: where it is, and the events that it was sent.
fn receiver(reply: impl Fn(usize) -> Reply + Send + 'static) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, events) = channel();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reader = BufReader::new(stream);
            let Some(body) = body(&mut reader) else { continue };
            match reply(number) {
                Reply::Status(status) => {
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = reader.get_mut().write_all(head.as_bytes());
                }
                Reply::Silence => silent.push(reader),
            }
            let _ = sender.send(serde_json::from_slice(&body).unwrap());
        }
    });
    (address, events)
}

fn body(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// Writes a configuration with a kind that succeeds, one that fails, and a subscription to both.
fn configure(folder: &Path, receiver: SocketAddr) {
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    let config = format!(
        r#"
[kinds.ok]
type = "command"
command = ["true"]
[kinds.broken]
type = "command"
command = ["false"]
max_attempts = 1
[notices.ci]
url = "http://{receiver}/"
secret_file = "secret"
allow_private_addresses = true
[engine]
lease = "2s"
"#
    );
    std::fs::write(folder.join("longrun.toml"), config).unwrap();
}

fn ops(folder: &Path, server: &Server, args: &[&str]) -> Value {
    let server = ["--url", &server.url, "--token-file", "token", "-o", "json"];
    run_in(folder, &[&["ops"], args, &server].concat()).expect(0).json()
}

fn create(folder: &Path, server: &Server, kind: &str) -> String {
    ops(folder, server, &["create", "--kind", kind])["operation"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_notice_survives_a_receiver_that_fails_and_a_server_that_is_killed() {
    let (address, events) = receiver(|number| match number {
        0 => Reply::Silence,
        1 => Reply::Status("503 Service Unavailable"),
        _ => Reply::Status("204 No Content"),
    });
    let folder = tempdir().unwrap();
    let folder = folder.path();
    configure(folder, address);
    run_in(folder, &["config", "check"]).expect(0);
    std::fs::write(folder.join("token"), admin_token(&format!("sqlite:{}", folder.join("longrun.db").display())))
        .unwrap();
    let server = Server::start(folder, &[]);
    let id = create(folder, &server, "broken");
    let first = events.recv_timeout(PATIENCE).unwrap();
    server.process.kill_9();
    let server = Server::start(folder, &[]);
    let (second, third) = (events.recv_timeout(PATIENCE).unwrap(), events.recv_timeout(PATIENCE).unwrap());
    assert_eq!((&first, &first), (&second, &third), "the same each time");
    assert_eq!((first["type"].as_str(), first["subject"].as_str()), (Some("longrun.operation.failed"), Some(&*id)));
    let made = ops(folder, &server, &["list", "--kind", "notice"])["operations"].clone();
    assert_eq!((made.as_array().unwrap().len(), &made[0]["resource_id"]), (1, &Value::from(id)));
    let notice = made[0]["id"].as_str().unwrap();
    ops(folder, &server, &["wait", notice]);
    let history = ops(folder, &server, &["events", notice]);
    let told: Vec<&str> = history["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    let of = |kind| told.iter().filter(|other| **other == kind).count();
    assert_eq!((of("ATTEMPT_LOST"), of("ATTEMPT_FAILED"), of("COMPLETED")), (1, 1, 1), "{history}");
    assert!(events.try_recv().is_err(), "there is no notice of a notice");
}

#[test]
fn a_subscription_to_failed_verdicts_is_told_of_those_alone_and_lists_stay_free_of_notices() {
    let (address, events) = receiver(|_| Reply::Status("200 OK"));
    let folder = tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    let config = format!(
        "[notices.ci]\nurl = \"http://{address}/\"\nsecret_file = \"secret\"\nallow_private_addresses = true\n\
         kinds = [\"evidence_evaluation\"]\nverdicts = [\"failed\"]\n"
    );
    std::fs::write(folder.join("longrun.toml"), config).unwrap();
    let store = format!("sqlite:{}", folder.join("longrun.db").display());
    std::fs::write(folder.join("token"), admin_token(&store)).unwrap();
    let server = Server::start(folder, &[("store", &store)]);
    let policy = example("policies/sbom-licenses-present/policy.yaml");
    let evaluate = |file: &str, code: i32| {
        let file = example(&format!("policies/sbom-licenses-present/evidence/{file}"));
        let evaluate = ["evidence", "evaluate", &file, "--policy", &policy, "-o", "id"];
        run_in(folder, &[&evaluate[..], &["--url", &server.url, "--token-file", "token"]].concat()).expect(code).line()
    };
    // The evaluation that passed ended first: a notice of it would come before the other.
    let passed = evaluate("licensed.cdx.json", 0);
    let failed = evaluate("unlicensed.cdx.json", 1);
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (event["subject"].as_str(), event["type"].as_str()),
        (Some(&*failed), Some("longrun.operation.completed"))
    );
    let notices = ops(folder, &server, &["list", "--kind", "notice"]);
    assert_eq!(notices["pagination"]["total_count"], 1);
    let all = ops(folder, &server, &["list"]);
    let ids: Vec<&str> =
        all["operations"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &all["pagination"]["total_count"]), (vec![&*failed, &*passed], &Value::from(2)));
}

#[test]
fn of_two_servers_on_one_database_one_may_be_killed() {
    const OPERATIONS: usize = 20;
    let (address, events) = receiver(|_| Reply::Status("200 OK"));
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = tokio::runtime::Runtime::new().unwrap().block_on(cluster.database()).unwrap();
    let folder = tempdir().unwrap();
    let folder = folder.path();
    configure(folder, address);
    std::fs::write(folder.join("token"), admin_token(&url)).unwrap();
    let start = || {
        let mut serve = command();
        serve.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        Server::of(serve.args(["--store", &url]))
    };
    let (one, other) = (start(), start());
    let mut created: BTreeSet<String> =
        (0..OPERATIONS).map(|number| create(folder, if number % 2 == 0 { &one } else { &other }, "ok")).collect();
    let mut told = BTreeSet::new();
    told.insert(events.recv_timeout(PATIENCE).unwrap()["subject"].as_str().unwrap().to_owned());
    one.process.kill_9();
    created.insert(create(folder, &other, "ok"));
    while told.len() < created.len() {
        told.insert(events.recv_timeout(PATIENCE).unwrap()["subject"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, created);
    let made = ops(folder, &other, &["list", "--kind", "notice"]);
    assert_eq!(made["pagination"]["total_count"], OPERATIONS + 1, "one each, however often it was delivered");
}
