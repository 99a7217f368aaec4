//! Events are counted once, by one of several engines.
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Registry, Settings};
use operations::{Access, NewOperation, Step, Timestamp};
use store::{SqliteStore, StatisticsRequest, Store};

/// Waits until this many creations are counted; answers how many are.
async fn counted(store: &dyn Store, organization: &str, count: u64) -> u64 {
    let request = StatisticsRequest {
        from: Timestamp::from_millis(0),
        to: Timestamp::from_millis(i64::MAX),
        step: Step::Day,
        kind: None,
        by_kind: false,
    };
    loop {
        let answer = store.statistics(&Access::organization(organization), &request, 100).await.unwrap();
        let created = answer.points.iter().map(|point| point.counts.created).sum();
        if created >= count {
            return created;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn engines_take_turns_at_counting_and_go_on_where_another_one_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("longrun.db")).await.unwrap());
    Engine::prepare(&*store, &Registry::new()).await.unwrap();
    let start = |name: &str| Engine::start(Arc::clone(&store), Registry::new(), Settings::default(), name);
    let engines = [start("a"), start("b"), start("c")];
    for count in 1..=3 {
        store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        assert_eq!(counted(&*store, "acme", count).await, count);
    }
    for engine in engines {
        engine.drain().await;
    }
    // Events that happen while nobody counts are counted afterwards.
    store.create("acme", vec![NewOperation::of_kind("scan"); 5], None).await.unwrap();
    store.create("other", vec![NewOperation::of_kind("scan")], None).await.unwrap();
    let second = start("a");
    assert_eq!(counted(&*store, "acme", 8).await, 8);
    assert_eq!(counted(&*store, "other", 1).await, 1);
    second.drain().await;
    assert_eq!(store.doctor().await.unwrap().findings, []);
}
