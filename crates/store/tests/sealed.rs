//! Encryption at rest: nothing of a text is on a disk, whatever happens to keys; what was put elsewhere is found.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use operations::{Access, Filter, NewOperation, Operation, OperationId, Outcome, PageRequest, Status};
use store::seal::{Keyring, Seal, readable, rotate, survey};
use store::{
    ContentStore, Heartbeat, HistoryKind, IdempotencyKey, OperationCommand, PostgresStore, Sealed, Settlement, Store,
    StoreError,
};
use testkit::{Cluster, Durability};

use crate::support::{Engine, Fixture, claim_request, completed, failed, fixture, keyring};
use crate::{commands, contract, history, quotas, starts};

/// The contract on SQLite is the business of the modules; here is some of it on PostgreSQL.
macro_rules! on_sealed_postgres {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$module::$name(super::fixture(super::Engine::SealedPostgres).await).await;
            })*
        }
    };
}

on_sealed_postgres!(
    contract::the_main_path_ends_in_an_output,
    contract::a_settlement_that_is_repeated_is_told_what_was_recorded,
    contract::an_idempotency_key_creates_once,
    contract::any_text_comes_back_as_it_was,
    contract::a_retryable_failure_waits_out_its_backoff_and_then_gives_up,
    history::every_attempt_is_told,
    history::steering_is_told,
    history::progress_is_bounded,
    starts::it_is_created_running_in_one_transaction,
    quotas::an_output_that_is_too_long_ends_the_operation_as_failed,
    commands::a_retry_goes_back_in_line_with_its_history,
    commands::everything_at_once_leaves_a_sound_store,
);

/// The same against both engines, which begin without encryption.
macro_rules! with_keys {
    ($($name:ident),* $(,)?) => {
        mod sqlite_with_keys {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::Sqlite).await).await;
            })*
        }
        mod postgres_with_keys {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(super::fixture(super::Engine::Postgres).await).await;
            })*
        }
    };
}

with_keys!(
    keys_change_while_others_write,
    everything_is_read_whether_encryption_was_switched_on_or_off_since,
    a_request_is_known_again_after_the_key_was_changed,
    a_settlement_is_known_again_after_the_key_was_changed,
    a_fingerprint_is_not_kept_as_it_is,
    texts_that_were_put_elsewhere_are_found,
    without_a_key_its_texts_alone_are_refused,
    a_worker_gets_no_operation_whose_input_cannot_be_opened,
);

/// A text that nobody may find: it is part of every text that a caller or a worker writes.
const SECRET: &str = "topsecret";
/// A text that anybody may find, so that a search that finds nothing is known to have searched.
const OPEN: &str = "openkind";

fn acme() -> Access {
    Access::organization("acme")
}

fn with_input(input: &str) -> NewOperation {
    NewOperation { input: format!("{{\"text\":\"{input}\"}}"), ..NewOperation::of_kind(OPEN) }
}

async fn settle(store: &dyn Store, outcome: Outcome) -> OperationId {
    let claimed = store.claim(claim_request(&[OPEN], 1)).await.unwrap().remove(0);
    let (lease, id) = (claimed.lease, claimed.operation.id);
    let settlement = Settlement { lease, outcome, retry_after: Duration::from_secs(1) };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    id
}

/// A text of each sort in each position: an operation that waits, one that has ended with an output, one with an error,
/// one whose history has a failure and a progress report.
async fn write_everything(store: &dyn Store, note: &str) {
    let secret = |what: &str| format!("{SECRET} {what} {note}");
    for number in 0..3 {
        store.create("acme", vec![with_input(&secret(&format!("input {number}")))], None).await.unwrap();
    }
    let claimed = store.claim(claim_request(&[OPEN], 1)).await.unwrap().remove(0);
    assert!(claimed.input.contains(SECRET));
    let beat = Heartbeat { lease: claimed.lease.clone(), progress: Some(secret("progress")) };
    store.heartbeat(vec![beat], Duration::from_secs(30)).await.unwrap();
    let outcome = failed(&secret("repeated"), true);
    let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::from_secs(100_000) };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    settle(store, completed(&secret("output"))).await;
    settle(store, failed(&secret("error"), false)).await;
    store.create("acme", vec![with_input(&secret("waiting"))], None).await.unwrap();
}

