//! What a power cut, or a disk that lies, leaves of an embedded store: a torn write-ahead log, a damaged page.

use std::path::Path;

use operations::{Access, Filter, NewOperation, OperationId, PageRequest};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use store::{SqliteStore, Store, StoreError};
use tempfile::TempDir;

use super::support::{claim_request, completed};

/// Tears at this number of places, one of them at the very end.
const TEARS: u64 = 60;

/// A store that was not closed, as it lies on the disk when the machine dies.
struct Crashed {
    folder: TempDir,
    /// The acknowledged operations, in order, each with the length that the log had then.
    acknowledged: Vec<(OperationId, usize)>,
}

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("longrun.db-wal")
}

/// Where the log ends: behind the last frame of those that carry the numbers of its head. The file is longer.
fn end_of_log(folder: &Path) -> usize {
    let written = std::fs::read(log(folder)).unwrap();
    let page_size = u32::from_be_bytes(written[8..12].try_into().unwrap()) as usize;
    let frames = written[32..].chunks(24 + page_size);
    32 + frames.take_while(|frame| frame.get(8..16) == Some(&written[16..24])).map(<[u8]>::len).sum::<usize>()
}

/// Creates operations one after the other, brings some to an end, and dies.
async fn crashed(operations: usize) -> Crashed {
    let folder = tempfile::tempdir().unwrap();
    // The log begins anew: the writes that made the tables are in the file.
    SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap().close().await;
    let store = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let mut acknowledged = Vec::new();
    for number in 0..operations {
        let created = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        acknowledged.push((created[0].id, end_of_log(folder.path())));
        if number % 3 == 0 {
            let claimed = store.claim(claim_request(&["scan"], 1)).await.unwrap().remove(0);
            let settlement = store::Settlement {
                lease: claimed.lease,
                outcome: completed("{}"),
                retry_after: std::time::Duration::from_secs(1),
            };
            store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
        }
    }
    let left = tempfile::tempdir().unwrap();
    copy(folder.path(), left.path());
    store.close().await;
    Crashed { folder: left, acknowledged }
}

/// Copies what is on the disk; the index of the log is memory.
fn copy(from: &Path, to: &Path) {
    for name in ["longrun.db", "longrun.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Opens it again: it is sound, and has the first operations of those acknowledged; returns how many.
async fn recovered(folder: &Path, acknowledged: &[(OperationId, usize)]) -> usize {
    let store = SqliteStore::open(&folder.join("longrun.db")).await.unwrap();
    assert_eq!(store.doctor().await.unwrap().findings, []);
    let ids: Vec<OperationId> = acknowledged.iter().map(|(id, _)| *id).collect();
    let found = store.get_many(&Access::organization("acme"), &ids).await.unwrap();
    let there = found.iter().take_while(|operation| operation.is_some()).count();
    assert!(found[there..].iter().all(Option::is_none), "nothing is missing in between");
    let page = PageRequest { page: 0, page_size: 1 };
    let total = store.list(&Access::organization("acme"), &Filter::default(), page).await.unwrap().page.total_count;
    assert_eq!(total, there as u64);
    // It continues from its state.
    store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
    there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_torn_log_loses_nothing_that_was_on_the_disk() {
    let Crashed { folder, acknowledged } = crashed(30).await;
    let whole = end_of_log(folder.path());
    assert!(acknowledged.is_sorted_by_key(|(_, end)| *end), "everything is in the log still");
    let mut random = StdRng::seed_from_u64(15);
    for tear in 0..TEARS {
        let torn = tempfile::tempdir().unwrap();
        copy(folder.path(), torn.path());
        let place = if tear == 0 { whole } else { random.random_range(0..whole) };
        let file = std::fs::OpenOptions::new().write(true).open(log(torn.path())).unwrap();
        file.set_len(place as u64).unwrap();
        drop(file);
        let expected = acknowledged.iter().filter(|(_, end)| *end <= place).count();
        // An operation whose creation was under way may be there, more than was acknowledged.
        let there = recovered(torn.path(), &acknowledged).await;
        assert!((expected..=expected + 1).contains(&there), "torn at {place} of {whole}: {there}, not {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_being_written_when_the_power_went_is_passed_over() {
    let Crashed { folder, acknowledged } = crashed(20).await;
    let mut random = StdRng::seed_from_u64(16);
    for _ in 0..10 {
        let torn = tempfile::tempdir().unwrap();
        copy(folder.path(), torn.path());
        // Frames that were begun: part of a true one, then whatever the disk had there.
        let mut written = std::fs::read(log(torn.path())).unwrap();
        let frame = random.random_range(32..4_000);
        written.truncate(end_of_log(torn.path()));
        written.extend_from_within(32..32 + frame);
        written.extend((0..random.random_range(0..9_000)).map(|_| random.random::<u8>()));
        std::fs::write(log(torn.path()), written).unwrap();
        assert_eq!(recovered(torn.path(), &acknowledged).await, acknowledged.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_page_is_never_answered_and_doctor_says_what_is_affected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longrun.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for _ in 0..50 {
        let new = NewOperation { input: "x".repeat(3_000), ..NewOperation::of_kind("scan") };
        store.create("acme", vec![new; 4], None).await.unwrap();
    }
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
    let page_size = 4_096;
    let sound = std::fs::read(&path).unwrap();
    let pages = sound.len() / page_size;
    let (mut random, mut found) = (StdRng::seed_from_u64(17), 0);
    for _ in 0..20 {
        // Not the first, which says that it is a database.
        let page = random.random_range(1..pages);
        let mut damaged = sound.clone();
        for byte in &mut damaged[page * page_size..(page + 1) * page_size] {
            *byte = random.random();
        }
        std::fs::write(&path, damaged).unwrap();
        let findings = match SqliteStore::open(&path).await {
            Ok(store) => {
                let first = PageRequest { page: 0, page_size: 100 };
                let read = store.list(&Access::organization("acme"), &Filter::default(), first).await;
                if let Err(error) = read {
                    assert!(error.to_string().contains("is damaged: `longrun doctor`"), "{error}");
                }
                let report = store.doctor().await.unwrap_or_else(|error| panic!("page {page}: {error:?}"));
                store.close().await;
                report.findings
            }
            // The part by which the file is opened is damaged: the file is refused by its name.
            Err(error @ StoreError::Unusable(_)) => {
                assert!(error.to_string().contains("longrun.db"), "{error}");
                found += 1;
                continue;
            }
            Err(error) => {
                assert!(error.to_string().contains("is damaged"), "{error:?}");
                found += 1;
                continue;
            }
        };
        let named = |finding: &store::Finding| {
            finding.invariant.starts_with("the file is sound")
                && ["table ", "index "].iter().any(|sort| finding.detail.starts_with(sort))
        };
        if findings.iter().any(named) {
            found += 1;
        } else {
            // A page that nothing uses, or that holds a text and nothing of the structure.
            println!("page {page}: {findings:?}");
        }
        for name in ["longrun.db-wal", "longrun.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
    }
    println!("{found} of 20 damaged pages were reported by name");
    assert!(found >= 15, "all but some that nothing uses, or that hold a part of a text: {found}");
}
