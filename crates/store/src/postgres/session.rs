//! Connections: how they are set, the pool of them, and the schema that they find.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};

use super::ALIVE;
use super::writer::unavailable;
use crate::error::cause;
use crate::{StoreError, open};

static MIGRATIONS: Migrator = sqlx::migrate!("src/postgres/migrations");
/// How the store is called in errors; which one it is, callers know.
const PLACE: &str = "it";

/// How long a caller waits for a connection before the store is unavailable to it.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// No statement of a request may run longer; what takes longer is a defect or a database in trouble.
const STATEMENT_TIMEOUT: &str = "30s";

/// Up to so many connections to the database at `url`.
pub(super) async fn pool(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    let options = options(url)?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A round trip before each use would be dear; one that was used a moment ago is alive.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > ALIVE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options.clone())
        .await;
    match pool {
        Ok(pool) => Ok(pool),
        // The pool tries again and again, and forgets why.
        Err(sqlx::Error::PoolTimedOut) => {
            match tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options)).await {
                Ok(Err(error)) => Err(refused(error)),
                Ok(Ok(_)) | Err(_) => Err(refused(sqlx::Error::PoolTimedOut)),
            }
        }
        Err(error) => Err(refused(error)),
    }
}

/// Why the store cannot be opened. What the database itself refuses (a user, a password, a database, a right) is to be put right by an
/// operator; the rest may pass.
pub(super) fn refused(error: sqlx::Error) -> StoreError {
    match StoreError::Database(error).or_unavailable() {
        StoreError::Database(error @ sqlx::Error::Database(_)) => StoreError::Unusable(cause(&error)),
        StoreError::Database(error) => unavailable(error),
        away => away,
    }
}

/// What every connection is set to.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|error| StoreError::Unusable(format!("the URL of the database is not valid: {error}")))?;
    Ok(options.application_name("longrun").options([
        ("search_path", "longrun"),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
        ("synchronous_commit", "on"),
        // Statements are shaped for their indexes: nothing else is to be weighed against them, least of all by the
        // statistics of a queue, which is empty one moment and long the next. A plan holds for the session's life. Index
        // scans, unlike bitmap scans, also leave a mark on dead entries that later ones pass over.
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        // A compiled plan would cost more than it runs.
        ("jit", "off"),
    ]))
}

/// Makes the schema and applies migrations; sqlx takes an advisory lock, so that one server does it.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    // Two servers that start at once may both find it missing; the loser's complaint is that it is there.
    let made = connection.execute("CREATE SCHEMA IF NOT EXISTS longrun").await;
    if let Err(error) = made {
        let exists =
            error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "23505" || code == "42P06");
        if !exists {
            return Err(refused(error));
        }
    }
    MIGRATIONS.run(&mut *connection).await.map_err(|error| open::refused(PLACE, &error))
}

/// Accepts a database only that has a store of this version, and changes nothing about it.
pub(super) async fn accept(pool: &PgPool) -> Result<(), StoreError> {
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
    open::accept_current(&mut *connection, &MIGRATIONS, PLACE).await
}
