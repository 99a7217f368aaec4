//! Claims, and creations that start at once, whose answer is lost: they are found and released, and no attempt is charged.

use std::sync::mpsc;
use std::time::Duration;

use operations::{Access, Filter, NewOperation, OperationId, PageRequest, Status};
use store::{Claimed, Lost, PostgresStore, Settlement, Start, Store, StoreError};
use testkit::{Cluster, Durability, Proxy};

use super::load::must;
use super::support::{claim_request, completed};

const LEASE: Duration = Duration::from_secs(30);
/// The connection may also break before the statement is sent, as when nothing was lost but time.
const TRIES: usize = 50;

struct Lossy {
    /// Its connections lead through the proxy.
    store: PostgresStore,
    proxy: Proxy,
    /// Looks at the database by itself.
    other: PostgresStore,
    _cluster: Cluster,
}

impl Lossy {
    async fn start() -> Lossy {
        let cluster = Cluster::start(Durability::None).unwrap();
        let (url, proxy) = (cluster.database().await.unwrap(), cluster.proxy().await.unwrap());
        let store = PostgresStore::connect(&proxy.url(&url), 8).await.unwrap();
        let other = PostgresStore::connect(&url, 2).await.unwrap();
        Lossy { store, proxy, other, _cluster: cluster }
    }

    async fn status(&self, id: OperationId) -> Status {
        self.other.get(&Access::organization("acme"), id).await.unwrap().unwrap().status
    }

    async fn settle(&self, claimed: Claimed) {
        let retry_after = Duration::from_millis(1);
        let settlement = Settlement { lease: claimed.lease, outcome: completed("done"), retry_after };
        assert_eq!(must(|| self.store.settle(vec![settlement.clone()])).await, [Ok(Status::Completed)]);
    }

    async fn cancel(&self, id: OperationId) {
        let acme = Access::organization("acme");
        self.other.command(&acme, id, store::OperationCommand::Cancel).await.unwrap();
    }

    /// Releases what is found, which must be this operation alone, and runs it: this is its first attempt.
    async fn is_released_and_runs(&self, id: OperationId) {
        let lost = must(|| self.store.lost_leases(Lost::Unanswered, 10)).await;
        assert_eq!(lost.iter().map(|lost| lost.lease.id).collect::<Vec<_>>(), [id]);
        let leases: Vec<_> = lost.into_iter().map(|lost| lost.lease).collect();
        // Released twice over when the first answer is lost with an old connection.
        must(|| self.store.release(leases.clone())).await;
        assert_eq!(self.status(id).await, Status::Pending);
        assert_eq!(must(|| self.store.lost_leases(Lost::Unanswered, 10)).await, []);
        let claimed = must(|| self.store.claim(claim_request(&["scan"], 10))).await.remove(0);
        assert_eq!((claimed.operation.id, claimed.attempt), (id, 1), "no attempt was charged");
        assert_eq!(must(|| self.store.lost_leases(Lost::Unanswered, 10)).await, [], "this claim was answered");
        self.settle(claimed).await;
        assert_eq!(self.other.doctor().await.unwrap().findings, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_took_that_was_not_answered_is_released_uncharged() {
    let lossy = Lossy::start().await;
    for _ in 0..TRIES {
        let new = NewOperation { max_attempts: 1, ..NewOperation::of_kind("scan") };
        let created = lossy.other.create("acme", vec![new], None).await.unwrap();
        lossy.proxy.lose_answers();
        match lossy.store.claim(claim_request(&["scan"], 10)).await {
            Ok(claimed) => {
                let leases = claimed.into_iter().map(|claimed| claimed.lease).collect();
                lossy.store.release(leases).await.unwrap();
            }
            Err(StoreError::Unavailable(_)) if lossy.status(created[0].id).await == Status::Running => {
                return lossy.is_released_and_runs(created[0].id).await;
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
        lossy.cancel(created[0].id).await;
    }
    panic!("no claim was carried out without being answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_creation_started_that_was_not_answered_is_released_uncharged() {
    let lossy = Lossy::start().await;
    let acme = Access::organization("acme");
    let running = Filter { status: Some(Status::Running), ..Filter::default() };
    for _ in 0..TRIES {
        let new = NewOperation { max_attempts: 1, ..NewOperation::of_kind("scan") };
        let (sender, started) = mpsc::channel();
        lossy.proxy.lose_answers();
        let start = Start::new("w", LEASE, move |claimed| sender.send(claimed).unwrap());
        match lossy.store.create_one("acme", new, None, Some(start)).await {
            Ok(_) => lossy.settle(started.try_recv().unwrap()).await,
            Err(StoreError::Unavailable(_)) => {
                let page = PageRequest { page: 0, page_size: 10 };
                let found = lossy.other.list(&acme, &running, page).await.unwrap().entries;
                if let [found] = &found[..] {
                    assert!(started.try_recv().is_err(), "nobody is to run it");
                    return lossy.is_released_and_runs(found.operation.id).await;
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("no creation was carried out without being answered");
}
