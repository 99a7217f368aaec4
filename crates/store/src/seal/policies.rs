//! Notes about policy folders, which are the operator's own and stay as they are.

use async_trait::async_trait;

use super::Sealed;
use crate::{PolicyDigests, PolicyNotes, SeenPolicies, StoreError};

#[async_trait]
impl PolicyNotes for Sealed {
    async fn seen_policies(&self) -> Result<Vec<SeenPolicies>, StoreError> {
        self.inner.seen_policies().await
    }

    async fn note_policies(&self, server: &str, policies: &PolicyDigests) -> Result<(), StoreError> {
        self.inner.note_policies(server, policies).await
    }

    async fn forget_policies(&self, server: &str) -> Result<(), StoreError> {
        self.inner.forget_policies(server).await
    }
}
