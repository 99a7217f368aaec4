//! Which worker runs which operations now: the leases that are held, which are all that the store knows about workers.

use async_trait::async_trait;
use operations::{Access, OperationId, Timestamp};

use crate::StoreError;

/// The most leases that a request reads: the oldest operations first.
pub const MAX_HELD_LEASES: u32 = 5_000;

/// A lease that is held: an attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Its holder: the id of a worker's token, or the name of a server.
    pub worker: String,
    /// The operation.
    pub operation: OperationId,
    /// Its kind.
    pub kind: String,
    /// Its project, or empty.
    pub project_id: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When the lease runs out unless there is a heartbeat.
    pub expires_at: Timestamp,
}

/// The leases that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldLeases {
    /// In the order of their operations, oldest first.
    pub held: Vec<HeldLease>,
    /// Whether these are all; else there are more than [`MAX_HELD_LEASES`] to read.
    pub is_complete: bool,
}

/// Reading which worker runs which operations.
#[async_trait]
pub trait Workers: Send + Sync {
    /// The leases of operations that may be seen.
    async fn held_leases(&self, access: &Access) -> Result<HeldLeases, StoreError>;
}
