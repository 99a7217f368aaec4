//! `http.send` in policies: the server makes the calls, over real sockets, and only where the configuration allows
//! them.

use evidence::{EvaluatorConfig, Output};
use kinds::evaluation::{CallSettings, Calls, CheckError, Evaluations, JobError};

use super::{EVIDENCE, OUTPUT_LIMIT, config, content, evaluations, json, request};
use crate::support::{Receiver, answer};

/// Evaluations whose policies may call this machine.
fn calling() -> Evaluations {
    let settings = CallSettings { allowed_hosts: vec!["127.0.0.1".to_owned()], allow_private_addresses: true };
    evaluations(EvaluatorConfig { makes_calls: true, ..config() }).with_calls(Calls::new(settings).unwrap())
}

async fn evaluated(evaluations: &Evaluations, body: &str) -> Result<Output, (String, bool)> {
    let json = json(&request(body));
    match evaluations.evaluate("acme", &json, content(EVIDENCE).await, OUTPUT_LIMIT).await {
        Ok(output) => Ok(serde_json::from_str(&output).unwrap()),
        Err(JobError::Failed { message, retryable }) => Err((message, retryable)),
        Err(error) => panic!("{error}"),
    }
}

fn messages(output: &Output) -> Vec<&str> {
    output.policies[0].violations.iter().map(|violation| violation.message.as_str()).collect()
}

pub async fn a_policy_decides_by_what_a_host_answers() {
    let mut receiver = Receiver::start(|number| {
        let json = "Content-Type: application/json; charset=utf-8\r\nX-Page: 1\r\nX-Page: 2\r\n";
        match number {
            0 => answer("200 OK", json, r#"{"id": "A-7", "next": "/a-7"}"#),
            _ => answer("404 Not Found", "Content-Type: text/plain\r\n", "nothing"),
        }
    })
    .await;
    let address = receiver.address;
    let body = format!(
        r#"
        ask(path) := http.send({{"method": "post", "url": concat("", ["http://{address}", path]), "body": {{"a": input.a}},
            "headers": {{"x-key": "k"}}, "timeout": "2s", "cache": true}})
        first := ask("/first")
        # The address of the second call comes of the first one's answer.
        second := ask(first.body.next)
        violations contains sprintf("%v %v %v", [first.status_code, first.status, first.body.id])
        violations contains sprintf("%v", [ask("/first").headers["x-page"]])
        violations contains sprintf("%v %v %v", [second.status_code, second.body, second.raw_body])
        "#
    );
    let output = evaluated(&calling(), &body).await.unwrap();
    assert_eq!(messages(&output), ["200 200 OK A-7", "404 null nothing", r#"["1", "2"]"#]);
    for line in ["POST /first HTTP/1.1", "POST /a-7 HTTP/1.1"] {
        let request = receiver.next().await;
        assert_eq!((request.line.as_str(), request.json()), (line, serde_json::json!({"a": 1})));
        assert_eq!(
            (request.headers["x-key"].as_str(), request.headers["content-type"].as_str()),
            ("k", "application/json")
        );
    }
    assert!(receiver.requests.try_recv().is_err(), "the same call is made once");
}

pub async fn a_call_that_cannot_be_made_is_no_pass() {
    let evaluations = calling();
    let gone = {
        let receiver = Receiver::start(|_| String::new()).await;
        receiver.address
    };
    let silent = Receiver::start(|_| String::new()).await;
    let call = |url: &str, more: &str| format!(r#"http.send({{"method": "get", "url": "{url}"{more}}})"#);
    for (url, more, says, is_retryable) in [
        ("https://example.com/", "", "leads to example.com, which is not among policies.http_send_hosts", false),
        (&*format!("http://{gone}/"), "", "127.0.0.1 could not be called", true),
        (
            &*format!("http://{}/", silent.address),
            r#", "timeout": "50ms""#,
            "127.0.0.1 did not answer within 50 ms",
            true,
        ),
        ("http://me:secret@127.0.0.1/", "", "must not contain a user or a password", false),
        ("http://127.0.0.1/", r#", "tls_use_system_certs": true"#, "tls_use_system_certs is not supported here", false),
        ("http://127.0.0.1/", r#", "enable_redirect": true"#, "enable_redirect is not supported here", false),
        ("http://127.0.0.1/", r#", "headers": {"a b": "c"}"#, "\"a b\" is not a valid header name", false),
    ] {
        // Neither a rule that needs the answer nor one that its absence would satisfy passes because of it.
        for body in [
            format!("violations contains \"x\" if {}.status_code == 500", call(url, more)),
            format!("violations contains \"x\" if not {}", call(url, more)),
        ] {
            let (message, retryable) = evaluated(&evaluations, &body).await.unwrap_err();
            assert!(message.contains("http.send: ") && message.contains(says), "{message}");
            assert_eq!(retryable, is_retryable, "{message}");
        }
    }
    // A policy that requests the error gets it.
    let body = format!(
        "answer := {}\nviolations contains sprintf(\"%v %v\", [answer.status_code, answer.error.message])",
        call("https://example.com/", r#", "raise_error": false"#)
    );
    let output = evaluated(&evaluations, &body).await.unwrap();
    assert_eq!(messages(&output), ["0 the address leads to example.com, which is not among policies.http_send_hosts"]);
}

pub async fn the_calls_of_an_evaluation_are_bounded() {
    let receiver = Receiver::start(|_| answer("200 OK", "", "x")).await;
    let address = receiver.address;
    let body = |calls: u32| {
        format!(
            "violations contains sprintf(\"%v\", [count(answers)])
             answers := [a | some n in numbers.range(1, {calls}); \
               a := http.send({{\"method\": \"get\", \"url\": sprintf(\"http://{address}/%v\", [n])}})]"
        )
    };
    let evaluations = calling();
    assert_eq!(messages(&evaluated(&evaluations, &body(32)).await.unwrap()), ["32"]);
    let (message, retryable) = evaluated(&evaluations, &body(33)).await.unwrap_err();
    assert!(message.contains("http.send: an evaluation may make 32 different calls"), "{message}");
    assert!(!retryable);
    let large = Receiver::start(|_| answer("200 OK", "", &"x".repeat(1024 * 1024 + 1))).await;
    let body = format!(
        "violations contains http.send({{\"method\": \"get\", \"url\": \"http://{}/\"}}).raw_body",
        large.address
    );
    let (message, _) = evaluated(&evaluations, &body).await.unwrap_err();
    assert!(message.contains("the answer is longer than 1048576 bytes"), "{message}");
}

pub async fn without_hosts_a_call_is_refused_by_name_before_anything_runs() {
    let body = "violations contains \"x\" if http.send({\"method\": \"get\", \"url\": \"https://example.com\"})";
    let evaluations = evaluations(config());
    match evaluations.check("acme", &json(&request(body)), ()).await {
        Err(CheckError::Request(error)) => assert!(error.message.contains("http.send is forbidden"), "{error}"),
        other => panic!("{other:?}"),
    }
    calling().check("acme", &json(&request(body)), ()).await.unwrap();
}
