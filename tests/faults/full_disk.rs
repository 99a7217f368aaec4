//! The disk of the binary is full: of its embedded store and of its evidence folder.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use longrun_client::{Error, EvidenceRequest, ListRequest, NewOperation};
use tempfile::tempdir;
use testkit::Disk;
use tokio_util::sync::CancellationToken;

use crate::common::{PATIENCE, Server, admin_token, command, free_address, run_in};
use crate::load::{KIND, Load, serve_by};

/// A caller that retries is answered within this time once there is space again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

/// The files in a folder and below it.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// A server whose files are on this disk, and the load on it.
fn serve_on(disk: &Disk, folder: &Path) -> (Server, Arc<Load>) {
    let (address, mut binary) = (free_address(), command());
    disk.under(&mut binary);
    let server = serve_by(binary, "sqlite:longrun.db", folder, &address);
    let load = Load::new(&address, &admin_token(&format!("sqlite:{}", folder.join("longrun.db").display())));
    (server, load)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn evidence_that_the_disk_has_no_space_for_is_refused_and_leaves_nothing() {
    let (folder, disk) = (tempdir().unwrap(), Disk::new().unwrap());
    let (server, load) = serve_on(&disk, folder.path());
    let client = &load.client;
    let evidence = |number: u8| Bytes::from(vec![number; 300_000]);
    client.put_evidence(evidence(1)).await.unwrap();
    let before = files(&folder.path().join("evidence"));

    disk.fill().unwrap();
    let Err(Error::Refused(refusal)) = client.put_evidence(evidence(2)).await else { panic!("it is refused") };
    assert_eq!((refusal.http_status, refusal.reason()), (503, Some("UNAVAILABLE")), "{refusal}");
    assert_eq!(files(&folder.path().join("evidence")), before, "what was begun is removed");
    let listed = client.evidence(&EvidenceRequest::default()).await.unwrap().value;
    assert_eq!(listed.evidence.len(), 1, "what is there can be read, and nothing is on record that is not there");

    disk.free().unwrap();
    let stored = client.put_evidence(evidence(2)).await.unwrap().value;
    let content: Vec<Bytes> = client.get_evidence(&stored.digest).await.unwrap().try_collect().await.unwrap();
    assert!(content.concat() == evidence(2), "it is whole");
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
    run_in(folder.path(), &["doctor", "--data-dir", "."]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creations_are_refused_while_the_disk_is_full_and_nothing_acknowledged_is_lost() {
    let (folder, disk) = (tempdir().unwrap(), Disk::new().unwrap());
    let (server, load) = serve_on(&disk, folder.path());
    let (mut tasks, workers_stop) = (tokio::task::JoinSet::new(), CancellationToken::new());
    let small = |_: &mut rand::rngs::StdRng| NewOperation { kind: KIND.to_owned(), ..NewOperation::default() };
    for number in 0..3 {
        tasks.spawn(Arc::clone(&load).create(number, Duration::ZERO, small));
    }
    tasks.spawn(Arc::clone(&load).work(0, &[KIND], workers_stop.clone()));
    let until = async |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "no progress");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let large = NewOperation {
        kind: "export".to_owned(),
        input: Some(serde_json::Value::String("x".repeat(100_000))),
        ..NewOperation::default()
    };
    let mut acknowledged = 0;
    for _ in 0..3 {
        let enough = load.count() + 50;
        until(&|| load.count() >= enough).await;
        disk.fill().unwrap();
        let refused = loop {
            // What is within the files can still be written.
            match load.client.create(&large, None).await {
                Ok(_) => acknowledged += 1,
                Err(Error::Refused(refusal)) => break refusal,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!((refused.http_status, refused.reason()), (503, Some("UNAVAILABLE")), "{refused}");
        load.client.list(&ListRequest::default()).await.unwrap();
        load.fault_begins();
        disk.free().unwrap();
        until(&|| load.fault.lock().unwrap().is_none()).await;
    }
    load.stop.cancel();
    workers_stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let total = load.client.list(&ListRequest::default()).await.unwrap().value.pagination.total_count;
    assert_eq!(usize::try_from(total).unwrap(), load.count() + acknowledged, "none is lost, none is doubled");
    let recoveries = load.recoveries.lock().unwrap().clone();
    let acknowledged = load.count() + acknowledged;
    testkit::report("a full disk under load, SQLite", recoveries.len(), acknowledged, &testkit::spread(&recoveries));
    assert!(recoveries.iter().all(|recovery| *recovery < RECOVERS_WITHIN), "{recoveries:?}");
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), 0);
    run_in(folder.path(), &["doctor", "--data-dir", "."]).expect(0);
}
