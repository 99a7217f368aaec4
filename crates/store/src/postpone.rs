//! Releasing attempts for a while: no attempt is charged, and nobody can claim them before the time is over.

use std::time::Duration;

use async_trait::async_trait;
use operations::Refusal;

use crate::{LeaseRef, StoreError};

/// Postponing attempts that cannot be made now.
#[async_trait]
pub trait Postpone: Send + Sync {
    /// Releases attempts without charging them, to be claimed again after the delay at the earliest; answers as
    /// [`Store::settle`](crate::Store::settle) does.
    async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError>;
}
