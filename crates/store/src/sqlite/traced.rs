//! The traces that operations belong to: see [`crate::traced`].

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{OperationId, TraceContext};
use rusqlite::OptionalExtension as _;

use super::SqliteStore;
use crate::StoreError;
use crate::batch::ChangeLogWrite;
use crate::traced::{Traced, context};

/// Served by active_by_id, settled_by_id and the primary key of details.
const CONTEXT: &str = "
    SELECT d.trace FROM (
        SELECT seq FROM active INDEXED BY active_by_id WHERE organization_id = ?1 AND id = ?2
        UNION ALL
        SELECT seq FROM settled INDEXED BY settled_by_id WHERE organization_id = ?1 AND id = ?2) AS o
    CROSS JOIN details d ON d.organization_id = ?1 AND d.seq = o.seq
    WHERE d.trace IS NOT NULL";

#[async_trait]
impl Traced for SqliteStore {
    async fn trace_contexts(
        &self,
        organization: &str,
        ids: &[OperationId],
    ) -> Result<HashMap<OperationId, TraceContext>, StoreError> {
        let (organization, ids) = (organization.to_owned(), ids.to_vec());
        let read = move |connection: &rusqlite::Connection| {
            let mut statement = connection.prepare_cached(CONTEXT)?;
            let mut found = HashMap::new();
            for id in ids {
                let stored: Option<String> =
                    statement.query_row((&organization, id.as_bytes()), |row| row.get(0)).optional()?;
                found.extend(stored.as_deref().and_then(context).map(|context| (id, context)));
            }
            Ok(found)
        };
        self.readers.read(read).await
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError> {
        self.write_change_log(ChangeLogWrite::Unregister(consumer.to_owned())).await.map(drop)
    }
}
