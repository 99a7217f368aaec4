//! Evaluation processes: this program is both the server and, with the argument `serve`, the process.
#![allow(clippy::unwrap_used)]

mod calls;
mod changed;
mod prompt;
#[path = "support/mod.rs"]
mod support;
mod waivers;

use std::time::{Duration, Instant};

use bytes::Bytes;
use evidence::policy::PolicyAttachment;
use evidence::{EvaluateRequest, Evaluator, EvaluatorConfig, MaterialKind, Output, Status, digest};
use futures_util::stream;
use kinds::evaluation::{CheckError, Evaluations, JobError, ReferenceSettings, References, Worker, serve};
use store::{Content, ContentError, ContentStore};
use tokio::sync::oneshot;

const OUTPUT_LIMIT: usize = 1024 * 1024;
const EVIDENCE: &[u8] = br#"{"a": 1}"#;
const MIB: u64 = 1024 * 1024;

fn main() {
    if std::env::args().any(|arg| arg == "serve") {
        serve(std::io::stdin(), std::io::stdout()).unwrap();
        return;
    }
    // The processes end with the thread that started them, so the tests run on one that stays alive.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    macro_rules! run {
        ($($test:path)*) => {$(
            runtime.block_on($test());
            println!("test {} ... ok", stringify!($test));
        )*};
    }
    run! {
        a_process_answers_as_the_evaluator_itself
        an_error_comes_through_with_its_message
        a_policy_that_fills_the_memory_is_ended
        an_endless_policy_is_ended
        what_nobody_wants_any_more_is_killed_and_holds_its_place_until_then
        a_request_is_checked_in_the_process
        hostile_policies_end_by_the_limits_of_the_process
        an_output_is_bounded_in_the_process
        a_kind_is_detected_in_the_process
        damaged_evidence_is_not_evaluated
        a_process_serves_one_organization_again_and_again
        a_process_is_replaced_after_a_job_that_failed_or_left_it_large
        the_longest_waiting_processes_go_when_there_are_too_many
        prompt::a_verdict_of_a_model_counts_as_that_of_a_policy
        prompt::a_model_may_pass_or_skip
        prompt::a_malformed_answer_is_asked_for_again_and_never_passes
        prompt::an_instruction_in_the_evidence_does_not_change_the_form_of_the_verdict
        prompt::a_model_that_refuses_parameters_is_asked_without_them_from_then_on
        prompt::an_answer_may_have_parts_and_must_have_an_end
        prompt::a_refusal_skips_the_check
        prompt::troubles_of_the_provider_are_tried_again_and_refusals_of_the_call_are_not
        waivers::a_waiver_is_followed_when_it_comes_and_when_it_goes
        waivers::a_waiver_that_has_expired_has_no_effect_and_is_followed
        waivers::no_name_in_a_request_reaches_a_waiver_from_within_a_project
        waivers::a_vex_document_that_takes_the_place_of_another_is_followed
        waivers::a_difference_is_of_the_same_policies_alone
        waivers::a_reevaluation_repeats_each_evaluation_once
        changed::a_policy_that_changes_is_followed_once_with_what_is_new
        changed::a_script_and_a_group_are_followed_and_what_is_pinned_is_not
        changed::a_change_while_no_server_runs_is_followed_and_a_first_look_is_not
        changed::servers_that_see_different_policies_wait_and_follow_once
        prompt::a_model_sees_a_part_of_large_evidence_and_nothing_of_what_is_not_text
        calls::a_policy_decides_by_what_a_host_answers
        calls::a_call_that_cannot_be_made_is_no_pass
        calls::the_calls_of_an_evaluation_are_bounded
        calls::without_hosts_a_call_is_refused_by_name_before_anything_runs
        policies_from_the_network_are_fetched_once_with_all_that_they_refer_to
        what_cannot_be_fetched_is_refused_with_the_reason
    }
}

fn config() -> EvaluatorConfig {
    EvaluatorConfig { time_limit: Duration::from_secs(60), ..EvaluatorConfig::default() }
}

fn evaluations(config: EvaluatorConfig) -> Evaluations {
    let worker = Worker { program: std::env::current_exe().unwrap(), args: vec!["serve".into()] };
    Evaluations::new(worker, config).unwrap()
}

