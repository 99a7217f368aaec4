//! `longrun bench waiters`: thousands of clients that wait, each for its own operation, with `GET …:wait`.
//!
//! The server is the real one; every client has its own connection, in the same process. The report shows how much
//! memory a waiter takes (the client's end included), how many queries the database gets while nothing happens, and how
//! long it takes from the answer to a settlement to the answer to the waiting client. On PostgreSQL there is a second
//! server on the same database, at which no clients wait: settlements there have their own row. At each server some
//! workers wait for work, which never arrives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use operations::OperationId;
use serde_json::json;
use server::ApiSettings;
use store::{Claimed, Settlement, Store};
use tokio::sync::mpsc;

use super::api::Server;
use super::load::{ORGANIZATION, claim_request, completed, operation};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::{Database, Target};
use super::wire::{Connection, Wire};

/// How long the database is observed while nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// An idle session of PostgreSQL reports its earlier work within ten seconds: what is counted sooner belongs to the
/// clients' first reads.
const REPORTED: Duration = Duration::from_secs(11);
/// Operations that each server settles one after the other; the rest are settled at once.
const ONE_BY_ONE: usize = 250;
/// Workers that wait at each server.
const WORKERS: usize = 10;
/// The longest pause between two of these: it varies, so that the settlements do not synchronize with the server's
/// polling.
const PAUSE: Duration = Duration::from_millis(100);
/// Operations per call.
const BATCH: usize = 1_000;
/// The number of connections that are opened at a time.
const OPENING: usize = 100;

/// An answer that arrived, and when.
type Answered = mpsc::UnboundedReceiver<(OperationId, Instant)>;

/// Measures with this many waiters.
pub async fn measure(target: &Target, waiters: u32) -> anyhow::Result<Report> {
    let max_connections = usize::try_from(waiters)? + 100;
    let server = Server::start(target, ApiSettings { max_connections, ..ApiSettings::default() }).await?;
    let store = &*server.store;
    let other = match &target.database {
        Database::Postgres(_) => Some(Server::start(target, ApiSettings::default()).await?),
        Database::Sqlite(_) => None,
    };
    let spinner = Spinner::start("creating");
    let claimed = claimed(store, waiters as usize).await?;
    let before = resident_bytes()?;
    spinner.say("clients begin to wait");
    let mut answered = wait(server.address, server.secret.expose(), &claimed).await?;
    let grown = resident_bytes()?.saturating_sub(before);
    let mut workers = tokio::task::JoinSet::new();
    for server in std::iter::once(&server).chain(&other) {
        work(server, &mut workers).await?;
    }
    spinner.say("nothing happens");
    // The last clients are about to be served, and the work done until then is about to be reported.
    tokio::time::sleep(if other.is_some() { REPORTED } else { Duration::from_secs(1) }).await;
    let idle = queries_per_second(target).await?;

    spinner.say("settling one by one");
    let (few, rest) = claimed.split_at(ONE_BY_ONE.min(claimed.len()));
    let one_by_one = settle_one_by_one(store, few, &mut answered).await?;
    let mut elsewhere = None;
    let mut rest = rest;
    if let Some(other) = &other {
        spinner.say("settling one by one, on the other server");
        let (few, others) = rest.split_at(ONE_BY_ONE.min(rest.len()));
        elsewhere = Some(settle_one_by_one(&*other.store, few, &mut answered).await?);
        rest = others;
    }
    spinner.say("settling the rest at once");
    let mut at_once = Histogram::<u64>::new(3)?;
    for part in rest.chunks(BATCH) {
        settle(store, part).await?;
        let settled = Instant::now();
        for _ in part {
            let (_, at) = answered.recv().await.context("a client was disconnected")?;
            at_once.record(nanos(at, settled)?)?;
        }
    }
    drop(spinner);
    let row = |mode: String, histogram: &Histogram<u64>| Measured {
        mode: Some(mode),
        ..Measured::new("waiters", target.engine(), Times::of(histogram))
    };
    let mut results = vec![row("settle to answer, one by one".to_owned(), &one_by_one)];
    if let Some(elsewhere) = elsewhere.filter(|elsewhere| !elsewhere.is_empty()) {
        results.push(row("settle on another server to answer, one by one".to_owned(), &elsewhere));
    }
    if !rest.is_empty() {
        results.push(row(format!("settle to answer, {BATCH} at once"), &at_once));
    }
    let settings = json!({ "waiters": waiters, "engine": target.settings().await? });
    let mut report = Report::new(target, settings, results);
    let each = grown / u64::from(waiters.max(1));
    report.notes.push(format!("{each} bytes per waiter in memory, both ends of its connection together"));
    if let Some(idle) = idle {
        report
            .notes
            .push(format!("{idle:.1} transactions per second at the database, by two servers, while {waiters} clients wait at one, {WORKERS} workers at each, and nothing happens"));
    }
    workers.shutdown().await;
    if let Some(other) = other {
        other.stop().await;
    }
    server.stop().await;
    Ok(report)
}

