//! Settlements and releases that are repeated because their answer was lost: they are answered with what was recorded,
//! not with a refusal as late.
//!
//! Only refused ones are checked, so that the ordinary path costs nothing.

use std::collections::HashMap;

use operations::{Event, OperationId, Outcome, Refusal, State, Status};

use crate::LeaseRef;
use crate::history::{HistoryKind, bounded};

/// How a worker ends an attempt.
#[derive(Clone, Copy)]
pub(crate) enum End<'e> {
    /// With an outcome.
    Settled(&'e Outcome),
    /// By releasing it.
    Released,
}

/// A settlement, or a release, that was refused.
pub(crate) struct Refused<'e> {
    /// Its place among the events.
    index: usize,
    pub(crate) lease: &'e LeaseRef,
    pub(crate) fence: u64,
    end: End<'e>,
}

/// What is recorded of an operation.
pub(crate) struct Recorded {
    pub(crate) project_id: String,
    pub(crate) kind: String,
    pub(crate) state: State,
    /// The number of the kind and the message of the last note of a pending operation, apart from progress.
    pub(crate) noted: Option<(i64, String)>,
}

/// What is recorded, by organization and operation.
pub(crate) type Found = HashMap<(String, OperationId), Recorded>;

/// The settlements and releases that were refused as stale.
pub(crate) fn refused<'e>(events: &[&'e (LeaseRef, Event)], results: &[Result<Status, Refusal>]) -> Vec<Refused<'e>> {
    let refused = events.iter().zip(results).enumerate().filter_map(|(index, ((lease, event), result))| {
        let (fence, end) = match (event, result) {
            (Event::Settle { fence, outcome, .. }, Err(Refusal::StaleLease)) => (*fence, End::Settled(outcome)),
            (Event::Release { fence, .. }, Err(Refusal::StaleLease)) => (*fence, End::Released),
            _ => return None,
        };
        Some(Refused { index, lease, fence, end })
    });
    refused.collect()
}

/// Replaces the refusals of events that were recorded already by the statuses of the operations.
pub(crate) fn answer(refused: &[Refused<'_>], found: &Found, results: &mut [Result<Status, Refusal>]) {
    for Refused { index, lease, fence, end } in refused {
        let Some(recorded) = found.get(&(lease.organization.clone(), lease.id)) else { continue };
        let (kind, noted) = match &recorded.noted {
            Some((kind, noted)) => (HistoryKind::from_number(*kind), noted.as_str()),
            None => (None, ""),
        };
        let was_recorded = match end {
            End::Settled(outcome) => {
                let is_noted = match outcome {
                    Outcome::Failed { message, .. } => {
                        kind == Some(HistoryKind::AttemptFailed) && bounded(message) == noted
                    }
                    Outcome::Completed { .. } => false,
                };
                recorded.state.was_settled(*fence, outcome, is_noted)
            }
            End::Released => recorded.state.was_released(*fence, kind == Some(HistoryKind::AttemptReleased)),
        };
        if was_recorded && lease.covers(&recorded.project_id, &recorded.kind) {
            results[*index] = Ok(recorded.state.status());
        }
    }
}

impl Refused<'_> {
    /// The output that it brings.
    pub(crate) fn output(&self) -> &str {
        match self.end {
            End::Settled(Outcome::Completed { output }) => output,
            End::Settled(Outcome::Failed { .. }) | End::Released => "",
        }
    }

    /// Whether it may have left its operation pending.
    pub(crate) fn leaves_it_pending(&self) -> bool {
        matches!(self.end, End::Settled(Outcome::Failed { retryable: true, .. }) | End::Released)
    }
}
