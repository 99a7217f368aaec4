//! Evaluating evidence again, as an operation of the built-in kind [`KIND`]: evidence that is affected by a changed
//! policy or a waiver gets another evaluation, with the request of its newest one.
//!
//! What it promises: each evaluation that was the newest of its evidence by its request in its project is repeated
//! once, however often an attempt is repeated: creations have keys that are derived from both operations. So is each
//! one that was running, since it may have read the policies and waivers before they changed. The new evaluations
//! themselves report the result, as the difference in their outputs.

mod policies;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler, Limits};
use operations::{Access, NewOperation, Operation, OperationId, Resource, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    EvidenceFilter, EvidenceRecord, IdempotencyKey, OperationDetail, PolicyDigests, Store, StoreError, WaiverChange,
};

use crate::{evaluation, unanswered};

pub use policies::PolicyFollower;

/// The name of the kind.
pub const KIND: &str = "evidence_reevaluation";
/// The maximum number of attempts: each is ended by a crash or by a store that is unavailable for long, and the next
/// one resumes the work.
const MAX_ATTEMPTS: u32 = 100;
/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(24 * 3_600);
/// How many of these operations one server runs at a time.
const CONCURRENCY: usize = 2;
/// The number of pieces of evidence that are read together.
const PART: u32 = 100;
/// The number of operations that the output lists.
const LISTED: usize = 100;

/// Which evidence is evaluated again. An empty field excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Evaluations in which this policy ran.
    pub policy: String,
    /// Evaluations of this piece of evidence.
    pub digest: String,
    /// Evaluations of evidence with this name or digest, or in this project.
    pub subject: String,
    /// Evaluations by one of these policies and groups, named by their references, whose digest was not this one.
    #[serde(skip_serializing_if = "PolicyDigests::is_empty")]
    pub changed: PolicyDigests,
    /// Evaluations of evidence that was stored or evaluated within this many days.
    pub days: Option<u32>,
    /// The reason, for people.
    pub cause: String,
}

/// The output of such an operation.
#[derive(Debug, Default, Serialize)]
struct Output {
    cause: String,
    /// The number of pieces of evidence that were examined.
    evidence: u64,
    /// The number of evaluations that were created.
    evaluations: u64,
    /// The first hundred of these evaluations.
    operations: Vec<String>,
}

impl Output {
    /// Counts an evaluation that was created.
    fn add(&mut self, id: OperationId) {
        self.evaluations += 1;
        if self.operations.len() < LISTED {
            self.operations.push(id.to_string());
        }
    }
}

/// The limits of the kind.
pub fn limits() -> Limits {
    Limits { concurrency: Some(CONCURRENCY), timeout: Some(TIMEOUT), ..Limits::default() }
}

/// The operation that evaluates this selection again.
pub fn operation(selection: &Selection) -> NewOperation {
    NewOperation {
        input: serde_json::to_string(selection).expect("texts are JSON"),
        max_attempts: MAX_ATTEMPTS,
        ..NewOperation::of_kind(KIND)
    }
}

/// Creates operations that evaluate evidence again where waivers have changed; returns whether there was something to
/// do. A change is recorded as handled once its operation has been created.
///
/// # Errors
/// [`StoreError`]; then it must be called again.
pub async fn follow_waivers(store: &dyn Store) -> Result<bool, StoreError> {
    const CHANGES: u32 = 100;
    let changes = store.waiver_changes(CHANGES).await?;
    let has_some = !changes.is_empty();
    let (mut waiting, mut first) = (HashSet::new(), None);
    for change in changes {
        // One organization that is locked, or being moved, does not keep the others waiting.
        if waiting.contains(&change.organization) {
            continue;
        }
        if let Err(error) = follow_waiver(store, &change).await {
            waiting.insert(change.organization);
            first.get_or_insert(error);
        }
    }
    first.map_or(Ok(has_some), Err)
}

