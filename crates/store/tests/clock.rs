//! The clock of the machine is set while an embedded store is open: attempts go by the time that passes.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use operations::{Access, NewOperation, Status, Timestamp};
use store::{
    AttemptTimeouts, ClaimRequest, Claimed, Clock, Heartbeat, LeaseStatus, NewToken, OperationCommand, Scope,
    SqliteStore, Store,
};

const DAY: i64 = 24 * 3_600_000;
const LEASE: Duration = Duration::from_secs(30);

/// A store with two clocks that are moved by hand.
struct Setting {
    folder: tempfile::TempDir,
    store: SqliteStore,
    clock: Arc<AtomicI64>,
    passing: Arc<AtomicI64>,
}

fn shown(clock: &Arc<AtomicI64>) -> Clock {
    let clock = Arc::clone(clock);
    Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)))
}

async fn open(folder: &Path, clock: &Arc<AtomicI64>, passing: &Arc<AtomicI64>) -> SqliteStore {
    SqliteStore::open_with_clocks(&folder.join("longrun.db"), shown(clock), shown(passing)).await.unwrap()
}

impl Setting {
    async fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let (clock, passing) = (Arc::new(AtomicI64::new(1_700_000_000_000)), Arc::new(AtomicI64::new(0)));
        let store = open(folder.path(), &clock, &passing).await;
        Setting { folder, store, clock, passing }
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::SeqCst);
        self.passing.fetch_add(millis, Ordering::SeqCst);
    }

    fn set_clock(&self, by: i64) {
        self.clock.fetch_add(by, Ordering::SeqCst);
    }

    async fn running(&self, worker: &str) -> Claimed {
        self.store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        let request = ClaimRequest {
            kinds: vec!["scan".to_owned()],
            access: None,
            among: None,
            limit: 1,
            worker: worker.to_owned(),
            lease: LEASE,
        };
        self.store.claim(request).await.unwrap().remove(0)
    }

    async fn lost(&self) -> usize {
        self.store.lost_leases(store::Lost::Expired, 10).await.unwrap().len()
    }
}

#[tokio::test]
async fn an_attempt_is_lost_by_the_time_that_passes_only() {
    for by in [DAY, -DAY, 365 * DAY, -365 * DAY] {
        let setting = Setting::new().await;
        let claimed = setting.running("w").await;
        setting.pass(LEASE / 2);
        setting.set_clock(by);
        assert_eq!(setting.lost().await, 0, "set by {by}");
        // A heartbeat after the clock was set; its answer is by the clock.
        let beat = Heartbeat { lease: claimed.lease.clone(), progress: None };
        let found = setting.store.heartbeat(vec![beat], LEASE).await.unwrap();
        let expires_at = setting.store.now().after(LEASE);
        assert_eq!(found, [LeaseStatus::Held { expires_at, cancel_requested: false }]);
        setting.pass(LEASE - Duration::from_millis(1));
        assert_eq!(setting.lost().await, 0, "set by {by}, and it was heard of");
        setting.pass(Duration::from_millis(1));
        assert_eq!(setting.lost().await, 1, "set by {by}, and it was not heard of");
        assert_eq!(setting.store.doctor().await.unwrap().findings, []);
    }
}

#[tokio::test]
async fn without_a_heartbeat_the_lease_ends_when_it_would_have() {
    for by in [DAY, -DAY] {
        let setting = Setting::new().await;
        setting.running("w").await;
        setting.pass(LEASE / 2);
        setting.set_clock(by);
        setting.pass(LEASE / 2 - Duration::from_millis(1));
        assert_eq!(setting.lost().await, 0, "set by {by}");
        setting.pass(Duration::from_millis(1));
        assert_eq!(setting.lost().await, 1, "set by {by}");
    }
}

#[tokio::test]
async fn so_do_time_limits_and_what_was_asked_to_stop() {
    for by in [DAY, -DAY] {
        let setting = Setting::new().await;
        let token = NewToken {
            name: "w".to_owned(),
            hash: [1; 32],
            access: Access::organization("acme"),
            scopes: [Scope::OperationsWork].into(),
            expires_at: None,
            instance: None,
        };
        let token = setting.store.create_token(token).await.unwrap();
        let claimed = setting.running(&token.id).await;
        let timeouts =
            AttemptTimeouts { otherwise: Duration::from_secs(60), grace: Duration::ZERO, ..AttemptTimeouts::default() };
        let overruns = async || setting.store.overruns(&timeouts, 10).await.unwrap().len();
        let access = Access::organization("acme");
        setting.store.command(&access, claimed.lease.id, OperationCommand::Cancel).await.unwrap();
        setting.set_clock(by);
        setting.pass(Duration::from_secs(20));
        assert_eq!(setting.store.end_overdue_cancels(Duration::from_secs(21), 10).await.unwrap(), 0, "set by {by}");
        setting.pass(Duration::from_secs(40));
        assert_eq!(overruns().await, 0, "set by {by}");
        setting.pass(Duration::from_millis(1));
        assert_eq!(overruns().await, 1, "set by {by}");
        assert_eq!(setting.store.end_overdue_cancels(Duration::from_secs(60), 10).await.unwrap(), 1, "set by {by}");
        let ended = setting.store.get(&access, claimed.lease.id).await.unwrap().unwrap();
        assert_eq!(ended.status, Status::Failed);
        assert_eq!(ended.finished_at, Some(setting.store.now()), "what is shown is by the clock");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_between_two_lives_holds_no_lease_for_long() {
    let setting = Setting::new().await;
    setting.running("somewhere else").await;
    setting.store.close().await;
    setting.set_clock(-365 * DAY);
    let setting = Setting { store: open(setting.folder.path(), &setting.clock, &setting.passing).await, ..setting };
    assert_eq!(setting.lost().await, 0);
    // The process claims for itself as soon as it has started.
    setting.running("here").await;
    setting.pass(LEASE);
    assert_eq!(setting.lost().await, 2);
}
