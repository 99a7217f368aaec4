//! The traces that operations belong to: see [`crate::traced`].

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{OperationId, TraceContext};
use uuid::Uuid;

use super::{PostgresStore, consumers, rows};
use crate::StoreError;
use crate::traced::{Traced, context};

/// Served by active_by_id, settled_by_id and the primary key of details.
const CONTEXTS: &str = "
    SELECT w.id, d.trace FROM unnest($2::uuid[]) AS w (id)
    CROSS JOIN LATERAL (
        (SELECT seq FROM active WHERE id = w.id AND organization_id = $1 OFFSET 0)
        UNION ALL
        (SELECT seq FROM settled WHERE id = w.id AND organization_id = $1 OFFSET 0)) AS o
    CROSS JOIN LATERAL (SELECT trace FROM details WHERE organization_id = $1 AND seq = o.seq OFFSET 0) AS d
    WHERE d.trace IS NOT NULL";

#[async_trait]
impl Traced for PostgresStore {
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<HashMap<OperationId, TraceContext>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(rows::uuid).collect();
        let found = sqlx::query_as::<_, (Uuid, String)>(CONTEXTS).bind(organization).bind(ids).fetch_all(&self.pool);
        let found = found.await.map_err(|error| StoreError::from(error).or_unavailable())?;
        let contexts = found
            .into_iter()
            .filter_map(|(id, stored)| Some((OperationId::from_bytes(*id.as_bytes()), context(&stored)?)));
        Ok(contexts.collect())
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        consumers::end(&self.pool, consumer).await.map_err(StoreError::or_unavailable)
    }
}
