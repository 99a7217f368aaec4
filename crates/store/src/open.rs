//! What opening a store may do: only open one that exists and has this version, unless the caller requests more.

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};

use crate::StoreError;
use crate::error::cause;

/// What a caller wants when there is no store, or one of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An error that says so: nothing is made and nothing is migrated, so that a mistyped name is found and a store
    /// that a server uses is left as it is.
    Existing,
    /// It is created, or brought up to this version.
    Create,
}

/// The table in which the migrations that were applied are noted.
pub(crate) const APPLIED: &str = "_sqlx_migrations";

/// The migrations in the folder `migrations` next to the file that uses this macro, by the names of their files.
///
/// Not `sqlx::migrate!`: its crate of macros brings both databases' drivers along, to be built a second time for the
/// compiler.
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        std::sync::LazyLock::new(|| {
            $crate::open::migrator(&[$(($name, include_str!(concat!("migrations/", $name, ".sql")))),+])
        })
    };
}
pub(crate) use migrations;

/// Migrations from the names of their files, `<version>_<description>`, and their statements.
pub(crate) fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |&(name, sql): &(&'static str, &'static str)| {
        let (version, description) = name.split_once('_').expect("a name has a version and a description");
        let version = version.parse().expect("a version is a number");
        let description = Cow::Owned(description.replace('_', " "));
        let no_transaction = sql.starts_with("-- no-transaction");
        Migration::new(version, description, MigrationType::Simple, sql.into_sql_str(), no_transaction)
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

/// Accepts only a schema of this version; the table of applied migrations exists.
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
        "{place} has schema version {version}, and this longrun needs {needed}: run `longrun migrate` to bring it up to date (servers do the same when they start)"
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crate::{postgres, sqlite};

    #[test]
    fn every_file_of_the_folders_is_a_migration() {
        for (engine, known) in [("sqlite", &*sqlite::MIGRATIONS), ("postgres", &*postgres::MIGRATIONS)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(engine).join("migrations");
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
            let mut files: Vec<String> = files.map(|name| name.into_string().unwrap()).collect();
            files.sort();
            let name = |migration: &sqlx::migrate::Migration| {
                format!("{:04}_{}.sql", migration.version, migration.description.replace(' ', "_"))
            };
            assert_eq!(known.iter().map(name).collect::<Vec<_>>(), files, "{engine}");
        }
    }
}
