//! Bulk operations: see [`crate::BulkOperations`].

use async_trait::async_trait;
use operations::{OperationId, Timestamp};
use rusqlite::Connection;

use super::resources::Resources;
use super::statement::query;
use super::{SqliteStore, command};
use crate::batch::{Upkeep, Write};
use crate::bulk::not_begun;
use crate::{BulkBatch, BulkOperations, BulkProgress, StoreError};

const FIND: &str = "SELECT progress FROM bulk_progress WHERE organization_id = ?1 AND id = ?2";

const BEGIN: &str = "
    INSERT INTO bulk_progress (organization_id, id, progress)
    SELECT ?1, ?2, json_set(?3, '$.below', seq) FROM active INDEXED BY active_by_id WHERE organization_id = ?1 AND id = ?2
    ON CONFLICT DO NOTHING";

/// The progress of bulk operations that have ended: their results are in their outputs.
const FORGET: &str = "
    DELETE FROM bulk_progress WHERE organization_id = ?1 AND NOT EXISTS (
        SELECT 1 FROM active a INDEXED BY active_by_id WHERE a.organization_id = ?1 AND a.id = bulk_progress.id)";

const WRITE: &str = "UPDATE bulk_progress SET progress = ?3 WHERE organization_id = ?1 AND id = ?2";

fn find(connection: &Connection, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError> {
    let found = query(FIND).bind(organization).bind(id.as_bytes().as_slice()).fetch_optional(connection)?;
    found.map(|row| BulkProgress::of_json(&row.try_get::<String>(0)?)).transpose()
}

/// Begins a bulk operation that has not begun.
pub(super) fn begin(
    connection: &Connection,
    organization: &str,
    id: OperationId,
    total: u64,
) -> Result<u64, StoreError> {
    query(FORGET).bind(organization).execute(connection)?;
    let progress = BulkProgress { total, ..BulkProgress::default() };
    query(BEGIN).bind(organization).bind(id.as_bytes().as_slice()).bind(progress.to_json()).execute(connection)
}

/// Carries out a batch; answers how many operations changed.
pub(super) fn batch(
    connection: &Connection,
    now: Timestamp,
    retain_for_ms: Option<i64>,
    resources: &Resources,
    batch: &BulkBatch,
) -> Result<u64, StoreError> {
    let organization = &batch.access.organization;
    let mut progress = find(connection, organization, batch.id)?.ok_or_else(not_begun)?;
    if progress.below != batch.from {
        return Ok(0);
    }
    let before = progress.changed;
    for id in &batch.ids {
        let outcome = command::command(connection, now, retain_for_ms, resources, &batch.access, *id, batch.command)?;
        progress.count(*id, &outcome);
    }
    progress.below = batch.below;
    query(WRITE)
        .bind(organization)
        .bind(batch.id.as_bytes().as_slice())
        .bind(progress.to_json())
        .execute(connection)?;
    Ok(progress.changed - before)
}

#[async_trait]
impl BulkOperations for SqliteStore {
    async fn begin_bulk(
        &self,
        organization: &str,
        id: OperationId,
        total: u64,
    ) -> Result<Option<BulkProgress>, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::BeginBulk(organization.to_owned(), id, total)).await?;
        self.bulk_progress(organization, id).await
    }

    async fn bulk_progress(&self, organization: &str, id: OperationId) -> Result<Option<BulkProgress>, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| find(connection, &organization, id)).await
    }

    async fn bulk_batch(&self, batch: BulkBatch) -> Result<BulkProgress, StoreError> {
        let (organization, id) = (batch.access.organization.clone(), batch.id);
        self.writer.submit(Write::Upkeep, Upkeep::Bulk(Box::new(batch))).await?;
        self.bulk_progress(&organization, id).await?.ok_or_else(not_begun)
    }
}
