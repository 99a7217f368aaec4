//! Waivers in evaluations, and what happens when waivers are added and removed.

use std::sync::Arc;
use std::time::Duration;

use engine::{Attempt, Handler, Progress};
use evidence::{EvaluatorConfig, Output, Status};
use futures_util::stream;
use kinds::evaluation::{EvaluationHandler, KIND};
use kinds::reevaluation::{self, ReevaluationHandler, Selection, follow_waivers};
use operations::{NewOperation, Operation, Outcome, Resource};
use serde_json::{Value, json};
use store::{
    ClaimRequest, Claimed, ContentStore, Digest, NewEvidence, Settlement, SqliteStore, Store, Waiver, WaiverOutcome,
};
use tokio_util::sync::CancellationToken;

/// A store with a piece of evidence, and the handlers over it.
pub struct World {
    pub store: Arc<dyn Store>,
    evaluation: EvaluationHandler,
    reevaluation: ReevaluationHandler,
    digest: String,
    content: ContentStore,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> World {
        World::of(super::config()).await
    }

    /// A world whose evaluations run with this configuration.
    pub async fn of(config: EvaluatorConfig) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
        let content = ContentStore::local(&folder.path().join("evidence"), u64::MAX).unwrap();
        let pieces = stream::iter([Ok::<_, String>(super::EVIDENCE.into())]);
        let (digest, size) = content.put("acme", pieces).await.unwrap();
        store.create("acme", vec![NewOperation::of_kind("other")], None).await.unwrap();
        let new = NewEvidence { digest, size, kind: String::new(), name: "app".to_owned() };
        store.put_evidence("acme", new).await.unwrap();
        let evaluations = Arc::new(super::evaluations(config));
        let evaluation = EvaluationHandler::new(content.clone(), evaluations).with_store(Arc::clone(&store));
        let reevaluation = ReevaluationHandler::new(Arc::clone(&store));
        World { store, evaluation, reevaluation, digest: digest.to_string(), content, _folder: folder }
    }

    /// Creates an evaluation by a policy that reports these violations.
    pub async fn create(&self, objections: &[&str]) -> Operation {
        let script = format!("package main\nimport rego.v1\nviolations := {}\n", json!(objections));
        self.create_by(json!({"policies": [{"embedded": super::document(&script)}]})).await
    }

    /// Creates an evaluation by the policies of a request.
    pub async fn create_by(&self, request: Value) -> Operation {
        self.create_in("", request).await
    }

    /// Creates an evaluation that belongs to a project; empty: to no project.
    async fn create_in(&self, project: &str, mut request: Value) -> Operation {
        request["digest"] = json!(self.digest);
        request["kind"] = json!("EVIDENCE");
        let input = request.to_string();
        let resource = Resource { resource_type: "evidence".to_owned(), resource_id: self.digest.clone() };
        let (resource, project_id) = (Some(resource), project.to_owned());
        let new = NewOperation { input, resource, project_id, ..NewOperation::of_kind(KIND) };
        self.store.create_one("acme", new, None, None).await.unwrap()
    }

    pub async fn claim(&self, kind: &str) -> Vec<Claimed> {
        let request = ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: None,
            among: None,
            limit: 10,
            worker: "test".to_owned(),
            lease: Duration::from_secs(30),
        };
        self.store.claim(request).await.unwrap()
    }

    /// Runs the only waiting operation of a kind, and returns its output.
    pub async fn run(&self, kind: &str) -> String {
        let claimed = self.claim(kind).await;
        assert_eq!(claimed.len(), 1, "one operation of the kind {kind} waits");
        let claimed = claimed.into_iter().next().unwrap();
        let attempt = Attempt {
            organization: "acme".to_owned(),
            operation: claimed.operation.clone(),
            input: claimed.input.clone(),
            number: 1,
            cancelled: CancellationToken::new(),
            progress: Progress::default(),
            trace: None,
        };
        let output = match kind {
            KIND => self.evaluation.run(attempt).await.unwrap(),
            _ => self.reevaluation.run(attempt).await.unwrap(),
        };
        let outcome = Outcome::Completed { output: output.clone() };
        let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
        self.store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
        output
    }

    pub async fn evaluate(&self) -> Output {
        serde_json::from_str(&self.run(KIND).await).unwrap()
    }

    async fn waive(&self, finding: &str, expires_in: Option<Duration>) -> Waiver {
        self.waive_of("", finding, expires_in).await
    }

    async fn waive_of(&self, subject: &str, finding: &str, expires_in: Option<Duration>) -> Waiver {
        let now = self.store.now();
        let waiver = Waiver {
            id: Waiver::new_id(now),
            policy: "p".to_owned(),
            finding: finding.to_owned(),
            subject: subject.to_owned(),
            reason: "known".to_owned(),
            created_by: "ci".to_owned(),
            created_at: now,
            expires_at: expires_in.map(|time| now.after(time)),
        };
        match self.store.create_waiver("acme", waiver).await.unwrap() {
            WaiverOutcome::Kept(waiver) => waiver,
            other => panic!("{other:?}"),
        }
    }

    /// Stores a VEX document with these statements; returns its digest.
    async fn vex(&self, statements: &[(&str, &str)]) -> Digest {
        let statement = |(id, status): &(&str, &str)| {
            json!({"vulnerability": {"name": id}, "products": [{"@id": "pkg:oci/app"}], "status": status,
                "justification": "component_not_present"})
        };
        let statements: Vec<Value> = statements.iter().map(statement).collect();
        let document = json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex/1",
            "author": "security", "timestamp": "2026-11-01T00:00:00Z", "version": 1, "statements": statements});
        let pieces = stream::iter([Ok::<_, String>(document.to_string().into())]);
        let (digest, size) = self.content.put("acme", pieces).await.unwrap();
        let new = NewEvidence { digest, size, kind: "OPENVEX".to_owned(), name: "vex".to_owned() };
        self.store.put_evidence("acme", new).await.unwrap();
        digest
    }

    /// Does everything that follows from waivers; returns the output of the last evaluation.
    async fn follow(&self) -> Output {
        assert!(follow_waivers(&*self.store).await.unwrap());
        assert!(!follow_waivers(&*self.store).await.unwrap(), "each change is handled once");
        let output: Value = serde_json::from_str(&self.run(reevaluation::KIND).await).unwrap();
        assert_eq!((&output["evidence"], &output["evaluations"]), (&json!(1), &json!(1)), "{output}");
        self.evaluate().await
    }
}

