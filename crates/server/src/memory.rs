//! How much memory the bodies of requests have, and who has it.

use crate::services::ApiSettings;
use crate::shares::Shares;

/// What part of the memory for bodies those of workers have beside it.
const WORKERS_PART: u64 = 4;

/// The memory of bodies.
pub(crate) struct Memory {
    /// Bytes of JSON bodies, large ones apart.
    pub(crate) small: Shares,
    /// Bytes of what workers send.
    pub(crate) work: Shares,
    /// One a large body, or a large piece of evidence that is being read.
    pub(crate) large: Shares,
}

impl Memory {
    pub(crate) fn new(settings: &ApiSettings) -> Memory {
        // Whatever the settings are, several organizations have room for a body of the limit each.
        let least = settings.body_limit;
        let bytes = |wanted: u64| Shares::new(wanted.max(least.saturating_mul(4)), least);
        Memory {
            small: bytes(settings.body_memory),
            work: bytes(settings.body_memory / WORKERS_PART),
            large: Shares::new(settings.max_large_bodies as u64, 1),
        }
    }
}
