//! A damaged page of an embedded store: longrun says what is affected, and a backup mends it.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use longrun_client::NewOperation;
use tempfile::tempdir;

use crate::common::{admin_token, free_address, run_in};
use crate::load::{KIND, Load, serve};

const PAGE: u64 = 4_096;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn doctor_tells_what_is_damaged_and_a_backup_mends_it() {
    let (folder, address) = (tempdir().unwrap(), free_address());
    let server = serve(folder.path(), &address);
    let load = Load::new(&address, &admin_token(&format!("sqlite:{}", folder.path().join("longrun.db").display())));
    let like = |_: &mut rand::rngs::StdRng| NewOperation { kind: KIND.to_owned(), ..NewOperation::default() };
    let creator = tokio::spawn(Arc::clone(&load).create(1, Duration::ZERO, like));
    while load.count() < 200 {
        tokio::task::yield_now().await;
    }
    load.stop.cancel();
    creator.await.unwrap();
    run_in(folder.path(), &["backup", "copy", "--data-dir", "."]).expect(0);
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
    run_in(folder.path(), &["doctor", "--data-dir", "."]).expect(0);

    // The root of the table that holds operations until they end.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("longrun.db"));
    let database = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let root: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'active'")
        .fetch_one(&database)
        .await
        .unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&database).await.unwrap();
    database.close().await;
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("longrun.db")).unwrap();
    file.write_all_at(&[0xff; PAGE as usize], (root as u64 - 1) * PAGE).unwrap();
    drop(file);

    let told = run_in(folder.path(), &["doctor", "--data-dir", "."]).expect(1);
    println!("{}", told.stdout);
    told.shows("table active: Tree ")
        .shows("must hold: the file is sound; if it is not, restore a backup")
        .shows("cannot be checked, since the file is damaged (must hold: no operation is both active and settled)");
    run_in(folder.path(), &["restore", "copy", "--data-dir", "again"]).expect(0);
    run_in(folder.path(), &["doctor", "--data-dir", "again"]).expect(0).shows(&format!("{} operations", load.count()));
}
