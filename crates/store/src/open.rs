//! What opening a store may do: nothing but open one that is there and of this version, unless it was asked for more.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::StoreError;
use crate::error::cause;

/// What a caller wants where there is no store, or one of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An error that says so: nothing is made and nothing is migrated, so that a mistyped name is found and a store
    /// under a server is left as it is.
    Existing,
    /// It is made, or brought up to this version.
    Create,
}

/// The table in which the migrations that were applied are noted.
pub(crate) const APPLIED: &str = "_sqlx_migrations";

/// Accepts a schema only that is of this version; the table of what was applied is there.
pub(crate) async fn accept_current(
    connection: &mut impl Migrate,
    known: &Migrator,
    place: &str,
) -> Result<(), StoreError> {
    let applied = connection.list_applied_migrations(APPLIED).await.map_err(|error| refused(place, &error))?;
    if let Some(unknown) = applied.iter().find(|applied| !known.version_exists(applied.version)) {
        return Err(newer(place, unknown.version));
    }
    if known.iter().all(|migration| applied.iter().any(|applied| applied.version == migration.version)) {
        return Ok(());
    }
    let (version, needed) =
        (applied.last().map_or(0, |applied| applied.version), known.iter().last().map_or(0, |newest| newest.version));
    Err(StoreError::Unusable(format!(
        "{place} has schema version {version}, and this longrun needs {needed}: run `longrun migrate`, which brings it there (servers do the same when they start)"
    )))
}

/// Why the migrations could not be applied.
pub(crate) fn refused(place: &str, error: &MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => newer(place, *version),
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            StoreError::Unusable(format!("{place} cannot be migrated: {}", cause(error)))
        }
        other => StoreError::Unusable(format!("{place}: {other}")),
    }
}

fn newer(place: &str, version: i64) -> StoreError {
    StoreError::Unusable(format!(
        "{place} has schema version {version}, which this longrun does not know: use the newer longrun that wrote it"
    ))
}
