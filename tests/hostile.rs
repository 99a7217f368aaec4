//! Requests that are meant to bring a server down, against the real binary: it survives, serves others, and its memory
//! stays bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::common::{PATIENCE, Server, get, run};

const MIB: u64 = 1024 * 1024;

/// A server, and what clients of two organizations need.
struct Scene {
    server: Server,
    attacker: String,
    other: String,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(settings: &[(&str, &str)]) -> Scene {
        let folder = tempdir().unwrap();
        let server = Server::start(folder.path(), settings);
        let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
        let (attacker, other) = (token(&store, "acme"), token(&store, "globex"));
        Scene { server, attacker, other, _folder: folder }
    }

    /// The most memory that the server itself has taken so far, in bytes.
    fn peak(&self) -> u64 {
        let status =
            std::fs::read_to_string(Path::new("/proc").join(self.server.process.id().to_string()).join("status"));
        let status = status.expect("the server lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    #[track_caller]
    fn is_ready(&self) {
        assert_eq!(get(&self.server.admin_url, "/readyz", None).0, 200);
    }
}

fn evaluate(url: &str, token: &str, body: &str) -> (u16, Value) {
    let body = body.as_bytes();
    let write = |stream: &mut TcpStream| stream.write_all(body);
    send(url, token, "/v1/agents/evaluate-evidence", "application/json", body.len() as u64, write)
}

fn token(store: &str, organization: &str) -> String {
    let create = ["token", "create", "--organization", organization, "--name", "t", "--scopes", "admin", "-o", "id"];
    run(&[&create[..], &["--create-organization", "--store", store]].concat()).expect(0).line()
}

/// A POST without the client under test.
fn send(
    url: &str,
    token: &str,
    path: &str,
    content_type: &str,
    length: u64,
    write: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
) -> (u16, Value) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 3)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    write(&mut stream).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

/// Asks for the evaluation of a small piece of evidence by one policy.
fn evaluation(policy: &Value) -> String {
    // `{"a":1}`
    json!({"content": "eyJhIjoxfQ==", "kind": "EVIDENCE", "policies": [{"embedded": policy}]}).to_string()
}

fn script(body: &str) -> Value {
    json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "EVIDENCE", "embedded": format!("package main\nimport rego.v1\n{body}\n")}]},
    })
}

fn hostile() -> Vec<String> {
    let head = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\n";
    let aliases = format!("{head}x: &x {}\ny: [{}]\n", "a".repeat(650_000), vec!["*x"; 100_000].join(","));
    let nested = (0..30).fold("1".to_owned(), |inner, _| format!("({inner}{})", "+1".repeat(250)));
    let crossed: String =
        (0..2_000).map(|at| format!("  [a{at}, b{at}, c{at}] = [b{0}, c{0}, a{0}]\n", at + 1)).collect();
    let policies = [
        Value::from(aliases),
        script(&format!("violations contains \"no\" if {nested} > 1")),
        Value::from("[".repeat(200_000)),
        script(&format!("violations contains \"no\" if {{\n{crossed}  [a2000, b2000, c2000] = [1, 2, 3]\n}}")),
    ];
    policies.iter().map(evaluation).collect()
}

#[test]
fn hostile_policies_take_neither_the_server_nor_its_memory_nor_others_time() {
    let scene = Scene::start(&[("policies.time_limit", "2s")]);
    let harmless = evaluation(&script("violations := []"));
    assert_eq!(evaluate(&scene.server.url, &scene.other, &harmless).0, 200);
    let before = scene.peak();
    thread::scope(|scope| {
        let mut attacks = Vec::new();
        for _ in 0..4 {
            for attack in hostile() {
                let (url, token) = (&scene.server.url, &scene.attacker);
                attacks.push(scope.spawn(move || {
                    let (status, answer) = evaluate(url, token, &attack);
                    assert_eq!((status, &answer["code"]), (400, &json!(3)), "{answer}");
                }));
            }
        }
        let mut served = 0;
        while served < 5 || attacks.iter().any(|attack| !attack.is_finished()) {
            assert_eq!(evaluate(&scene.server.url, &scene.other, &harmless).0, 200);
            assert_eq!(get(&scene.server.url, "/v1/operations", Some(&scene.other)).0, 200);
            scene.is_ready();
            served += 1;
        }
    });
    let grown = scene.peak() - before;
    assert!(grown < 200 * MIB, "the server took {} MiB more", grown / MIB);
    assert!(get(&scene.server.url, "/v1/operations", Some(&scene.attacker)).1.contains(r#""operations":[]"#));
}

#[test]
fn an_output_without_measure_fails_its_evaluation_and_nothing_else() {
    // It computes for seconds, and for longer next to other work; the test is about the bound on the output.
    let scene = Scene::start(&[("policies.time_limit", "280s")]);
    let body = "violations contains sprintf(\"%d %s\", [n, concat(\"\", [\"x\" | some i in numbers.range(1, 1000)])]) if some n in numbers.range(1, 40000)";
    let before = scene.peak();
    let (status, answer) = evaluate(&scene.server.url, &scene.attacker, &evaluation(&script(body)));
    assert_eq!(status, 200, "{answer}");
    let path = format!("/v1/operations/{}:wait?timeout=30s", answer["operation_id"].as_str().unwrap());
    let wait = || get(&scene.server.url, &path, Some(&scene.attacker)).1;
    let ended =
        (0..10).map(|_| wait()).find(|answer| answer.contains("\"done\":true") || answer.contains("FAILED")).unwrap();
    assert!(
        ended.contains("FAILED") && ended.contains("the output would be longer than the limit of 1047552 bytes"),
        "{ended}"
    );
    let grown = scene.peak() - before;
    assert!(grown < 60 * MIB, "the server took {} MiB more", grown / MIB);
    scene.is_ready();
}

#[test]
fn large_uploads_at_a_time_take_little_memory() {
    const SIZE: u64 = 60 * MIB;
    let scene = Scene::start(&[]);
    let before = scene.peak();
    thread::scope(|scope| {
        for upload in 0..12 {
            let (url, token) = (&scene.server.url, &scene.attacker);
            scope.spawn(move || {
                let piece = vec![b'a' + upload; 64 * 1024];
                let (status, answer) = send(url, token, "/v1/evidence", "text/plain", SIZE, |stream| {
                    (0..SIZE / 65_536).try_for_each(|_| stream.write_all(&piece))
                });
                assert_eq!((status, &answer["size"], &answer["kind"]), (200, &json!(SIZE), &json!("")), "{answer}");
                let path = format!("/v1/evidence/{}", answer["digest"].as_str().unwrap());
                // Large ones are sent four at a time, and the other callers are asked to come again.
                let (status, body) = get(url, &path, Some(token));
                assert!(status == 429 || (status, body.len() as u64) == (200, SIZE), "{status} {}", body.len());
            });
        }
    });
    let grown = scene.peak() - before;
    assert!(grown < 200 * MIB, "the server took {} MiB more", grown / MIB);
    scene.is_ready();
}
