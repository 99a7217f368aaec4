//! A week in the life of a small shop, in a store whose clock is moved by hand: the subject of the pictures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use operations::{Access, NewOperation, Outcome, Resource, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use server::auth::Secret;
use store::{
    ClaimRequest, Claimed, NewToken, STATISTICS_CONSUMER, Scope, Settlement, SqliteStore, Statistics as _, Store,
};

/// The organization of `longrun dev`.
const ORGANIZATION: &str = "dev";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The things that have a picture of their own.
pub struct Week {
    /// An operation that failed.
    pub failed: String,
}

/// Work that comes again and again.
struct Work {
    kind: &'static str,
    project: &'static str,
    resource: &'static str,
    worker: &'static str,
    /// Its share in a hundred, and how many in a thousand fail.
    share: u32,
    failing: u32,
    /// About how long it takes, in seconds.
    takes: f64,
    error: &'static str,
}

const WORKS: [Work; 6] = [
    Work {
        kind: "thumbnail",
        project: "shop",
        resource: "product",
        worker: "pictures",
        share: 38,
        failing: 8,
        takes: 2.4,
        error: "cannot decode the picture: it ends after 18,432 bytes",
    },
    Work {
        kind: "send-invoice",
        project: "billing",
        resource: "order",
        worker: "billing",
        share: 25,
        failing: 14,
        takes: 1.1,
        error: "the mail server answered 451: try again later",
    },
    Work {
        kind: "sync-catalogue",
        project: "shop",
        resource: "supplier",
        worker: "sync",
        share: 14,
        failing: 70,
        takes: 34.0,
        error: "the supplier's feed has no price for 3 of 1,204 products",
    },
    Work {
        kind: "scan-repository",
        project: "platform",
        resource: "repository",
        worker: "scanners",
        share: 12,
        failing: 25,
        takes: 81.0,
        error: "git fetch: the remote hung up",
    },
    Work {
        kind: "sales-report",
        project: "billing",
        resource: "store",
        worker: "billing",
        share: 8,
        failing: 10,
        takes: 18.0,
        error: "the query took longer than 5 min",
    },
    Work {
        kind: "restore-backup",
        project: "platform",
        resource: "database",
        worker: "sync",
        share: 3,
        failing: 90,
        takes: 260.0,
        error: "the checksum of part 12 differs",
    },
];

/// Something that happens.
enum Event {
    Create(usize),
    Claim(usize),
    Settle(Box<Claimed>, usize),
}

