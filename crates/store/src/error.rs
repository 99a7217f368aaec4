//! The store's error: what a caller can do about it.

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::Exceeded;

/// The codes with which SQLite fails for an outside reason that may pass: 5 and 6, others have the database locked; 10,
/// the disk fails; 13, it is full; 14, a file cannot be opened, for want of file descriptors perhaps.
const PASSING: [i32; 5] = [5, 6, 10, 13, 14];
/// The codes that SQLite gives for a damaged file: 11, the content is malformed; 26, it is not a database.
const DAMAGED: [i32; 2] = [11, 26];

/// Why a store did not carry out a request. Nothing was changed, except that after [`StoreError::Unavailable`] a write
/// may have been carried out whole: its answer was lost. Creations are found again by their idempotency key.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The same idempotency key was used for another request. Use a new key.
    #[error("the idempotency key was used for another request within the last 24 hours")]
    IdempotencyConflict,
    /// The cursor was not given by this store, or the changes that followed it were removed already. Read the
    /// operations themselves and continue from the end of the change log.
    #[error("the changes that followed this cursor are no longer known")]
    PositionUnknown,
    /// The operations that the idempotency key created were removed since, so that the first answer cannot be given
    /// again; and they are not created again, since the caller that removed them wants them gone. Use a new key.
    #[error("the operation that the idempotency key was used for within the last 24 hours was deleted")]
    IdempotencyGone,
    /// An operation that has not ended has the unique key, and the caller that creates may not see it.
    #[error("the unique key is in use by an operation that has not ended and that this caller may not see")]
    UniqueKeyInUse,
    /// The organization is deleted, or is being deleted: nothing is created in it.
    #[error("the organization is deleted")]
    OrganizationGone,
    /// The organization has, or creates, as much as it may. [`Exceeded::retry_after`] says when to try again.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// The store cannot be reached or is too busy now. Try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// There is no store, and the caller did not want it created. The text says where it is missing.
    #[error("there is no store {0}")]
    Missing(String),
    /// The database cannot be used by this program. An operator must act.
    #[error("the database cannot be used: {0}")]
    Unusable(String),
    /// A statement failed: a defect or a damaged file. An operator must look.
    #[error("the store failed")]
    Database(#[source] sqlx::Error),
    /// The same for the embedded database; the text says so when the file is damaged.
    #[error("{}", of_embedded(.0))]
    Embedded(#[source] rusqlite::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let passes = match &error {
            // The primary code is the low byte of SQLite's extended ones.
            sqlx::Error::Database(database) if database.try_downcast_ref::<SqliteError>().is_some() => {
                let code = database.code().and_then(|code| code.parse::<i32>().ok());
                code.is_some_and(|code| PASSING.contains(&(code & 0xff)))
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        if passes { StoreError::Unavailable(error.to_string()) } else { StoreError::Database(error) }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        let code = error.sqlite_error().map(|error| error.extended_code);
        let passes = code.is_some_and(|code| PASSING.contains(&(code & 0xff)));
        if passes { StoreError::Unavailable(error.to_string()) } else { StoreError::Embedded(error) }
    }
}

/// Whether SQLite says that the file is damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| DAMAGED.contains(&(error.extended_code & 0xff)))
}

/// Whether PostgreSQL takes no writes because its transaction numbers are used up, which a vacuum mends; other errors
/// have the same code, so the function that reports the error is compared.
fn has_no_numbers(error: &dyn sqlx::error::DatabaseError) -> bool {
    let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
    routine.is_some_and(|routine| ["GetNewTransactionId", "GetNewMultiXactId"].contains(&routine))
}

fn of_embedded(error: &rusqlite::Error) -> &'static str {
    if is_damage(error) {
        "the file of the store is damaged: `longrun doctor` shows which parts, and a backup must be restored"
    } else {
        "the store failed"
    }
}

impl StoreError {
    /// Whether the file of an embedded store is damaged.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, StoreError::Embedded(error) if is_damage(error))
    }

    /// The same error, or [`StoreError::Unavailable`] when it says that the database is unavailable.
    pub(crate) fn or_unavailable(self) -> StoreError {
        let StoreError::Database(error) = self else { return self };
        let away = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => true,
            // The answer was not PostgreSQL's protocol, or was cut short: a proxy has no server to pass the request on
            // to. An answer that came whole and cannot be read is another error.
            sqlx::Error::Protocol(_) => true,
            // Class 08: connection exceptions; 57P: the server is shutting down or starting; 53: out of resources;
            // 25006: a primary that has become a standby; 57014: a time-out of a statement; 40001, 40P01 and 55P03:
            // other transactions were in the way, again and again.
            sqlx::Error::Database(database) if has_no_numbers(&**database) => true,
            sqlx::Error::Database(database) => database.code().is_some_and(|code| {
                let classes = ["08", "57P", "53", "25006", "25P03", "57014", "40001", "40P01", "55P03"];
                classes.iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        };
        if away {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database is unavailable, too busy or full");
            let reason = match &error {
                sqlx::Error::Database(_) => "the database cannot do this now",
                _ => "the database cannot be reached",
            };
            return StoreError::Unavailable(format!("{reason}: {}", cause(&error)));
        }
        StoreError::Database(error)
    }

    /// A deadlock or a serialisation failure: the transaction may succeed when it is tried again.
    pub(crate) fn lost_against_another(&self) -> bool {
        let StoreError::Database(sqlx::Error::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}

/// What the database or the system says, without the driver's words around it. Holds no password, but perhaps the names
/// of a user, a host and a database: for the command line and the log, never for a client.
pub(crate) fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("no encrypted connection: {error}"),
        sqlx::Error::Configuration(error) => error.to_string(),
        sqlx::Error::Protocol(_) => {
            "what answered does not speak PostgreSQL's protocol, or closed the connection".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_off_is_away_and_what_cannot_be_read_is_not() {
        let away = |error: sqlx::Error| matches!(StoreError::from(error).or_unavailable(), StoreError::Unavailable(_));
        assert!(away(sqlx::Error::Protocol("unexpected response from SSLRequest: 0x00".to_owned())));
        assert!(away(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())));
        assert!(!away(sqlx::Error::Decode("not a number".into())));
        assert!(!away(sqlx::Error::ColumnNotFound("seq".to_owned())));
    }
}
