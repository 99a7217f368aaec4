//! The disk of the binary is full: of its embedded store and of its evidence folder.

use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use longrun_client::{Error, EvidenceRequest};
use tempfile::tempdir;
use testkit::Disk;

use crate::common::{admin_token, command, free_address, run_in};
use crate::load::{Load, serve_by};

/// The files in a folder and below it.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn evidence_that_the_disk_has_no_space_for_is_refused_and_leaves_nothing() {
    let (folder, address, disk) = (tempdir().unwrap(), free_address(), Disk::new().unwrap());
    let mut binary = command();
    disk.under(&mut binary);
    let server = serve_by(binary, folder.path(), &address);
    let load = Load::new(&address, &admin_token(&format!("sqlite:{}", folder.path().join("longrun.db").display())));
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