/// Lives a week that ends now, into the store of `longrun dev` with this data folder.
pub async fn live(data: &Path) -> Week {
    std::fs::create_dir_all(data).unwrap();
    let end = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let clock = Arc::new(AtomicI64::new(end - 7 * 24 * HOUR));
    let now = {
        let clock = Arc::clone(&clock);
        Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)))
    };
    let store = SqliteStore::open_with_clock(&data.join("longrun.db"), now).await.unwrap();
    store.begin_statistics().await.unwrap();
    let workers = workers(&store).await;
    let mut random = StdRng::seed_from_u64(7);
    let mut events: BTreeMap<(i64, u64), Event> = BTreeMap::new();
    let mut number = 0;
    let mut at = |events: &mut BTreeMap<_, _>, time: i64, event: Event| {
        number += 1;
        events.insert((time, number), event);
    };
    for time in creations(end, &mut random) {
        let mut share = random.random_range(0..100);
        let work = WORKS.iter().position(|work| {
            let is_it = share < work.share;
            share = share.saturating_sub(work.share);
            is_it
        });
        at(&mut events, time, Event::Create(work.unwrap_or(0)));
    }
    // Operations that take long and have not ended yet.
    for (index, ago) in [(5, 190), (5, 110), (3, 90), (3, 60)] {
        at(&mut events, end - ago * 1_000, Event::Create(index));
    }
    let mut failed = String::new();
    while let Some(((time, _), event)) = events.pop_first() {
        if time > end {
            break;
        }
        clock.store(time, Ordering::SeqCst);
        match event {
            Event::Create(index) => {
                create(&store, index, &mut random).await;
                let wait = 150 + (random.random::<f64>().powi(4) * 40_000.0) as i64;
                at(&mut events, time + wait, Event::Claim(index));
            }
            Event::Claim(index) => {
                let request = ClaimRequest {
                    kinds: vec![WORKS[index].kind.to_owned()],
                    access: Some(Access::organization(ORGANIZATION)),
                    among: None,
                    limit: 1,
                    worker: workers[WORKS[index].worker].clone(),
                    lease: Duration::from_secs(24 * 3600),
                };
                for claimed in store.claim(request).await.unwrap() {
                    if matches!(index, 3 | 5) && time > end - 200_000 {
                        continue;
                    }
                    let takes = WORKS[index].takes * (0.4 + 1.6 * random.random::<f64>().powi(2));
                    at(&mut events, time + (takes * 1_000.0) as i64, Event::Settle(Box::new(claimed), index));
                }
            }
            Event::Settle(claimed, index) => {
                let work = &WORKS[index];
                // One bad quarter of an hour, half an hour ago.
                let is_bad = index == 2 && (end - 40 * MINUTE..end - 25 * MINUTE).contains(&time);
                let fails = random.random_range(0..1_000) < if is_bad { 900 } else { work.failing };
                let id = claimed.operation.id.to_string();
                let outcome = if fails {
                    failed = id;
                    Outcome::Failed { message: work.error.to_owned(), retryable: false }
                } else {
                    Outcome::Completed { output: format!("{{\"items\":{}}}", random.random_range(1..400)) }
                };
                let settlement = Settlement { lease: claimed.lease, outcome, retry_after: Duration::ZERO };
                store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
            }
        }
    }
    clock.store(end, Ordering::SeqCst);
    // Operations that wait for a worker that is not there.
    for index in [3, 3, 5] {
        create(&store, index, &mut random).await;
    }
    while let Some((organization, from)) = store.uncommitted(STATISTICS_CONSUMER, "", 1).await.unwrap().pop() {
        if !store.count_changes(&organization, from, 1_000).await.unwrap() {
            break;
        }
    }
    store.close().await;
    Week { failed }
}

/// When operations are created: fewer at night.
fn creations(end: i64, random: &mut StdRng) -> Vec<i64> {
    let mut times = Vec::new();
    for (from, to, count) in [(7 * 24 * HOUR, 24 * HOUR, 4_000), (24 * HOUR, HOUR, 1_000), (HOUR, 2_000, 150)] {
        let mut made = 0;
        while made < count {
            let time = end - random.random_range(to..from);
            let of_day = (time / MINUTE % (24 * 60)) as f64 / (24.0 * 60.0);
            let busy = 0.55 - 0.45 * (of_day * std::f64::consts::TAU).cos();
            if from == HOUR || random.random::<f64>() < busy {
                times.push(time);
                made += 1;
            }
        }
    }
    times
}

async fn create(store: &SqliteStore, index: usize, random: &mut StdRng) {
    let work = &WORKS[index];
    let resource = Resource {
        resource_type: work.resource.to_owned(),
        resource_id: format!("{}-{}", work.resource, random.random_range(1_000..9_999)),
    };
    let operation = NewOperation {
        resource: Some(resource),
        project_id: work.project.to_owned(),
        input: format!("{{\"size\":{},\"dry_run\":false}}", random.random_range(64..2_048)),
        max_attempts: 3,
        labels: [("team".to_owned(), work.project.to_owned())].into_iter().collect(),
        ..NewOperation::of_kind(work.kind)
    };
    store.create(ORGANIZATION, vec![operation], None).await.unwrap();
}

/// Tokens of the workers, by name.
async fn workers(store: &SqliteStore) -> BTreeMap<&'static str, String> {
    let mut workers = BTreeMap::new();
    for name in ["pictures", "billing", "sync", "scanners"] {
        let token = NewToken {
            hash: Secret::generate().unwrap().hash(),
            name: format!("worker {name}"),
            access: Access::organization(ORGANIZATION),
            scopes: [Scope::OperationsWork].into(),
            expires_at: None,
            instance: None,
        };
        workers.insert(name, store.create_token(token).await.unwrap().id);
    }
    workers
}