fn document(script: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": {"name": "p"},
        "spec": {"policies": [{"kind": "EVIDENCE", "embedded": script}]},
    })
}

fn with(policy: serde_json::Value) -> EvaluateRequest {
    EvaluateRequest {
        digest: digest(EVIDENCE),
        kind: Some("EVIDENCE".to_owned()),
        policies: Some(vec![PolicyAttachment { embedded: Some(policy), ..PolicyAttachment::default() }]),
        ..EvaluateRequest::default()
    }
}

fn request(body: &str) -> EvaluateRequest {
    with(document(&format!("package main\nimport rego.v1\n{body}\n")))
}

fn json(request: &EvaluateRequest) -> String {
    serde_json::to_string_pretty(request).unwrap()
}

/// Content as a server has it; the folder is deleted as soon as the file is open.
async fn content(bytes: impl Into<Bytes>) -> Content {
    let folder = tempfile::tempdir().unwrap();
    let store = ContentStore::local(folder.path(), u64::MAX).unwrap();
    let pieces = stream::iter([Ok::<_, String>(bytes.into())]);
    let (digest, _) = store.put("acme", pieces).await.unwrap();
    store.open("acme", &digest).await.unwrap().unwrap()
}

async fn evaluate(config: EvaluatorConfig, body: &str) -> Result<Output, (String, bool)> {
    let evaluations = evaluations(config);
    match evaluations.evaluate("acme", &json(&request(body)), content(EVIDENCE).await, OUTPUT_LIMIT).await {
        Ok(output) => Ok(serde_json::from_str(&output).unwrap()),
        Err(JobError::Failed { message, retryable }) => Err((message, retryable)),
        Err(error) => panic!("{error}"),
    }
}

async fn check(config: EvaluatorConfig, request: &EvaluateRequest) -> (String, String) {
    match evaluations(config).check("acme", &json(request), ()).await {
        Err(CheckError::Request(error)) => (error.field, error.message),
        other => panic!("{other:?}"),
    }
}

async fn a_process_answers_as_the_evaluator_itself() {
    let body = "violations contains \"one\" if input.a == 1";
    let mut there = evaluate(config(), body).await.unwrap();
    let evaluator = Evaluator::new(config()).unwrap();
    let mut here = evaluator.evaluate(&request(body), EVIDENCE).unwrap();
    there.policies[0].duration_ms = 0;
    here.policies[0].duration_ms = 0;
    assert_eq!(there, here);
    assert_eq!(there.status, Status::Failed);
}

async fn an_error_comes_through_with_its_message() {
    let (message, retryable) = evaluate(config(), "violations contains to_number(\"x\")").await.unwrap_err();
    assert!(message.starts_with("policy p: line 3"), "{message}");
    assert!(!retryable);
}

/// Creates texts until it is ended.
const FILLS_MEMORY: &str = "xs := [s | some a in numbers.range(1, 100000); some b in numbers.range(1, 1000); s := sprintf(\"%d %d\", [a, b])]\nviolations contains \"many\" if count(xs) > 1";

async fn a_policy_that_fills_the_memory_is_ended() {
    let config = EvaluatorConfig { memory_limit: 64 * MIB, time_limit: Duration::from_secs(120), ..config() };
    let (message, retryable) = evaluate(config, FILLS_MEMORY).await.unwrap_err();
    assert!(message.contains("more memory than the limit"), "{message}");
    assert!(!retryable);
}

const ENDLESS: &str = "ns := numbers.range(1, 1000)\nviolations contains \"no\" if { some a in ns; some b in ns; some c in ns; a + b + c < 0 }";

async fn an_endless_policy_is_ended() {
    let config = EvaluatorConfig { time_limit: Duration::from_millis(300), ..config() };
    let (message, _) = evaluate(config, ENDLESS).await.unwrap_err();
    assert!(message.contains("took longer than 0.3 s"), "{message}");
}

