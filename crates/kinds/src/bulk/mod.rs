//! Bulk operations: cancelling, retrying or deleting all operations that match a filter, as an operation of the
//! built-in kind [`KIND`].
//!
//! What it promises: it acts on operations that existed before it, on each once, newest first, within what its creator
//! may access, and on no bulk operation; its output counts the outcomes of all of them. After a crash it resumes where
//! it was, since the store writes its progress in the same transaction as the changes. Batches are small and followed
//! by a pause, so that the calls of others hardly wait.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler, Limits};
use operations::search::Set;
use operations::{Access, NewOperation, Projects, Search};
use serde::{Deserialize, Serialize};
use store::{BulkBatch, BulkProgress, BulkRefusal, GroupBy, OperationCommand, Store, StoreError};

use crate::unanswered;
use report::progress_line;
pub use report::{Outcome, ReportedProgress, asked, outcome, told};

/// The name of the kind.
pub const KIND: &str = operations::BULK_KIND;
/// The maximum number of attempts: each is ended by a crash or by a store that is unavailable for long, and the next
/// one resumes the work.
const MAX_ATTEMPTS: u32 = 100;
/// How long one attempt may take: practically unlimited, since it keeps sending heartbeats.
const TIMEOUT: Duration = Duration::from_secs(90 * 24 * 3600);
/// The maximum number of bulk operations that one server runs at a time, so that they leave capacity for other work.
const CONCURRENCY: usize = 4;
/// The number of operations in a batch: initially, at least, at most.
const BATCH: (u32, u32, u32) = (100, 5, 500);
/// How long a batch should take at most: other calls wait no longer.
const LONG: Duration = Duration::from_millis(25);
const SHORT: Duration = Duration::from_millis(10);
/// A pause is as long as the batch took, but at most this.
const PAUSE: Duration = Duration::from_millis(50);
/// The number of consecutive batches that may fail before the attempt is given up.
const TRIES: u32 = 8;

/// The limits of the kind.
pub fn limits() -> Limits {
    Limits { concurrency: Some(CONCURRENCY), timeout: Some(TIMEOUT), ..Limits::default() }
}

/// What a bulk operation does to each operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BulkAction {
    /// Ends pending operations and asks the workers of running ones to stop.
    Cancel,
    /// Retries failed operations.
    Retry,
    /// Deletes ended operations.
    Delete,
}

impl BulkAction {
    /// The command that the store carries out.
    pub fn command(self) -> OperationCommand {
        match self {
            BulkAction::Cancel => OperationCommand::Cancel,
            BulkAction::Retry => OperationCommand::Retry,
            BulkAction::Delete => OperationCommand::Delete,
        }
    }

    /// The name by which clients request it.
    pub fn name(self) -> &'static str {
        match self {
            BulkAction::Cancel => "cancel",
            BulkAction::Retry => "retry",
            BulkAction::Delete => "delete",
        }
    }

    /// The action with this name.
    pub fn named(name: &str) -> Option<BulkAction> {
        [BulkAction::Cancel, BulkAction::Retry, BulkAction::Delete].into_iter().find(|action| action.name() == name)
    }
}

/// The input of a bulk operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    action: BulkAction,
    /// In its canonical form: durations, which counted back from its creation, have become times.
    filter: String,
    /// The projects that its creator is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<String>>,
}

/// The output of a bulk operation.
#[derive(Debug, Serialize)]
struct Output<'a> {
    action: BulkAction,
    /// How many operations matched when it began.
    matched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retried: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<u64>,
    /// How many were refused, by reason.
    refused: &'a BTreeMap<String, u64>,
    /// The first hundred refusals.
    refusals: &'a [BulkRefusal],
}

/// The search without bulk operations, on which a bulk action may not act.
pub fn without_bulk(mut search: Search) -> Search {
    search.kind = search.kind.and(Set::except([KIND.to_owned()]));
    search
}

/// The project of a bulk operation, chosen so that its creator can see the operation: the only project that the creator
/// may access, or the only accessible one that the search covers; the empty text, which stands for no project, for a
/// creator that sees the whole organization. `None` where several projects would be possible.
pub fn project(search: &Search, access: &Access) -> Option<String> {
    let Projects::Only(projects) = &access.projects else { return Some(String::new()) };
    let mut meant = projects.iter().filter(|project| search.project_id.contains(project.as_str()));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Some(only.clone()),
        _ if projects.len() == 1 => projects.first().cloned(),
        _ => None,
    }
}

