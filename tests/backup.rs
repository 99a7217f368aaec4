//! `longrun backup`, `restore` and `migrate --from … --to …`: the data that comes out is the data that went in.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{Dev, Process, command, example, run_in};
use operations::{Access, Filter, NewOperation, Operation, Outcome, PageRequest, Resource, Status};
use serde_json::Value;
use store::{
    ClaimRequest, Digest, IdempotencyKey, NewEvidence, NewToken, OperationCommand, PostgresStore, Scope, Settlement,
    SqliteStore, Store,
};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

const KEY: [u8; 32] = [7; 32];

fn key() -> IdempotencyKey {
    IdempotencyKey { key: "once".to_owned(), fingerprint: [1; 32] }
}

/// Puts one of everything into a store: every status, two organizations, projects, texts that are hard to keep.
async fn fill(store: &dyn Store) {
    let token = NewToken {
        hash: KEY,
        name: "for p1".to_owned(),
        access: Access::projects("acme", ["p1".to_owned()]),
        scopes: BTreeSet::from([Scope::OperationsRead, Scope::EvidenceWrite]),
        expires_at: Some(store.now().after(Duration::from_secs(3_600))),
        instance: None,
    };
    let token = store.create_token(token).await.unwrap();
    store.touch_tokens(vec![token.id.clone()]).await.unwrap();
    let record = NewEvidence { digest: Digest::of(b"content"), size: 7, kind: "SBOM".to_owned(), name: String::new() };
    store.put_evidence("acme", record).await.unwrap();
    for (organization, kind) in [("acme", "a"), ("acme", "b"), ("globex", "a")] {
        for number in 0..40 {
            let new = NewOperation {
                resource: (number % 3 == 0)
                    .then(|| Resource { resource_type: "order".to_owned(), resource_id: format!("né {number}") }),
                project_id: if number % 2 == 0 { "p1".to_owned() } else { String::new() },
                input: r#"{"n":1.50,"text":"a\u0000b \uf8f0"}"#.to_owned(),
                max_attempts: 1,
                retain_for: (number % 5 == 0).then_some(Duration::from_secs(86_400)),
                ..NewOperation::of_kind(kind)
            };
            let key = (number == 0 && kind == "b").then(key);
            store.create(organization, vec![new], key).await.unwrap();
        }
    }
    let later =
        NewOperation { run_after: Some(store.now().after(Duration::from_secs(86_400))), ..NewOperation::of_kind("a") };
    store.create("acme", vec![later], None).await.unwrap();
    let claimed = store.claim(request(60)).await.unwrap();
    let gone = [1, 4].map(|index: usize| claimed[index].lease.clone());
    let settlements = claimed.into_iter().take(50).enumerate().map(|(number, claimed)| Settlement {
        lease: claimed.lease,
        outcome: if number % 3 == 0 {
            Outcome::Failed { message: "nul \0 and \u{f8f0}".to_owned(), retryable: false }
        } else {
            Outcome::Completed { output: format!("done {number} \0 \u{f8f0}0 {}", "x".repeat(number * 1_000)) }
        },
        retry_after: Duration::ZERO,
    });
    let results = store.settle(settlements.collect()).await.unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // Numbers that are no longer used.
    for lease in gone {
        let access = Access::organization(&lease.organization);
        store.command(&access, lease.id, OperationCommand::Delete).await.unwrap().unwrap().unwrap();
    }
}

fn request(limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: vec!["a".to_owned(), "b".to_owned()],
        access: None,
        among: None,
        limit,
        worker: "dead".to_owned(),
        lease: Duration::from_secs(3_600),
    }
}

