//! The import of rows from another engine into a PostgreSQL store. And the snapshots and counts by which backups are
//! made and checked.

use operations::Status;
use serde_json::{Map, Value};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Row};

use super::changes;
use super::concurrency;
use super::counters::{self, Changes, Counted};
use super::error::unavailable;
use super::session::refused;
use super::tx::Tx;
use super::{PostgresStore, rows, session};
use crate::rows::damaged;
use crate::{Census, NamedEvidence, StoreError};

/// In the embedded store, the rows of the queue are part of `active`.
const QUEUE: &str = "
    INSERT INTO queue (organization_id, kind, priority, seq, due_at)
    SELECT organization_id, kind, priority, seq, due_at FROM json_populate_recordset(NULL::active, $1::json)
    WHERE status = 1 AND (concurrency_key IS NULL OR due_at IS NOT NULL)";

/// An operation that has a place there waits for one here, until places are given once all rows have been imported.
const SLOTS: &str = "
    INSERT INTO concurrency_slots (organization_id, seq, key, kind, priority, state)
    SELECT organization_id, seq, concurrency_key, kind, priority, CASE WHEN due_at IS NULL THEN 0 ELSE 2 END
    FROM json_populate_recordset(NULL::active, $1::json) WHERE concurrency_key IS NOT NULL";

/// A snapshot that `pg_dump` can be given, and what is in it. It ends when it is dropped.
#[derive(Debug)]
pub struct Snapshot {
    /// What `pg_dump --snapshot` takes.
    pub id: String,
    /// The contents of the snapshot.
    pub census: Census,
    connection: PgConnection,
}

impl Snapshot {
    /// The evidence that is stored in it, by organization.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn named_evidence(&mut self) -> Result<Vec<NamedEvidence>, StoreError> {
        let sql = "SELECT organization_id, digest, size FROM evidence WHERE state = 2 ORDER BY organization_id, digest";
        let rows = sqlx::query(sql).fetch_all(&mut self.connection).await.map_err(unavailable)?;
        let named = |row: &PgRow| {
            Ok(NamedEvidence {
                organization: row.try_get(0)?,
                digest: row.try_get::<String, _>(1)?.parse().map_err(|_| damaged("digest"))?,
                size: row.try_get::<i64, _>(2)?.unsigned_abs(),
            })
        };
        rows.iter().map(named).collect()
    }
}

impl PostgresStore {
    /// Whether the database has a store already, even an empty one. Creates nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn is_there(url: &str) -> Result<bool, StoreError> {
        let mut connection = PgConnection::connect(url).await.map_err(refused)?;
        let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'longrun')")
            .fetch_one(&mut connection)
            .await;
        connection.close().await.map_err(unavailable)?;
        found.map_err(unavailable)
    }

    /// Takes a snapshot and counts what it holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let snapshot = async {
            let mut connection = self.pool.connect().await?;
            let mut tx = Tx::snapshot(&mut connection).await?;
            // Counting many rows, and the program that uses the snapshot, may take longer than the statement of a
            // request may.
            for setting in ["SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"] {
                sqlx::query(setting).execute(&mut *tx).await?;
            }
            let id = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *tx).await?;
            let census = census(&mut tx).await?;
            tx.leave_open();
            Ok::<_, StoreError>(Snapshot { id, census, connection })
        };
        snapshot.await.map_err(StoreError::or_unavailable)
    }

    /// Puts rows of one organization into a table, with their counts. Operations must be in the order of their numbers.
    pub(crate) async fn import(
        &self,
        table: &'static str,
        organization: &str,
        rows: Vec<Map<String, Value>>,
    ) -> Result<(), StoreError> {
        let mut counts = Changes::default();
        if matches!(table, "active" | "settled") {
            for row in &rows {
                count(&mut counts, row)?;
            }
        }
        let rows = Value::Array(rows.into_iter().map(|row| Value::Object(converted(row))).collect());
        let import = async {
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            let mut transaction = Tx::begun(&mut connection).await?;
            let sql = format!("INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1::json)");
            let rows = rows.to_string();
            sqlx::query(AssertSqlSafe(sql)).bind(&rows).execute(&mut *transaction).await?;
            if table == "active" {
                sqlx::query(QUEUE).bind(&rows).execute(&mut *transaction).await?;
                sqlx::query(SLOTS).bind(&rows).execute(&mut *transaction).await?;
            }
            counts.write(&mut transaction, organization).await?;
            transaction.commit().await?;
            connection.release();
            Ok::<_, StoreError>(())
        };
        self.pool.within(import).await.map_err(StoreError::or_unavailable)
    }

    /// Folds the imported deltas, and updates the planner's statistics.
    pub(crate) async fn settle_import(&self, organizations: impl Iterator<Item = &String>) -> Result<(), StoreError> {
        for organization in organizations {
            self.admit_imported(organization).await?;
            counters::fold(&self.pool, organization).await.map_err(StoreError::or_unavailable)?;
            changes::begin_anew(&self.pool, organization).await.map_err(unavailable)?;
        }
        let mut connection = session::unhurried(&self.pool).await?;
        for table in ["active", "queue", "settled", "counters", "project_counters"] {
            sqlx::query(AssertSqlSafe(format!("ANALYZE {table}")))
                .execute(&mut connection)
                .await
                .map_err(unavailable)?;
        }
        connection.close().await.map_err(unavailable)?;
        Ok(())
    }
}