/// Creates the operation for one change, and records that.
async fn follow_waiver(store: &dyn Store, change: &WaiverChange) -> Result<(), StoreError> {
    let WaiverChange { organization, event, waiver } = change;
    let selection = Selection {
        policy: waiver.policy.clone(),
        subject: waiver.subject.clone(),
        cause: format!("the waiver {} {}", waiver.id, past_tense(*event)),
        ..Selection::default()
    };
    // Not a key that a client could send: clients' keys are printable ASCII.
    let key = IdempotencyKey { key: format!("\u{1}waiver {} {}", waiver.id, event.name()), fingerprint: [0; 32] };
    match store.create(organization, vec![operation(&selection)], Some(key)).await {
        Ok(_) | Err(StoreError::IdempotencyGone | StoreError::OrganizationGone) => {}
        Err(error) => return Err(error),
    }
    store.note_waiver_change(change.clone()).await
}

fn past_tense(event: store::WaiverEvent) -> &'static str {
    match event {
        store::WaiverEvent::Added => "was added",
        store::WaiverEvent::Removed => "was removed",
        store::WaiverEvent::Expired => "has expired",
    }
}

/// Runs these operations.
#[derive(Clone)]
pub struct ReevaluationHandler {
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for ReevaluationHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReevaluationHandler").finish_non_exhaustive()
    }
}

impl ReevaluationHandler {
    /// A handler on this store.
    pub fn new(store: Arc<dyn Store>) -> ReevaluationHandler {
        ReevaluationHandler { store }
    }

    /// The evaluations that are running and may have to be repeated by this attempt. Read before those that are
    /// completed, so that none is missed that ends meanwhile.
    async fn running(
        &self,
        access: &Access,
        selection: &Selection,
        attempt: &Attempt,
    ) -> Result<Vec<OperationDetail>, Failure> {
        let mut running = Vec::new();
        for operation in
            evaluation::all_evaluations(&*self.store, access, Status::Running, None).await.map_err(unanswered)?
        {
            if is_current(&operation, attempt) {
                continue;
            }
            let Some(digest) = operation.resource.as_ref().and_then(|resource| resource.resource_id.parse().ok())
            else {
                continue;
            };
            let record = self.store.evidence(&access.organization, &digest).await.map_err(unanswered)?;
            let Ok(Some(detail)) = self.store.detail(access, operation.id).await else { continue };
            if record.is_some_and(|record| may_be_selected(selection, &record, &detail)) {
                running.push(detail);
            }
        }
        Ok(running)
    }

    /// The newest completed evaluation of a piece of evidence by each request and in each project, with all details.
    async fn evaluations(&self, access: &Access, record: &EvidenceRecord) -> Result<Vec<OperationDetail>, Failure> {
        let resource_id = record.digest.to_string();
        let resource = Resource { resource_type: "evidence".to_owned(), resource_id };
        let (mut newest, mut seen) = (Vec::new(), HashSet::new());
        let completed = evaluation::all_evaluations(&*self.store, access, Status::Completed, Some(resource));
        for operation in completed.await.map_err(unanswered)? {
            // An evaluation that was deleted meanwhile, or cannot be decrypted, is not repeated.
            let Ok(Some(detail)) = self.store.detail(access, operation.id).await else { continue };
            if seen.insert(request(&detail)) {
                newest.push(detail);
            }
        }
        Ok(newest)
    }

    /// Creates the evaluation, once; waits while the organization may not create any more.
    async fn repeat(&self, attempt: &Attempt, detail: &OperationDetail) -> Result<OperationId, Failure> {
        let new = NewOperation { unique_key: None, concurrency: None, ..detail.to_new() };
        let key = format!("\u{1}{KIND} {} {}", attempt.operation.id, detail.operation.id);
        loop {
            let key = IdempotencyKey { key: key.clone(), fingerprint: [0; 32] };
            match self.store.create_one(&attempt.organization, new.clone(), Some(key), None).await {
                Ok(operation) => return Ok(operation.id),
                Err(StoreError::Exceeded(exceeded)) => tokio::select! {
                    () = tokio::time::sleep(exceeded.retry_after()) => {}
                    () = attempt.cancelled.cancelled() => return Err(Failure::transient("stopped")),
                },
                Err(error) => return Err(unanswered(error)),
            }
        }
    }
}

