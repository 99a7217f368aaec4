//! `longrun bench overload`: twice as many creations as the server can handle, for the configured time.
//!
//! First, clients call as fast as they can, to find out what the server sustains. Then calls arrive at twice that rate,
//! whether those before them were answered or not, over many connections. The point is that the server keeps up about
//! the rate that it sustains, answers the accepted calls in time, rejects the others, and does not use more and more
//! memory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde_json::json;
use server::ApiSettings;

use super::api::Server;
use super::load::{Until, press};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::Target;
use super::wire::{Answer, Connection, Wire};

/// How long clients call as fast as they can to find out what the server sustains.
const LOOK: Duration = Duration::from_secs(10);
/// Number of these clients.
const PRESSING: u32 = 64;

const CREATE: &str = r#"{"kind":"bench","resource_type":"evidence","resource_id":"image-1","project_id":"project-01","input":{"digest":"sha256:00"}}"#;

/// The measurements of all clients: combined, since a histogram per connection would take most of the memory.
struct Seen {
    answered: Histogram<u64>,
    shed: Histogram<u64>,
    /// Calls that were due while the one before on their connection was still in progress.
    unsent: u64,
}

/// Measures both phases.
pub async fn measure(target: &Target, connections: u32, length: Duration, times: f64) -> anyhow::Result<Report> {
    let server = Server::start(target, ApiSettings::default()).await?;
    let wire = Wire::new("POST", "/v1/operations", server.secret.expose(), Some(CREATE));
    let spinner = Spinner::start("overload");
    spinner.say("what the server sustains".to_owned());
    let sustained = pressed(server.address, &wire).await?;
    let rate = sustained.per_second * times;
    spinner.say(format!("{rate:.0} calls per second over {connections} connections"));
    let before = resident_kib();
    let seen = overload(server.address, connections, rate, length, &wire).await?;
    let after = resident_kib();
    drop(spinner);

    let seconds = length.as_secs_f64();
    let per_second = |count: u64| count as f64 / seconds;
    let row = |mode: &str, times: Times| Measured {
        mode: Some(mode.to_owned()),
        ..Measured::new("overload", target.engine(), times)
    };
    let (answered, shed) = (seen.answered.len(), seen.shed.len());
    let results = vec![
        row("sustained", sustained),
        row("answered", Times::at(&seen.answered, per_second(answered))),
        row("shed", Times::at(&seen.shed, per_second(shed))),
    ];
    let settings = json!({
        "connections": connections, "seconds": length.as_secs(), "offered_per_second": rate.round(),
        "engine": target.settings().await?,
    });
    let mut report = Report::new(target, settings, results);
    report.notes.push(format!(
        "of {:.0} calls per second, {:.0} were answered, {:.0} shed, {:.0} never sent: their connection still waited for the \
         call before; memory of this process, clients included: {} MiB before, {} MiB after; clients, server and database \
         share the cores",
        rate,
        per_second(answered),
        per_second(shed),
        per_second(seen.unsent),
        before / 1024,
        after / 1024
    ));
    server.stop().await;
    Ok(report)
}

async fn pressed(address: SocketAddr, wire: &Wire) -> anyhow::Result<Times> {
    let mut connections = Vec::new();
    for _ in 0..PRESSING {
        connections.push(Arc::new(tokio::sync::Mutex::new(Connection::open(address).await?)));
    }
    let seen = press(PRESSING, Until::Time(LOOK), 1, |number| {
        let (connection, wire) = (Arc::clone(&connections[number as usize]), wire.clone());
        move || {
            let (connection, wire) = (Arc::clone(&connection), wire.clone());
            async move { connection.lock().await.call(&wire).await.map(|_| ()) }
        }
    });
    Ok(seen.await?.times())
}

/// Calls at a rate, evenly over the connections.
async fn overload(
    address: SocketAddr,
    connections: u32,
    rate: f64,
    length: Duration,
    wire: &Wire,
) -> anyhow::Result<Seen> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let period = Duration::from_secs_f64(f64::from(connections) / rate.max(0.1));
    let begin = Instant::now();
    let seen = Seen { answered: Histogram::new(3)?, shed: Histogram::new(3)?, unsent: 0 };
    let seen = Arc::new(Mutex::new(seen));
    let mut tasks = tokio::task::JoinSet::new();
    for (number, connection) in open.into_iter().enumerate() {
        let first = begin + period.mul_f64(number as f64 / f64::from(connections));
        tasks.spawn(paced(connection, wire.clone(), first, period, begin + length, Arc::clone(&seen)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let seen = Arc::into_inner(seen).context("a client is still there")?;
    Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One call per period on one connection.
async fn paced(
    mut connection: Connection,
    wire: Wire,
    first: Instant,
    period: Duration,
    end: Instant,
    seen: Arc<Mutex<Seen>>,
) -> anyhow::Result<()> {
    let mut due = first;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        let start = Instant::now();
        let answer = connection.ask(&wire).await?;
        let took = u64::try_from(start.elapsed().as_nanos())?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = match answer {
            Answer::Success => &mut seen.answered,
            Answer::Status(503 | 429) => &mut seen.shed,
            Answer::Status(other) => anyhow::bail!("the server answered {other}"),
        };
        histogram.record(took)?;
        due += period;
        while due < end && due + period < Instant::now() {
            seen.unsent += 1;
            due += period;
        }
    }
    Ok(())
}

/// The memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").context("no /proc").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
