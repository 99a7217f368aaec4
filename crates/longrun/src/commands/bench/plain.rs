//! The baseline of `bench pages`: the table that one would write at first, with the indexes that one would add.
//!
//! One row an operation, a status column, five indexes, `COUNT(*)` and `OFFSET`: in the same engine with the same
//! settings, and with the same rows as the store beside it.

use operations::{Access, Filter, PageRequest, Projects};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row};
use std::path::Path;

const SCHEMA: &[&str] = &[
    "CREATE TABLE operations (
        id BLOB PRIMARY KEY, organization_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        status INTEGER NOT NULL, resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, project_id TEXT NOT NULL,
        project_version_id TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,
        error_message TEXT NOT NULL, output TEXT NOT NULL) WITHOUT ROWID",
    "INSERT INTO operations
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, finished_at, error_message, output FROM store.settled
        UNION ALL
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, NULL, '', '' FROM store.active",
    "CREATE INDEX by_age ON operations (organization_id, seq)",
    "CREATE INDEX by_status ON operations (organization_id, status, seq)",
    "CREATE INDEX by_kind ON operations (organization_id, kind, seq)",
    "CREATE INDEX by_resource ON operations (organization_id, resource_type, resource_id, seq)",
    "CREATE INDEX by_project ON operations (organization_id, project_id, seq)",
    "ANALYZE",
];

/// A plain table of operations.
pub struct Plain {
    pool: SqlitePool,
}

impl Plain {
    /// Copies the rows of the store's file into a plain table in a file beside it.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn copy(store: &Path) -> anyhow::Result<Plain> {
        let path = store.with_extension("plain.db");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("mmap_size", "1073741824");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::query("ATTACH ?1 AS store").bind(store.display().to_string()).execute(&pool).await?;
        for statement in SCHEMA {
            sqlx::query(*statement).execute(&pool).await?;
        }
        sqlx::query("DETACH store").execute(&pool).await?;
        Ok(Plain { pool })
    }

    /// Reads one page and the total; answers how many entries and the total, to be compared.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn list(&self, access: &Access, filter: &Filter, page: PageRequest) -> anyhow::Result<(usize, u64)> {
        let mut condition = "organization_id = ?1".to_owned();
        if let Some(status) = filter.status {
            condition += &format!(" AND status = {}", status.number());
        }
        if filter.kind.is_some() {
            condition += " AND kind = ?2";
        }
        if filter.resource.is_some() {
            condition += " AND resource_type = ?3 AND resource_id = ?4";
        }
        let projects = match &access.projects {
            Projects::All => None,
            Projects::Only(projects) => {
                condition += " AND project_id IN (SELECT value FROM json_each(?5))";
                Some(serde_json::to_string(projects)?)
            }
        };
        let mut snapshot = self.pool.begin().await?;
        let mut run = async |sql: String| {
            let resource = filter.resource.as_ref();
            sqlx::query(AssertSqlSafe(sql))
                .bind(&access.organization)
                .bind(filter.kind.as_deref())
                .bind(resource.map(|resource| resource.resource_type.as_str()))
                .bind(resource.map(|resource| resource.resource_id.as_str()))
                .bind(projects.as_deref())
                .bind(page.page_size)
                .bind(i64::try_from(page.offset()).unwrap_or(i64::MAX))
                .fetch_all(&mut *snapshot)
                .await
        };
        let total = run(format!("SELECT count(*) FROM operations WHERE {condition}")).await?;
        let rows =
            run(format!("SELECT * FROM operations WHERE {condition} ORDER BY seq DESC LIMIT ?6 OFFSET ?7")).await?;
        let total: i64 = total[0].try_get(0)?;
        let mut bytes = 0;
        for row in &rows {
            bytes += row.try_get::<&str, _>("output")?.len();
        }
        std::hint::black_box(bytes);
        Ok((rows.len(), total.unsigned_abs()))
    }
}