/// Everything that callers can see of a store: every operation in order, outputs included, and who may see what.
async fn seen(store: &dyn Store) -> Vec<(String, u64, Vec<Operation>)> {
    let mut seen = Vec::new();
    for access in
        [Access::organization("acme"), Access::organization("globex"), Access::projects("acme", ["p1".to_owned()])]
    {
        let page = PageRequest { page: 0, page_size: 1_000 };
        let listing = store.list(&access, &Filter::default(), page).await.unwrap();
        let mut operations = Vec::new();
        for entry in listing.entries {
            let mut operation = entry.operation;
            if entry.output_left_out {
                operation.output = store.output(&access, operation.id).await.unwrap().unwrap();
            }
            operations.push(operation);
        }
        seen.push((access.organization, listing.page.total_count, operations));
    }
    seen
}

/// As [`seen`], after running operations were released.
async fn handed_back(store: &dyn Store) -> Vec<(String, u64, Vec<Operation>)> {
    let mut seen = seen(store).await;
    for operation in seen.iter_mut().flat_map(|(_, _, operations)| operations) {
        if operation.status == Status::Running {
            (operation.status, operation.started_at) = (Status::Pending, None);
        }
    }
    seen
}

async fn assert_the_same(store: &dyn Store, expected: &[(String, u64, Vec<Operation>)], tokens: &[store::Token]) {
    let found = seen(store).await;
    assert_eq!(found.len(), expected.len());
    for ((organization, total, operations), expected) in found.iter().zip(expected) {
        assert_eq!((organization, total), (&expected.0, &expected.1));
        for (operation, expected) in operations.iter().zip(&expected.2) {
            assert_eq!(operation, expected, "{organization}");
        }
        assert_eq!(operations.len(), expected.2.len());
    }
    assert_eq!(store.tokens(None).await.unwrap(), tokens);
    assert!(store.find_token(&KEY).await.unwrap().is_some(), "its secret still opens");
    let record = store.evidence("acme", &Digest::of(b"content")).await.unwrap().unwrap();
    assert_eq!((record.size, record.kind.as_str()), (7, "SBOM"));
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

/// Changes that came after the backup are not in the restored store, and others may get their numbers.
async fn assert_old_cursors_are_unknown(before: &dyn Store, after: &dyn Store) {
    let end = before.end_of_changes("acme").await.unwrap();
    let cursor = before.position_key().await.unwrap().seal("acme", end);
    assert_eq!(before.position_key().await.unwrap().open("acme", &cursor), Ok(end));
    after.position_key().await.unwrap().open("acme", &cursor).unwrap_err();
}

/// Goes on where the store was left: keys are remembered, numbers go on, operations are claimed with a newer fence.
async fn assert_it_lives_on(store: &dyn Store) {
    let before =
        store.list(&Access::organization("acme"), &Filter::default(), PageRequest { page: 0, page_size: 1 }).await;
    let total = before.unwrap().page.total_count;
    let again = store.create("acme", vec![NewOperation::of_kind("b")], Some(key())).await.unwrap();
    assert_eq!((again.len(), again[0].kind.as_str()), (1, "b"), "the first use's");
    let created = store.create("acme", vec![NewOperation::of_kind("new")], None).await.unwrap().remove(0);
    let listing =
        store.list(&Access::organization("acme"), &Filter::default(), PageRequest { page: 0, page_size: 1 }).await;
    let listing = listing.unwrap();
    assert_eq!((listing.entries[0].operation.id, listing.page.total_count), (created.id, total + 1));
    let claimed = store.claim(request(500)).await.unwrap();
    assert!(claimed.len() > 60, "{}", claimed.len());
    assert!(claimed.iter().all(|claimed| claimed.input.contains(r#""n":1.50"#) && claimed.attempt == 1));
    assert!(claimed.iter().any(|claimed| claimed.lease.fence == 2), "released, not begun anew");
    assert_eq!(store.doctor().await.unwrap().findings, []);
}

/// Evidence as the server stores it, and a file that is not evidence.
fn put_content(folder: &Path) {
    let digest = Digest::of(b"content").to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let place = folder.join("organizations/acme/sha256").join(&hex[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join(hex), b"content").unwrap();
    std::fs::create_dir_all(folder.join("incoming")).unwrap();
    std::fs::write(folder.join("incoming/half"), b"con").unwrap();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// A SQLite store with one of everything in `folder`; closed.
async fn sqlite(folder: &Path) -> Vec<store::Token> {
    let store = SqliteStore::open(&folder.join("longrun.db")).await.unwrap();
    fill(&store).await;
    put_content(&folder.join("evidence"));
    let tokens = store.tokens(None).await.unwrap();
    store.close().await;
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_backup_restores_what_was_there() {
    let folder = tempdir().unwrap();
    let tokens = sqlite(folder.path()).await;
    let backup = ["backup", "copies/monday", "--data-dir", "."];
    let said = run_in(folder.path(), &backup).expect(0).line();
    assert!(said.ends_with("119 operations of 2 organizations, 1 token, 1 piece of evidence (7 bytes)"), "{said}");
    run_in(folder.path(), &backup).expect(2).says("copies/monday is not empty").says("hint:");
    assert_eq!(files_below(&folder.path().join("copies")).len(), 3, "store, evidence, manifest and nothing else");

    run_in(folder.path(), &["restore", "copies/monday", "--data-dir", "."])
        .expect(2)
        .says("there is already a store at");
    run_in(folder.path(), &["restore", "copies/monday", "--data-dir", "again"]).expect(0);
    let before = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let after = SqliteStore::open(&folder.path().join("again/longrun.db")).await.unwrap();
    let expected = seen(&before).await;
    assert_the_same(&after, &expected, &tokens).await;
    assert_old_cursors_are_unknown(&before, &after).await;
    let kept: Vec<PathBuf> = files_below(&folder.path().join("again/evidence"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(std::fs::read(&kept[0]).unwrap(), b"content");
    before.close().await;
    after.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_named_by_its_file_has_its_evidence_beside_it() {
    let folder = tempdir().unwrap();
    sqlite(folder.path()).await;
    run_in(folder.path(), &["backup", "copy", "--data-dir", "."]).expect(0);
    let restore = |store: &str, more: &[&str]| {
        let args = [&["restore", "copy", "--store", store][..], more].concat();
        run_in(folder.path(), &args)
    };
    let before = files_below(&folder.path().join("evidence"));
    let said = restore("sqlite:again/longrun.db", &[]).expect(0).line();
    let place = folder.path().canonicalize().unwrap().join("again/evidence");
    assert!(said.ends_with(&format!("; evidence in {}", place.display())), "{said}");
    assert_eq!(files_below(&place).len(), 1);
    assert_eq!(files_below(&folder.path().join("evidence")), before, "another store's is left alone");
    run_in(folder.path(), &["doctor", "--store", "sqlite:again/longrun.db"]).expect(0);
    std::fs::remove_file(&files_below(&place)[0]).unwrap();
    run_in(folder.path(), &["doctor", "--store", "sqlite:again/longrun.db"]).expect(1);

    // The files that are there may belong to another store.
    restore("sqlite:other.db", &[]).expect(2).says("evidence, which is not empty").says("--evidence DIR");
    assert!(!folder.path().join("other.db").exists());
    restore("sqlite:other.db", &["--evidence", "evidence"]).expect(0).shows("; evidence in ");
    let moved = restore("sqlite:moved/longrun.db", &["--evidence", "elsewhere"]).expect(0).line();
    assert!(moved.ends_with("/elsewhere") && !folder.path().join("moved/evidence").exists(), "{moved}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store", "sqlite:moved/longrun.db"];
    run_in(folder.path(), &serve).expect(2).says("records of evidence").says("set evidence.folder");
    assert!(!folder.path().join("moved/evidence").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_changed_is_not_restored() {
    let folder = tempdir().unwrap();
    sqlite(folder.path()).await;
    run_in(folder.path(), &["backup", "copy", "--data-dir", "."]).expect(0);
    let copy = folder.path().join("copy");
    let restore = ["restore", "copy", "--data-dir", "again"];
    let place = folder.path().join("again/longrun.db");

    let store = SqliteStore::open(&copy.join("longrun.db")).await.unwrap();
    store.create("acme", vec![NewOperation::of_kind("added")], None).await.unwrap();
    store.close().await;
    run_in(folder.path(), &restore).expect(2).says("operations of acme added PENDING: 0 and 1");
    assert!(!place.exists(), "nothing is left that looks like a store");

    let content = files_below(&copy.join("evidence")).remove(0);
    std::fs::write(&content, b"contenT").unwrap();
    run_in(folder.path(), &restore).expect(2).says("is damaged");
    std::fs::remove_file(&content).unwrap();
    run_in(folder.path(), &restore).expect(2).says("0 pieces of evidence, its manifest lists 1");

    std::fs::remove_file(copy.join("manifest.json")).unwrap();
    run_in(folder.path(), &restore).expect(2).says("is not a backup");
    assert!(!place.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_warns_of_evidence_that_the_backup_lacks() {
    let folder = tempdir().unwrap();
    sqlite(folder.path()).await;
    run_in(folder.path(), &["backup", "copy", "--data-dir", "."]).expect(0);
    let content = files_below(&folder.path().join("copy/evidence")).remove(0);
    let other = Digest::of(b"another").to_string();
    std::fs::write(content.with_file_name(other.strip_prefix("sha256:").unwrap()), b"another").unwrap();
    std::fs::remove_file(&content).unwrap();
    let restored = run_in(folder.path(), &["restore", "copy", "--data-dir", "again"]).expect(0);
    restored.says("evidence that the backup does not have").says(&format!("acme {}", Digest::of(b"content")));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_or_missing_evidence_is_found_when_the_backup_is_made() {
    let folder = tempdir().unwrap();
    sqlite(folder.path()).await;
    let backup = ["backup", "copy", "--data-dir", "."];
    let content = files_below(&folder.path().join("evidence/organizations")).remove(0);
    std::fs::write(&content, b"contenT").unwrap();
    run_in(folder.path(), &backup).expect(2).says("is damaged");
    std::fs::remove_file(&content).unwrap();
    run_in(folder.path(), &backup).expect(2).says("the store refers to 1 piece of evidence").says("--evidence");
    // As many files as records are not enough.
    let other = Digest::of(b"other").to_string();
    let other = content.with_file_name(other.strip_prefix("sha256:").unwrap());
    std::fs::write(other, b"other").unwrap();
    run_in(folder.path(), &backup).expect(2).says(&format!("acme {}", Digest::of(b"content")));
    assert!(!folder.path().join("copy").exists(), "half a backup is none");
}

#[test]
fn a_server_at_work_is_backed_up_and_its_backup_serves() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let evaluate = [
        "evidence",
        "evaluate",
        &example("evidence/longrun.cdx.json"),
        "--policy",
        &example("policies/sbom-licenses-present/policy.yaml"),
    ];
    assert!(dev.run(&evaluate).code < 2, "evaluated");
    let ids = dev.run(&["ops", "list", "-o", "id"]).expect(0).stdout;
    run_in(folder.path(), &["backup", "copy", "--data-dir", "data"]).expect(0);
    drop(dev);
    std::fs::rename(folder.path().join("data"), folder.path().join("lost")).unwrap();
    run_in(folder.path(), &["restore", "copy", "--data-dir", "data"]).expect(0);
    std::fs::copy(folder.path().join("lost/token"), folder.path().join("data/token")).unwrap();
    let dev = Dev::start(folder.path());
    assert_eq!(dev.run(&["ops", "list", "-o", "id"]).expect(0).stdout, ids);
    run_in(folder.path(), &["doctor", "--data-dir", "data"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_backup_restores_into_another_cluster() {
    let (cluster, other) = (Cluster::start(Durability::None).unwrap(), Cluster::start(Durability::None).unwrap());
    let (url, target) = (cluster.database().await.unwrap(), other.database().await.unwrap());
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    fill(&store).await;
    // Folded, so that horizons of the old cluster's transaction numbers are in the dump, and then a few more deltas.
    for _ in 0..1_000 {
        store.create("acme", vec![NewOperation::of_kind("more")], None).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    store.create("acme", vec![NewOperation::of_kind("more")], None).await.unwrap();
    let tokens = store.tokens(None).await.unwrap();
    let expected = seen(&store).await;

    let folder = tempdir().unwrap();
    put_content(&folder.path().join("evidence"));
    run_in(folder.path(), &["backup", "copy", "--store", &url]).expect(0);
    run_in(folder.path(), &["restore", "copy", "--store", &url]).expect(2).says("already has a schema \"longrun\"");
    let restored =
        run_in(folder.path(), &["restore", "copy", "--store", &target, "--evidence", "again"]).expect(0).line();
    assert!(restored.contains("1120 operations of 2 organizations"), "{restored}");
    assert_eq!(files_below(&folder.path().join("again")).len(), 1);
    run_in(folder.path(), &["restore", "copy", "--data-dir", "d"])
        .expect(2)
        .says("a backup of a different database engine");

    let restored = PostgresStore::connect(&target, 4).await.unwrap();
    assert_the_same(&restored, &expected, &tokens).await;
    assert_old_cursors_are_unknown(&store, &restored).await;
    for _ in 0..20 {
        restored.create("acme", vec![NewOperation::of_kind("after")], None).await.unwrap();
    }
    let total =
        restored.list(&Access::organization("acme"), &Filter::default(), PageRequest { page: 0, page_size: 1 }).await;
    assert_eq!(total.unwrap().page.total_count, expected[0].1 + 20, "what is counted after is counted");
    assert_eq!(restored.doctor().await.unwrap().findings, []);
    let grants: bool = sqlx::query_scalar(
        "SELECT has_function_privilege('public', p.oid, 'EXECUTE') FROM pg_proc p WHERE proname = 'create_operation'",
    )
    .fetch_one(&sqlx::PgPool::connect(&target).await.unwrap())
    .await
    .unwrap();
    assert!(!grants, "what was taken from everybody is not given back by a restore");
}

/// A `pg_dump` that replaces the piece of evidence by another one after each of its first `times` dumps, as servers may.
/// Only the last of these pieces is still there when the evidence is copied.
fn pg_dump_during_which_evidence_is_replaced(folder: &Path, times: u32) {
    let place = |content: &[u8]| {
        let digest = Digest::of(content).to_string();
        let hex = digest.strip_prefix("sha256:").unwrap().to_owned();
        let file = folder.join("evidence/organizations/acme/sha256").join(&hex[..2]).join(&hex);
        (digest, file)
    };
    let (_, file) = place(b"content");
    let mut replacements = String::new();
    for dump in 1..=times {
        let content = if dump == times { "other".to_owned() } else { format!("gone{dump}") };
        let (digest, new_file) = place(content.as_bytes());
        let put =
            format!("mkdir -p {0}; printf {content} > {1};", new_file.parent().unwrap().display(), new_file.display());
        let put = if dump == times { put } else { String::new() };
        replacements += &format!(
            "{dump}) {put}
                psql --quiet --dbname \"$2\" -c \"UPDATE longrun.evidence SET digest = '{digest}', size = 5; \
                    UPDATE longrun.evidence_totals SET bytes = 5\";;
            "
        );
    }
    let script = format!(
        "#!/bin/sh
        set -e
        PATH=${{PATH#*:}}
        pg_dump \"$@\"
        rm -f {file}
        echo >> {dumps}
        case $(wc -l < {dumps}) in
            {replacements}
        esac
        ",
        file = file.display(),
        dumps = folder.join("dumps").display(),
    );
    let program = folder.join("bin/pg_dump");
    std::fs::create_dir(folder.join("bin")).unwrap();
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_all_evidence_that_its_store_names_although_some_is_replaced_meanwhile() {
    let cluster = Cluster::start(Durability::None).unwrap();
    // The store is copied up to five times.
    for times in [1, 4] {
        back_up_while_evidence_is_replaced(&cluster, times).await;
    }
}

async fn back_up_while_evidence_is_replaced(cluster: &Cluster, times: u32) {
    let (url, target) = (cluster.database().await.unwrap(), cluster.database().await.unwrap());
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    fill(&store).await;
    store.close().await;
    let folder = tempdir().unwrap();
    put_content(&folder.path().join("evidence"));
    pg_dump_during_which_evidence_is_replaced(folder.path(), times);
    let path = format!("{}/bin:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut backup = command();
    backup.current_dir(folder.path()).env("PATH", path).args(["backup", "copy", "--store", &url]);
    let output = backup.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    run_in(folder.path(), &["restore", "copy", "--store", &target, "--evidence", "again"]).expect(0);
    run_in(folder.path(), &["doctor", "--store", &target, "--evidence", "again"]).expect(0);
    let kept = files_below(&folder.path().join("again"));
    assert_eq!(kept.iter().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>(), [b"other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pg_dump_it_is_told_what_to_install() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    PostgresStore::connect(&url, 2).await.unwrap().close().await;
    let folder = tempdir().unwrap();
    let output =
        command().current_dir(folder.path()).env("PATH", "").args(["backup", "copy", "--store", &url]).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("pg_dump is not on the PATH") && said.contains("postgresql-client"), "{said}");
    assert!(!folder.path().join("copy").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_store_moves_into_postgres_and_lives_on() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let tokens = sqlite(folder.path()).await;
    let source = SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap();
    let running = Filter { status: Some(Status::Running), ..Filter::default() };
    let mut left_running = 0;
    for organization in ["acme", "globex"] {
        let page = PageRequest { page: 0, page_size: 1 };
        left_running +=
            source.list(&Access::organization(organization), &running, page).await.unwrap().page.total_count;
    }
    assert_eq!(left_running, 10);
    let expected = handed_back(&source).await;
    source.close().await;

    let migrate = ["migrate", "--from", "sqlite:longrun.db", "--to", &url];
    let said = run_in(folder.path(), &migrate).expect(0).line();
    assert!(said.ends_with("119 operations of 2 organizations, 1 token; checked"), "{said}");
    let target = PostgresStore::connect(&url, 4).await.unwrap();
    assert_the_same(&target, &expected, &tokens).await;
    assert_it_lives_on(&target).await;
    run_in(folder.path(), &migrate).expect(2).says("the target is not empty").says("DROP SCHEMA longrun CASCADE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_served_is_not_moved() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let mut serve: Process = Process::start(command().current_dir(folder.path()).args([
        "serve",
        "--store",
        "sqlite:longrun.db",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]));
    let line: Value = serde_json::from_str(&serve.line_with("\"listening\"")).unwrap();
    assert!(line["url"].is_string());
    run_in(folder.path(), &["migrate", "--from", "sqlite:longrun.db", "--to", &url])
        .expect(2)
        .says("another longrun is using");
    assert!(!PostgresStore::is_there(&url).await.unwrap(), "nothing was made");
    drop(serve);
    for (code, from, to) in [(2, url.as_str(), "sqlite:x.db"), (4, "sqlite:nowhere.db", url.as_str())] {
        run_in(folder.path(), &["migrate", "--from", from, "--to", to]).expect(code).says("hint:");
    }
}

#[test]
fn moving_from_what_is_no_store_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.db");
    std::fs::write(&file, b"").unwrap();
    let moved = |from: &str| run_in(folder.path(), &["migrate", "--from", from, "--to", "postgres://u@127.0.0.1:1/d"]);
    moved("sqlite:nosuch.db").expect(4).says("there is no store at nosuch.db");
    moved("sqlite:empty.db").expect(4).says("there is no store at empty.db");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0);
}
