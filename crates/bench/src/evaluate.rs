//! `longrun bench evaluate`: evaluations as a server makes them, in warm processes, compared with the same work
//! without a process.
//!
//! Two sorts: a SARIF report of 300 bytes with one policy, by several clients, and a CycloneDX SBOM of 10 MB with ten
//! policies, by one. The policies come with the request, as those of callers do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use evidence::policy::PolicyAttachment;
use evidence::{EvaluateRequest, Evaluator, EvaluatorConfig};
use hdrhistogram::Histogram;
use kinds::evaluation::{Evaluations, Worker};
use serde_json::{Value, json};
use store::{ContentStore, Digest};

use super::load::{ORGANIZATION, Until, press};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;

/// Maximum size of a verdict in bytes, as in a server.
const OUTPUT_LIMIT: usize = 1024 * 1024;
/// Evaluations before the first that counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// Evaluations of the large SBOM.
const LARGE_SAMPLES: usize = 10;
/// Components of the large SBOM, and the number of policies that evaluate it.
const COMPONENTS: usize = 30_000;
const LARGE_POLICIES: usize = 10;

const SARIF_POLICY: &str = "package main
import rego.v1
violations contains msg if {
    some run in input.runs
    some result in run.results
    result.level == \"error\"
    msg := sprintf(\"%s: %s\", [result.ruleId, result.message.text])
}";

const SBOM_POLICY: &str = "package main
import rego.v1
violations contains msg if {
    some component in input.components
    not component.licenses
    msg := sprintf(\"component %s states no licence\", [component.name])
}";

/// Evidence with policies that evaluate it.
struct Case {
    content: Bytes,
    request: EvaluateRequest,
}

impl Case {
    fn new(kind: &str, content: String, script: &str, policies: usize) -> Case {
        let content = Bytes::from(content);
        let policy = |number: usize| PolicyAttachment {
            embedded: Some(json!({
                "apiVersion": "chainloop.dev/v1", "kind": "Policy", "metadata": { "name": format!("policy-{number}") },
                "spec": { "policies": [{ "kind": kind, "embedded": format!("{script}\n# {number}\n") }] },
            })),
            ..PolicyAttachment::default()
        };
        let request = EvaluateRequest {
            digest: Digest::of(&content).to_string(),
            kind: Some(kind.to_owned()),
            policies: Some((0..policies).map(policy).collect()),
            ..EvaluateRequest::default()
        };
        Case { content, request }
    }

    fn small() -> Case {
        let report = json!({
            "version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "runs": [{ "tool": { "driver": { "name": "lint" } }, "results": [
                { "ruleId": "E1", "level": "error", "message": { "text": "unused" } },
                { "ruleId": "W1", "level": "warning", "message": { "text": "long" } },
            ] }],
        });
        Case::new("SARIF", report.to_string(), SARIF_POLICY, 1)
    }

    fn large() -> Case {
        let component = |number: usize| {
            let mut component = json!({
                "type": "library", "bom-ref": format!("pkg:cargo/component-{number}@1.{number}.0"),
                "name": format!("component-{number}"), "version": format!("1.{number}.0"),
                "purl": format!("pkg:cargo/component-{number}@1.{number}.0"),
                "hashes": [{ "alg": "SHA-256", "content": "0".repeat(64) }],
                "description": "A library that does one thing and is used by many others.",
            });
            if !number.is_multiple_of(1_000) {
                component["licenses"] = json!([{ "license": { "id": "Apache-2.0" } }]);
            }
            component
        };
        let components: Vec<Value> = (0..COMPONENTS).map(component).collect();
        let bom = json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": { "timestamp": "2026-01-01T00:00:00Z" }, "components": components,
        });
        Case::new("SBOM_CYCLONEDX_JSON", bom.to_string(), SBOM_POLICY, LARGE_POLICIES)
    }
}

