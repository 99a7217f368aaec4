//! Connections that break in the middle of a commit: the database has carried it out, and the answer is lost.

use std::time::{Duration, Instant};

use store::{PostgresStore, Store};
use testkit::{Cluster, Durability};

use super::load::{Load, must};

const RESETS: usize = 40;
/// Creations between two of them.
const BETWEEN: usize = 20;
/// A caller that retries is answered within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_committed_while_its_answer_was_lost_is_neither_lost_nor_doubled() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let (url, proxy) = (cluster.database().await.unwrap(), cluster.proxy().await.unwrap());
    let store = PostgresStore::connect(&proxy.url(&url), 8).await.unwrap();
    let load = Load::start(&store);
    let mut recoveries = Vec::new();
    for reset in 1..=RESETS {
        load.has_created(reset * BETWEEN).await;
        proxy.lose_answers();
        let begun = Instant::now();
        must(|| store.ping()).await;
        recoveries.push(begun.elapsed());
    }
    let acknowledged = load.end().await;
    testkit::report("all answers of PostgreSQL lost under load", RESETS, acknowledged, &testkit::spread(&recoveries));
    assert!(recoveries.iter().all(|recovery| *recovery < RECOVERS_WITHIN), "{recoveries:?}");
}
