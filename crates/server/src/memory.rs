//! How much memory the bodies of requests may use, and which organizations use it.

use crate::services::ApiSettings;
use crate::shares::Shares;

/// The bodies of workers have this fraction of the memory for bodies, in addition to it.
const WORKERS_PART: u64 = 4;

/// The memory of bodies.
pub(crate) struct Memory {
    /// Bytes of JSON bodies, except large ones.
    pub(crate) small: Shares,
    /// Bytes of the bodies of workers.
    pub(crate) work: Shares,
    /// One for each large body, or each large piece of evidence that is being read.
    pub(crate) large: Shares,
}

impl Memory {
    pub(crate) fn new(settings: &ApiSettings) -> Memory {
        // Whatever the settings are, there is space for a body of the limit for each of several organizations.
        let least = settings.body_limit;
        let bytes = |wanted: u64| Shares::new(wanted.max(least.saturating_mul(4)), least);
        Memory {
            small: bytes(settings.body_memory),
            work: bytes(settings.body_memory / WORKERS_PART),
            large: Shares::new(settings.max_large_bodies as u64, 1),
        }
    }
}
