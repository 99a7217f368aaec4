//! Two servers on one database: a caller that waits on one is answered when something happens on the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, Registry, Running, Settings};
use operations::{NewOperation, OperationId, Outcome};
use store::{ClaimRequest, Coverage, PostgresStore, SAFETY_POLL, Settlement, Store};
use testkit::{Cluster, Durability, Proxy};

use crate::faults::{Seen, watched_over};
use crate::harness::{Answer, Server};
use crate::work::{claimed, worker};

/// A test that waits longer than this for something has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often something happens: by polls alone it would take [`SAFETY_POLL`] each time except the first.
const TIMES: usize = 5;

/// A server, and another one on the same database, of which only the store exists.
struct Pair {
    server: Server,
    seen: Seen,
    engine: Running,
    other: PostgresStore,
    proxy: Proxy,
    _cluster: Cluster,
}

impl Pair {
    /// Both running, the server behind a proxy that passes notifications on or not.
    async fn start(passes_notifications: bool) -> Pair {
        let cluster = Cluster::start(Durability::None).unwrap();
        let url = cluster.database().await.unwrap();
        let proxy = cluster.proxy().await.unwrap();
        proxy.pass_notifications(passes_notifications);
        let other = PostgresStore::connect(&url, 4).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&proxy.url(&url), 4).await.unwrap());
        let engine = Engine::start(Arc::clone(&store), Registry::new(), Settings::default(), "local");
        let waker = engine.waker();
        let (server, seen) = watched_over(store, |services| services.waker = waker).await;
        if passes_notifications {
            let mut coverage = server.store.commits().coverage_changes();
            let is_hinted = coverage.wait_for(|coverage| *coverage == Coverage::Hinted);
            tokio::time::timeout(DEADLINE, is_hinted).await.expect("in time").unwrap();
        }
        Pair { server, seen, engine, other, proxy, _cluster: cluster }
    }

    /// Starts an attempt on the other server.
    async fn running(&self) -> store::Claimed {
        self.other.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        let request = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: None,
            among: None,
            limit: 1,
            worker: "other".to_owned(),
            lease: Duration::from_secs(600),
        };
        self.other.claim(request).await.unwrap().remove(0)
    }

    /// A caller that waits on the server for an operation, and has looked for it.
    async fn waits(&mut self, id: OperationId) -> tokio::task::JoinHandle<Answer> {
        let (caller, path) = (self.server.acme().await, format!("/v1/operations/{id}:wait?timeout=120s"));
        let looked = self.seen.reads.borrow().ids;
        let waiting = tokio::spawn(async move { caller.get(&path).await });
        self.seen.reads.wait_for(|reads| reads.ids > looked).await.unwrap();
        waiting
    }

    /// Ends an attempt on the other server.
    async fn settle(&self, claimed: store::Claimed) {
        let outcome = Outcome::Completed { output: "done".to_owned() };
        let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
        self.other.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    }

    async fn stop(self) {
        self.engine.drain().await;
        self.server.store.close().await;
    }
}

async fn answer(waiting: tokio::task::JoinHandle<Answer>) -> Answer {
    tokio::time::timeout(DEADLINE, waiting).await.expect("in time").unwrap()
}

#[tokio::test]
async fn an_end_there_is_told_here_and_not_looked_for() {
    let mut pair = Pair::start(true).await;
    let start = Instant::now();
    for _ in 0..TIMES {
        let claimed = pair.running().await;
        let waiting = pair.waits(claimed.operation.id).await;
        pair.settle(claimed).await;
        assert_eq!(answer(waiting).await.json()["operation"]["output"], "done");
    }
    assert!(start.elapsed() < SAFETY_POLL * 2, "it took as long as polling: {:?}", start.elapsed());
    pair.stop().await;
}

#[tokio::test]
async fn a_worker_that_waits_here_gets_what_is_created_there() {
    let mut pair = Pair::start(true).await;
    let worker = worker(&pair.server).await;
    let start = Instant::now();
    for _ in 0..TIMES {
        let asked = *pair.seen.claims.borrow();
        let waiting = {
            let worker = worker.clone();
            tokio::spawn(async move { worker.post("/v1/operations:claim", r#"{"kinds":["scan"],"wait":"60s"}"#).await })
        };
        pair.seen.claims.wait_for(|claims| *claims > asked).await.unwrap();
        pair.other.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        assert_eq!(claimed(&answer(waiting).await).len(), 1);
    }
    assert!(start.elapsed() < SAFETY_POLL * 2, "it took as long as polling: {:?}", start.elapsed());
    pair.stop().await;
}

#[tokio::test]
async fn hints_that_are_lost_make_it_later_only() {
    let mut pair = Pair::start(true).await;
    let claimed = pair.running().await;
    let waiting = pair.waits(claimed.operation.id).await;
    pair.proxy.pass_notifications(false);
    pair.settle(claimed).await;
    assert_eq!(answer(waiting).await.json()["operation"]["output"], "done");
    pair.stop().await;
}

#[tokio::test]
async fn behind_a_pooler_that_keeps_hints_back_it_is_polled_for() {
    let mut pair = Pair::start(false).await;
    for _ in 0..TIMES {
        let claimed = pair.running().await;
        let waiting = pair.waits(claimed.operation.id).await;
        pair.settle(claimed).await;
        assert_eq!(answer(waiting).await.json()["operation"]["output"], "done");
    }
    assert_eq!(pair.server.store.commits().coverage(), Coverage::Own);
    pair.stop().await;
}
