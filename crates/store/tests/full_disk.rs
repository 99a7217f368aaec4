//! The disk is full, and then it is not: no restart of longrun is needed, and everything acknowledged is there.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, OperationId, PageRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{IdempotencyKey, PostgresStore, SqliteStore, Store, StoreError};
use testkit::{Cluster, Disk, Durability};

use super::load::{Load, must};
use super::support::foreign;

/// The process that this is set for is the one whose disk is full: its value is the folder of the store.
const FOLDER: &str = "LONGRUN_TEST_FULL_DISK";

/// A full disk that an ordinary user can have: no file of this process may grow any more. It must be a process of its
/// own, which does not die of the signal that comes with it.
#[test]
fn writes_succeed_again_when_there_is_space_again() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(fills(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["full_disk::writes_succeed_again_when_there_is_space_again", "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

async fn create(store: &SqliteStore, bytes: usize) -> Result<OperationId, StoreError> {
    let new = NewOperation { input: "x".repeat(bytes), ..NewOperation::of_kind("scan") };
    Ok(store.create("acme", vec![new], None).await?[0].id)
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

async fn fills(folder: &Path) {
    let store = SqliteStore::open(&folder.join("longrun.db")).await.unwrap();
    let mut created = vec![create(&store, 10).await.unwrap()];
    for round in 0..3 {
        let sizes = ["longrun.db", "longrun.db-wal"].map(|name| folder.join(name).metadata().unwrap().len());
        // Not at the end of a page, so that in the end less is written than was requested.
        limit_files(Some(sizes[0].max(sizes[1]) + 50_000 + 100 * round));
        let refused = loop {
            match create(&store, 20_000).await {
                Ok(id) => created.push(id),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        // The little that is left goes too; then the server says that it is not ready, and keeps saying so.
        while store.ping().await.is_ok() {}
        let crowd = futures_util::future::join_all((0..20).map(|_| create(&store, 20_000))).await;
        for refused in &crowd {
            assert!(is_unavailable(refused), "{refused:?}");
        }
        let pinged = store.ping().await;
        assert!(is_unavailable(&pinged), "{pinged:?}");
        assert_eq!(total(&store).await, created.len() as u64, "what is there can be read");

        limit_files(None);
        store.ping().await.unwrap();
        created.push(create(&store, 20_000).await.unwrap());
        assert_eq!(store.doctor().await.unwrap().findings, []);
    }
    let access = Access::organization("acme");
    let found = store.get_many(&access, &created).await.unwrap();
    assert!(found.iter().all(Option::is_some), "what was acknowledged is there");
    assert_eq!(total(&store).await, created.len() as u64, "and what was refused is not");
    store.close().await;
    let store = SqliteStore::open(&folder.join("longrun.db")).await.unwrap();
    assert_eq!(total(&store).await, created.len() as u64);
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

async fn total(store: &SqliteStore) -> u64 {
    let page = PageRequest { page: 0, page_size: 1 };
    store.list(&Access::organization("acme"), &Filter::default(), page).await.unwrap().page.total_count
}

/// A caller that retries is answered within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

/// The disk of PostgreSQL fills up under load: it refuses what needs space, and in the end, when there is none for its
/// log, it stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_disk_of_postgresql_fills_up() {
    let disk = Disk::new().unwrap();
    let cluster = Cluster::start_on(&disk, Durability::Full).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 8).await.unwrap();
    let load = Load::start(&store);
    let (globex, every) = (Access::organization("globex"), Filter::default());
    let page = PageRequest { page: 0, page_size: 1 };
    // A refused creation is retried, with its key.
    let create = async |number: usize| {
        let key = IdempotencyKey { key: number.to_string(), fingerprint: [7; 32] };
        let new = NewOperation { input: "x".repeat(100_000), ..NewOperation::of_kind("export") };
        store.create("globex", vec![new], Some(key)).await
    };
    let total = async || must(|| store.list(&globex, &every, page)).await.page.total_count;
    let mut large = 0;
    let mut recoveries = Vec::new();
    for round in 0..4 {
        load.has_created(load.created() + 50).await;
        disk.fill().unwrap();
        // A large input does not fit into the space that the database has.
        let refused = loop {
            match create(large).await {
                Ok(_) => large += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        assert!(refused.to_string().contains("No space left on device"), "{refused}");
        assert_eq!(total().await, large as u64, "what is there can be read");
        if round % 2 == 1 {
            // Each fills the rest of a file of the log.
            let foreign = foreign(&url).await;
            while sqlx::query("SELECT pg_logical_emit_message(false, 'longrun', 'test'), pg_switch_wal()")
                .execute(&foreign)
                .await
                .is_ok()
            {}
            cluster.has_ended().unwrap();
            disk.free().unwrap();
            cluster.start_again().unwrap();
        } else {
            disk.free().unwrap();
        }
        let begun = Instant::now();
        must(|| store.ping()).await;
        must(|| create(large)).await;
        large += 1;
        recoveries.push(begun.elapsed());
    }
    let acknowledged = load.end().await;
    assert_eq!(total().await, large as u64, "what was refused is not there");
    let run = "the disk of PostgreSQL filled up under load";
    testkit::report(run, recoveries.len(), acknowledged + large, &testkit::spread(&recoveries));
    assert!(recoveries.iter().all(|recovery| *recovery < RECOVERS_WITHIN), "{recoveries:?}");
}

/// A page that the disk does not give must not end the process: with mapped memory, a signal would end it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_cannot_be_read_is_an_error_of_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longrun.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for _ in 0..200 {
        create(&store, 4_000).await.unwrap();
    }
    // Into the file, from which a new process reads.
    store.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(total(&store).await, 200);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8 * 4_096).unwrap();
    let page = PageRequest { page: 0, page_size: 100 };
    let access = Access::organization("acme");
    let read = store.list(&access, &operations::Filter::default(), page).await;
    assert!(read.is_err(), "what is gone is not answered: {read:?}");
    let refused = store.doctor().await.unwrap_err();
    assert!(refused.to_string().contains("is damaged"), "{refused}");
}