/// Reports when it is dropped.
struct Held(Option<oneshot::Sender<()>>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

async fn what_nobody_wants_any_more_is_killed_and_holds_its_place_until_then() {
    let start = Instant::now();
    let (sender, mut gone) = oneshot::channel();
    let evaluations = evaluations(config());
    let request = json(&crossed(2_000));
    let check = evaluations.check("acme", &request, Held(Some(sender)));
    let waited = tokio::time::timeout(Duration::from_millis(500), check).await;
    assert!(waited.is_err(), "checked already: {waited:?}");
    assert!(gone.try_recv().is_err(), "dropped before the process has ended");
    gone.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(8));
}

async fn a_request_is_checked_in_the_process() {
    assert!(
        evaluations(config())
            .check("acme", &json(&request("violations contains \"one\" if input.a == 1")), ())
            .await
            .is_ok()
    );
    let (field, message) = check(config(), &request("violations contains nope(1)")).await;
    assert_eq!(field, "policies[0].embedded");
    assert!(message.ends_with("there is no function nope"), "{message}");
}

/// This number of assignments of eight variables each, in crossed order: the engine takes many seconds to sort them.
fn crossed(count: usize) -> EvaluateRequest {
    let list = |at: usize, first: usize| {
        let names: Vec<String> = (0..8).map(|name| format!("x{}_{at}", (first + name) % 8)).collect();
        format!("[{}]", names.join(", "))
    };
    let lines: Vec<String> = (0..count).map(|at| format!("  {} = {}\n", list(at, 0), list(at + 1, 1))).collect();
    let last = format!("  {} = [1, 2, 3, 4, 5, 6, 7, 8]", list(count, 0));
    request(&format!("violations contains \"no\" if {{\n{}{last}\n}}", lines.concat()))
}

async fn hostile_policies_end_by_the_limits_of_the_process() {
    let text = |text: String| with(serde_json::Value::from(text));
    let head = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\n";
    let aliases = format!("{head}x: &x {}\ny: [{}]\n", "a".repeat(500_000), vec!["*x"; 100_000].join(","));
    let nested = (0..30).fold("1".to_owned(), |inner, _| format!("({inner}{})", "+1".repeat(250)));
    for (request, says) in [
        (text(aliases), "anchors are not allowed"),
        (text("[".repeat(200_000)), "nested deeper than 64 levels"),
        (request(&format!("violations contains \"no\" if {nested} > 1")), "too long an expression"),
    ] {
        let (field, message) = check(config(), &request).await;
        assert_eq!(field, "policies[0].embedded");
        assert!(message.contains(says), "{message}");
    }
    let brief = EvaluatorConfig { time_limit: Duration::from_millis(100), ..config() };
    let (field, message) = check(brief, &crossed(2_000)).await;
    assert_eq!(
        (field.as_str(), message.as_str()),
        ("policies", "checking the policies took longer than 0.1 s and was ended")
    );
}

async fn an_output_is_bounded_in_the_process() {
    let body = "violations contains sprintf(\"%d %s\", [n, concat(\"\", [\"x\" | some i in numbers.range(1, 1000)])]) if some n in numbers.range(1, 3000)";
    let (message, retryable) = evaluate(config(), body).await.unwrap_err();
    assert_eq!(message, "the output would be longer than the limit of 1048576 bytes: make the policies report less");
    assert!(!retryable);
}

async fn a_kind_is_detected_in_the_process() {
    let evaluations = evaluations(EvaluatorConfig { memory_limit: 16 * MIB, ..config() });
    let sbom = r#"{"bomFormat":"CycloneDX","specVersion":"1.5"}"#;
    let detect = async |bytes: Vec<u8>| evaluations.detect("acme", content(bytes).await, ()).await.unwrap();
    assert_eq!(detect(sbom.into()).await, Some(MaterialKind::SbomCyclonedxJson));
    assert_eq!(detect(b"text".to_vec()).await, None);
    assert_eq!(detect("[".repeat(1_000_000).into()).await, None);
    assert_eq!(detect(format!("{{\"a\":{}", "[".repeat(1_000_000)).into()).await, None);
    // Content for which there is not enough memory is not examined.
    assert_eq!(detect(format!("{sbom}{}", " ".repeat(17 * 1024 * 1024)).into()).await, None);
}

