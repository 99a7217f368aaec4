//! The store's error: what a caller can do about it.

/// Why a store did not do what was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The same idempotency key was used for another request. Use a new key.
    #[error("the idempotency key was used for another request within the last 24 hours")]
    IdempotencyConflict,
    /// The store cannot be reached or is too busy now. Try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database cannot be used by this program. An operator must act.
    #[error("the database cannot be used: {0}")]
    Unusable(String),
    /// A statement failed: a defect, a full disk or a damaged file. An operator must look.
    #[error("the store failed")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// The same error, or [`StoreError::Unavailable`] when it says that the database is away.
    pub(crate) fn or_unavailable(self) -> StoreError {
        let StoreError::Database(error) = self else { return self };
        let away = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => true,
            // Class 08: connection exceptions; 57P: the server is shutting down or starting; 53: out of resources.
            sqlx::Error::Database(database) => database
                .code()
                .is_some_and(|code| ["08", "57P", "53", "25006"].iter().any(|class| code.starts_with(class))),
            _ => false,
        };
        if away {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database is away");
            return StoreError::Unavailable("the database cannot be reached".to_owned());
        }
        StoreError::Database(error)
    }

    /// A deadlock or a serialisation failure: the transaction may succeed when it is tried again.
    pub(crate) fn lost_against_another(&self) -> bool {
        let StoreError::Database(sqlx::Error::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some("40001" | "40P01"))
    }
}
