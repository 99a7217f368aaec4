//! Giving attempts back for a while: nobody is charged one, and nobody gets them before the time is over.

use std::time::Duration;

use async_trait::async_trait;
use operations::Refusal;

use crate::{LeaseRef, StoreError};

/// What a store does with attempts that cannot be made now.
#[async_trait]
pub trait Postpone: Send + Sync {
    /// Hands attempts back without charging them, to be claimed again after the delay at the earliest; answers in the
    /// order given.
    async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError>;
}
