//! The settings of the engine.

use std::time::Duration;

use operations::backoff::Backoff;

/// The settings of the engine. The defaults are those of a server on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of handlers that run at a time; at least 1. The default is one per core: the built-in kinds compute,
    /// and each evaluation may take as much memory as its limit allows.
    pub concurrency: usize,
    /// The number of handlers that may run in addition, for organizations that have nothing running in this process and
    /// nothing waiting: so their operations can start with their creation even while others occupy every slot. Not for
    /// kinds with limits of their own.
    pub extra_concurrency: usize,
    /// How long a lease lasts without a heartbeat. Heartbeats are sent every third of this time.
    pub lease: Duration,
    /// How long one attempt may take when the operation does not set a limit.
    pub attempt_timeout: Duration,
    /// How long an attempt may go on after somebody cancelled it; then it is ended, whatever its worker does.
    pub cancel_grace: Duration,
    /// How long running attempts may go on after [`crate::Running::drain`].
    pub drain: Duration,
    /// The longest time between two reads of the queue; at least [`store::SAFETY_POLL`] while other processes report
    /// what they put there.
    pub poll: Duration,
    /// How long the store's change log is kept: a client that watches operations can be disconnected for that long.
    pub keep_changes: Duration,
    /// How long the entries of audit logs are kept.
    pub keep_audit: Duration,
    /// The backoff of failed attempts.
    pub backoff: Backoff,
    /// Whether no other process runs operations of the store (apart from remote workers) while this one does.
    pub is_alone: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Settings {
            concurrency: cores,
            extra_concurrency: 1,
            lease: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(600),
            cancel_grace: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            keep_changes: Duration::from_secs(3_600),
            keep_audit: Duration::from_secs(400 * 24 * 3_600),
            backoff: Backoff::default(),
            is_alone: false,
        }
    }
}
