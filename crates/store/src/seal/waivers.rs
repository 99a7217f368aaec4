//! Waivers, whose texts are compared with what policies say and stay as they are.

use async_trait::async_trait;

use super::Sealed;
use crate::{StoreError, Waiver, WaiverChange, WaiverOutcome, Waivers};

#[async_trait]
impl Waivers for Sealed {
    async fn waivers(&self, organization: &str) -> Result<Vec<Waiver>, StoreError> {
        self.inner.waivers(organization).await
    }

    async fn create_waiver(&self, organization: &str, waiver: Waiver) -> Result<WaiverOutcome, StoreError> {
        self.inner.create_waiver(organization, waiver).await
    }

    async fn delete_waiver(&self, organization: &str, id: &str) -> Result<bool, StoreError> {
        self.inner.delete_waiver(organization, id).await
    }

    async fn waiver_changes(&self, limit: u32) -> Result<Vec<WaiverChange>, StoreError> {
        self.inner.waiver_changes(limit).await
    }

    async fn note_waiver_change(&self, change: WaiverChange) -> Result<(), StoreError> {
        self.inner.note_waiver_change(change).await
    }
}