/// Settles one after the other, and measures the time until the waiting client is answered.
async fn settle_one_by_one(
    store: &dyn Store,
    claimed: &[Claimed],
    answered: &mut Answered,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::<u64>::new(3)?;
    for (number, claimed) in claimed.iter().enumerate() {
        tokio::time::sleep(PAUSE.mul_f64((number as f64 * 0.618).fract())).await;
        settle(store, std::slice::from_ref(claimed)).await?;
        let settled = Instant::now();
        let (id, at) = answered.recv().await.context("a client was disconnected")?;
        anyhow::ensure!(id == claimed.operation.id, "an operation that has not ended was answered");
        times.record(nanos(at, settled)?)?;
    }
    Ok(times)
}

/// Has workers wait for a kind that nobody creates.
async fn work(server: &Server, workers: &mut tokio::task::JoinSet<()>) -> anyhow::Result<()> {
    let body = json!({ "kinds": ["nothing"], "wait": "60s" }).to_string();
    let wire = Wire::new("POST", "/v1/operations:claim", server.secret.expose(), Some(&body));
    for _ in 0..WORKERS {
        let mut connection = Connection::open(server.address).await?;
        connection.send(&wire).await?;
        workers.spawn(async move {
            // Nobody needs the answer at the end.
            let _ = connection.answer().await;
        });
    }
    Ok(())
}

fn nanos(at: Instant, since: Instant) -> anyhow::Result<u64> {
    Ok(u64::try_from(at.saturating_duration_since(since).as_nanos())?)
}

/// This many running operations.
async fn claimed(store: &dyn Store, number: usize) -> anyhow::Result<Vec<Claimed>> {
    let mut claimed = Vec::with_capacity(number);
    while claimed.len() < number {
        let part = BATCH.min(number - claimed.len());
        store.create(ORGANIZATION, vec![operation(); part], None).await?;
        claimed.extend(store.claim(claim_request(ORGANIZATION, u32::try_from(part)?)).await?);
    }
    Ok(claimed)
}

async fn settle(store: &dyn Store, claimed: &[Claimed]) -> anyhow::Result<()> {
    let settlements: Vec<Settlement> = claimed.iter().map(|claimed| completed(claimed.lease.clone())).collect();
    for settled in store.settle(settlements).await? {
        settled.map_err(|refusal| anyhow::anyhow!("a settlement was refused: {refusal:?}"))?;
    }
    Ok(())
}

/// Lets a client wait for each; returns when all have sent their requests.
async fn wait(address: SocketAddr, secret: &str, claimed: &[Claimed]) -> anyhow::Result<Answered> {
    let (sender, answered) = mpsc::unbounded_channel();
    for part in claimed.chunks(OPENING) {
        let mut asking = tokio::task::JoinSet::new();
        for claimed in part {
            let (id, sender) = (claimed.operation.id, sender.clone());
            let wire = Wire::new("GET", &format!("/v1/operations/{id}:wait?timeout=60s"), secret, None);
            asking.spawn(async move {
                let mut connection = Connection::open(address).await?;
                connection.send(&wire).await?;
                tokio::spawn(async move {
                    // A client that is disconnected closes the channel, and ends the run.
                    if connection.answer().await.is_ok() {
                        let _ = sender.send((id, Instant::now()));
                    }
                });
                anyhow::Ok(())
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
    }
    Ok(answered)
}

/// The memory of the process.
fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("this benchmark needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

/// Transactions that PostgreSQL counted while nothing happened; a SQLite store does not count them.
async fn queries_per_second(target: &Target) -> anyhow::Result<Option<f64>> {
    let Database::Postgres(pool) = &target.database else { return Ok(None) };
    let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let before: i64 = sqlx::query_scalar(count).fetch_one(pool).await?;
    let start = Instant::now();
    tokio::time::sleep(IDLE).await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(pool).await?;
    Ok(Some((after - before) as f64 / start.elapsed().as_secs_f64()))
}
