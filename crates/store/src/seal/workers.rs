//! Leases bypass the seal: they have no text that a caller or a worker wrote.

use async_trait::async_trait;
use operations::Access;

use super::Sealed;
use crate::StoreError;
use crate::workers::{HeldLeases, Workers};

#[async_trait]
impl Workers for Sealed {
    async fn held_leases(&self, access: &Access) -> Result<HeldLeases, StoreError> {
        self.inner.held_leases(access).await
    }
}