pub fn counts(output: &Output) -> (usize, usize, usize) {
    let counts = output.difference.as_ref().unwrap().counts;
    (counts.new, counts.gone, counts.still)
}

pub async fn a_waiver_is_followed_when_it_comes_and_when_it_goes() {
    let world = World::new().await;
    world.create(&["one", "two"]).await;
    let first = world.evaluate().await;
    assert_eq!((first.status, first.totals.violations), (Status::Failed, 2));
    assert_eq!(first.difference, None, "there was none before");

    let one = world.waive("one", None).await;
    let second = world.follow().await;
    assert_eq!((second.status, second.totals.violations, second.totals.waived), (Status::Failed, 1, 1));
    assert_eq!(counts(&second), (0, 1, 1), "waived violations no longer count");
    assert_eq!(second.policies[0].violations.len(), 2, "and are still shown");

    world.waive("two", None).await;
    let third = world.follow().await;
    assert_eq!((third.status, third.waivers.len()), (Status::Passed, 2));
    assert_eq!((third.waivers[0].reason.as_str(), third.waivers[0].by.as_str()), ("known", "ci"));

    assert!(world.store.delete_waiver("acme", &one.id).await.unwrap());
    let fourth = world.follow().await;
    assert_eq!((fourth.status, counts(&fourth)), (Status::Failed, (1, 0, 0)));
    let objection = &fourth.difference.unwrap().new[0];
    assert_eq!((objection.policy.as_str(), objection.message.as_str()), ("p", "one"));
}

pub async fn a_waiver_that_has_expired_has_no_effect_and_is_followed() {
    let world = World::new().await;
    world.create(&["one"]).await;
    world.evaluate().await;
    world.waive("", Some(Duration::from_millis(1))).await;
    // It has expired by the store's clock before the next check.
    while world.store.waivers("acme").await.unwrap()[0].is_live(world.store.now()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.follow().await.status, Status::Failed);
    assert_eq!(world.store.waivers("acme").await.unwrap().len(), 1, "it can still be read");
}

/// A caller that may evaluate only in one project chooses the names in a request, but not the project.
pub async fn no_name_in_a_request_reaches_a_waiver_from_within_a_project() {
    let world = World::new().await;
    let script = "package main\nimport rego.v1\nviolations := [\"one\"]\n";
    let request = json!({"name": "app", "project_name": "app", "policies": [{"embedded": super::document(script)}]});
    world.create_in("proj-b", request.clone()).await;
    world.evaluate().await;
    world.waive_of("app", "", None).await;
    assert_eq!(world.follow().await.status, Status::Failed, "nor does the server when it repeats the request");
    world.create_in("proj-b", request.clone()).await;
    assert_eq!(world.evaluate().await.status, Status::Failed);
    world.create_by(request.clone()).await;
    assert_eq!(world.evaluate().await.status, Status::Passed, "callers without a limit to projects need not name one");

    world.waive_of("proj-b", "", None).await;
    assert_eq!(world.follow().await.status, Status::Passed);
    world.create_in("proj-c", request).await;
    assert_eq!(world.evaluate().await.status, Status::Failed, "this waiver belongs to another project");
}

