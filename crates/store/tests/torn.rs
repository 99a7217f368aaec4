//! What a power cut, or a disk that lies, leaves of an embedded store: what was synced, a torn write-ahead log, a damaged
//! page. And that PostgreSQL is asked to sync, too.

use std::path::Path;
use std::process::Command;

use operations::{Access, Filter, NewOperation, OperationId, Outcome, PageRequest, Status};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use store::{
    Digest, EvidenceRecords as _, Limits, NewEvidence, NewToken, OperationCommand, Pausable, PostgresStore, Scope,
    Settlement, SqliteStore, Store, StoreError,
};
use tempfile::TempDir;
use testkit::Disk;

use super::support::{claim_request, completed, empty_database, failed, foreign};

/// The process that this is set for writes to the disk of which nothing is kept that was not synced: its value is the
/// folder of the store.
const FOLDER: &str = "LONGRUN_TEST_POWER_FAILURE";
/// Creations of that process, each of [`LARGE`] bytes, so that the log is brought into the file in between.
const SYNCED: usize = 30;
const LARGE: usize = 150_000;
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
            end_one(&store, completed("{}")).await;
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

#[test]
fn what_was_acknowledged_had_been_synced() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return runtime.block_on(acknowledges(Path::new(&folder)));
    }
    let (folder, synced, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Disk::new().unwrap());
    runtime.block_on(async {
        SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap().close().await;
    });
    copy(folder.path(), synced.path());
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["torn::what_was_acknowledged_had_been_synced", "--exact"]).env(FOLDER, folder.path());
    let ended = disk.under_copying(&mut process, synced.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));

    let ids = std::fs::read_to_string(folder.path().join("acknowledged")).unwrap();
    let acknowledged: Vec<_> = ids.lines().map(|id| (id.parse().unwrap(), 0)).collect();
    assert_eq!(acknowledged.len(), SYNCED);
    for number in 0..SYNCED {
        let left = folder.path().join(number.to_string());
        runtime.block_on(async {
            assert_eq!(recovered(&left, &acknowledged).await, number + 1, "creations that were synced");
            let store = SqliteStore::open(&left.join("longrun.db")).await.unwrap();
            let filter = Filter { status: Some(Status::Completed), ..Filter::default() };
            let page = PageRequest { page: 0, page_size: 1 };
            let ends = store.list(&Access::organization("acme"), &filter, page).await.unwrap().page.total_count;
            assert_eq!(ends, number as u64 + 1, "ends that were synced");
            store.close().await;
        });
    }
}

/// Creates operations and brings them to an end; after each acknowledgement, keeps what a power failure would leave.
async fn acknowledges(folder: &Path) {
    let synced = std::env::var_os("LONGRUN_TEST_SYNCED").unwrap();
    let store = SqliteStore::open(&folder.join("longrun.db")).await.unwrap();
    let mut ids = String::new();
    for number in 0..SYNCED {
        let new = NewOperation { input: "x".repeat(LARGE), ..NewOperation::of_kind("scan") };
        let created = store.create("acme", vec![new], None).await.unwrap().remove(0);
        ids.push_str(&format!("{}\n", created.id));
        end_one(&store, completed("{}")).await;
        let left = folder.join(number.to_string());
        std::fs::create_dir(&left).unwrap();
        copy(Path::new(&synced), &left);
    }
    std::fs::write(folder.join("acknowledged"), ids).unwrap();
}

async fn end_one(store: &dyn Store, outcome: Outcome) {
    let claimed = store.claim(claim_request(&["scan"], 1)).await.unwrap().remove(0);
    let settlement = Settlement { lease: claimed.lease, outcome, retry_after: std::time::Duration::from_secs(1) };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
}

/// Whatever the database is set to, a commit is answered when it is on the disk, and on a synchronous standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgresql_is_asked_to_sync_what_is_acknowledged() {
    let url = empty_database().await;
    let foreign = foreign(&url).await;
    let run = async |sql: String| sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&foreign).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    run(format!("ALTER DATABASE {database} SET synchronous_commit = off")).await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    run("CREATE TABLE public.commits (what text, synchronous text)".to_owned()).await;
    run("CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO public.commits VALUES (TG_TABLE_NAME || ' ' || TG_OP, current_setting('synchronous_commit'));
            RETURN NULL;
        END $$"
        .to_owned())
    .await;
    for table in ["active", "settled", "leases", "organizations", "pauses", "tokens", "evidence"] {
        // At the commit.
        run(format!(
            "CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON longrun.{table}
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.note()"
        ))
        .await;
    }
    let acme = Access::organization("acme");
    store.create("acme", vec![NewOperation::of_kind("scan"); 2], None).await.unwrap();
    end_one(&store, completed("{}")).await;
    end_one(&store, failed("no luck", true)).await;
    let last = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap().remove(0);
    for command in
        [OperationCommand::Cancel, OperationCommand::Retry, OperationCommand::Cancel, OperationCommand::Delete]
    {
        store.command(&acme, last.id, command).await.unwrap().unwrap().unwrap();
    }
    store.pause(Pausable::Kind("scan".to_owned())).await.unwrap();
    store.create_organization("other", Limits::default()).await.unwrap();
    let token = NewToken {
        hash: [1; 32],
        name: "t".to_owned(),
        access: acme.clone(),
        scopes: [Scope::Admin].into(),
        expires_at: None,
        instance: None,
    };
    store.create_token(token).await.unwrap();
    let piece = NewEvidence { digest: Digest::of(b"a"), size: 1, kind: String::new(), name: "a".to_owned() };
    store.put_evidence("acme", piece).await.unwrap();
    let commits: Vec<(String, String)> =
        sqlx::query_as("SELECT DISTINCT what, synchronous FROM public.commits").fetch_all(&foreign).await.unwrap();
    for expected in [
        "active INSERT",
        "active UPDATE",
        "active DELETE",
        "settled INSERT",
        "settled DELETE",
        "leases INSERT",
        "organizations INSERT",
        "pauses INSERT",
        "tokens INSERT",
        "evidence INSERT",
    ] {
        assert!(commits.iter().any(|(what, _)| what == expected), "no {expected}: {commits:?}");
    }
    assert!(commits.iter().all(|(_, synchronous)| synchronous == "on"), "{commits:?}");
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
