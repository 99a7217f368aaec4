//! The decisions of both engines about events that only the holder of a lease may cause.

use operations::{Event, Refusal, State, Status, Timestamp};

use crate::LeaseRef;
use crate::history::{Note, note};

/// An operation that has not ended, while events are applied to it.
pub(crate) struct Subject<'e> {
    pub(crate) project_id: &'e str,
    pub(crate) kind: &'e str,
    pub(crate) state: &'e mut State,
    /// When its lease runs out; only asked for leases that had [run out](LeaseRef::expired_at).
    pub(crate) lease_ends: Option<Timestamp>,
    /// Of an attempt that ended.
    pub(crate) note: &'e mut Option<Note>,
}

/// Applies an event, unless the lease does not cover the operation, or was extended since it ran out; a refused event
/// changes nothing. Without a subject the operation has ended or never existed: the lease is stale either way.
pub(crate) fn decide(
    subject: Option<Subject<'_>>,
    now: Timestamp,
    lease: &LeaseRef,
    event: &Event,
) -> Result<Status, Refusal> {
    let Some(Subject { project_id, kind, state, lease_ends, note: noted }) = subject else {
        return Err(Refusal::StaleLease);
    };
    let is_extended = lease.expired_at.is_some_and(|at| lease_ends != Some(at));
    if is_extended || !lease.covers(project_id, kind) {
        return Err(Refusal::StaleLease);
    }
    let after = state.clone().apply(event.clone())?;
    *noted = note(now, event, state, &after).or(noted.take());
    *state = after;
    Ok(state.status())
}
