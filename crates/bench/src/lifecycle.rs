//! `longrun bench lifecycle`: create, claim and settle, each step durable when it is answered.
//!
//! The baseline is the plain table with one transaction per step, with the same number of clients. Clients that work
//! one by one make the same calls to both; longrun is faster there because it combines calls that arrive at the same
//! time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::Executor as _;
use store::{Actor, ActorKind, AuditCall, Store};

use super::load::{ORGANIZATION, Seen, Side, Until, pace, press};
use super::plain::Plain;
use super::report::{Measured, Report, Times};
use super::sizes;
use super::spinner::Spinner;
use super::target::{self, Database, Target};

/// Work before the measured part.
pub const WARM_UP: Duration = Duration::from_secs(1);
/// Number of clients of a run in batches: more would only wait, since each call carries hundreds of operations.
const BATCH_CLIENTS: u32 = 4;
/// Connections report their changes to the statistics within this time.
const STATISTICS: Duration = Duration::from_millis(1_500);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients that work at a time.
    pub clients: u32,
    /// Operations of a call where clients work in batches.
    pub batch: u32,
    /// Length of each measurement.
    pub length: Duration,
    /// Lifecycles of the measurement in batches, however long it takes.
    pub lifecycles: Option<u64>,
}

/// Runs lifecycles with this many clients.
///
/// # Errors
/// The first error of a client.
pub async fn load(clients: u32, until: Until, side: &Side) -> anyhow::Result<Seen> {
    press(clients, until, side.lifecycles(), |_| {
        let side = side.clone();
        move || {
            let side = side.clone();
            async move { side.step().await }
        }
    })
    .await
}

/// Measures one by one, at half of that load, and in batches.
pub async fn measure(target: &Target, plan: &Plan) -> anyhow::Result<Report> {
    let Plan { clients, batch, length, .. } = *plan;
    let store = target.open().await?;
    let single = Side::Longrun(Arc::clone(&store), ORGANIZATION.into(), 1);
    let plain = Side::Plain(Plain::empty(target).await?);
    let spinner = Spinner::start("one by one");
    load(clients, Until::Time(WARM_UP), &single).await?;
    let ours = load(clients, Until::Time(length), &single).await?;
    spinner.say("one by one, recorded in the audit log");
    let recorded = Side::Longrun(store.on_behalf_of(call()), ORGANIZATION.into(), 1);
    load(clients, Until::Time(WARM_UP), &recorded).await?;
    let audited = load(clients, Until::Time(length), &recorded).await?;
    spinner.say("one by one, the plain table");
    load(clients, Until::Time(WARM_UP), &plain).await?;
    let theirs = load(clients, Until::Time(length), &plain).await?;
    // Each at half of its maximum: what a client sees of a system that is busy but not saturated.
    spinner.say("at half of that load");
    let our_half = pace(clients, ours.per_second() / 2.0, length, &single).await?;
    spinner.say("at half of that load, the plain table");
    let their_half = pace(clients, theirs.per_second() / 2.0, length, &plain).await?;
    spinner.say("in batches");
    let batched = Side::Longrun(Arc::clone(&store), ORGANIZATION.into(), batch);
    let until = plan.lifecycles.map_or(Until::Time(length), Until::Done);
    let in_batches = load(BATCH_CLIENTS.min(clients), until, &batched).await?;
    tokio::time::sleep(STATISTICS).await;
    let sizes = sizes::measure(target).await?;
    drop(spinner);

    let row = |mode: String, times: Times, baseline: Times, ratio: Option<f64>| Measured {
        mode: Some(mode),
        baseline: Some(baseline),
        ratio,
        ..Measured::new("lifecycle", target.engine(), times)
    };
    let faster = |seen: &Seen| Some(seen.per_second() / theirs.per_second());
    let results = vec![
        row(format!("one by one, {clients} clients"), ours.times(), theirs.times(), faster(&ours)),
        row(format!("half of that load, {clients} clients"), our_half.times(), their_half.times(), None),
        row(
            format!("batches of {batch}, {} clients", BATCH_CLIENTS.min(clients)),
            in_batches.times(),
            theirs.times(),
            faster(&in_batches),
        ),
        row(
            format!("one by one, recorded, {clients} clients"),
            audited.times(),
            ours.times(),
            Some(audited.per_second() / ours.per_second()),
        ),
    ];
    let settings = json!({
        "clients": clients, "batch": batch, "seconds": length.as_secs(), "engine": target.settings().await?,
    });
    let mut report = Report::new(target, settings, results);
    report.sizes = sizes;
    report.notes = vec![
        format!("{} lifecycles in batches, sizes right after them", in_batches.done),
        "p50 and p99 are those of a whole lifecycle (three calls); in batches, of three calls for the batch".to_owned(),
        "recorded: each creation has an entry in the audit log; the baseline is the same without".to_owned(),
    ];
    check(&*store).await?;
    store.close().await;
    Ok(report)
}