async fn damaged_evidence_is_not_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let store = ContentStore::local(folder.path(), u64::MAX).unwrap();
    let (digest, _) = store.put("acme", stream::iter([Ok::<_, String>(Bytes::from_static(EVIDENCE))])).await.unwrap();
    let file = files_below(folder.path()).remove(0);
    std::fs::write(file, br#"{"a": 2}"#).unwrap();
    let content = store.open("acme", &digest).await.unwrap().unwrap();
    let request = json(&request("violations contains \"one\" if input.a == 1"));
    let outcome = evaluations(config()).evaluate("acme", &request, content, OUTPUT_LIMIT).await;
    assert!(matches!(outcome, Err(JobError::Content(ContentError::Damaged(_)))), "{outcome:?}");
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The processes that this one has started and that are running.
fn children() -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(stat) = std::fs::read_to_string(entry.unwrap().path().join("stat")) else { continue };
        // The id, the name in parentheses, the state, the parent.
        let (id, rest) = stat.split_once(" (").unwrap();
        let mut rest = rest.rsplit_once(") ").unwrap().1.split(' ');
        let (state, parent) = (rest.next().unwrap(), rest.next().unwrap());
        if parent == std::process::id().to_string() && state != "Z" {
            children.push(id.parse().unwrap());
        }
    }
    children
}