/// Every file below a folder that holds a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn nothing_of_a_text_is_in_the_files_of_sqlite_or_in_the_evidence_folder() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || store::SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let sealed = Sealed::new(Arc::new(open().await), keyring(&["a"], Some("a")));
    write_everything(&sealed, "first").await;
    let content = ContentStore::local(&folder.path().join("evidence"), u64::MAX).unwrap();
    let content = content.with_keyring(keyring(&["a"], Some("a")));
    let sent = stream::iter([Ok::<_, String>(format!("{SECRET} evidence ").repeat(20_000).into())]);
    content.put("acme", sent).await.unwrap();
    assert_eq!(files_with(folder.path(), SECRET), Vec::<String>::new());
    let files = files_with(folder.path(), OPEN);
    assert!(files.iter().any(|file| file.ends_with("-wal")), "the log was searched: {files:?}");
    sealed.close().await;
    assert_eq!(files_with(folder.path(), SECRET), Vec::<String>::new());
    assert_eq!(files_with(folder.path(), OPEN).len(), 1);
}

#[tokio::test]
async fn what_was_written_before_encryption_is_not_left_in_the_file_after_a_rotation_and_a_vacuum() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    write_everything(&store, &"long ".repeat(2_000)).await;
    assert_ne!(files_with(folder.path(), SECRET), Vec::<String>::new());
    let rotated = rotate(&store, &keyring(&["a"], Some("a")), |_| ()).await.unwrap();
    assert!(rotated.is_complete && rotated.renewed >= 7, "{rotated:?}");
    store.close().await;
    // Text that was moved, within a page or to another one, may be in space that is no longer used.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("longrun.db"));
    let foreign = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("VACUUM").execute(&foreign).await.unwrap();
    foreign.close().await;
    assert_eq!(files_with(folder.path(), SECRET), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_text_is_in_a_dump_of_postgresql_or_in_its_files() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    let sealed = Sealed::new(Arc::new(store), keyring(&["a"], Some("a")));
    write_everything(&sealed, "first").await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let setting = async |sql: &'static str| sqlx::query_scalar::<_, String>(sql).fetch_one(&pool).await.unwrap();
    let data = setting("SHOW data_directory").await;
    let programs = setting("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await;
    let dump = Command::new(Path::new(&programs).join("pg_dump")).arg(&url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).unwrap();
    assert!(dump.contains(OPEN) && dump.contains("lrn:sealed:v1:a:"));
    assert!(!dump.contains(SECRET), "{dump}");
    pool.close().await;
    sealed.close().await;
    cluster.stop().unwrap();
    assert_eq!(files_with(Path::new(&data), SECRET), Vec::<String>::new());
    let files = files_with(Path::new(&data), OPEN);
    assert!(files.iter().any(|file| file.contains("pg_wal")), "the log was searched: {files:?}");
}

/// A row in the inbox stays as the application wrote it; the operation that is made of it is sealed.
#[tokio::test]
async fn what_comes_by_the_inbox_is_sealed() {
    let fixture = fixture(Engine::SealedPostgres).await;
    fixture.create("acme", NewOperation::of_kind(OPEN)).await;
    let pool = fixture.foreign_postgres().await;
    let put = || async {
        let sql = "INSERT INTO inbox (organization_id, kind, input, idempotency_key)
            VALUES ('acme', 'fromoutside', '{\"text\":\"topsecret\"}', 'once')";
        sqlx::query(sql).execute(&pool).await.unwrap();
    };
    put().await;
    assert_eq!(fixture.store.drain_inbox(10).await.unwrap(), Some(1));
    let stored: String =
        sqlx::query_scalar("SELECT input FROM active WHERE kind = 'fromoutside'").fetch_one(&pool).await.unwrap();
    assert!(stored.starts_with("lrn:sealed:v1:2026-11:"), "{stored}");
    // The same again, under another key: it is known, and makes nothing.
    let other = Sealed::new(fixture.reopen_plain().await, keyring(&["2026-11", "2026-12"], Some("2026-12")));
    put().await;
    assert_eq!(other.drain_inbox(10).await.unwrap(), Some(1));
    let claimed = fixture.claim(&["fromoutside"], 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].input, "{\"text\":\"topsecret\"}");
    other.close().await;
    pool.close().await;
    fixture.assert_sound().await;
}

