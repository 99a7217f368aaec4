//! The whole of longrun in one process, determined by a seed: the store, the engine, the API, workers and callers, on a
//! simulated network (`turmoil`) and with a simulated clock.
//!
//! Callers create operations, send commands and list, workers claim and settle, all over HTTP; meanwhile answers are
//! lost or late, calls are made twice, the network is partitioned, processes end between any two steps and are started
//! again, and the clock is set. The calls and answers are judged by the code that judges the histories of the store's
//! checker (`crates/store/tests/checker/history`).
//!
//! A seed determines everything, so that a run can be repeated: `SIMULATION_SEED=17` runs one seed and prints
//! everything that happened. `SIMULATION_SEEDS=1000` runs that many, `SIMULATION_FIRST` is the first of them.
//! `simulation hash 17` prints the hash of everything that happened. Each seed has a process of its own (see
//! [`system::fork`]).

#[path = "../../store/tests/checker/history/mod.rs"]
#[allow(missing_docs, clippy::unwrap_used)]
mod history;

mod actors;
mod client;
mod faults;
mod host;
mod run;
mod system;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// The number of seeds of an ordinary run.
const SEEDS: u64 = 500;
/// A seed takes a fraction of a second. One that takes this many seconds hangs.
const LIMIT: u32 = 120;
/// The files that a seed leaves in its folder.
const OUTCOME: &str = "outcome";
const TRACE: &str = "trace";

fn main() -> ExitCode {
    match work() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str) -> Result<Option<u64>, Box<dyn Error>> {
    std::env::var(name).ok().map(|text| text.parse()).transpose().map_err(|error| format!("{name}: {error}").into())
}

/// Does what the environment and the arguments request; returns whether no seed failed.
fn work() -> Result<bool, Box<dyn Error>> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let (seed, seeds) = (number("SIMULATION_SEED")?, number("SIMULATION_SEEDS")?.unwrap_or(SEEDS));
    let first = number("SIMULATION_FIRST")?.unwrap_or(0);
    match (&asked[..], seed) {
        ([], None) => many(first..first + seeds),
        ([], Some(seed)) => one(seed, true),
        ([what, seed], _) if what == "hash" => one(seed.parse()?, false),
        _ => Err("usage: simulation [hash SEED]".into()),
    }
}

/// A folder for stores; in memory, if the system has such a folder: no seed tests what a disk keeps in a power failure.
fn folder() -> Result<tempfile::TempDir, std::io::Error> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

/// Creates the store with which every seed begins.
fn template(path: &Path) -> Result<(), Box<dyn Error>> {
    system::fork(LIMIT, || {
        if let Err(error) = run::template(path) {
            eprintln!("{error}");
        }
    });
    system::wait();
    if path.exists() { Ok(()) } else { Err("the empty store for the seeds was not created".into()) }
}

/// Starts a seed in a process of its own.
fn start(seed: u64, template: &Path, folder: &Path) -> Result<i32, std::io::Error> {
    std::fs::create_dir(folder)?;
    std::fs::copy(template, folder.join("longrun.db"))?;
    Ok(system::fork(LIMIT, || {
        // On a thread of its own, since the first one has already drawn random numbers.
        let ended = std::thread::scope(|scope| scope.spawn(|| run::run(seed, folder)).join());
        let Ok(run::Outcome { verdict, trace, hash }) = ended else { return };
        let said = verdict.map_or_else(|wrong| wrong, |()| String::new());
        // The process that reads these files notices what is missing.
        let _ = std::fs::write(folder.join(TRACE), trace);
        let _ = std::fs::write(folder.join(OUTCOME), format!("{hash:016x} {said}"));
    }))
}

/// The outcome of a seed: the hash of everything that happened, and what is wrong.
fn outcome(folder: &Path) -> (String, Option<String>) {
    let text = std::fs::read_to_string(folder.join(OUTCOME)).unwrap_or_default();
    match text.split_once(' ') {
        Some((hash, "")) => (hash.to_owned(), None),
        Some((hash, wrong)) => (hash.to_owned(), Some(wrong.to_owned())),
        None => (String::new(), Some(format!("it did not end within {LIMIT} s, or it crashed"))),
    }
}

fn one(seed: u64, tells: bool) -> Result<bool, Box<dyn Error>> {
    let folder = folder()?;
    let (empty, own) = (folder.path().join("empty.db"), folder.path().join("seed"));
    template(&empty)?;
    start(seed, &empty, &own)?;
    system::wait();
    let (hash, wrong) = outcome(&own);
    if tells {
        print!("{}", std::fs::read_to_string(own.join(TRACE))?);
    }
    println!("{hash}");
    if let Some(wrong) = &wrong {
        tell_failure(seed, wrong);
    }
    Ok(wrong.is_none())
}

/// Runs seeds, as many at a time as there are cores.
fn many(seeds: std::ops::Range<u64>) -> Result<bool, Box<dyn Error>> {
    let (begun, folder) = (Instant::now(), folder()?);
    let empty = folder.path().join("empty.db");
    template(&empty)?;
    let most = std::thread::available_parallelism()?.get();
    let (mut running, mut failed, mut waiting) = (BTreeMap::new(), 0_u64, seeds.clone());
    loop {
        while running.len() < most
            && let Some(seed) = waiting.next()
        {
            let own = folder.path().join(seed.to_string());
            running.insert(start(seed, &empty, &own)?, (seed, own));
        }
        if running.is_empty() {
            break;
        }
        let (process, _) = system::wait();
        let Some((seed, own)) = running.remove(&process) else { continue };
        if let (_, Some(wrong)) = outcome(&own) {
            failed += 1;
            tell_failure(seed, &wrong);
            // A bug makes many seeds fail, and a few failures are enough.
            if failed >= 5 {
                waiting.end = waiting.start;
            }
        }
        std::fs::remove_dir_all(&own)?;
    }
    let took = begun.elapsed().as_secs_f64();
    let number = waiting.start - seeds.start;
    println!("{number} seeds in {took:.0} s ({:.1} per second), {failed} failed", number as f64 / took);
    Ok(failed == 0)
}

fn tell_failure(seed: u64, wrong: &str) {
    println!("seed {seed}: {wrong}");
    println!("to see everything that happened: SIMULATION_SEED={seed} cargo run --package simulation");
}
