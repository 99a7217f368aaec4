//! What leaves an embedded store whole: a copy of the file, and its rows on their way to another engine.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use operations::{Refusal, Status};
use serde_json::{Map, Value};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};

use super::{SqliteStore, rows};
use crate::{Census, LeaseRef, Store, StoreError};

impl SqliteStore {
    /// Writes a copy of the database to a file that does not exist yet. A server may go on writing meanwhile: the copy is
    /// one snapshot, and is on disk when this returns.
    ///
    /// By `VACUUM INTO`, which is as consistent as SQLite's backup interface and leaves no free pages in the copy.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file exists or cannot be written.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let unusable = |error: &dyn std::fmt::Display| StoreError::Unusable(format!("{}: {error}", path.display()));
        let name = path.to_str().ok_or_else(|| unusable(&"the path is not Unicode"))?;
        sqlx::query("VACUUM INTO ?1").bind(name).execute(&self.writing).await?;
        // SQLite leaves it to the operating system when the copy reaches the disk.
        let file = std::fs::File::open(path).map_err(|error| unusable(&error))?;
        file.sync_all().map_err(|error| unusable(&error))
    }

    /// What it holds, in numbers.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn census(&self) -> Result<Census, StoreError> {
        census(&self.readers).await
    }

    /// Ends every attempt under way as an orderly stop of its server would: back to pending, not charged. No server may
    /// be using the store.
    ///
    /// # Errors
    /// Those of [`Store::release`].
    pub async fn hand_back_all(&self) -> Result<u64, StoreError> {
        let sql = "SELECT l.organization_id, a.id, l.fence FROM leases l
            JOIN active a ON a.organization_id = l.organization_id AND a.seq = l.seq";
        let found = sqlx::query(sql).fetch_all(&self.readers).await?;
        let leases = found.iter().map(rows::lease).collect::<Result<Vec<LeaseRef>, StoreError>>()?;
        let count = leases.len() as u64;
        let results: Vec<Result<(), Refusal>> = self.release(leases.clone()).await?;
        debug_assert!(results.iter().all(Result::is_ok), "nobody else settles them: {results:?}");
        // What was asked to stop is not handed back but ends.
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
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(&self.readers);
        while let Some(row) = found.try_next().await.map_err(StoreError::from)? {
            let (row, bytes) = object(&row)?;
            take(row, bytes).await?;
        }
        Ok(())
    }
}

/// A row as JSON: bytes in hexadecimal, everything else as it is.
fn object(row: &SqliteRow) -> Result<(Map<String, Value>, usize), StoreError> {
    let (mut object, mut bytes) = (Map::new(), 0);
    for column in row.columns() {
        let (index, name) = (column.ordinal(), column.name());
        let raw = row.try_get_raw(index)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "INTEGER" => Value::from(row.try_get::<i64, _>(index)?),
                "BLOB" => {
                    let blob: &[u8] = row.try_get(index)?;
                    Value::from(blob.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
                }
                _ => Value::from(row.try_get::<String, _>(index)?),
            }
        };
        bytes += name.len() + value.as_str().map_or(8, str::len);
        object.insert(name.to_owned(), value);
    }
    Ok((object, bytes))
}

async fn census(readers: &SqlitePool) -> Result<Census, StoreError> {
    let mut snapshot = readers.begin().await?;
    let mut census = Census::default();
    let sql = "SELECT organization_id, next_seq FROM organizations WHERE deleted < 2";
    for row in sqlx::query(sql).fetch_all(&mut *snapshot).await? {
        census.organizations.insert(row.try_get(0)?, row.try_get(1)?);
    }
    // Recounted, not read from the counters: those are among what is checked.
    let sql = "SELECT organization_id, kind, status, count(*) AS n FROM (
            SELECT organization_id, kind, status FROM active UNION ALL
            SELECT organization_id, kind, status FROM settled)
        GROUP BY organization_id, kind, status";
    for row in sqlx::query(sql).fetch_all(&mut *snapshot).await? {
        let key: (String, String, Status) = (row.try_get(0)?, row.try_get(1)?, rows::status(&row)?);
        census.operations.insert(key, row.try_get::<i64, _>(3)?.unsigned_abs());
    }
    for (table, count) in [
        ("tokens", &mut census.tokens),
        ("evidence", &mut census.evidence),
        ("idempotency_keys", &mut census.idempotency_keys),
    ] {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        *count = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *snapshot).await?.unsigned_abs();
    }
    snapshot.commit().await?;
    Ok(census)
}
