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
