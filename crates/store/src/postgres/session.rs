//! Connections: their settings, and the schema that they find.

use std::sync::LazyLock;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};

use super::connections::{Connections, Limits};
use super::error::unavailable;
use crate::error::cause;
use crate::{StoreError, open};

/// The migrations; a new one is added at the end.
pub(crate) static MIGRATIONS: LazyLock<Migrator> = open::migrations![
    "0001_initial",
    "0002_inbox",
    "0003_counters",
    "0004_queue",
    "0005_steering",
    "0006_changes",
    "0007_pauses",
    "0008_notices_and_secrets",
    "0009_deletion",
    "0010_queue_heads",
    "0011_queue_and_resources",
    "0012_instance",
    "0013_audit",
    "0014_details",
    "0015_search",
    "0016_concurrency_and_bulk",
    "0017_schedules",
    "0018_statistics_and_views",
    "0019_sessions",
    "0020_traces",
    "0022_evidence",
    "0023_waivers",
    "0024_schedules_of_operations",
    "0025_coarsest_counters",
    "0026_seen_policies",
    "0027_cells",
    "0028_claims",
    "0029_movers",
    "0030_inbox_of_cells",
];
/// The name of the store in errors; callers know which one it is.
const PLACE: &str = "it";

/// The name by which the database knows our sessions.
const APPLICATION: &str = "longrun server";
/// The name of servers from before migration 0011, which do not count resources.
pub(super) const APPLICATION_BEFORE: &str = "longrun";

/// How long a change of the schema waits for a table: all other transactions wait behind it.
const LOCK_TIMEOUT: &str = "10s";
/// The advisory lock that is held while the schema is changed; an arbitrary number that nobody else uses.
const MIGRATING: i64 = 0x6c6f_6e67_7275_6e00;

/// The reason why the store cannot be opened. Refusals of the database itself (a user, a password, a database, a right)
/// must be put right by an operator; other errors may pass.
pub(super) fn refused(error: sqlx::Error) -> StoreError {
    match StoreError::Database(error).or_unavailable() {
        StoreError::Database(error @ sqlx::Error::Database(_)) => StoreError::Unusable(cause(&error)),
        StoreError::Database(error) => unavailable(error),
        away => away,
    }
}

/// The settings of every connection.
pub(super) fn options(url: &str, limits: Limits) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|error| StoreError::Unusable(format!("the URL of the database is not valid: {error}")))?;
    let statement = limits.statement.as_millis().to_string();
    Ok(options.application_name(APPLICATION).options([
        ("search_path", "longrun"),
        ("statement_timeout", statement.as_str()),
        ("idle_in_transaction_session_timeout", &statement),
        // The database notices a server of ours that has vanished without closing its connection, and releases its
        // locks.
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "60000"),
        ("synchronous_commit", "on"),
        // Statements are shaped for their indexes: the planner is not to weigh anything else against them, least of all
        // by the statistics of a queue, which is empty one moment and long the next. A plan stays for the session's
        // life. Index scans, unlike bitmap scans, also leave a mark on dead entries that later ones pass over.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        // A compiled plan would cost more than it runs.
        ("jit", "off"),
        // Nothing is looked up twice in a statement.
        ("enable_memoize", "off"),
    ]))
}

/// A connection for work that may take long and is seldom done: its statements have no time limit.
pub(super) async fn unhurried(pool: &Connections) -> Result<PgConnection, StoreError> {
    let mut connection = pool.connect().await.map_err(refused)?;
    connection.execute("SET statement_timeout = 0").await.map_err(unavailable)?;
    Ok(connection)
}

/// Fails when Citus has distributed the tables: many statements fail there, and others count wrong.
pub(super) async fn refuse_distributed(pool: &Connections) -> Result<(), StoreError> {
    let catalog: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('pg_dist_partition')::text").fetch_one(pool).await.map_err(refused)?;
    let Some(catalog) = catalog else { return Ok(()) };
    // The name as PostgreSQL gives it, quoted where it must be.
    let sql = format!(
        "SELECT c.relname::text FROM {catalog} p JOIN pg_class c ON c.oid = p.logicalrelid
         WHERE c.relnamespace = to_regnamespace('longrun') ORDER BY 1"
    );
    let tables: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.map_err(refused)?;
    if tables.is_empty() {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "its tables are distributed by Citus, which longrun cannot use: make them ordinary tables again (undistribute_table): {}",
        tables.join(", ")
    )))
}

/// Makes the schema and applies migrations, one server at a time. The others wait for as long as it takes.
pub(super) async fn migrate(pool: &Connections) -> Result<(), StoreError> {
    let mut connection = unhurried(pool).await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATING).execute(&mut connection).await.map_err(unavailable)?;
    // Set from here on, so that a server may wait for another one's migration, but a migration does not wait for
    // anybody's transaction.
    let set = format!("SET lock_timeout = '{LOCK_TIMEOUT}'");
    connection.execute(sqlx::AssertSqlSafe(set)).await.map_err(unavailable)?;
    // Servers of older versions do not take the lock, and two of them may both find it missing; the loser's complaint
    // is that it is there.
    let made = connection.execute("CREATE SCHEMA IF NOT EXISTS longrun").await;
    if let Err(error) = made {
        let exists =
            error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "23505" || code == "42P06");
        if !exists {
            return Err(refused(error));
        }
    }
    MIGRATIONS.run(&mut connection).await.map_err(|error| open::refused(PLACE, &error))?;
    // The lock goes with the connection.
    connection.close().await.map_err(unavailable)
}

/// Accepts only a database that has a store of this version, and changes nothing in it.
pub(super) async fn accept(pool: &Connections) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(refused)?;
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('longrun.' || $1) IS NOT NULL")
        .bind(open::APPLIED)
        .fetch_one(&mut *connection)
        .await
        .map_err(refused)?;
    if !is_there {
        return Err(StoreError::Missing(
            "in the database: it has no schema \"longrun\" with longrun's tables".to_owned(),
        ));
    }
    open::accept_current(&mut *connection, &MIGRATIONS, PLACE).await?;
    connection.release();
    Ok(())
}
