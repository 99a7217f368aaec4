//! Opening a store makes and migrates nothing unless the caller requests it.
#![allow(clippy::unwrap_used)]

use store::{Open, PostgresStore, SqliteStore, StoreError, StoreUrl};

use super::support::{Engine, Fixture, against_both_engines, fixture};

async fn existing(fixture: &Fixture) -> Result<(), StoreError> {
    let place = fixture.place();
    let url =
        if place.starts_with("postgres:") { StoreUrl::Postgres(place.into()) } else { StoreUrl::Sqlite(place.into()) };
    let store = store::open(&url, Open::Existing, 2).await?;
    store.close().await;
    Ok(())
}

async fn what_is_of_this_version_is_opened(fixture: Fixture) {
    existing(&fixture).await.unwrap();
    fixture.assert_sound().await;
}

async fn an_older_store_is_refused_and_left_as_it_is(fixture: Fixture) {
    fixture.tamper("DELETE FROM _sqlx_migrations WHERE version > 3").await;
    for _ in 0..2 {
        let refused = existing(&fixture).await.unwrap_err().to_string();
        assert!(refused.contains("has schema version 3") && refused.contains("run `longrun migrate`"), "{refused}");
    }
}

async fn a_newer_store_is_refused(fixture: Fixture) {
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)";
    fixture.tamper(&format!("{insert} VALUES (99, 'x', true, '', 0)")).await;
    let refused = existing(&fixture).await.unwrap_err().to_string();
    assert!(refused.contains("schema version 99"), "{refused}");
}

against_both_engines!(
    what_is_of_this_version_is_opened,
    an_older_store_is_refused_and_left_as_it_is,
    a_newer_store_is_refused,
);

#[tokio::test]
async fn no_file_is_made_or_changed_where_there_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("folder/longrun.db");
    let missing = SqliteStore::open_as(&file, Open::Existing).await.err().unwrap();
    assert!(matches!(missing, StoreError::Missing(_)), "{missing:?}");
    assert!(!file.parent().unwrap().exists());
    let empty = folder.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let missing = SqliteStore::open_as(&empty, Open::Existing).await.err().unwrap();
    assert!(matches!(missing, StoreError::Missing(_)), "{missing:?}");
    let other = folder.path().join("other.db");
    std::fs::write(&other, "This is no database, and nobody makes it one.").unwrap();
    let refused = SqliteStore::open_as(&other, Open::Existing).await.err().unwrap();
    assert!(matches!(refused, StoreError::Unusable(_)), "{refused:?}");
    assert_eq!(std::fs::read(&empty).unwrap(), b"");
    assert!(std::fs::read(&other).unwrap().starts_with(b"This is"));
}

#[tokio::test]
async fn no_table_is_made_in_a_database_without_a_store() {
    let url = super::support::empty_database().await;
    let missing = PostgresStore::connect_as(&url, Open::Existing, 2).await.err().unwrap();
    assert!(matches!(missing, StoreError::Missing(_)), "{missing:?}");
    assert!(!PostgresStore::is_there(&url).await.unwrap());
}
