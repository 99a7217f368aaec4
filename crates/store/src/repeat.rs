//! Settlements that are repeated because their answer was lost: they are told what was recorded, not that they came
//! late.
//!
//! Only what was refused is looked at, so that the ordinary path costs nothing.

use std::collections::HashMap;

use operations::{Event, OperationId, Outcome, Refusal, State, Status};

use crate::LeaseRef;
use crate::history::{HistoryKind, bounded};

/// A settlement that was refused.
pub(crate) struct Refused<'e> {
    /// Its place among the events.
    index: usize,
    pub(crate) lease: &'e LeaseRef,
    pub(crate) fence: u64,
    pub(crate) outcome: &'e Outcome,
}

/// What is recorded of an operation.
pub(crate) struct Recorded {
    pub(crate) project_id: String,
    pub(crate) kind: String,
    pub(crate) state: State,
    /// The number of the kind and the message of what was noted last of a pending operation, progress aside.
    pub(crate) noted: Option<(i64, String)>,
}

/// What is recorded, by organization and operation.
pub(crate) type Found = HashMap<(String, OperationId), Recorded>;

/// The settlements that were refused as stale.
pub(crate) fn refused<'e>(events: &[&'e (LeaseRef, Event)], results: &[Result<Status, Refusal>]) -> Vec<Refused<'e>> {
    let refused = events.iter().zip(results).enumerate().filter_map(|(index, ((lease, event), result))| {
        let (Event::Settle { fence, outcome, .. }, Err(Refusal::StaleLease)) = (event, result) else { return None };
        Some(Refused { index, lease, fence: *fence, outcome })
    });
    refused.collect()
}

/// Replaces the refusals of what was recorded already by where the operations stand.
pub(crate) fn answer(refused: &[Refused<'_>], found: &Found, results: &mut [Result<Status, Refusal>]) {
    for Refused { index, lease, fence, outcome } in refused {
        let Some(recorded) = found.get(&(lease.organization.clone(), lease.id)) else { continue };
        let is_noted = match (&recorded.noted, outcome) {
            (Some((kind, noted)), Outcome::Failed { message, .. }) => {
                HistoryKind::from_number(*kind) == Some(HistoryKind::AttemptFailed) && bounded(message) == noted
            }
            _ => false,
        };
        if lease.covers(&recorded.project_id, &recorded.kind) && recorded.state.was_settled(*fence, outcome, is_noted) {
            results[*index] = Ok(recorded.state.status());
        }
    }
}

impl Refused<'_> {
    /// The output that it brings.
    pub(crate) fn output(&self) -> &str {
        match self.outcome {
            Outcome::Completed { output } => output,
            Outcome::Failed { .. } => "",
        }
    }

    /// Whether it may have left its operation pending.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { retryable: true, .. })
    }
}
