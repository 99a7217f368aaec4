//! Errors on the way to the database.

use crate::StoreError;
use crate::error::cause;

/// As an error of the database: the transaction may succeed when it is tried again (40001, a serialisation failure).
#[derive(Debug, thiserror::Error)]
#[error("another transaction was faster")]
pub(super) struct Overtaken;

impl sqlx::error::DatabaseError for Overtaken {
    fn message(&self) -> &str {
        "another transaction was faster"
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some("40001".into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> sqlx::error::ErrorKind {
        sqlx::error::ErrorKind::Other
    }
}

/// Every error on the way to the database means that it is unavailable.
pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    tracing::warn!(error = &error as &dyn std::error::Error, "the database cannot be reached");
    StoreError::Unavailable(format!("the database cannot be reached: {}", cause(&error)))
}