/// Measures both sorts. `worker` is the process that a server starts.
pub async fn measure(worker: Worker, clients: u32, length: Duration) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let store = ContentStore::local(folder.path(), 64 * 1024 * 1024)?;
    let config = EvaluatorConfig::default();
    let evaluations = Arc::new(Evaluations::new(worker, config.clone())?);
    let evaluator = Arc::new(Evaluator::new(config)?);
    let spinner = Spinner::start("small evidence");
    let case = Arc::new(Case::small());
    keep(&store, &case).await?;
    processes(&evaluations, &store, &case, clients, WARM_UP).await?;
    let ours = processes(&evaluations, &store, &case, clients, length).await?;
    spinner.say("small evidence, without processes");
    let theirs = within(&evaluator, &case, clients, length).await?;
    let small = Measured {
        mode: Some(format!("{} bytes, 1 policy, {clients} clients", case.content.len())),
        baseline: Some(theirs.times()),
        ratio: Some(ours.per_second() / theirs.per_second()),
        ..Measured::new("evaluate", "processes", ours.times())
    };

    spinner.say("a large SBOM");
    let case = Case::large();
    keep(&store, &case).await?;
    let request = serde_json::to_string(&case.request)?;
    let (mut ours, mut theirs) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    let digest = Digest::of(&case.content);
    for _ in 0..=LARGE_SAMPLES {
        let start = Instant::now();
        let content = store.open(ORGANIZATION, &digest).await?.context("the evidence is gone")?;
        evaluations.evaluate(ORGANIZATION, &request, content, OUTPUT_LIMIT).await?;
        ours.record(u64::try_from(start.elapsed().as_nanos())?)?;
        let start = Instant::now();
        evaluator.evaluate(&case.request, &case.content)?;
        theirs.record(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    drop(spinner);
    let (times, baseline) = (Times::of(&ours), Times::of(&theirs));
    let large = Measured {
        mode: Some(format!("{:.1} MB, {LARGE_POLICIES} policies, 1 client", case.content.len() as f64 / 1e6)),
        ratio: Some(baseline.p50_ms / times.p50_ms.max(0.001)),
        baseline: Some(baseline),
        ..Measured::new("evaluate", "processes", times)
    };
    let mut report =
        Report::without_store(json!({ "clients": clients, "seconds": length.as_secs() }), vec![small, large]);
    report
        .notes
        .push("baseline: the same evaluation in this process, without limits on its memory and its time".to_owned());
    Ok(report)
}

async fn keep(store: &ContentStore, case: &Case) -> anyhow::Result<()> {
    let content = futures_util::stream::iter([Ok::<_, std::io::Error>(case.content.clone())]);
    store.put(ORGANIZATION, content).await?;
    Ok(())
}

async fn processes(
    evaluations: &Arc<Evaluations>,
    store: &ContentStore,
    case: &Arc<Case>,
    clients: u32,
    length: Duration,
) -> anyhow::Result<super::load::Seen> {
    let request: Arc<str> = serde_json::to_string(&case.request)?.into();
    let digest = Digest::of(&case.content);
    press(clients, Until::Time(length), 1, |_| {
        let (evaluations, store, request) = (Arc::clone(evaluations), store.clone(), Arc::clone(&request));
        move || {
            let (evaluations, store, request) = (Arc::clone(&evaluations), store.clone(), Arc::clone(&request));
            async move {
                let content = store.open(ORGANIZATION, &digest).await?.context("the evidence is gone")?;
                evaluations.evaluate(ORGANIZATION, &request, content, OUTPUT_LIMIT).await?;
                Ok(())
            }
        }
    })
    .await
}

async fn within(
    evaluator: &Arc<Evaluator>,
    case: &Arc<Case>,
    clients: u32,
    length: Duration,
) -> anyhow::Result<super::load::Seen> {
    press(clients, Until::Time(length), 1, |_| {
        let (evaluator, case) = (Arc::clone(evaluator), Arc::clone(case));
        move || {
            let (evaluator, case) = (Arc::clone(&evaluator), Arc::clone(&case));
            async move {
                let evaluate = move || evaluator.evaluate(&case.request, &case.content);
                tokio::task::spawn_blocking(evaluate).await??;
                Ok(())
            }
        }
    })
    .await
}