/// The operation that carries out the action, in its [`project`], if there is one.
pub fn operation(action: BulkAction, search: &Search, access: &Access) -> NewOperation {
    let projects = match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().cloned().collect()),
    };
    let input = Input { action, filter: search.to_string(), projects };
    NewOperation {
        input: serde_json::to_string(&input).expect("texts are JSON"),
        project_id: project(search, access).unwrap_or_default(),
        max_attempts: MAX_ATTEMPTS,
        ..NewOperation::of_kind(KIND)
    }
}

/// Carries out bulk operations.
#[derive(Clone)]
pub struct BulkHandler {
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for BulkHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkHandler").finish_non_exhaustive()
    }
}

impl BulkHandler {
    /// A handler on this store.
    pub fn new(store: Arc<dyn Store>) -> BulkHandler {
        BulkHandler { store }
    }

    /// The progress so far; begins the bulk operation if it has not begun.
    async fn begun(&self, attempt: &Attempt, access: &Access, search: &Search) -> Result<BulkProgress, Failure> {
        let (organization, id) = (attempt.organization.as_str(), attempt.operation.id);
        if let Some(progress) = self.store.bulk_progress(organization, id).await.map_err(unanswered)? {
            return Ok(progress);
        }
        let matching = self.store.count_matching(access, search, GroupBy::default()).await.map_err(unanswered)?;
        let begun = self.store.begin_bulk(organization, id, matching.total).await.map_err(unanswered)?;
        begun.ok_or_else(|| Failure::transient("the bulk operation has ended"))
    }
}

#[async_trait]
impl Handler for BulkHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let unreadable = || Failure::permanent("the input is not that of a bulk operation");
        let Input { action, filter, projects } = serde_json::from_str(&attempt.input).map_err(|_| unreadable())?;
        let search = without_bulk(filter.parse().map_err(|_| unreadable())?);
        let projects = projects.map_or(Projects::All, |projects| Projects::Only(projects.into_iter().collect()));
        let access = Access { organization: attempt.organization.clone(), projects };
        let mut progress = self.begun(&attempt, &access, &search).await?;
        let (first, least, most) = BATCH;
        let (mut size, mut tries, mut shown) = (first, 0, 0);
        // Operations that were read and did not match are skipped without a write.
        let mut read_below = progress.below;
        while read_below > 1 {
            if attempt.cancelled.is_cancelled() {
                attempt.progress.tell(progress_line(&progress));
                return Err(Failure::transient(format!("stopped: {}", progress_line(&progress))));
            }
            let matching = self.store.matching_ids(&access, &search, 1..read_below, size).await.map_err(unanswered)?;
            let next = matching.next_below.unwrap_or(1);
            if matching.found.is_empty() {
                read_below = next;
                continue;
            }
            let batch = BulkBatch {
                id: attempt.operation.id,
                access: access.clone(),
                command: action.command(),
                ids: matching.found.into_iter().map(|(_, id)| id).collect(),
                from: progress.below,
                below: next,
            };
            let begun = Instant::now();
            match self.store.bulk_batch(batch).await {
                Ok(now) => (progress, tries) = (now, 0),
                // The operations change too fast, or the store is busy: a smaller batch may succeed.
                Err(StoreError::Unavailable(_)) if tries < TRIES => {
                    (size, tries) = ((size / 2).max(least), tries + 1);
                    tokio::time::sleep(PAUSE * tries).await;
                    continue;
                }
                Err(error) => return Err(unanswered(error)),
            }
            read_below = progress.below;
            let took = begun.elapsed();
            if took > LONG {
                size = (size / 2).max(least);
            } else if took < SHORT {
                size = (size * 2).min(most);
            }
            // The history keeps each report, and has space for a few hundred.
            let percent = progress.done() * 100 / progress.total.max(1);
            if percent > shown {
                shown = percent;
                attempt.progress.tell(progress_line(&progress));
            }
            tokio::time::sleep(took.min(PAUSE)).await;
        }
        let of = |of: BulkAction| (of == action).then_some(progress.changed);
        let output = Output {
            action,
            matched: progress.total,
            cancelled: of(BulkAction::Cancel),
            retried: of(BulkAction::Retry),
            deleted: of(BulkAction::Delete),
            refused: &progress.refused,
            refusals: &progress.refusals,
        };
        serde_json::to_string(&output).map_err(|error| Failure::permanent(error.to_string()))
    }
}
