//! Operations that follow from the end of another one are created once, across crashes and with several engines.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use engine::{Engine, FollowUp, Registry, Settings};
use operations::{Access, Filter, NewOperation, Operation, Outcome, PageRequest, Resource, Timestamp};
use store::{ClaimRequest, Settlement, SqliteStore, Store};
use tokio::sync::watch;

/// Creates an operation of the kind `next` for each end of the kind `first`. At call number `breaks_at` it behaves as
/// if the process died.
struct Next {
    asked: watch::Sender<usize>,
    breaks_at: usize,
}

impl FollowUp for Next {
    fn due(&self, _: &str, ended: &Operation) -> Vec<NewOperation> {
        if ended.kind != "first" {
            return Vec::new();
        }
        self.asked.send_modify(|asked| *asked += 1);
        assert!(*self.asked.borrow() != self.breaks_at, "as if the process died here");
        let resource = Resource { resource_type: "operation".to_owned(), resource_id: ended.id.to_string() };
        vec![NewOperation { resource: Some(resource), ..NewOperation::of_kind("next") }]
    }
}

struct Fixture {
    store: Arc<dyn Store>,
    clock: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        let time = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp::from_millis(time.load(Ordering::SeqCst)));
        let store = SqliteStore::open_with_clock(&folder.path().join("longrun.db"), now).await.unwrap();
        Fixture { store: Arc::new(store), clock, _folder: folder }
    }

    /// An engine, and the number of calls of its follow-up.
    async fn engine(&self, name: &str, breaks_at: usize) -> (engine::Running, watch::Receiver<usize>) {
        let (asked, seen) = watch::channel(0);
        let registry = Registry::new().with_follow_up(Next { asked, breaks_at });
        Engine::prepare(&*self.store, &registry).await.unwrap();
        (Engine::start(Arc::clone(&self.store), registry, Settings::default(), name), seen)
    }

    /// Operations that end in one transaction.
    async fn end(&self, organization: &str, kind: &str, count: usize) {
        // Ids are in the order of time.
        self.clock.fetch_add(1, Ordering::SeqCst);
        let new = (0..count).map(|_| NewOperation::of_kind(kind)).collect();
        self.store.create(organization, new, None).await.unwrap();
        let request = ClaimRequest {
            kinds: vec![kind.to_owned()],
            access: Some(Access::organization(organization)),
            among: None,
            limit: u32::try_from(count).unwrap(),
            worker: "test".to_owned(),
            lease: Duration::from_secs(60),
        };
        let settle = |claimed: store::Claimed| Settlement {
            lease: claimed.lease,
            outcome: Outcome::Completed { output: String::new() },
            retry_after: Duration::ZERO,
        };
        let claimed = self.store.claim(request).await.unwrap();
        assert_eq!(claimed.len(), count);
        self.store.settle(claimed.into_iter().map(settle).collect()).await.unwrap();
    }

    /// The operations for which there are next ones; waits until there are this many.
    async fn next_ones(&self, organization: &str, count: usize) -> Vec<String> {
        let filter = Filter { kind: Some("next".to_owned()), ..Filter::default() };
        let page = PageRequest { page: 0, page_size: 100 };
        loop {
            let listing = self.store.list(&Access::organization(organization), &filter, page).await.unwrap();
            if listing.entries.len() >= count {
                let about = listing.entries.into_iter().map(|entry| entry.operation.resource.unwrap().resource_id);
                let mut about: Vec<String> = about.collect();
                about.sort();
                return about;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn first_ones(&self, organization: &str) -> Vec<String> {
        let filter = Filter { kind: Some("first".to_owned()), ..Filter::default() };
        let page = PageRequest { page: 0, page_size: 100 };
        let listing = self.store.list(&Access::organization(organization), &filter, page).await.unwrap();
        let mut ids: Vec<String> = listing.entries.into_iter().map(|entry| entry.operation.id.to_string()).collect();
        ids.sort();
        ids
    }
}

#[tokio::test]
async fn a_process_that_dies_half_way_leaves_nothing_out_and_nothing_is_created_twice() {
    let fixture = Fixture::new().await;
    let (dying, mut asked) = fixture.engine("a", 3).await;
    fixture.end("acme", "first", 5).await;
    asked.wait_for(|asked| *asked == 3).await.unwrap();
    // Its lease ends; and the change log would have expired by now if it had been read.
    fixture.clock.fetch_add(2 * 3_600 * 1_000, Ordering::SeqCst);
    let (second, asked_again) = fixture.engine("b", usize::MAX).await;
    assert_eq!(fixture.next_ones("acme", 5).await, fixture.first_ones("acme").await);
    assert_eq!(*asked_again.borrow(), 5, "it began where the first engine had begun");
    second.drain().await;
    dying.drain().await;
    assert_eq!(fixture.store.doctor().await.unwrap().findings, []);
}

#[tokio::test]
async fn what_ended_while_nobody_ran_is_found() {
    let fixture = Fixture::new().await;
    fixture.end("acme", "first", 1).await;
    let (first, _) = fixture.engine("a", usize::MAX).await;
    first.drain().await;
    fixture.end("acme", "first", 3).await;
    fixture.end("other", "first", 1).await;
    fixture.end("other", "another", 1).await;
    let (second, _) = fixture.engine("b", usize::MAX).await;
    let about = fixture.next_ones("acme", 3).await;
    assert_eq!(
        about,
        fixture.first_ones("acme").await[1..],
        "and not operations that ended before the first engine started"
    );
    assert_eq!(fixture.next_ones("other", 1).await, fixture.first_ones("other").await);
    second.drain().await;
}

#[tokio::test]
async fn engines_take_turns() {
    let fixture = Fixture::new().await;
    let mut engines = Vec::new();
    for name in ["a", "b", "c"] {
        engines.push(fixture.engine(name, usize::MAX).await);
    }
    let asked = AtomicUsize::new(0);
    for count in 1..=10 {
        fixture.end("acme", "first", 1).await;
        assert_eq!(fixture.next_ones("acme", count).await.len(), count);
    }
    for (engine, seen) in engines {
        engine.drain().await;
        asked.fetch_add(*seen.borrow(), Ordering::SeqCst);
    }
    assert_eq!(asked.into_inner(), 10, "no engine was called for an end that another one had handled");
}

#[tokio::test]
async fn an_organization_that_is_being_deleted_holds_up_no_other() {
    let fixture = Fixture::new().await;
    let (first, _) = fixture.engine("a", usize::MAX).await;
    first.drain().await;
    fixture.end("acme", "first", 2).await;
    fixture.end("other", "first", 1).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    let (second, _) = fixture.engine("b", usize::MAX).await;
    assert_eq!(fixture.next_ones("other", 1).await, fixture.first_ones("other").await);
    assert_eq!(fixture.next_ones("acme", 0).await, [""; 0]);
    second.drain().await;
}