/// Every operation of acme with its texts, and how they are sealed.
async fn everything(store: &dyn Store) -> Vec<Operation> {
    let page = PageRequest { page: 0, page_size: 1_000 };
    let listing = store.list(&acme(), &Filter::default(), page).await.unwrap();
    let mut operations = Vec::new();
    for entry in listing.entries {
        let mut operation = entry.operation;
        if entry.output_left_out {
            operation.output = store.output(&acme(), operation.id).await.unwrap().unwrap();
        }
        readable(&operation).unwrap();
        operations.push(operation);
    }
    operations
}

async fn seals(store: &dyn Store) -> Vec<Seal> {
    survey(store).await.unwrap().into_keys().collect()
}

async fn keys_change_while_others_write(fixture: Fixture) {
    let key = |id: &str| Seal::Key(id.to_owned());
    // Some texts were written before encryption, some under the first key.
    let first = Sealed::new(Arc::clone(&fixture.store), keyring(&["a"], Some("a")));
    for (store, note) in [(&*fixture.store, "plain"), (&first as &dyn Store, "first")] {
        for number in 0..20 {
            write_everything(store, &format!("{note} {number}")).await;
        }
    }
    assert_eq!(seals(&*fixture.store).await, [Seal::Plain, key("a")]);
    let before = everything(&first).await;
    assert_eq!(before.len(), 160);

    // The servers have the new key now, and continue.
    let second = Sealed::new(fixture.second_server().await, keyring(&["a", "b"], Some("b")));
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, is_over) = (second.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut rounds = 0;
                while !is_over.load(Ordering::SeqCst) || rounds < 3 {
                    let new = with_input(&format!("{SECRET} {writer} {rounds}"));
                    store.create("acme", vec![new], None).await.unwrap();
                    for claimed in store.claim(claim_request(&[OPEN], 2)).await.unwrap() {
                        assert!(claimed.input.contains(SECRET), "{}", claimed.input);
                        let outcome = if rounds % 2 == 0 { completed(SECRET) } else { failed(SECRET, false) };
                        let id = claimed.operation.id;
                        let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
                        store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
                        if rounds % 2 == 1 {
                            store.command(&acme(), id, OperationCommand::Retry).await.unwrap().unwrap().unwrap();
                        }
                    }
                    rounds += 1;
                }
            })
        })
        .collect();
    let rotated = rotate(&*fixture.store, &keyring(&["a", "b"], Some("b")), |_| ()).await.unwrap();
    is_over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(rotated.is_complete && rotated.unopened == 0 && rotated.renewed > 200, "{rotated:?}");
    assert_eq!(seals(&*fixture.store).await, [key("b")]);
    // Operations that had ended are unchanged, and need the first key no more.
    let only = Sealed::new(Arc::clone(&fixture.store), keyring(&["b"], Some("b")));
    let after = everything(&only).await;
    for operation in before.iter().filter(|operation| operation.status == Status::Completed) {
        assert!(after.contains(operation), "{operation:?}");
    }
    assert_eq!(only.doctor().await.unwrap().findings, []);
    let again = rotate(&*fixture.store, &keyring(&["b"], Some("b")), |_| ()).await.unwrap();
    assert_eq!((again.renewed, again.is_complete), (0, true), "there is nothing left to do");
}

async fn everything_is_read_whether_encryption_was_switched_on_or_off_since(fixture: Fixture) {
    let seals_of = |id: &str| Seal::Key(id.to_owned());
    let rings = [keyring(&["a", "b"], None), keyring(&["a", "b"], Some("a")), keyring(&["a", "b"], Some("b"))];
    let stores: Vec<Sealed> = rings.iter().map(|ring| Sealed::new(Arc::clone(&fixture.store), ring.clone())).collect();
    // A text of a caller looks like a stored one.
    let looks_sealed = "lrn:sealed:v1:a:AAAA";
    for store in &stores {
        store.create("acme", vec![NewOperation::of_kind(OPEN)], None).await.unwrap();
        settle(store, completed(looks_sealed)).await;
    }
    for (index, ring) in rings.iter().enumerate().chain([(0, &rings[0])]) {
        for store in &stores {
            let outputs: Vec<String> = everything(store).await.into_iter().map(|operation| operation.output).collect();
            assert_eq!(outputs, [looks_sealed; 3]);
        }
        let rotated = rotate(&*fixture.store, ring, |_| ()).await.unwrap();
        assert!(rotated.is_complete && rotated.renewed > 0, "{index} {rotated:?}");
        let wanted = ring.active().map_or(Seal::Plain, |key| seals_of(key.id()));
        assert_eq!(seals(&*fixture.store).await, [wanted]);
    }
}

