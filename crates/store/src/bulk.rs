//! What a bulk operation does to the operations that it is about: in batches, each a transaction that records its
//! progress along with its changes, so that the counts add up wherever it is interrupted.

use std::collections::BTreeMap;

use async_trait::async_trait;
use operations::{Access, OperationId};
use serde::{Deserialize, Serialize};

use crate::command::CommandOutcome;
use crate::{OperationCommand, StoreError};

/// Refusals that are listed one by one.
pub const SHOWN_REFUSALS: usize = 100;

/// The progress of a bulk operation, and its results so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkProgress {
    /// Operations with smaller numbers are still to be processed; 0 and 1: none are left.
    pub below: i64,
    /// How many matched when it began.
    pub total: u64,
    /// Operations that were cancelled, retried or deleted.
    pub changed: u64,
    /// How many were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The first [`SHOWN_REFUSALS`] of those.
    pub refusals: Vec<BulkRefusal>,
}

/// An operation that a bulk operation could not act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkRefusal {
    /// The operation.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl BulkProgress {
    /// Operations that were changed or refused.
    pub fn done(&self) -> u64 {
        self.changed + self.refused.values().sum::<u64>()
    }

    /// Counts the result of a command.
    pub(crate) fn count(&mut self, id: OperationId, outcome: &CommandOutcome) {
        let reason = match outcome {
            Some(Ok(_)) => {
                self.changed += 1;
                return;
            }
            Some(Err(refusal)) => refusal.to_string(),
            None => "the operation does not exist any more".to_owned(),
        };
        if self.refusals.len() < SHOWN_REFUSALS {
            self.refusals.push(BulkRefusal { id: id.to_string(), reason: reason.clone() });
        }
        *self.refused.entry(reason).or_default() += 1;
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    pub(crate) fn of_json(text: &str) -> Result<BulkProgress, StoreError> {
        serde_json::from_str(text)
            .map_err(|_| StoreError::Unusable("the progress of a bulk operation is damaged".into()))
    }
}

/// What a bulk operation does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkBatch {
    /// The bulk operation.
    pub id: OperationId,
    /// Which operations it may touch.
    pub access: Access,
    /// What it does to each.
    pub command: OperationCommand,
    /// The operations, newest first.
    pub ids: Vec<OperationId>,
    /// [`BulkProgress::below`] before.
    pub from: i64,
    /// [`BulkProgress::below`] after it.
    pub below: i64,
}

/// Carrying out bulk operations.
#[async_trait]
pub trait BulkOperations: Send + Sync {
    /// The progress of a bulk operation. One that has not begun begins with this call: it covers the operations that
    /// existed before it; `total` of them match. `None` when there is no such operation that has not ended.
    async fn begin_bulk(
        &self,
        organization: &str,
        id: OperationId,
        total: u64,
    ) -> Result<Option<BulkProgress>, StoreError>;

    /// Its progress, if it has begun.
    async fn bulk_progress(&self, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError>;

    /// Does to each operation what its state allows and records that, in one transaction, and answers the progress of
    /// the bulk operation. Nothing is done when its progress is not at [`BulkBatch::from`], since another attempt
    /// has continued it. Fails with [`StoreError::Unavailable`] when operations of the batch change too fast: a smaller
    /// one may go through.
    async fn bulk_batch(&self, batch: BulkBatch) -> Result<BulkProgress, StoreError>;
}

/// The error of a batch of a bulk operation that has not begun, or has been removed.
pub(crate) fn not_begun() -> StoreError {
    StoreError::Unusable("the bulk operation has not begun".to_owned())
}
