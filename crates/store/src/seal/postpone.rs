//! Postponing attempts bypasses the seal.

use std::time::Duration;

use async_trait::async_trait;
use operations::Refusal;

use super::Sealed;
use crate::postpone::Postpone;
use crate::{LeaseRef, StoreError};

#[async_trait]
impl Postpone for Sealed {
    async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.inner.postpone(leases, delay).await
    }
}
