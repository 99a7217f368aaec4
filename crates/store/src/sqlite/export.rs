//! Exports of a whole embedded store: a copy of the file, and its rows on their way to another engine.

use std::path::Path;
use std::time::Duration;

use operations::{Refusal, Status};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::statement::query;
use super::{SqliteStore, connections, rows};
use crate::batch::ChangeLogWrite;
use crate::rows::damaged;
use crate::{Census, LeaseRef, NamedEvidence, Store, StoreError};

/// Rows that are read before they are taken.
const READ_AHEAD: usize = 256;

impl SqliteStore {
    /// Writes a copy of the database to a file that does not exist yet. A server may keep writing meanwhile: the copy
    /// is one snapshot, and is on disk when this returns.
    ///
    /// By `VACUUM INTO`, which is as consistent as SQLite's backup interface and leaves no free pages in the copy.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file exists or cannot be written.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let unusable = |error: &dyn std::fmt::Display| StoreError::Unusable(format!("{}: {error}", path.display()));
        let name = path.to_str().ok_or_else(|| unusable(&"the path is not Unicode"))?;
        let (from, name) = (self.path.clone(), name.to_owned());
        // Not within one of our snapshots: the statement has its own.
        let copied = tokio::task::spawn_blocking(move || {
            query("VACUUM INTO ?1").bind(name).execute(&connections::writing(&from)?).map(drop)
        });
        copied.await.map_err(|error| unusable(&error))??;
        // SQLite leaves it to the operating system when the copy reaches the disk.
        let file = std::fs::File::open(path).map_err(|error| unusable(&error))?;
        file.sync_all().map_err(|error| unusable(&error))
    }

    /// The contents of the store, in numbers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn census(&self) -> Result<Census, StoreError> {
        self.readers.read(census).await
    }

    /// The evidence that is stored, by organization.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn named_evidence(&self) -> Result<Vec<NamedEvidence>, StoreError> {
        let sql = "SELECT organization_id, digest, size FROM evidence WHERE state = 2 ORDER BY organization_id, digest";
        self.readers
            .read(move |connection| {
                let named = |row: &super::statement::Row| {
                    Ok(NamedEvidence {
                        organization: row.try_get(0)?,
                        digest: row.try_get::<String>(1)?.parse().map_err(|_| damaged("digest"))?,
                        size: row.try_get::<i64>(2)?.unsigned_abs(),
                    })
                };
                query(sql).fetch_all(connection)?.iter().map(named).collect()
            })
            .await
    }

    /// Makes the cursors that were given before unknown, for a store that was restored: changes that came after the
    /// backup had the same numbers as those that will come. No server may be using the store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Database`].
    pub async fn renew_position_key(&self) -> Result<(), StoreError> {
        self.write_change_log(ChangeLogWrite::RenewPositionKey).await.map(drop)
    }

    /// Ends every attempt under way as an orderly stop of its server would: back to pending, not charged. No server may
    /// be using the store.
    ///
    /// # Errors
    /// Those of [`Store::release`].
    pub async fn hand_back_all(&self) -> Result<u64, StoreError> {
        let sql = "SELECT l.organization_id, a.id, l.fence FROM leases l
            JOIN active a ON a.organization_id = l.organization_id AND a.seq = l.seq";
        let read = move |connection: &Connection| query(sql).fetch_all(connection)?.iter().map(rows::lease).collect();
        let leases: Vec<LeaseRef> = self.readers.read(read).await?;
        let count = leases.len() as u64;
        let results: Vec<Result<(), Refusal>> = self.release(leases.clone()).await?;
        debug_assert!(results.iter().all(Result::is_ok), "nobody else settles them: {results:?}");
        // Attempts that were asked to stop are not released but end.
        self.lose(leases.into_iter().map(|lease| (lease, Duration::ZERO)).collect()).await?;
        Ok(count)
    }

    /// Calls `take` with every row of a table, in the order given, each with its number of bytes.
    pub(crate) async fn for_each_row<E: From<StoreError>>(
        &self,
        table: &'static str,
        order: &'static str,
        mut take: impl AsyncFnMut(Map<String, Value>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let (rows, mut read) = mpsc::channel(READ_AHEAD);
        let reading = self.readers.read(move |connection| {
            let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY {order}"))?;
            let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                // The receiver of the rows has failed, and says why.
                if rows.blocking_send(object(&names, row)?).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let taking = async {
            while let Some((row, bytes)) = read.recv().await {
                take(row, bytes).await?;
            }
            drop(read);
            Ok::<_, E>(())
        };
        let (read, taken) = tokio::join!(reading, taking);
        taken?;
        Ok(read?)
    }
}

/// A row as JSON: bytes in hexadecimal, everything else as it is.
fn object(names: &[String], row: &Row<'_>) -> Result<(Map<String, Value>, usize), StoreError> {
    let (mut object, mut bytes) = (Map::new(), 0);
    for (index, name) in names.iter().enumerate() {
        let value = match row.get_ref(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::from(number),
            ValueRef::Real(number) => Value::from(number),
            ValueRef::Text(_) => Value::from(row.get::<_, String>(index)?),
            ValueRef::Blob(blob) => Value::from(blob.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        };
        bytes += name.len() + value.as_str().map_or(8, str::len);
        object.insert(name.clone(), value);
    }
    Ok((object, bytes))
}

fn census(connection: &Connection) -> Result<Census, StoreError> {
    let mut census = Census::default();
    let sql = "SELECT organization_id, next_seq FROM organizations WHERE deleted < 2";
    for row in query(sql).fetch_all(connection)? {
        census.organizations.insert(row.try_get(0)?, row.try_get(1)?);
    }
    // Recounted, not read from the counters: those are checked, too.
    let sql = "SELECT organization_id, kind, status, count(*) AS n FROM (
            SELECT organization_id, kind, status FROM active UNION ALL
            SELECT organization_id, kind, status FROM settled)
        GROUP BY organization_id, kind, status";
    for row in query(sql).fetch_all(connection)? {
        let key: (String, String, Status) = (row.try_get(0)?, row.try_get(1)?, rows::status(&row)?);
        census.operations.insert(key, row.try_get::<i64>(3)?.unsigned_abs());
    }
    for (table, count) in [
        ("tokens", &mut census.tokens),
        // Evidence that is being stored or removed is nowhere else yet, or no longer.
        ("evidence WHERE state = 2", &mut census.evidence),
        ("idempotency_keys", &mut census.idempotency_keys),
    ] {
        *count =
            query(format!("SELECT count(*) FROM {table}")).fetch_one(connection)?.try_get::<i64>(0)?.unsigned_abs();
    }
    Ok(census)
}