impl PostgresStore {
    /// Gives the places of concurrency keys to the first of the imported operations.
    async fn admit_imported(&self, organization: &str) -> Result<(), StoreError> {
        let admit = async {
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            let mut transaction = Tx::begun(&mut connection).await?;
            concurrency::admit_all(&mut transaction, organization).await?;
            transaction.commit().await?;
            connection.release();
            Ok::<_, StoreError>(())
        };
        self.pool.within(admit).await.map_err(StoreError::or_unavailable)
    }
}

fn count(counts: &mut Changes, row: &Map<String, Value>) -> Result<(), StoreError> {
    let damaged = || StoreError::Unusable("a row of the source has no number, kind or status".to_owned());
    let text = |column: &str| row.get(column).and_then(Value::as_str).ok_or_else(damaged);
    let number = |column: &str| row.get(column).and_then(Value::as_i64).ok_or_else(damaged);
    let status = Status::from_number(number("status")?).ok_or_else(damaged)?;
    // No resource is counted yet in a store that is being filled.
    let of = Counted { seq: number("seq")?, project_id: text("project_id")?, kind: text("kind")?, resource: None };
    counts.add(&of, status, 1);
    Ok(())
}

/// A row of the embedded store in the form of this one.
fn converted(mut row: Map<String, Value>) -> Map<String, Value> {
    for (column, value) in &mut row {
        let Value::String(text) = value else { continue };
        *value = match column.as_str() {
            // Bytes came in hexadecimal; a uuid can be read from that directly.
            "hash" | "fingerprint" | "waiting" | "running" => Value::from(format!("\\x{text}")),
            // Arrays are JSON texts there.
            "scopes" | "projects" | "organizations" | "ids" | "labels" | "columns" => {
                serde_json::from_str(text).unwrap_or_default()
            }
            "output" | "error_message" | "message" => Value::from(rows::text_in(std::mem::take(text))),
            _ => continue,
        };
    }
    row
}

async fn census(connection: &mut PgConnection) -> Result<Census, StoreError> {
    let mut census = Census::default();
    let sql = "SELECT organization_id, next_seq FROM organizations WHERE deleted < 2";
    for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
        census.organizations.insert(row.try_get(0)?, row.try_get(1)?);
    }
    // Recounted, not read from the counters: those are among the things that are checked.
    let sql = "SELECT organization_id, kind, status, count(*) AS n FROM (
            SELECT organization_id, kind, status FROM active UNION ALL
            SELECT organization_id, kind, status FROM settled) AS operation
        GROUP BY organization_id, kind, status";
    for row in sqlx::query(sql).fetch_all(&mut *connection).await? {
        let key: (String, String, Status) = (row.try_get(0)?, row.try_get(1)?, rows::status(&row)?);
        census.operations.insert(key, row.try_get::<i64, _>(3)?.unsigned_abs());
    }
    for (table, count) in [
        ("tokens", &mut census.tokens),
        // Evidence that is just being stored or removed is nowhere else yet, or no longer.
        ("evidence WHERE state = 2", &mut census.evidence),
        ("idempotency_keys", &mut census.idempotency_keys),
    ] {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        *count = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *connection).await?.unsigned_abs();
    }
    Ok(census)
}