/// Waits until this number of processes is left.
async fn until_children(count: usize) -> Vec<u32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let children = children();
        if children.len() == count {
            return children;
        }
        assert!(Instant::now() < deadline, "{children:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const OBJECTS: &str = "violations contains \"one\" if input.a == 1";

async fn passes(evaluations: &Evaluations, organization: &str, body: &str) -> bool {
    let outcome =
        evaluations.evaluate(organization, &json(&request(body)), content(EVIDENCE).await, OUTPUT_LIMIT).await;
    outcome.is_ok()
}

async fn a_process_serves_one_organization_again_and_again() {
    until_children(0).await;
    let evaluations = evaluations(config());
    assert!(passes(&evaluations, "acme", OBJECTS).await);
    let first = children();
    assert_eq!(first.len(), 1);
    evaluations.check("acme", &json(&request(OBJECTS)), ()).await.unwrap();
    evaluations.detect("acme", content(EVIDENCE).await, ()).await.unwrap();
    assert!(passes(&evaluations, "acme", "violations contains \"two\" if input.a == 2").await);
    assert_eq!(children(), first, "the same process did it all");
    assert!(passes(&evaluations, "globex", OBJECTS).await);
    let both = children();
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");
    assert!(passes(&evaluations, "acme", OBJECTS).await && passes(&evaluations, "globex", OBJECTS).await);
    assert_eq!(children(), both);
    drop(evaluations);
    until_children(0).await;
}

async fn a_process_is_replaced_after_a_job_that_failed_or_left_it_large() {
    let evaluations = evaluations(EvaluatorConfig { memory_limit: 4096 * MIB, ..config() });
    assert!(passes(&evaluations, "acme", OBJECTS).await);
    assert!(!passes(&evaluations, "acme", "violations contains to_number(\"x\")").await);
    until_children(0).await;
    assert!(evaluations.check("acme", &json(&request("violations contains nope(1)")), ()).await.is_err());
    until_children(0).await;
    let large = vec![b'x'; 140 * 1024 * 1024];
    assert_eq!(evaluations.detect("acme", content(large).await, ()).await.unwrap(), None);
    until_children(0).await;
    assert!(passes(&evaluations, "acme", OBJECTS).await);
    assert_eq!(children().len(), 1);
    drop(evaluations);
    until_children(0).await;
}

async fn the_longest_waiting_processes_go_when_there_are_too_many() {
    let evaluations = evaluations(config());
    let most = 2 * std::thread::available_parallelism().unwrap().get();
    for organization in 0..most + 3 {
        assert!(passes(&evaluations, &organization.to_string(), OBJECTS).await);
    }
    until_children(most).await;
    drop(evaluations);
    until_children(0).await;
}

/// Evaluations that may fetch from this machine.
fn fetching(cache: &std::path::Path, config: EvaluatorConfig) -> Evaluations {
    let settings = ReferenceSettings {
        allowed_hosts: vec!["127.0.0.1".to_owned()],
        allow_private_addresses: true,
        cache: cache.to_owned(),
    };
    let config = EvaluatorConfig { policy_cache: Some(settings.policy_cache()), ..config };
    evaluations(config).with_references(References::new(settings).unwrap())
}

fn referring(reference: &str) -> EvaluateRequest {
    let policies = vec![PolicyAttachment { reference: Some(reference.to_owned()), ..PolicyAttachment::default() }];
    EvaluateRequest { policies: Some(policies), ..with(serde_json::Value::Null) }
}

async fn policies_from_the_network_are_fetched_once_with_all_that_they_refer_to() {
    const SCRIPT: &str = "package main\nimport rego.v1\nviolations contains \"remote\" if input.a == 1\n";
    let policy = format!(
        "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {{name: p}}\nspec:\n  policies:\n    - kind: EVIDENCE\n      \
         ref: rules/p.rego@{}\n",
        digest(SCRIPT.as_bytes())
    );
    let pin = digest(policy.as_bytes());
    let mut receiver = support::Receiver::start(move |number| {
        support::answer("200 OK", "", if number == 0 { &policy } else { SCRIPT })
    })
    .await;
    let reference = format!("http://{}/policies/p.yaml@{pin}", receiver.address);
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("made/when/needed");
    let evaluations = fetching(&folder, config());
    let request = referring(&reference);
    evaluations.check("acme", &json(&request), ()).await.unwrap();
    assert_eq!(receiver.next().await.line, "GET /policies/p.yaml HTTP/1.1");
    assert_eq!(receiver.next().await.line, "GET /policies/rules/p.rego HTTP/1.1");
    let output = evaluations.evaluate("acme", &json(&request), content(EVIDENCE).await, OUTPUT_LIMIT).await.unwrap();
    let output: Output = serde_json::from_str(&output).unwrap();
    assert_eq!(output.policies[0].violations[0].message, "remote");
    assert_eq!(
        (output.policies[0].digest.as_str(), output.policies[0].reference.as_str()),
        (pin.as_str(), reference.split('@').next().unwrap(),)
    );
    // Another server with the same folder needs no network.
    let address = receiver.address;
    drop(receiver);
    let default = serde_json::from_value(serde_json::json!({"ref": reference})).unwrap();
    let again = fetching(&folder, EvaluatorConfig { default_policies: vec![default], ..config() });
    let none = EvaluateRequest { policies: None, ..request };
    let output = again.evaluate("globex", &json(&none), content(EVIDENCE).await, OUTPUT_LIMIT).await.unwrap();
    assert!(output.contains("remote"), "{address}: {output}");
}

async fn what_cannot_be_fetched_is_refused_with_the_reason() {
    let receiver = support::Receiver::start(|_| support::answer("200 OK", "", "other")).await;
    let cache = tempfile::tempdir().unwrap();
    let pin = digest(b"policy");
    let reference = format!("http://{}/p.yaml@{pin}", receiver.address);
    let evaluations = fetching(cache.path(), config());
    let refusal = async |evaluations: &Evaluations, reference: &str| match evaluations
        .check("acme", &json(&referring(reference)), ())
        .await
    {
        Err(CheckError::Request(error)) => error.message,
        other => panic!("{other:?}"),
    };
    let message = refusal(&evaluations, &reference).await;
    assert!(message.ends_with(&format!("its digest is {}, not the pinned one", digest(b"other"))), "{message}");
    let elsewhere = format!("https://policies.example.com/p.yaml@{pin}");
    let message = refusal(&evaluations, &elsewhere).await;
    assert!(message.ends_with("leads to policies.example.com, which is not among policies.allowed_hosts"), "{message}");
    let message = refusal(&evaluations, "https://127.0.0.1/p.yaml").await;
    assert!(message.contains("needs a pin"), "{message}");
    // A server that fetches nothing reports that.
    let message = refusal(&self::evaluations(config()), &elsewhere).await;
    assert!(message.contains("no host is allowed"), "{message}");
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}
