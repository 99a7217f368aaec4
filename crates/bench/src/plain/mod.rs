//! The baseline: the table that one would write first, with the indexes that one would add.
//!
//! One row per operation, a status column, a column for the one label, six indexes; `COUNT(*)` and `OFFSET` for pages,
//! one transaction per step for lifecycles, `SKIP LOCKED` where the engine has it. It is in the same engine with the
//! same settings.

mod postgres;
mod sqlite;

use operations::{Access, Filter, PageRequest};

use super::target::{Database, Target};

/// The indexes, for both engines.
const INDEXES: [&str; 6] = [
    "CREATE INDEX plain_by_age ON {table} (organization_id, seq)",
    "CREATE INDEX plain_by_status ON {table} (organization_id, status, seq)",
    "CREATE INDEX plain_by_kind ON {table} (organization_id, kind, seq)",
    "CREATE INDEX plain_by_resource ON {table} (organization_id, resource_type, resource_id, seq)",
    "CREATE INDEX plain_by_project ON {table} (organization_id, project_id, seq)",
    "CREATE INDEX plain_by_team ON {table} (organization_id, team, seq) WHERE team IS NOT NULL",
];

/// A plain table of operations.
#[derive(Clone)]
pub enum Plain {
    /// In a file next to the store's.
    Sqlite(sqlite::PlainSqlite),
    /// In a schema next to the store's.
    Postgres(postgres::PlainPostgres),
}

/// An operation of the plain table that was claimed.
#[derive(Clone, Copy, Debug)]
pub struct Taken(uuid::Uuid);

impl Plain {
    /// A plain table with the store's rows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn copy(target: &Target, rows: u64) -> anyhow::Result<Plain> {
        Ok(match &target.database {
            Database::Sqlite(path) => Plain::Sqlite(sqlite::PlainSqlite::copy(path).await?),
            Database::Postgres(pool) => Plain::Postgres(postgres::PlainPostgres::copy(pool.clone(), rows).await?),
        })
    }

    /// A plain table without rows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn empty(target: &Target) -> anyhow::Result<Plain> {
        Ok(match &target.database {
            Database::Sqlite(path) => Plain::Sqlite(sqlite::PlainSqlite::empty(path).await?),
            Database::Postgres(pool) => Plain::Postgres(postgres::PlainPostgres::empty(pool.clone()).await?),
        })
    }

    /// Reads one page and the total; returns the number of entries and the total, for comparison. A further `condition`
    /// is in SQL that both engines understand; empty for none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        access: &Access,
        filter: &Filter,
        condition: &str,
        page: PageRequest,
    ) -> anyhow::Result<(usize, u64)> {
        match self {
            Plain::Sqlite(plain) => plain.list(access, filter, condition, page).await,
            Plain::Postgres(plain) => plain.list(access, filter, condition, page).await,
        }
    }

    /// Counts by groups of columns; returns the number of groups and the total.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count(&self, access: &Access, condition: &str, columns: &str) -> anyhow::Result<(usize, u64)> {
        let condition = if condition.is_empty() { String::new() } else { format!(" AND {condition}") };
        let counts = match self {
            Plain::Sqlite(plain) => plain.count(access, &condition, columns).await?,
            Plain::Postgres(plain) => plain.count(access, &condition, columns).await?,
        };
        Ok((counts.len(), counts.into_iter().map(i64::unsigned_abs).sum()))
    }

    /// Creates one operation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn create(&self) -> anyhow::Result<uuid::Uuid> {
        match self {
            Plain::Sqlite(plain) => plain.create().await,
            Plain::Postgres(plain) => plain.create().await,
        }
    }

    /// Claims the oldest pending operation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim(&self) -> anyhow::Result<Option<Taken>> {
        match self {
            Plain::Sqlite(plain) => plain.claim().await,
            Plain::Postgres(plain) => plain.claim().await,
        }
    }

    /// Completes a claimed operation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn complete(&self, taken: Taken) -> anyhow::Result<()> {
        match self {
            Plain::Sqlite(plain) => plain.complete(taken).await,
            Plain::Postgres(plain) => plain.complete(taken).await,
        }
    }
}

/// Milliseconds since the epoch.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The fields of every operation that is created.
mod sample {
    pub const ORGANIZATION: &str = "bench";
    pub const KIND: &str = "bench";
    pub const RESOURCE_TYPE: &str = "evidence";
    pub const RESOURCE_ID: &str = "image-1";
    pub const PROJECT: &str = "project-01";
    pub const OUTPUT: &str = super::super::load::OUTPUT;
}