/// Whether an evaluation was created after the reevaluation, so that it has read the current policies and waivers. One
/// of the same millisecond may have been created before.
fn is_current(evaluation: &Operation, attempt: &Attempt) -> bool {
    evaluation.created_at > attempt.operation.created_at
}

/// What an evaluation was asked, and in which project; the evidence is part of the input.
fn request(detail: &OperationDetail) -> (String, String) {
    (detail.operation.project_id.clone(), detail.input.clone())
}

/// Whether the selection includes an evaluation.
fn is_selected(selection: &Selection, record: &EvidenceRecord, detail: &OperationDetail) -> bool {
    let output: Value = serde_json::from_str(&detail.operation.output).unwrap_or_default();
    let input: Value = serde_json::from_str(&detail.input).unwrap_or_default();
    let ran = || output["policies"].as_array().into_iter().flatten().any(|policy| policy["name"] == *selection.policy);
    let is_outdated = || policies::is_outdated(&selection.changed, &input, &output);
    (selection.policy.is_empty() || ran())
        && is_about(selection, record, detail, &input, &output)
        && (selection.changed.is_empty() || is_outdated())
}

/// Whether the selection may include an evaluation of which only the request is known.
fn may_be_selected(selection: &Selection, record: &EvidenceRecord, detail: &OperationDetail) -> bool {
    let input: Value = serde_json::from_str(&detail.input).unwrap_or_default();
    record.digest.to_string().starts_with(&selection.digest)
        && is_about(selection, record, detail, &input, &Value::Null)
        && (selection.policy.is_empty() || policies::may_run(&selection.policy, &input))
        && (selection.changed.is_empty() || policies::may_use(&selection.changed, &input))
}

/// Whether an evaluation is of evidence, or in a project, with the name that is selected.
fn is_about(
    selection: &Selection,
    record: &EvidenceRecord,
    detail: &OperationDetail,
    input: &Value,
    output: &Value,
) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_evaluation = [text(&output["evidence"]["name"]), text(&input["name"]), text(&input["project_name"])];
    let of_evidence = [record.digest.to_string(), record.name.clone(), detail.operation.project_id.clone()];
    selection.subject.is_empty() || of_evaluation.into_iter().chain(of_evidence).any(|name| name == selection.subject)
}

#[async_trait]
impl Handler for ReevaluationHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let selection: Selection = serde_json::from_str(&attempt.input)
            .map_err(|_| Failure::permanent("the input is not that of a reevaluation"))?;
        let access = Access::organization(&attempt.organization);
        let filter = EvidenceFilter { digest_prefix: selection.digest.clone(), ..EvidenceFilter::default() };
        // Evidence that is stored while this operation runs is evaluated by the current policies and waivers anyway.
        let since = selection
            .days
            .map(|days| attempt.operation.created_at.before(Duration::from_secs(u64::from(days) * 24 * 3_600)));
        let (mut output, mut after) = (Output { cause: selection.cause.clone(), ..Output::default() }, None);
        let mut repeated = HashSet::new();
        for detail in self.running(&access, &selection, &attempt).await? {
            output.add(self.repeat(&attempt, &detail).await?);
            repeated.insert(request(&detail));
        }
        loop {
            let part =
                self.store.list_evidence(&attempt.organization, &filter, after, PART).await.map_err(unanswered)?;
            after = part.last().map(|last| (last.record.created_at, last.record.digest.to_string()));
            for listed in &part {
                if attempt.cancelled.is_cancelled() {
                    return Err(Failure::transient("stopped"));
                }
                let record = &listed.record;
                if listed.last_operation.is_none() || since.is_some_and(|since| record.last_used_at < since) {
                    continue;
                }
                output.evidence += 1;
                for detail in self.evaluations(&access, record).await? {
                    if is_current(&detail.operation, &attempt)
                        || repeated.contains(&request(&detail))
                        || !is_selected(&selection, record, &detail)
                    {
                        continue;
                    }
                    output.add(self.repeat(&attempt, &detail).await?);
                }
            }
            if part.len() < PART as usize {
                return serde_json::to_string(&output).map_err(|error| Failure::permanent(error.to_string()));
            }
        }
    }
}
