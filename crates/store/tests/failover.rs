//! The primary dies under load, and its synchronous standby takes its place behind the same address.

use std::time::{Duration, Instant};

use store::PostgresStore;
use testkit::{Cluster, Durability};

use super::load::Load;

/// How many, unless `LONGRUN_FAILOVERS` says otherwise.
const FAILOVERS: usize = 4;
/// Creations before each.
const BEFORE: usize = 100;
/// After the promotion, something is created again within this time.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_or_doubled_when_standbys_take_over() {
    let failovers = std::env::var("LONGRUN_FAILOVERS").map_or(FAILOVERS, |number| number.parse().unwrap());
    let mut primary = Cluster::start(Durability::None).unwrap();
    let (url, proxy) = (primary.database().await.unwrap(), primary.proxy().await.unwrap());
    let store = PostgresStore::connect(&proxy.url(&url), 8).await.unwrap();
    let load = Load::start(&store);
    let (mut broken, mut silent) = (Vec::new(), Vec::new());
    for failover in 0..failovers {
        let standby = primary.synchronous_standby().await.unwrap();
        load.has_created(load.created() + BEFORE).await;
        // Every other time the connections stay open and silent, like those to a machine that has lost its power.
        let recoveries = if failover % 2 == 0 { &mut broken } else { &mut silent };
        if failover % 2 == 1 {
            proxy.freeze_open();
        }
        primary.kill().unwrap();
        standby.promote().await.unwrap();
        let (begun, created) = (Instant::now(), load.created());
        proxy.lead_to(&standby);
        load.has_created(created + 1).await;
        recoveries.push(begun.elapsed());
        primary = standby;
    }
    let acknowledged = load.end(&primary.same_database(&url)).await;
    println!("{failovers} failovers: {acknowledged} acknowledged, 0 lost, 0 doubled, 0 stuck");
    for (how, mut recoveries) in [("broke", broken), ("fell silent", silent)] {
        recoveries.sort_unstable();
        let Some(most) = recoveries.last() else { continue };
        println!("connections {how}: created again after {:?}, {most:?} at most", recoveries[recoveries.len() / 2]);
        assert!(*most < RECOVERS_WITHIN, "{most:?}");
    }
}
