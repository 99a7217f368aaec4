//! The traces that operations belong to bypass the seal: they have no texts of callers.

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{OperationId, TraceContext};

use super::Sealed;
use crate::StoreError;
use crate::traced::Traced;

#[async_trait]
impl Traced for Sealed {
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<HashMap<OperationId, TraceContext>, StoreError> {
        self.inner.trace_contexts(organization, ids).await
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        self.inner.forget_consumer(consumer).await
    }
}
