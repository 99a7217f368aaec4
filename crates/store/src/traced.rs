//! The distributed traces that operations belong to, which are kept with the other rare details of operations
//! ([`crate::Details`]).

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{OperationId, TraceContext};

use crate::StoreError;

/// Traces of operations: where the operations were created, and how far their spans were sent.
#[async_trait]
pub trait Traced: Send + Sync {
    /// In which traces, and below which spans, these operations of an organization were created; those that belong to
    /// no trace, and those that do not exist, are left out. Only servers that take part in traces call it.
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<HashMap<OperationId, TraceContext>, StoreError>;

    /// Forgets a consumer of the change log for which no process reads any more, so that nothing is kept for it. One
    /// that is registered again begins anew.
    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError>;
}

/// A context as it was stored; `None` for one that a newer version wrote and this one cannot read.
pub(crate) fn context(stored: &str) -> Option<TraceContext> {
    stored.parse().ok()
}
