//! Moves an embedded store into an empty PostgreSQL store: organizations with their numbers, operations with their
//! history, labels and unique keys, how far bulk operations are, schedules, what is paused, limits, tokens, the audit
//! log, records of evidence, idempotency keys.
//!
//! In bounded batches, one organization each, so that neither memory nor a transaction grows with the store. A move
//! that is interrupted leaves a target that is not empty and is refused the next time.

use serde_json::{Map, Value};

use crate::{Census, PostgresStore, Report, SqliteStore, Store, StoreError};

/// Rows that one transaction takes at most.
const BATCH_ROWS: usize = 1_000;
/// Bytes that one transaction takes at most (one more row may exceed it).
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The tables, each with the order that keeps an organization's rows together.
const TABLES: &[(&str, &str)] = &[
    ("organizations", "organization_id"),
    ("organization_limits", "organization_id"),
    ("audit", "organization_id, seq"),
    ("pauses", "organization_id"),
    ("tokens", "organization_id"),
    ("schedules", "organization_id, seq"),
    ("views", "organization_id"),
    ("waivers", "organization_id"),
    ("statistics", "organization_id"),
    ("statistics_origins", "organization_id"),
    ("evidence", "organization_id"),
    ("evidence_totals", "organization_id"),
    ("idempotency_keys", "organization_id"),
    ("details", "organization_id, seq"),
    ("labels", "organization_id, key"),
    ("unique_keys", "organization_id, unique_key"),
    ("settled", "organization_id, seq"),
    ("concurrency_keys", "organization_id, key"),
    ("active", "organization_id, seq"),
    ("bulk_progress", "organization_id"),
    ("events", "organization_id, rowid"),
];

/// Why a store was not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Nothing was written.
    #[error("the target is not empty: it has {organizations} organizations with {operations} operations")]
    NotEmpty {
        /// How many it has.
        organizations: usize,
        /// How many it has.
        operations: u64,
    },
    /// Everything was written, and yet the numbers differ: another process wrote to one of the stores, or there is a
    /// defect.
    #[error("the target differs from the source (source and target): {}", .0.join("; "))]
    Differs(Vec<String>),
    /// Everything was written, and yet the target is not sound: there is a defect.
    #[error("the target is not sound: {}", findings(.0))]
    Unsound(Report),
    /// One of the stores failed; the target may hold a part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn findings(report: &Report) -> String {
    report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Rows of one organization that wait to be written.
#[derive(Default)]
struct Batch {
    organization: String,
    rows: Vec<Map<String, Value>>,
    bytes: usize,
}

impl Batch {
    async fn write(&mut self, to: &PostgresStore, table: &'static str) -> Result<u64, StoreError> {
        let Batch { organization, rows, .. } = std::mem::take(self);
        if rows.is_empty() {
            return Ok(0);
        }
        let count = rows.len() as u64;
        to.import(table, &organization, rows).await?;
        Ok(count)
    }
}

/// Moves everything, compares the numbers and examines the target; answers what was moved. No server may use either
/// store. Attempts that a dead server left behind in the source are released there first. The source keeps its rows.
///
/// `progress` is called from time to time with how many rows were written.
///
/// # Errors
/// [`TransferError`].
pub async fn transfer(
    from: &SqliteStore,
    to: &PostgresStore,
    mut progress: impl FnMut(u64),
) -> Result<Census, TransferError> {
    let target = to.snapshot().await?.census;
    if !target.is_empty() {
        let (organizations, operations) = (target.organizations.len(), target.total());
        return Err(TransferError::NotEmpty { organizations, operations });
    }
    from.hand_back_all().await?;
    let census = from.census().await?;
    for (table, order) in TABLES {
        let mut batch = Batch::default();
        from.for_each_row::<StoreError>(table, order, async |row, bytes| {
            let organization = row.get("organization_id").and_then(Value::as_str).unwrap_or_default();
            if organization != batch.organization || batch.rows.len() >= BATCH_ROWS || batch.bytes >= BATCH_BYTES {
                progress(batch.write(to, table).await?);
                organization.clone_into(&mut batch.organization);
            }
            batch.bytes += bytes;
            batch.rows.push(row);
            Ok(())
        })
        .await?;
        progress(batch.write(to, table).await?);
    }
    to.settle_import(census.organizations.keys()).await?;
    let differences = census.differences(&to.snapshot().await?.census);
    if !differences.is_empty() {
        return Err(TransferError::Differs(differences));
    }
    let report = to.doctor().await?;
    if report.findings.is_empty() { Ok(census) } else { Err(TransferError::Unsound(report)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// Tables that follow from the rest, and are built anew.
    const DERIVED: &[&str] = &["counters", "project_counters", "counted_resources", "bucket_times"];
    /// Tables that concern the old store alone: attempts are released before, people sign in anew, and the change log
    /// begins anew.
    const OWN: &[&str] = &["leases", "sessions", "changes", "change_floors", "change_marks"];

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_transfer_knows_every_table_of_the_schema() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("longrun.db");
        SqliteStore::open(&file).await.unwrap().close().await;
        let connection = rusqlite::Connection::open(&file).unwrap();
        let sql = "SELECT t.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
            WHERE t.type = 'table' AND c.name = 'organization_id'";
        let mut tables = connection.prepare(sql).unwrap();
        let found: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let moved = TABLES.iter().map(|(table, _)| *table);
        let known: Vec<&str> = moved.chain([DERIVED, OWN].concat()).collect();
        let known_once: BTreeSet<&str> = known.iter().copied().collect();
        assert_eq!(known.len(), known_once.len(), "each table is moved in one way");
        let found = found.iter().map(String::as_str).collect();
        assert_eq!(known_once, found, "say of each table with organizations how it is moved");
    }
}