async fn a_request_is_known_again_after_the_key_was_changed(fixture: Fixture) {
    let rings =
        [Keyring::default(), keyring(&["a"], Some("a")), keyring(&["a", "b"], Some("b")), keyring(&["a", "b"], None)];
    for first in &rings {
        let name = format!("{first:?}");
        let create = async |ring: &Keyring, fingerprint: u8| {
            let store = Sealed::new(Arc::clone(&fixture.store), ring.clone());
            let key = IdempotencyKey { key: name.clone(), fingerprint: [fingerprint; 32] };
            store.create("acme", vec![with_input(SECRET)], Some(key)).await.map(|created| created[0].id)
        };
        let created = create(first, 1).await.unwrap();
        for ring in rings.iter().filter(|ring| first.ids().iter().all(|id| ring.ids().contains(id))) {
            assert_eq!(create(ring, 1).await.unwrap(), created, "{ring:?}");
            assert!(matches!(create(ring, 2).await, Err(StoreError::IdempotencyConflict)), "{ring:?}");
        }
    }
    assert_eq!(everything(&*fixture.store).await.len(), rings.len());
}

async fn a_settlement_is_known_again_after_the_key_was_changed(fixture: Fixture) {
    let rings = [Keyring::default(), keyring(&["a"], Some("a")), keyring(&["a", "b"], Some("b"))];
    for outcome in [completed(SECRET), failed(SECRET, false), failed(SECRET, true)] {
        let stores: Vec<_> = rings.iter().map(|ring| Sealed::new(Arc::clone(&fixture.store), ring.clone())).collect();
        for first in &stores {
            first.create("acme", vec![with_input(SECRET)], None).await.unwrap();
            let claimed = first.claim(claim_request(&[OPEN], 1)).await.unwrap().remove(0);
            let settlement =
                Settlement { lease: claimed.lease, outcome: outcome.clone(), retry_after: Duration::from_secs(9_999) };
            let status = first.settle(vec![settlement.clone()]).await.unwrap().remove(0).unwrap();
            let last = stores.last().unwrap();
            assert_eq!(last.settle(vec![settlement.clone()]).await.unwrap(), [Ok(status)]);
            let other = Settlement { outcome: completed("other"), ..settlement };
            assert!(last.settle(vec![other]).await.unwrap()[0].is_err());
        }
    }
}

async fn a_fingerprint_is_not_kept_as_it_is(fixture: Fixture) {
    let store = Sealed::new(Arc::clone(&fixture.store), keyring(&["a"], Some("a")));
    let key = IdempotencyKey { key: "once".to_owned(), fingerprint: [7; 32] };
    store.create("acme", vec![with_input(SECRET)], Some(key.clone())).await.unwrap();
    let kept = fixture.store.create("acme", vec![with_input(SECRET)], Some(key)).await;
    assert!(matches!(kept, Err(StoreError::IdempotencyConflict)), "what is kept is not the fingerprint itself");
}

async fn texts_that_were_put_elsewhere_are_found(fixture: Fixture) {
    let store = Sealed::new(Arc::clone(&fixture.store), keyring(&["a"], Some("a")));
    let mut ids = Vec::new();
    for number in 0..3 {
        store.create("acme", vec![NewOperation::of_kind(OPEN)], None).await.unwrap();
        ids.push(settle(&store, completed(&format!("{SECRET} {number}"))).await);
    }
    fixture.tamper("UPDATE settled SET output = (SELECT output FROM settled WHERE seq = 1) WHERE seq = 2").await;
    let get = async |index: usize| store.get(&acme(), ids[index]).await;
    assert_eq!(get(0).await.unwrap().unwrap().output, format!("{SECRET} 0"));
    assert_eq!(get(2).await.unwrap().unwrap().output, format!("{SECRET} 2"));
    assert!(get(1).await.is_err());
    assert!(matches!(store.output(&acme(), ids[1]).await, Err(StoreError::Unusable(_))));
    let found = store.doctor().await.unwrap().findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].detail.starts_with(&format!("acme {} output: it does not open", ids[1])), "{}", found[0].detail);
    let rotated = rotate(&*fixture.store, &keyring(&["a", "b"], Some("b")), |_| ()).await.unwrap();
    assert_eq!((rotated.renewed, rotated.unopened, rotated.is_complete), (2, 1, true), "it stays as it is");
    // It can be deleted, and then all is well.
    let other = Sealed::new(Arc::clone(&fixture.store), keyring(&["a", "b"], Some("b")));
    other.command(&acme(), ids[1], OperationCommand::Delete).await.unwrap().unwrap().unwrap();
    assert_eq!(other.doctor().await.unwrap().findings, []);
}

