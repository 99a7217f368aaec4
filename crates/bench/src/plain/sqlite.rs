//! The plain table in SQLite.

use std::path::Path;

use operations::{Access, Filter, PageRequest, Projects};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Row};

use super::{INDEXES, Taken, now, sample};

const TABLE: &str = "
    CREATE TABLE operations (
        id BLOB PRIMARY KEY, organization_id TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        status INTEGER NOT NULL, resource_type TEXT NOT NULL, resource_id TEXT NOT NULL, project_id TEXT NOT NULL,
        project_version_id TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER,
        error_message TEXT NOT NULL, output TEXT NOT NULL) WITHOUT ROWID";

const COPY: &str = "
    INSERT INTO operations
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, finished_at, error_message, output FROM store.settled
        UNION ALL
        SELECT id, organization_id, seq, kind, status, resource_type, resource_id, project_id, project_version_id,
            created_at, started_at, NULL, '', '' FROM store.active";

/// A plain table in a file beside the store's.
#[derive(Clone)]
pub struct PlainSqlite {
    pool: SqlitePool,
}

impl PlainSqlite {
    /// The rows of the store's file in a plain table.
    pub async fn copy(store: &Path) -> anyhow::Result<PlainSqlite> {
        let plain = PlainSqlite::open(store, "plain.db").await?;
        sqlx::query("ATTACH ?1 AS store").bind(store.display().to_string()).execute(&plain.pool).await?;
        plain.make(Some(COPY)).await?;
        sqlx::query("DETACH store").execute(&plain.pool).await?;
        Ok(plain)
    }

    pub async fn empty(store: &Path) -> anyhow::Result<PlainSqlite> {
        let plain = PlainSqlite::open(store, "plain-queue.db").await?;
        plain.make(None).await?;
        Ok(plain)
    }

    /// One connection: with more, writers would only wait for each other, and less fairly.
    async fn open(store: &Path, extension: &str) -> anyhow::Result<PlainSqlite> {
        let path = store.with_extension(extension);
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("temp_store", "memory")
            .pragma("mmap_size", "1073741824");
        // Clients queue for it as long as it takes.
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(std::time::Duration::from_secs(600));
        Ok(PlainSqlite { pool: pool.connect_with(options).await? })
    }

    async fn make(&self, rows: Option<&str>) -> anyhow::Result<()> {
        for statement in [TABLE].into_iter().chain(rows).chain(INDEXES).chain(["ANALYZE"]) {
            sqlx::query(AssertSqlSafe(statement.replace("{table}", "operations"))).execute(&self.pool).await?;
        }
        Ok(())
    }

    pub async fn create(&self) -> anyhow::Result<uuid::Uuid> {
        let id = uuid::Uuid::now_v7();
        // The number after the last one: served by plain_by_age, and safe because there is one writer.
        sqlx::query(
            "INSERT INTO operations (id, organization_id, seq, kind, status, resource_type, resource_id, project_id,
                 project_version_id, created_at, error_message, output)
             VALUES (?1, ?2, (SELECT coalesce(max(seq), 0) + 1 FROM operations WHERE organization_id = ?2), ?3, 1, ?4,
                 ?5, ?6, '', ?7, '', '')",
        )
        .bind(id.as_bytes().as_slice())
        .bind(sample::ORGANIZATION)
        .bind(sample::KIND)
        .bind(sample::RESOURCE_TYPE)
        .bind(sample::RESOURCE_ID)
        .bind(sample::PROJECT)
        .bind(now())
        .execute(&self.pool)
        .await?;
        Ok(id)
    }

    pub async fn claim(&self) -> anyhow::Result<Option<Taken>> {
        let taken: Option<Vec<u8>> = sqlx::query_scalar(
            "UPDATE operations SET status = 2, started_at = ?2 WHERE id = (
                 SELECT id FROM operations WHERE organization_id = ?1 AND status = 1 ORDER BY seq LIMIT 1)
             RETURNING id",
        )
        .bind(sample::ORGANIZATION)
        .bind(now())
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|id| uuid::Uuid::from_slice(&id)).transpose()?.map(Taken))
    }

    pub async fn complete(&self, taken: Taken) -> anyhow::Result<()> {
        sqlx::query("UPDATE operations SET status = 3, finished_at = ?2, output = ?3 WHERE id = ?1")
            .bind(taken.0.as_bytes().as_slice())
            .bind(now())
            .bind(sample::OUTPUT)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

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