pub async fn a_vex_document_that_takes_the_place_of_another_is_followed() {
    let world = World::new().await;
    let script = r#"package main
import rego.v1
violations contains {"message": sprintf("%s in libxml", [id]), "external_id": id} if {
    some id in ["CVE-2026-1", "CVE-2026-2"]
}
"#;
    world.create_by(json!({"policies": [{"embedded": super::document(script)}]})).await;
    assert_eq!(world.evaluate().await.totals.violations, 2);

    let first = world.vex(&[("CVE-2026-1", "not_affected"), ("CVE-2026-2", "under_investigation")]).await;
    let waiver = world.waive(&format!("vex:{first}"), None).await;
    let second = world.follow().await;
    assert_eq!((second.status, second.totals.violations, second.totals.waived), (Status::Failed, 1, 1));
    let used = second.policies[0].violations.iter().find_map(|violation| violation.waived.as_ref()).unwrap();
    assert_eq!(used.id, waiver.id);
    let vex = used.vex.as_ref().unwrap();
    assert_eq!((&*vex.document, &*vex.statement), (&*first.to_string(), "not_affected: component_not_present"));
    assert_eq!(counts(&second), (0, 1, 1));

    let newer = world.vex(&[("cve-2026-2", "fixed")]).await;
    world.waive(&format!("vex:{newer}"), None).await;
    assert_eq!(world.follow().await.status, Status::Passed, "both documents cover the violations that they answer");
    assert!(world.store.delete_waiver("acme", &waiver.id).await.unwrap());
    let last = world.follow().await;
    assert_eq!(
        (last.status, counts(&last)),
        (Status::Failed, (1, 0, 0)),
        "the older document no longer covers anything"
    );

    // A document that does not exist, or is not a VEX document, covers nothing.
    world.waive("vex:sha256:0000000000000000000000000000000000000000000000000000000000000000", None).await;
    assert_eq!(world.follow().await.totals.violations, 1);
    let evidence = format!("vex:{}", world.digest);
    world.waive(&evidence, None).await;
    assert_eq!(world.follow().await.totals.violations, 1);
}

pub async fn a_difference_is_of_the_same_policies_alone() {
    let world = World::new().await;
    world.create(&["one"]).await;
    world.evaluate().await;
    world.create(&["two"]).await;
    assert_eq!(world.evaluate().await.difference, None, "another policy");
    world.create(&["one"]).await;
    assert_eq!(counts(&world.evaluate().await), (0, 0, 1));
}

pub async fn a_reevaluation_repeats_each_evaluation_once() {
    let world = World::new().await;
    for objection in ["one", "two", "one"] {
        world.create(&[objection]).await;
        world.evaluate().await;
    }
    let selection = Selection { policy: "p".to_owned(), days: Some(1), ..Selection::default() };
    let operation = world.store.create_one("acme", reevaluation::operation(&selection), None, None).await.unwrap();
    let output: Value = serde_json::from_str(&world.run(reevaluation::KIND).await).unwrap();
    assert_eq!(output["evaluations"], 2, "the newest by each request");
    let running = world.claim(KIND).await;
    assert_eq!(running.len(), 2);
    // A repeated attempt creates nothing twice.
    let attempt = Attempt {
        organization: "acme".to_owned(),
        operation,
        input: reevaluation::operation(&selection).input,
        number: 2,
        cancelled: CancellationToken::new(),
        progress: Progress::default(),
        trace: None,
    };
    world.reevaluation.run(attempt).await.unwrap();
    assert_eq!(world.claim(KIND).await.len(), 0);
    let by = async |policy: &str| {
        let nothing = Selection { policy: policy.to_owned(), ..Selection::default() };
        world.store.create_one("acme", reevaluation::operation(&nothing), None, None).await.unwrap();
        let output: Value = serde_json::from_str(&world.run(reevaluation::KIND).await).unwrap();
        output["evaluations"].clone()
    };
    assert_eq!(by("q").await, 0, "no evaluation ran by this policy");
    assert_eq!(by("p").await, 2, "those that are running may have begun before the change");
    let ended = running.into_iter().chain(world.claim(KIND).await).map(|claimed| Settlement {
        lease: claimed.lease,
        outcome: Outcome::Failed { message: "ended".to_owned(), retryable: false },
        retry_after: Duration::ZERO,
    });
    world.store.settle(ended.collect()).await.unwrap();
    assert_eq!(by("p").await, 2, "the completed ones of before");
    assert!(world.store.evidence("acme", &world.digest.parse().unwrap()).await.unwrap().is_some());
}