async fn without_a_key_its_texts_alone_are_refused(fixture: Fixture) {
    let (first, second) = (keyring(&["a"], Some("a")), keyring(&["b"], Some("b")));
    let stores = [first, second].map(|ring| Sealed::new(Arc::clone(&fixture.store), ring));
    let mut ids = Vec::new();
    for store in &stores {
        store.create("acme", vec![NewOperation::of_kind(OPEN)], None).await.unwrap();
        ids.push(settle(store, completed(SECRET)).await);
    }
    let lacks = &stores[1];
    let error = lacks.get(&acme(), ids[0]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("\"a\"")), "{error}");
    assert_eq!(lacks.get(&acme(), ids[1]).await.unwrap().unwrap().output, SECRET);
    // Operations that are read with it are there, and it says why it is not.
    let together = lacks.get_many(&acme(), &ids).await.unwrap();
    assert!(readable(together[0].as_ref().unwrap()).is_err() && readable(together[1].as_ref().unwrap()).is_ok());
    let page = PageRequest { page: 0, page_size: 10 };
    let listed = lacks.list(&acme(), &Filter::default(), page).await.unwrap().entries;
    let shown: Vec<_> =
        listed.iter().map(|entry| (entry.operation.output.as_str(), entry.operation.error_message.as_str())).collect();
    let why =
        "the output cannot be opened: it is sealed with the encryption key \"a\", which this server does not have";
    assert_eq!(shown, [(SECRET, ""), ("", why)]);
    let found = lacks.doctor().await.unwrap().findings;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detail, "1 texts are sealed with the key \"a\", which is missing");
}

async fn a_worker_gets_no_operation_whose_input_cannot_be_opened(fixture: Fixture) {
    let (has, lacks) = (keyring(&["a"], Some("a")), keyring(&["b"], Some("b")));
    let [has, lacks] = [has, lacks].map(|ring| Sealed::new(Arc::clone(&fixture.store), ring));
    let shut = has.create("acme", vec![with_input(SECRET)], None).await.unwrap().remove(0);
    let open = lacks.create("acme", vec![with_input(SECRET)], None).await.unwrap().remove(0);
    let claimed = lacks.claim(claim_request(&[OPEN], 10)).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.operation.id).collect::<Vec<_>>(), [open.id]);
    assert_eq!(has.get(&acme(), shut.id).await.unwrap().unwrap().status, Status::Pending, "it is to be repeated");
    let history = has.history(&acme(), shut.id).await.unwrap().unwrap();
    assert!(history.iter().any(|event| event.kind == HistoryKind::AttemptReleased), "{history:?}");
    let troubles: Vec<String> = lacks.health().troubles().iter().map(ToString::to_string).collect();
    assert!(troubles.iter().any(|reported| reported.starts_with("an encryption key is missing")), "{troubles:?}");
    assert_eq!(lacks.claim(claim_request(&[OPEN], 10)).await.unwrap().len(), 0, "it waits for a while");
    // However often nobody can open it, nothing is charged.
    for _ in 0..20 {
        fixture.advance(Duration::from_secs(61));
        assert_eq!(lacks.claim(claim_request(&[OPEN], 10)).await.unwrap().len(), 0);
    }
    fixture.advance(Duration::from_secs(61));
    let claimed = has.claim(claim_request(&[OPEN], 10)).await.unwrap();
    let found = claimed.iter().find(|claimed| claimed.operation.id == shut.id).unwrap();
    assert!(found.input.contains(SECRET) && found.attempt == 1, "{found:?}");
}
