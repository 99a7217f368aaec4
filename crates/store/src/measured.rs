//! What is measured of a store: counters of this process, and the state of the store at the time of a measurement.

use std::time::Duration;

use async_trait::async_trait;
use meters::Meters;
use operations::Timestamp;

use crate::StoreError;

/// How many of the oldest operations of a kind are read to find one that may be claimed now.
pub(crate) const LOOKED_AT_FOR_OLDEST: u32 = 64;

/// The state of a store, for all organizations together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// By kind, in order; kinds of which everything has ended are left out.
    pub kinds: Vec<KindStanding>,
    /// How old the first change is that a consumer of the change log has not read, by consumer; zero: it has read all.
    pub lags: Vec<(String, Duration)>,
    /// Schedules that are due.
    pub schedules_due: u64,
    /// For how long the first of them has been.
    pub schedules_overdue: Duration,
}

/// The operations of a kind that have not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStanding {
    /// The kind.
    pub kind: String,
    /// Pending operations.
    pub pending: u64,
    /// Running operations.
    pub running: u64,
    /// Since when the oldest exists that may be claimed now: the oldest of each organization are read, and when all of
    /// them are delayed, this is `None`.
    pub oldest: Option<Timestamp>,
}

/// Measuring a store.
#[async_trait]
pub trait Measured: Send + Sync {
    /// What this process counts of its work; code that works with this store counts there too.
    fn meters(&self) -> Meters;

    /// The state of the store now. Costs a few seeks for each organization and kind: for an operator's monitoring,
    /// and not for calls.
    async fn standings(&self) -> Result<Standings, StoreError>;
}

/// How long ago something was; zero if it is still to come.
pub(crate) fn since(now: Timestamp, at: Option<Timestamp>) -> Duration {
    let millis = at.map_or(0, |at| now.as_millis().saturating_sub(at.as_millis()));
    Duration::from_millis(millis.max(0).unsigned_abs())
}
