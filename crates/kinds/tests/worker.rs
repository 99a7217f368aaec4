//! Evaluation in a worker process: this program is both the service and, with the argument `serve`, the worker.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kinds::evidence::policy::{PolicyAttachment, digest};
use kinds::evidence::{EvaluateError, EvaluateRequest, Evaluator, EvaluatorConfig, Output, Status, Worker, worker};

fn main() {
    if std::env::args().any(|arg| arg == "serve") {
        worker::serve(std::io::stdin(), std::io::stdout()).unwrap();
        return;
    }
    let tests: [(&str, fn()); 5] = [
        ("a_worker_answers_as_the_evaluator_itself", a_worker_answers_as_the_evaluator_itself),
        ("an_error_comes_through_with_its_message", an_error_comes_through_with_its_message),
        ("a_policy_that_fills_the_memory_is_ended", a_policy_that_fills_the_memory_is_ended),
        ("an_endless_policy_is_ended", an_endless_policy_is_ended),
        ("a_cancelled_worker_is_killed", a_cancelled_worker_is_killed),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

fn config() -> EvaluatorConfig {
    let worker = Worker { program: std::env::current_exe().unwrap(), args: vec!["serve".into()] };
    EvaluatorConfig { worker: Some(worker), time_limit: Duration::from_secs(20), ..EvaluatorConfig::default() }
}

fn evaluate(config: EvaluatorConfig, body: &str, cancelled: &AtomicBool) -> Result<Output, EvaluateError> {
    let script = format!("package main\nimport rego.v1\n{body}\n");
    let policy = serde_json::json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "EVIDENCE", "embedded": script}]},
    });
    let bytes = br#"{"a": 1}"#;
    let request = EvaluateRequest {
        digest: digest(bytes),
        kind: Some("EVIDENCE".to_owned()),
        policies: Some(vec![PolicyAttachment { embedded: Some(policy), ..PolicyAttachment::default() }]),
        ..EvaluateRequest::default()
    };
    Evaluator::new(config).unwrap().evaluate(&request, bytes, cancelled)
}

fn a_worker_answers_as_the_evaluator_itself() {
    let body = "violations contains \"one\" if input.a == 1";
    let never = AtomicBool::new(false);
    let mut there = evaluate(config(), body, &never).unwrap();
    let mut here = evaluate(EvaluatorConfig::default(), body, &never).unwrap();
    there.policies[0].duration_ms = 0;
    here.policies[0].duration_ms = 0;
    assert_eq!(there, here);
    assert_eq!(there.status, Status::Failed);
}

fn an_error_comes_through_with_its_message() {
    let error = evaluate(config(), "violations contains to_number(\"x\")", &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().starts_with("policy p: line 3"), "{error}");
    assert!(!error.is_retryable());
}

fn a_policy_that_fills_the_memory_is_ended() {
    let body = "xs := [s | some a in numbers.range(1, 100000); some b in numbers.range(1, 1000); s := sprintf(\"%d %d\", [a, b])]\nviolations contains \"many\" if count(xs) > 1";
    let config = EvaluatorConfig { memory_limit: 64 * 1024 * 1024, time_limit: Duration::from_secs(120), ..config() };
    let error = evaluate(config, body, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("more memory than the limit"), "{error}");
}

const ENDLESS: &str = "ns := numbers.range(1, 1000)\nviolations contains \"no\" if { some a in ns; some b in ns; some c in ns; a + b + c < 0 }";

fn an_endless_policy_is_ended() {
    let start = Instant::now();
    let config = EvaluatorConfig { time_limit: Duration::from_millis(300), ..config() };
    let error = evaluate(config, ENDLESS, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("took longer than 0.3 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

fn a_cancelled_worker_is_killed() {
    let cancelled = AtomicBool::new(false);
    let start = Instant::now();
    let error = std::thread::scope(|scope| {
        let run = scope.spawn(|| evaluate(config(), ENDLESS, &cancelled));
        std::thread::sleep(Duration::from_millis(200));
        cancelled.store(true, Ordering::Relaxed);
        run.join().unwrap().unwrap_err()
    });
    assert_eq!(error, EvaluateError::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
}
