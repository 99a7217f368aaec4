//! Opening a store by the command line: what makes one, what is said of one that cannot be used, who may read its files.

use std::path::Path;

use crate::common::{Ran, run_in};
use store::{PostgresStore, SqliteStore, Store};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

/// Commands that work on a store which is there.
const COMMANDS: [&[&str]; 9] = [
    &["token", "list"],
    &["token", "revoke", "tok_1"],
    &["doctor"],
    &["backup", "copy"],
    &["organizations", "list"],
    &["organizations", "pause", "acme"],
    &["kinds", "list"],
    &["kinds", "pause", "scan"],
    &["kinds", "resume", "scan"],
];

const CREATE: [&str; 9] =
    ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "--store"];

fn on(folder: &Path, command: &[&str], store: &str) -> Ran {
    run_in(folder, &[command, &["--store", store]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_meant_to_make_a_store_makes_one() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    for command in COMMANDS {
        let ran = on(folder.path(), command, "sqlite:typo/longrun.db").expect(2);
        ran.says("there is no store at typo/longrun.db").says("`longrun migrate`");
        on(folder.path(), command, &database).expect(2).says("there is no store in the database");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    assert!(!PostgresStore::is_there(&database).await.unwrap());

    for store in ["sqlite:longrun.db", &database] {
        let create = [&CREATE[..], &[store, "-o", "id"]].concat();
        let first = run_in(folder.path(), &create).expect(0).says("a new one was made");
        assert!(first.line().starts_with("lrn_"));
        assert_eq!(run_in(folder.path(), &create).expect(0).stderr, "", "it is there now");
        on(folder.path(), &["doctor"], store).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_older_version_is_migrated_by_migrate_only() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let file = folder.path().join("longrun.db");
    SqliteStore::open(&file).await.unwrap().close().await;
    PostgresStore::connect(&database, 2).await.unwrap().close().await;
    // The schema is there already; what is missing is that this was noted.
    let forget = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let sqlite = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(forget).execute(&sqlite).await.unwrap();
    sqlite.close().await;
    let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
    let postgres = sqlx::PgPool::connect_with(options.options([("search_path", "longrun")])).await.unwrap();
    sqlx::query(forget).execute(&postgres).await.unwrap();
    postgres.close().await;

    for store in ["sqlite:longrun.db", &database] {
        for command in COMMANDS {
            on(folder.path(), command, store).expect(2).says("run `longrun migrate`");
        }
        run_in(folder.path(), &[&CREATE[..], &[store]].concat()).expect(2).says("run `longrun migrate`");
    }
}
