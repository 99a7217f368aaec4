//! Policies that were made to bring a server down: it refuses them, and goes on serving others meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ::evidence::EvaluatorConfig;
use http::{Method, StatusCode};
use operations::Access;
use serde_json::{Value, json};
use store::{Digest, Scope};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Answer, Caller, Server, evaluations};

const EVALUATE: &str = "/v1/agents/evaluate-evidence";
const SBOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[]}"#;

/// A policy with this script.
fn policy(script: &str) -> Value {
    json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "SBOM_CYCLONEDX_JSON", "embedded": format!("package main\nimport rego.v1\n{script}\n")}]},
    })
}

/// Each with the text of its refusal, and the field that it names.
fn hostile() -> [(&'static str, Value, &'static str, &'static str); 4] {
    let head = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\n";
    let aliases = format!("{head}x: &x {}\ny: [{}]\n", "a".repeat(650_000), vec!["*x"; 100_000].join(","));
    let nested = (0..30).fold("1".to_owned(), |inner, _| format!("({inner}{})", "+1".repeat(250)));
    let list = |at: usize, first: usize| {
        let names: Vec<String> = (0..8).map(|name| format!("x{}_{at}", (first + name) % 8)).collect();
        format!("[{}]", names.join(", "))
    };
    let crossed: String = (0..2_000).map(|at| format!("  {} = {}\n", list(at, 0), list(at + 1, 1))).collect();
    let crossed =
        format!("violations contains \"no\" if {{\n{crossed}  {} = [1, 2, 3, 4, 5, 6, 7, 8]\n}}", list(2_000, 0));
    [
        ("aliases", Value::from(aliases), "policies[0].embedded", "anchors are not allowed"),
        (
            "parentheses",
            policy(&format!("violations contains \"no\" if {nested} > 1")),
            "policies[0].embedded",
            "too long",
        ),
        ("brackets", Value::from("[".repeat(200_000)), "policies[0].embedded", "nested deeper than 64 levels"),
        ("assignments", policy(&crossed), "policies", "checking the policies took longer than"),
    ]
}

fn request(digest: &str, policy: &Value) -> String {
    json!({"digest": digest, "policies": [{"embedded": policy}]}).to_string()
}

async fn store_sbom(caller: &Caller) -> String {
    let stored = caller.send(Method::POST, "/v1/evidence", &[], SBOM).await;
    assert_eq!((stored.status, &stored.json()["kind"]), (StatusCode::OK, &json!("SBOM_CYCLONEDX_JSON")));
    Digest::of(SBOM.as_bytes()).to_string()
}

#[track_caller]
fn assert_refused(name: &str, answer: &Answer, prefix: &str, field: &str, says: &str) {
    let violations = answer.violations();
    let [(given, description)] = &violations[..] else { panic!("{name}: {violations:?}") };
    assert_eq!(*given, format!("{prefix}{field}"), "{name}");
    assert!(description.contains(says), "{name}: {description}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_policies_are_refused_by_every_call_while_others_are_served() {
    let config = EvaluatorConfig { time_limit: Duration::from_secs(2), ..EvaluatorConfig::default() };
    let server = Server::with(|services| services.evaluations = Some(Arc::new(evaluations(config)))).await;
    let (attacker, other) = (server.acme().await, server.caller(Access::organization("globex"), &[Scope::Admin]).await);
    let digest = store_sbom(&attacker).await;
    let mut attacks = Vec::new();
    for (name, policy, field, says) in hostile() {
        let (attacker, body) = (attacker.clone(), request(&digest, &policy));
        attacks.push(tokio::spawn(async move {
            assert_refused(name, &attacker.post(EVALUATE, body.clone()).await, "", field, says);
            let operation = format!(r#"{{"kind":"evidence_evaluation","input":{body}}}"#);
            let answer = attacker.post("/v1/operations", operation.clone()).await;
            assert_refused(name, &answer, "input.", field, says);
            let batch = format!(r#"{{"operations":[{operation}]}}"#);
            let answer = attacker.post("/v1/operations:batchCreate", batch).await;
            assert_refused(name, &answer, "operations[0].input.", field, says);
        }));
    }
    let digest = store_sbom(&other).await;
    let harmless = request(&digest, &policy("violations := []"));
    let mut served = 0;
    while attacks.iter().any(|attack| !attack.is_finished()) || served < 3 {
        assert_eq!(other.post(EVALUATE, harmless.clone()).await.status, StatusCode::OK);
        served += 1;
        assert_eq!(other.get("/v1/operations").await.ids().len(), served.min(50));
    }
    for attack in attacks {
        attack.await.unwrap();
    }
    assert!(attacker.get("/v1/operations").await.ids().is_empty(), "nothing was created");
}

#[tokio::test]
async fn a_check_whose_client_left_is_ended_and_gives_its_place_back() {
    // Two places, of which an organization has one: while the check below holds it, none of the same can begin.
    let config = EvaluatorConfig { time_limit: Duration::from_secs(600), ..EvaluatorConfig::default() };
    let server = Server::with(|services| {
        services.evaluations = Some(Arc::new(evaluations(config)));
        services.settings.max_checks = 2;
    })
    .await;
    let caller = server.acme().await;
    let digest = store_sbom(&caller).await;
    let [.., (_, crossed, _, _)] = hostile();
    let body = request(&digest, &crossed);
    let head = format!(
        "POST {EVALUATE} HTTP/1.1\r\nhost: t\r\n{}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        caller.authorization_line(),
        body.len()
    );
    let harmless = request(&digest, &policy("violations := []"));
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        clients.push(stream);
    }
    // Twenty checks one after the other would take minutes.
    drop(clients);
    let answer = tokio::time::timeout(Duration::from_secs(30), caller.post(EVALUATE, harmless)).await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn evidence_that_cannot_be_looked_into_is_stored_without_a_kind() {
    let server = Server::start().await;
    let caller = server.acme().await;
    for content in ["[".repeat(60_000), format!("{{\"bomFormat\":{}", "[".repeat(60_000)), "<a>".repeat(20_000)] {
        let stored = caller.send(Method::POST, "/v1/evidence", &[], content.clone()).await;
        assert_eq!((stored.status, &stored.json()["kind"]), (StatusCode::OK, &json!("")));
        let path = format!("/v1/evidence/{}", Digest::of(content.as_bytes()));
        assert_eq!(caller.get(&path).await.text(), content);
    }
}
