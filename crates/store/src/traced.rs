//! The distributed traces that operations belong to, which are kept with what few operations have ([`crate::Details`]).

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{OperationId, TraceContext};

use crate::StoreError;

/// Traces of operations: where they were asked for, and how far their spans were sent.
#[async_trait]
pub trait Traced: Send + Sync {
    /// In which traces, and below which spans, these operations of an organization were created; those that belong to
    /// none, and those that do not exist, are left out. For servers that take part in traces alone: no other asks.
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<HashMap<OperationId, TraceContext>, StoreError>;

    /// Forgets a consumer of the feed that nobody reads for any more, so that nothing is kept for it. One that is
    /// registered again begins anew.
    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError>;
}

/// A context as it was stored. What a newer version wrote and this one cannot read is none.
pub(crate) fn context(stored: &str) -> Option<TraceContext> {
    stored.parse().ok()
}
