//! What the store's tests share: a store in a temporary folder, a clock that moves by hand, operations to create.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use operations::{NewOperation, Operation, Outcome, Resource, Timestamp};
use store::{ClaimRequest, Claimed, Settlement, SqliteStore, Store};

/// A store whose clock stands until it is moved. The folder goes with it.
pub struct Fixture {
    pub store: SqliteStore,
    pub folder: tempfile::TempDir,
    clock: Arc<AtomicI64>,
}

pub async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
    let store = open(&folder, &clock).await;
    Fixture { store, folder, clock }
}

async fn open(folder: &tempfile::TempDir, clock: &Arc<AtomicI64>) -> SqliteStore {
    let clock = Arc::clone(clock);
    let now = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
    SqliteStore::open_with_clock(&folder.path().join("longrun.db"), now).await.unwrap()
}

impl Fixture {
    pub fn advance(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A second store on the same file, as after a restart.
    pub async fn reopen(&self) -> SqliteStore {
        open(&self.folder, &self.clock).await
    }

    pub async fn create(&self, organization: &str, new: NewOperation) -> Operation {
        self.store.create(organization, vec![new], None).await.unwrap().remove(0)
    }

    pub async fn claim(&self, kinds: &[&str], limit: u32) -> Vec<Claimed> {
        self.store.claim(claim_request(kinds, limit)).await.unwrap()
    }

    pub async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> Result<operations::Status, operations::Refusal> {
        let settlement = Settlement { lease: claimed.lease.clone(), outcome, retry_after: Duration::from_secs(10) };
        self.store.settle(vec![settlement]).await.unwrap().remove(0)
    }

    /// Creates an operation and brings it to an end.
    pub async fn finished(&self, organization: &str, new: NewOperation, outcome: Outcome) -> Operation {
        let kind = new.kind.clone();
        let created = self.create(organization, new).await;
        let claimed = self.claim(&[&kind], 1).await;
        assert_eq!(claimed[0].operation.id, created.id, "nothing else of this kind waits");
        self.settle(&claimed[0], outcome).await.unwrap();
        created
    }

    pub async fn assert_sound(&self) {
        let report = self.store.doctor().await.unwrap();
        assert_eq!(report.findings, [], "longrun doctor finds nothing");
    }
}

pub fn claim_request(kinds: &[&str], limit: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        organization: None,
        limit,
        worker: "test".to_owned(),
        lease: Duration::from_secs(30),
    }
}

pub fn completed(output: &str) -> Outcome {
    Outcome::Completed { output: output.to_owned() }
}

pub fn failed(message: &str, retryable: bool) -> Outcome {
    Outcome::Failed { message: message.to_owned(), retryable }
}

pub fn about(kind: &str, resource_type: &str, resource_id: &str) -> NewOperation {
    let resource = Resource { resource_type: resource_type.to_owned(), resource_id: resource_id.to_owned() };
    NewOperation { resource: Some(resource), ..NewOperation::of_kind(kind) }
}

pub fn in_project(kind: &str, project_id: &str) -> NewOperation {
    NewOperation { project_id: project_id.to_owned(), ..NewOperation::of_kind(kind) }
}
