//! The primary dies under load, and its synchronous standby takes its place behind the same address.

use std::time::{Duration, Instant};

use store::PostgresStore;
use testkit::{Cluster, Durability};

use super::load::Load;

/// How many, unless `LONGRUN_FAILOVERS` says otherwise.
const FAILOVERS: usize = 4;
/// Creations before each.
const BEFORE: usize = 100;
/// After the promotion, operations are created, claimed and settled again within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_or_doubled_when_standbys_take_over() {
    let failovers = std::env::var("LONGRUN_FAILOVERS").map_or(FAILOVERS, |number| number.parse().unwrap());
    let mut primary = Cluster::start(Durability::None).unwrap();
    let (url, proxy) = (primary.database().await.unwrap(), primary.proxy().await.unwrap());
    let store = PostgresStore::connect(&proxy.url(&url), 8).await.unwrap();
    let mut load = Load::start(&store);
    let (mut broken, mut silent, mut refused) = (Vec::new(), Vec::new(), 0);
    for failover in 0..failovers {
        let standby = primary.synchronous_standby().await.unwrap();
        load.has_created(load.created() + BEFORE).await;
        let cursor = load.cursor().await;
        // Every other time the connections stay open and silent, like those to a machine that has lost its power.
        let recoveries = if failover % 2 == 0 { &mut broken } else { &mut silent };
        if failover % 2 == 1 {
            proxy.freeze_open();
        }
        primary.kill().unwrap();
        standby.promote().await.unwrap();
        let begun = Instant::now();
        proxy.lead_to(&standby);
        load.serves_again().await;
        recoveries.push(begun.elapsed());
        load.has_created(load.created() + BEFORE).await;
        refused += usize::from(!load.read_from(cursor).await);
        primary = standby;
    }
    let acknowledged = load.end().await;
    println!("{refused} cursors from before were refused, the others missed nothing");
    let again =
        format!("{}; {} where connections stopped responding", testkit::spread(&broken), testkit::spread(&silent));
    let run = "the primary killed under load and its synchronous standby promoted";
    testkit::report(run, failovers, acknowledged, &again);
    let recoveries = [broken, silent].concat();
    assert!(recoveries.iter().all(|recovery| *recovery < RECOVERS_WITHIN), "{recoveries:?}");
}