/// A call as a server records it.
fn call() -> AuditCall {
    AuditCall {
        organization: ORGANIZATION.to_owned(),
        actor: Actor { kind: ActorKind::Token, id: "tok_96e93fd38113".to_owned(), name: "bench".to_owned() },
        action: "operations.create".into(),
        targets: Vec::new(),
        address: "192.0.2.1".to_owned(),
        request_id: "01a20e1a-1194-75ec-b562-a042f01e7eac".to_owned(),
    }
}

/// Counts that are fast but wrong would be worthless.
pub async fn check(store: &dyn Store) -> anyhow::Result<()> {
    let report = store.doctor().await?;
    anyhow::ensure!(report.findings.is_empty(), "the store is not sound after the run: {:?}", report.findings);
    Ok(())
}

/// A snapshot that is held open: until it ends, rows that nobody can see any more cannot be removed.
enum Held {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Held {
    async fn open(target: &Target) -> anyhow::Result<Held> {
        // A snapshot is taken by the first statement that reads, not by BEGIN.
        const READ: &str = "SELECT count(*) FROM active";
        Ok(match &target.database {
            Database::Sqlite(path) => {
                let mut connection = target::sqlite(path).await?.acquire().await?.detach();
                connection.execute("BEGIN").await?;
                connection.execute(READ).await?;
                Held::Sqlite(connection)
            }
            Database::Postgres(pool) => {
                let mut connection = pool.acquire().await?.detach();
                connection.execute("SET search_path = longrun").await?;
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
                connection.execute(READ).await?;
                // With a transaction id of its own it also holds back the horizon of all others, like any that writes.
                Held::Postgres(connection)
            }
        })
    }

    async fn release(self) -> anyhow::Result<()> {
        match self {
            Held::Sqlite(mut connection) => {
                connection.execute("COMMIT").await?;
            }
            Held::Postgres(mut connection) => {
                connection.execute("COMMIT").await?;
            }
        }
        Ok(())
    }
}

/// Measures one by one with a snapshot that is held open from before the first operation until after the last; compared
/// with the plain table, if requested.
pub async fn measure_under_snapshot(target: &Target, plan: &Plan, has_plain: bool) -> anyhow::Result<Report> {
    let Plan { clients, length, .. } = *plan;
    let store = target.open().await?;
    let plain = if has_plain { Some(Side::Plain(Plain::empty(target).await?)) } else { None };
    let single = Side::Longrun(Arc::clone(&store), ORGANIZATION.into(), 1);
    load(clients, Until::Time(WARM_UP), &single).await?;
    let held = Held::open(target).await?;
    let spinner = Spinner::start("one by one, with a snapshot held open");
    let ours = load(clients, Until::Time(length), &single).await?;
    let theirs = match &plain {
        Some(plain) => {
            spinner.say("the plain table, with a snapshot held open");
            Some(load(clients, Until::Time(length), plain).await?)
        }
        None => None,
    };
    tokio::time::sleep(STATISTICS).await;
    let sizes = sizes::measure(target).await?;
    drop(spinner);
    let mut notes = vec![slope("longrun", &ours)];
    notes.extend(theirs.as_ref().map(|theirs| slope("plain table", theirs)));
    if let Database::Sqlite(path) = &target.database {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let mib = std::fs::metadata(log).map_or(0, |file| file.len()) / (1024 * 1024);
        notes.push(format!("write-ahead log of the store, which cannot be emptied meanwhile: {mib} MiB"));
    }
    held.release().await?;
    let measured = Measured {
        mode: Some(format!("snapshot held open, {clients} clients")),
        baseline: theirs.as_ref().map(Seen::times),
        ratio: theirs.map(|theirs| ours.per_second() / theirs.per_second()),
        ..Measured::new("lifecycle", target.engine(), ours.times())
    };
    let settings = json!({ "clients": clients, "seconds": length.as_secs(), "engine": target.settings().await? });
    let mut report = Report::new(target, settings, vec![measured]);
    report.sizes = sizes;
    report.notes = notes;
    check(&*store).await?;
    store.close().await;
    Ok(report)
}

/// The throughput of the first and of the last tenth.
fn slope(name: &str, seen: &Seen) -> String {
    let tenth = (seen.seconds.len() / 10).max(1);
    let mean = |part: &[u64]| part.iter().sum::<u64>() / u64::try_from(part.len().max(1)).unwrap_or(1);
    let first = mean(&seen.seconds[..tenth.min(seen.seconds.len())]);
    let last = mean(&seen.seconds[seen.seconds.len().saturating_sub(tenth)..]);
    format!("{name}: {first} lifecycles per second in the first tenth of the run, {last} in the last")
}
