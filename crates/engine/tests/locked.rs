//! PostgreSQL: an organization whose row another session has locked keeps no other one waiting.
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, FollowUp, Registry, Settings};
use operations::schedule::{CatchUp, NewSchedule, Overlap};
use operations::{Access, Filter, NewOperation, Operation, Outcome, PageRequest};
use sqlx::{Connection as _, Executor as _, PgConnection};
use store::postgres::Limits;
use store::{ClaimRequest, PostgresStore, Schedules as _, Settlement, Store};
use testkit::{Cluster, Durability};

use super::gate::DEADLINE;

/// Creates an operation of the kind `next` for each end of the kind `first`.
struct Next;

impl FollowUp for Next {
    fn due(&self, _: &str, ended: &Operation) -> Vec<NewOperation> {
        if ended.kind == "first" { vec![NewOperation::of_kind("next")] } else { Vec::new() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_that_is_locked_keeps_no_schedule_and_nothing_that_follows_waiting() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let limits = Limits { lock: Duration::from_millis(500), ..Limits::default() };
    let store = Arc::new(PostgresStore::connect_with_limits(&url, 4, limits).await.unwrap());
    let registry = Registry::new().with_follow_up(Next);
    Engine::prepare(&*store, &registry).await.unwrap();
    let mut settlements = Vec::new();
    for organization in ["acme", "zeta"] {
        store.create(organization, vec![NewOperation::of_kind("first")], None).await.unwrap();
        let claim = ClaimRequest {
            kinds: vec!["first".to_owned()],
            access: Some(Access::organization(organization)),
            among: None,
            limit: 1,
            worker: "test".to_owned(),
            lease: DEADLINE,
        };
        let lease = store.claim(claim).await.unwrap().remove(0).lease;
        let outcome = Outcome::Completed { output: String::new() };
        settlements.push(Settlement { lease, outcome, retry_after: Duration::ZERO });
        let schedule = NewSchedule {
            name: "every-second".to_owned(),
            cron: String::new(),
            every: Some(Duration::from_secs(1)),
            time_zone: String::new(),
            operation: NewOperation::of_kind("scheduled"),
            overlap: Overlap::Skip,
            catch_up: CatchUp::Latest,
            jitter: Duration::ZERO,
            paused: false,
        };
        store.create_schedule(organization, schedule).await.unwrap().unwrap();
    }
    // What ends after the lock was taken cannot be read yet, whosever it is.
    store.settle(settlements).await.unwrap();
    let mut foreign = PgConnection::connect(&url).await.unwrap();
    let lock = "BEGIN; SELECT FROM longrun.organizations WHERE organization_id = 'acme' FOR UPDATE";
    foreign.execute(lock).await.unwrap();
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, registry, Settings::default(), "local");
    let has = async |organization: &str, kind: &str| {
        let filter = Filter { kind: Some(kind.to_owned()), ..Filter::default() };
        let page = PageRequest { page: 0, page_size: 1 };
        let listing = store.list(&Access::organization(organization), &filter, page).await.unwrap();
        listing.page.total_count > 0
    };
    for organization in ["zeta", "acme"] {
        for kind in ["next", "scheduled"] {
            let made = async {
                while !has(organization, kind).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(DEADLINE, made).await.unwrap_or_else(|_| panic!("{organization}: {kind}"));
        }
        if organization == "zeta" {
            assert!(!has("acme", "next").await && !has("acme", "scheduled").await, "it is locked");
            foreign.execute("ROLLBACK").await.unwrap();
        }
    }
    engine.drain().await;
    assert_eq!(store.doctor().await.unwrap().findings, []);
    store.close().await;
}
