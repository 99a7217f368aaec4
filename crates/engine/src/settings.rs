//! How the engine behaves.

use std::time::Duration;

use operations::backoff::Backoff;

/// How the engine behaves. The defaults are those of a server on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Handlers that run at a time; at least 1. The default is one per core: the built-in kinds compute, and each
    /// evaluation may take as much memory as its limit allows.
    pub concurrency: usize,
    /// Handlers that may run beside those, for organizations that have nothing running in this process and nothing
    /// waiting: so their operations can start with their creation even while others keep every place. Not for kinds
    /// with limits of their own.
    pub extra_concurrency: usize,
    /// How long a claim stands without a heartbeat. A third of it is the time between heartbeats.
    pub lease: Duration,
    /// How long one attempt may take when the operation does not say.
    pub attempt_timeout: Duration,
    /// How long what runs may go on after somebody wanted it stopped; then it is ended, whatever its worker does.
    pub cancel_grace: Duration,
    /// How long what runs may go on after [`crate::Running::drain`].
    pub drain: Duration,
    /// The longest time between two looks into the queue; at least [`store::SAFETY_POLL`] while other processes report
    /// what they put there.
    pub poll: Duration,
    /// How long the store's change log is kept: a client that watches operations can be away for that long.
    pub keep_changes: Duration,
    /// How long the entries of audit logs are kept.
    pub keep_audit: Duration,
    /// How long failed attempts wait.
    pub backoff: Backoff,
    /// No other process runs operations of the store (apart from remote workers) as long as this one does.
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
