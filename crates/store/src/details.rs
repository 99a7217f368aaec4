//! What is kept of operations in addition to the twelve fields of a list, and what only few of them have: labels, a
//! unique key, the schedule that made the operation, the trace that it belongs to.
//!
//! What only few have is in the table `details`, so that the others pay nothing for it; `labels` is the index by label
//! of what `details` says. `unique_keys` says which operation took a key last. Only that one may not have ended: a key
//! is taken by a creation, or a retry, that has seen that the one before it ended. So nothing has to be done about a
//! key when an operation ends. The table is written only under the lock of the organization's row.

use std::time::Duration;

use async_trait::async_trait;
use operations::{Access, Concurrency, Labels, NewOperation, Operation, OperationId, Projects, Timestamp};

use crate::StoreError;

/// Everything that is known of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationDetail {
    /// Its twelve fields; its `output` is empty when `output_left_out`.
    pub operation: Operation,
    /// The output is longer than the request allows.
    pub output_left_out: bool,
    /// The input of the work: a JSON text, or empty for none, and when `input_left_out`.
    pub input: String,
    /// The input is longer than the request allows, or was requested with others and cannot be opened.
    pub input_left_out: bool,
    /// What callers name it by.
    pub labels: Labels,
    /// Its unique key.
    pub unique_key: Option<String>,
    /// The name of the schedule that made it.
    pub schedule: Option<String>,
    /// Within an organization, higher is claimed first.
    pub priority: i16,
    /// Attempts charged, the one under way included.
    pub attempts: u32,
    /// Attempts that may be charged.
    pub max_attempts: u32,
    /// Not to be started before this time: as requested, or as the last failed attempt left it. Only for
    /// pending ones.
    pub run_after: Option<Timestamp>,
    /// How long one attempt may take, if the operation says so itself.
    pub timeout: Option<Duration>,
    /// How long it is kept after its end, if the operation says so itself.
    pub retain_for: Option<Duration>,
    /// The worker of the attempt under way, or of the last one of an operation that has ended; else empty.
    pub worker: String,
    /// Its concurrency key and how many of it may run at a time, as its creation named them.
    pub concurrency: Option<Concurrency>,
    /// The attempt under way was asked to stop.
    pub cancel_requested: bool,
    /// The last progress that the worker of the latest attempt reported; empty if there is none.
    pub progress: String,
}

impl OperationDetail {
    /// A request for the same work, as a caller could have made it, without the past of the unique key and without the
    /// time.
    pub fn to_new(&self) -> NewOperation {
        let Operation { kind, resource, project_id, project_version_id, .. } = self.operation.clone();
        NewOperation {
            kind,
            resource,
            project_id,
            project_version_id,
            input: self.input.clone(),
            priority: self.priority,
            run_after: None,
            timeout: self.timeout,
            max_attempts: self.max_attempts,
            retain_for: self.retain_for,
            labels: self.labels.clone(),
            unique_key: self.unique_key.clone(),
            schedule: None,
            trace: None,
            concurrency: self.concurrency.clone(),
        }
    }
}

/// Reading operations with everything that is known of them.
#[async_trait]
pub trait Details: Send + Sync {
    /// The operations of these ids, in their order, from one snapshot; `None` for one that does not exist or may not be
    /// seen. Inputs and outputs that are longer than `longest` bytes, as they are stored, are left out: so a caller
    /// that reads a page bounds its memory, and reads the long ones one by one.
    async fn details(
        &self,
        access: &Access,
        ids: &[OperationId],
        longest: usize,
    ) -> Result<Vec<Option<OperationDetail>>, StoreError>;

    /// The same for one operation. Fails with [`StoreError::Unavailable`] when one of its texts cannot be opened; for
    /// several operations such a text is left out.
    async fn detail_up_to(
        &self,
        access: &Access,
        id: OperationId,
        longest: usize,
    ) -> Result<Option<OperationDetail>, StoreError> {
        Ok(self.details(access, &[id], longest).await?.pop().flatten())
    }

    /// Everything about one operation.
    async fn detail(&self, access: &Access, id: OperationId) -> Result<Option<OperationDetail>, StoreError> {
        self.detail_up_to(access, id, i32::MAX as usize).await
    }
}

/// What only few operations have, for one that has it, as it is written.
pub(crate) struct Row<'n> {
    pub(crate) seq: i64,
    /// A JSON object.
    pub(crate) labels: String,
    pub(crate) of: &'n NewOperation,
}

impl<'n> Row<'n> {
    /// `None` when it has none of that.
    pub(crate) fn of(seq: i64, new: &'n NewOperation) -> Option<Row<'n>> {
        new.has_details().then(|| Row { seq, labels: written(&new.labels), of: new })
    }
}

/// Labels as they are stored.
fn written(labels: &Labels) -> String {
    serde_json::to_string(labels).expect("texts always serialise")
}

/// Labels as they were stored.
pub(crate) fn labels(stored: Option<&str>) -> Result<Labels, StoreError> {
    let labels = stored.map_or(Ok(Labels::new()), serde_json::from_str);
    labels.map_err(|_| crate::rows::damaged("labels"))
}

/// The answer to a creation with a unique key while an operation with that key has not ended.
pub(crate) fn existing(held: &Operation, seen_by: &Projects) -> Result<Operation, StoreError> {
    if seen_by.include(&held.project_id) { Ok(held.clone()) } else { Err(StoreError::UniqueKeyInUse) }
}

/// The columns of a concurrency key as one.
pub(crate) fn concurrency(key: Option<String>, limit: Option<i64>) -> Option<Concurrency> {
    Some(Concurrency { key: key?, limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(1) })
}

/// Puts operations in the order of the ids in a request.
pub(crate) fn in_order(
    ids: &[OperationId],
    found: impl IntoIterator<Item = OperationDetail>,
) -> Vec<Option<OperationDetail>> {
    let mut by_id: std::collections::HashMap<OperationId, OperationDetail> =
        found.into_iter().map(|detail| (detail.operation.id, detail)).collect();
    // An id that was requested twice gets two answers.
    let mut details: Vec<Option<OperationDetail>> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        let earlier = ids[..place].iter().position(|other| other == id);
        let detail = earlier.map_or_else(|| by_id.remove(id), |earlier| details[earlier].clone());
        details.push(detail);
    }
    details
}
