//! The disk space of tables and indexes, and how much of it is dead.

use serde::Serialize;
use sqlx::Row;

use super::target::{self, Database, Target};

/// One table with its indexes.
#[derive(Debug, Serialize)]
pub struct Size {
    /// The table; `plain.…` is the baseline's.
    pub table: String,
    /// Live rows.
    pub rows: u64,
    /// Bytes of the table itself, long values included.
    pub table_bytes: u64,
    /// Bytes of its indexes.
    pub index_bytes: u64,
    /// Both, per row; left out for an empty table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_row: Option<u64>,
    /// Row versions that nobody can see any more and that still take space; PostgreSQL only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_rows: Option<u64>,
}

impl Size {
    fn new(table: String, rows: i64, table_bytes: i64, index_bytes: i64, dead_rows: Option<i64>) -> Size {
        let (rows, table_bytes, index_bytes) =
            (rows.unsigned_abs(), table_bytes.unsigned_abs(), index_bytes.unsigned_abs());
        Size {
            bytes_per_row: (rows > 0).then(|| (table_bytes + index_bytes) / rows),
            dead_rows: dead_rows.map(i64::unsigned_abs),
            table,
            rows,
            table_bytes,
            index_bytes,
        }
    }
}

/// Dead rows according to the statistics; each connection reports its share when it has been idle for a second.
const POSTGRES: &str = "
    SELECT CASE schemaname WHEN 'longrun' THEN relname ELSE 'plain.' || relname END, schemaname || '.' || relname,
        pg_table_size(relid), pg_indexes_size(relid), n_dead_tup
    FROM pg_stat_user_tables
    WHERE schemaname IN ('longrun', 'longrun_plain') AND relname <> '_sqlx_migrations' AND pg_table_size(relid) > 8192
    ORDER BY pg_total_relation_size(relid) DESC";

/// Tables and their indexes by pages, from the virtual table dbstat, which reads the whole file.
const SQLITE: &str = "
    SELECT m.tbl_name,
        sum(CASE WHEN m.type = 'table' THEN s.pgsize ELSE 0 END),
        sum(CASE WHEN m.type = 'index' THEN s.pgsize ELSE 0 END)
    FROM dbstat s JOIN sqlite_master m ON m.name = s.name
    WHERE s.aggregate = TRUE AND m.tbl_name <> '_sqlx_migrations'
    GROUP BY m.tbl_name ORDER BY sum(s.pgsize) DESC";

/// Sizes of the store's tables and, where they are in the same database, of the plain tables.
///
/// # Errors
/// Those of the database.
pub async fn measure(target: &Target) -> anyhow::Result<Vec<Size>> {
    match &target.database {
        Database::Postgres(pool) => {
            let mut sizes = Vec::new();
            for row in sqlx::query(POSTGRES).fetch_all(pool).await? {
                let n = |column: usize| row.try_get::<i64, _>(column);
                // The number of rows in the statistics is an estimate that a VACUUM may double.
                let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {}", row.try_get::<&str, _>(1)?));
                let rows = sqlx::query_scalar(count).fetch_one(pool).await?;
                sizes.push(Size::new(row.try_get(0)?, rows, n(2)?, n(3)?, Some(n(4)?)));
            }
            Ok(sizes)
        }
        Database::Sqlite(path) => {
            let mut sizes = Vec::new();
            let beside = ["plain.db", "plain-queue.db"].map(|extension| path.with_extension(extension));
            for (file, prefix) in [(path.clone(), ""), (beside[0].clone(), "plain."), (beside[1].clone(), "plain.")] {
                if !file.exists() {
                    continue;
                }
                let pool = target::sqlite(&file).await?;
                for row in sqlx::query(SQLITE).fetch_all(&pool).await? {
                    let table: String = row.try_get(0)?;
                    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM \"{table}\""));
                    let rows: i64 = sqlx::query_scalar(count).fetch_one(&pool).await?;
                    let (bytes, indexes): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
                    if bytes + indexes > 64 * 1024 {
                        sizes.push(Size::new(format!("{prefix}{table}"), rows, bytes, indexes, None));
                    }
                }
                pool.close().await;
            }
            Ok(sizes)
        }
    }
}
