//! Releasing attempts for a while.

use std::time::Duration;

use async_trait::async_trait;
use operations::Refusal;

use super::SqliteStore;
use crate::postpone::Postpone;
use crate::{LeaseRef, Store, StoreError};

#[async_trait]
impl Postpone for SqliteStore {
    async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        let at = self.now();
        let events = leases.into_iter().map(|lease| lease.into_postponement(at, delay)).collect();
        let results = self.transition(events).await?;
        Ok(results.into_iter().map(|result| result.map(|_| ())).collect())
    }
}
