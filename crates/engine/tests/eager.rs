//! Creations that start at once: as many as there is capacity for, and waiting operations go first.
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Limits, Registry, Running, Settings};
use operations::{Access, NewOperation, Operation, OperationId, Status};
use store::{SqliteStore, Store};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};

use crate::gate::{DEADLINE, gate, next};

pub struct Setup {
    pub store: Arc<SqliteStore>,
    pub engine: Running,
    pub started: mpsc::UnboundedReceiver<OperationId>,
    go: Arc<Semaphore>,
    _folder: TempDir,
}

impl Setup {
    /// An engine for three attempts, at most one of them of `tight`, whose loop sleeps: it polls once an hour.
    async fn start() -> Setup {
        Setup::draining_for(Settings::default().drain).await
    }

    /// The same with another drain time.
    pub async fn draining_for(drain: Duration) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
        let (gate, started, go) = gate();
        let tight = Limits { concurrency: Some(1), ..Limits::default() };
        let rare = Limits { rate: Some(0.001), ..Limits::default() };
        let registry = Registry::new()
            .with("scan", gate.clone())
            .with("tight", gate.clone())
            .with_limits("tight", tight)
            .with("rare", gate.clone())
            .with_limits("rare", rare);
        let settings = Settings { concurrency: 3, poll: Duration::from_secs(3_600), drain, ..Settings::default() };
        let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, settings, "local");
        let mut setup = Setup { store, engine, started, go, _folder: folder };
        // The loop has read the queue once, and sleeps: nothing had to wake it, and there is a slot for an operation of
        // an organization that has another one running.
        loop {
            let (first, second) = (setup.create("scan").await, setup.create("scan").await);
            for _ in 0..2 {
                setup.next().await;
            }
            setup.go.add_permits(2);
            for created in [&first, &second] {
                setup.ended(created.id).await;
            }
            if [first.status, second.status] == [Status::Running; 2] {
                return setup;
            }
        }
    }

    async fn create(&self, kind: &str) -> Operation {
        self.create_for("acme", kind).await
    }

    async fn create_for(&self, organization: &str, kind: &str) -> Operation {
        let (access, new) = (Access::organization(organization), NewOperation::of_kind(kind));
        self.engine.waker().create(&*self.store, &access, new, None, None).await.unwrap()
    }

    async fn next(&mut self) -> OperationId {
        next(&mut self.started).await
    }

    async fn ended(&self, id: OperationId) {
        let ended = async {
            while !self.store.get(&Access::organization("acme"), id).await.unwrap().unwrap().status.is_terminal() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.expect("in time");
    }

    async fn end(self) {
        self.engine.drain().await;
        assert_eq!(self.store.doctor().await.unwrap().findings, []);
    }
}

#[tokio::test]
async fn creations_start_at_once_until_the_capacity_is_used_up() {
    let mut setup = Setup::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        let created = setup.create("scan").await;
        let expected = if number < 3 { Status::Running } else { Status::Pending };
        assert_eq!(created.status, expected, "{number}");
        made.push(created.id);
    }
    for id in &made[..3] {
        assert_eq!(setup.next().await, *id);
    }
    assert!(setup.started.is_empty());
    // Each slot that becomes free is taken by the waiting operations, in their order.
    for id in &made[3..] {
        setup.go.add_permits(1);
        assert_eq!(setup.next().await, *id);
    }
    setup.go.add_permits(3);
    for id in made {
        setup.ended(id).await;
    }
    setup.end().await;
}

#[tokio::test]
async fn a_kind_keeps_to_its_concurrency() {
    let mut setup = Setup::start().await;
    let (first, second) = (setup.create("tight").await, setup.create("tight").await);
    assert_eq!((first.status, second.status), (Status::Running, Status::Pending));
    assert_eq!(setup.next().await, first.id);
    let other = setup.create("scan").await;
    assert_eq!(setup.next().await, other.id, "others have capacity left");
    assert!(setup.started.is_empty());
    setup.go.add_permits(2);
    assert_eq!(setup.next().await, second.id);
    setup.go.add_permits(1);
    setup.end().await;
}

#[tokio::test]
async fn a_kind_keeps_to_its_rate() {
    let setup = Setup::start().await;
    let (first, second) = (setup.create("rare").await, setup.create("rare").await);
    assert_eq!((first.status, second.status), (Status::Running, Status::Pending));
    setup.go.add_permits(1);
    setup.end().await;
}

#[tokio::test]
async fn capacity_that_was_not_used_is_given_back() {
    let mut setup = Setup::start().await;
    let paused = store::Pausable::Organization("acme".to_owned());
    setup.store.pause(paused.clone()).await.unwrap();
    let waiting: Vec<OperationId> = vec![setup.create("tight").await.id, setup.create("rare").await.id];
    for _ in 0..10 {
        assert_eq!(setup.create("scan").await.status, Status::Pending);
    }
    assert!(setup.started.is_empty());
    setup.store.resume(paused).await.unwrap();
    setup.engine.waker().wake();
    let mut started = Vec::new();
    for _ in 0..12 {
        started.push(setup.next().await);
        setup.go.add_permits(1);
    }
    assert!(waiting.iter().all(|id| started.contains(id)), "neither a slot nor a start was lost");
    setup.end().await;
}

#[tokio::test]
async fn an_organization_of_which_nothing_runs_starts_at_once_beside_those_that_have_every_place() {
    let mut setup = Setup::start().await;
    for _ in 0..4 {
        setup.create("scan").await;
    }
    let mut others = Vec::new();
    // A kind with a limit of its own takes no extra slot, and younger operations do not overtake waiting ones.
    for (organization, kind) in
        [("first", "tight"), ("first", "scan"), ("other", "scan"), ("other", "scan"), ("third", "scan")]
    {
        others.push(setup.create_for(organization, kind).await);
    }
    let statuses: Vec<Status> = others.iter().map(|operation| operation.status).collect();
    let expected = [Status::Pending, Status::Pending, Status::Running, Status::Pending, Status::Pending];
    assert_eq!(statuses, expected, "one shared slot, and one extra slot");
    let mut started = Vec::new();
    for _ in 0..4 {
        started.push(setup.next().await);
    }
    assert!(started.contains(&others[2].id) && setup.started.is_empty(), "three slots and the extra one");
    setup.go.add_permits(9);
    for _ in 0..5 {
        setup.next().await;
    }
    setup.end().await;
}

#[tokio::test]
async fn an_engine_that_drains_starts_nothing_more() {
    let setup = Setup::start().await;
    let waker = setup.engine.waker();
    setup.engine.drain().await;
    let created = waker
        .create(&*setup.store, &Access::organization("acme"), NewOperation::of_kind("scan"), None, None)
        .await
        .unwrap();
    assert_eq!(created.status, Status::Pending);
}

#[tokio::test]
async fn kinds_of_others_are_created_as_pending() {
    let setup = Setup::start().await;
    assert_eq!(setup.create("of-a-worker").await.status, Status::Pending);
    setup.end().await;
}
