//! Randomised lives of operations, under faults, held against what was promised (spec: durable, one outcome, no limbo).
//!
//! For each seed, creators, cancellers, workers and a keeper call one or two servers at once, while servers are killed
//! in the middle of what they do. Workers finish, fail, release, die, or come back late with what is no longer theirs.
//! They use idempotency keys twice at once, compete for unique keys and concurrency keys; a schedule creates, retention
//! removes, and one actor reads the change log all along. All requests and answers are recorded; when
//! nothing is left to do, the judges of [`history`] check the record against the store's change log and its final
//! state; one of them is a checker that others wrote, which looks for an order of the calls about each operation in
//! which its answers make sense.
//!
//! `tests/mutants` has bugs that this must find: `make mutants`.
//!
//! `LONGRUN_SEEDS=1000` runs that many seeds; `LONGRUN_SEED=17` runs one again. A seed determines what each actor wants
//! to do; the order in which it happens depends on the machine.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod actors;
mod history;
mod server;

use std::sync::Arc;

use support::Engine;

/// Seeds of an ordinary run.
const SEEDS: u64 = 25;
/// The store is examined as a whole after this number of seeds, and at the end.
const EXAMINE_EVERY: u64 = 25;

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match (number("LONGRUN_SEED"), number("LONGRUN_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(SEEDS),
    }
}

async fn check(engine: Engine) {
    let place = Arc::new(server::Place::new(engine).await);
    for seed in seeds() {
        let record = actors::run(&place, seed).await;
        history::judge(&record).unwrap_or_else(|wrong| panic!("{engine:?}, LONGRUN_SEED={seed}: {wrong}"));
        if (seed + 1).is_multiple_of(EXAMINE_EVERY) || seed + 1 == seeds().end {
            place.assert_sound().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite() {
    check(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sealed_sqlite() {
    check(Engine::SealedSqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sealed_postgres() {
    check(Engine::SealedPostgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres() {
    check(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cells() {
    check(Engine::Cells).await;
}
