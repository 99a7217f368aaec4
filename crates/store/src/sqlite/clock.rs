//! The clock of the machine, which people and programs set, and the time that passes.
//!
//! Displayed dates and queries by date go by the clock. How long a lease is valid, how long an attempt of a remote
//! worker may take and how long an attempt that has to stop may take to do so is time that passes: no attempt is lost
//! because the clock was set forward, and none is held forever because it was set back. One process owns an embedded
//! store. So the deadlines of work under way are kept by the clock, too, and moved with it when it is set.

use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use operations::Timestamp;

use super::statement::query;
use crate::{Clock, StoreError};

/// A difference from which on the clock counts as set: clocks are also corrected a little all the time.
const NOTICED_MILLIS: i64 = 1_000;

const MOVE_LEASES: &str = "UPDATE leases SET expires_at = expires_at + ?1, clock_set_by = clock_set_by + ?1";
/// Served by active_by_cancel.
const MOVE_CANCELS: &str =
    "UPDATE active SET cancel_requested_at = cancel_requested_at + ?1 WHERE cancel_requested_at IS NOT NULL";

/// The clock, and the noticed changes to it.
pub(super) struct Clocks {
    clock: Clock,
    passing: Clock,
    /// The clock minus the time that has passed, in milliseconds, as it was when the leases were moved last.
    offset: AtomicI64,
}

impl Clocks {
    /// `passing` is never set; where it begins does not matter.
    pub(super) fn new(clock: Clock, passing: Clock) -> Clocks {
        let offset = AtomicI64::new(clock().as_millis() - passing().as_millis());
        Clocks { clock, passing, offset }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// By how many milliseconds the clock was changed since the leases were moved last; 0 if it was not.
    pub(super) fn set_by(&self) -> i64 {
        let by = self.now().as_millis() - (self.passing)().as_millis() - self.offset();
        if by.abs() < NOTICED_MILLIS { 0 } else { by }
    }

    pub(super) fn offset(&self) -> i64 {
        self.offset.load(Ordering::SeqCst)
    }

    /// To be called when the leases have been moved and that is committed.
    pub(super) fn moved(&self, by: i64) {
        self.offset.fetch_add(by, Ordering::SeqCst);
    }
}

/// Moves the deadlines of work under way.
pub(super) fn move_leases(connection: &Connection, by: i64) -> Result<(), StoreError> {
    tracing::warn!(
        milliseconds = by,
        "the clock of the machine was set; leases are measured by the time that has passed"
    );
    for statement in [MOVE_LEASES, MOVE_CANCELS] {
        query(statement).bind(by).execute(connection)?;
    }
    Ok(())
}

/// Bounds the leases that an earlier run of the process left; the clock may have been set back since: no lease ends
/// later than if it was given now.
pub(super) fn bound_leases(connection: &Connection, latest: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE leases SET expires_at = ?1 WHERE expires_at > ?1";
    query(sql).bind(latest.as_millis()).execute(connection)?;
    Ok(())
}

/// The clock of the machine.
pub(super) fn system() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    })
}

/// The time that passes.
pub(super) fn passing() -> Clock {
    let start = Instant::now();
    Arc::new(move || Timestamp::from_millis(0).after(start.elapsed()))
}
