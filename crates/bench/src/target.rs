//! The target of a measurement: a store of either engine, given or created for the run, and direct access to its
//! database.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use store::{Open, Store, StoreUrl};

/// Connections of the store to PostgreSQL; as many as a server uses.
pub const STORE_CONNECTIONS: u32 = 16;

/// Access to the store's database that bypasses the store.
#[derive(Clone, Debug)]
pub enum Database {
    /// The file.
    Sqlite(PathBuf),
    /// Connections without the store's settings.
    Postgres(PgPool),
}

/// A database that can be measured.
pub struct Target {
    /// Where it is.
    pub url: StoreUrl,
    /// The access that bypasses the store.
    pub database: Database,
    version: String,
    // Removed when the run has ended.
    _folder: Option<tempfile::TempDir>,
}

impl Target {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When it cannot be reached or created.
    pub async fn prepare(given: Option<StoreUrl>) -> anyhow::Result<Target> {
        let mut folder = None;
        let url = match given {
            Some(url) => url,
            None => {
                let made = tempfile::tempdir()?;
                let url = StoreUrl::Sqlite(made.path().join("bench.db"));
                folder = Some(made);
                url
            }
        };
        let (database, version) = match &url {
            StoreUrl::Sqlite(path) => {
                let memory = SqlitePool::connect("sqlite::memory:").await?;
                let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&memory).await?;
                (Database::Sqlite(path.clone()), version)
            }
            StoreUrl::Postgres(text) => {
                // One for every client of the plain table: one connection per client is the best case for it.
                let pool = PgPoolOptions::new().max_connections(72).connect(text.expose()).await;
                let pool = pool.with_context(|| format!("cannot reach {url}"))?;
                let version = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&pool).await?;
                (Database::Postgres(pool), version)
            }
        };
        Ok(Target { url, database, version, _folder: folder })
    }

    /// Opens the store.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn open(&self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(store::open(&self.url, Open::Create, STORE_CONNECTIONS).await?)
    }

    /// `sqlite` or `postgres`.
    pub fn engine(&self) -> &'static str {
        match self.database {
            Database::Sqlite(_) => "sqlite",
            Database::Postgres(_) => "postgres",
        }
    }

    /// The version of the engine.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The settings of the database that decide on durability and caching.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settings(&self) -> anyhow::Result<Value> {
        let Database::Postgres(pool) = &self.database else {
            return Ok(json!({ "journal_mode": "wal", "synchronous": "full" }));
        };
        let mut settings = serde_json::Map::new();
        for name in ["fsync", "full_page_writes", "synchronous_commit", "shared_buffers", "max_wal_size"] {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(pool).await?;
            settings.insert(name.to_owned(), value.into());
        }
        Ok(settings.into())
    }
}

/// A connection to the file of a store that bypasses the store.
///
/// # Errors
/// Those of SQLite.
pub async fn sqlite(path: &std::path::Path) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(std::time::Duration::from_secs(60));
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
}
