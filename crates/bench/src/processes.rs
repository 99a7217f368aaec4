//! `longrun bench lifecycle --processes 1,2,4`: several servers' worth of processes on one database.
//!
//! Each process is this program, with its own store, connections and write batchers; together they have as many clients
//! as one process has otherwise. They start together: each reports that it is ready and waits for a line of input.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::StoreUrl;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::lifecycle::{self, WARM_UP};
use super::load::{Side, Until};
use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::{Database, Target};

/// What a process prints when its connections are warm.
const READY: &str = "ready";

/// The measurements of one process.
#[derive(Deserialize, Serialize)]
struct Part {
    per_second: f64,
    /// Pairs of nanoseconds and how many lifecycles took that long.
    times: Vec<(u64, u64)>,
}

/// Measures lifecycles one by one, by each of these numbers of processes.
///
/// # Errors
/// When the store is not one that processes can share, or a process fails.
pub async fn measure(target: &Target, processes: &[u32], clients: u32, length: Duration) -> anyhow::Result<Report> {
    let (Database::Postgres(_), StoreUrl::Postgres(url)) = (&target.database, &target.url) else {
        bail!("several processes can only share PostgreSQL: give --store postgres://…");
    };
    let store = target.open().await?;
    let mut results: Vec<Measured> = Vec::new();
    for (mode, one_organization) in [("one organization", true), ("an organization each", false)] {
        let mut alone = None;
        for number in processes {
            let spinner = Spinner::start("processes");
            spinner.say(format!("{number} processes, {mode}"));
            let clients_each = clients.div_ceil(*number).max(1);
            let parts = together(url.expose(), *number, clients_each, length, one_organization).await?;
            drop(spinner);
            let mut all = Histogram::<u64>::new(3)?;
            for (time, count) in parts.iter().flat_map(|part| &part.times) {
                all.record_n(*time, *count)?;
            }
            let per_second: f64 = parts.iter().map(|part| part.per_second).sum();
            let baseline = *alone.get_or_insert(per_second);
            results.push(Measured {
                mode: Some(format!("{number} processes, {mode}")),
                ratio: Some(per_second / baseline),
                ..Measured::new("lifecycle", target.engine(), Times::at(&all, per_second))
            });
        }
    }
    let settings = json!({ "clients": clients, "seconds": length.as_secs(), "engine": target.settings().await? });
    let mut report = Report::new(target, settings, results);
    report.notes = vec!["the ratio is to the first number of processes; the clients are shared out".to_owned()];
    lifecycle::check(&*store).await?;
    store.close().await;
    Ok(report)
}

async fn together(
    url: &str,
    number: u32,
    clients: u32,
    length: Duration,
    one_organization: bool,
) -> anyhow::Result<Vec<Part>> {
    let mut running = Vec::new();
    for index in 0..number {
        let organization = if one_organization { "bench".to_owned() } else { format!("bench-{index}") };
        running.push(Process::start(url, clients, length, &organization)?);
    }
    for process in &mut running {
        let said = process.line().await?;
        anyhow::ensure!(said == READY, "a process said {said:?} and not that it is ready");
    }
    for process in &mut running {
        process.go().await?;
    }
    let mut parts = Vec::new();
    for mut process in running {
        parts.push(serde_json::from_str(&process.line().await?).context("the answer of a process")?);
        process.child.wait().await?;
    }
    Ok(parts)
}

struct Process {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Process {
    fn start(url: &str, clients: u32, length: Duration, organization: &str) -> anyhow::Result<Process> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "lifecycle", "--as-part-of"])
            .arg(organization)
            .args(["--clients", &clients.to_string(), "--seconds", &length.as_secs().to_string()])
            // Not as an argument: it may contain a password.
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("a process without standard output")?;
        Ok(Process { child, lines: BufReader::new(stdout).lines() })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.lines.next_line().await?.context("a process ended without an answer")
    }

    async fn go(&mut self) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("a process without standard input")?;
        Ok(stdin.write_all(b"go\n").await?)
    }
}

/// The variable that contains the address of the store.
const URL: &str = "LONGRUN_BENCH_STORE";

/// The work of one process: for this organization, once it gets the signal to start.
///
/// # Errors
/// Those of the store, and when it got no signal to start.
pub async fn take_part(organization: &str, clients: u32, length: Duration) -> anyhow::Result<String> {
    let url = std::env::var(URL).with_context(|| format!("{URL} is not set"))?;
    let target = Target::prepare(Some(url.parse()?)).await?;
    let store = target.open().await?;
    let side = Side::Longrun(Arc::clone(&store), organization.into(), 1);
    lifecycle::load(clients, Until::Time(WARM_UP), &side).await?;
    println!("{READY}");
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    anyhow::ensure!(told > 0, "nobody waits for this process");
    let seen = lifecycle::load(clients, Until::Time(length), &side).await?;
    store.close().await;
    let times = seen.histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
    Ok(serde_json::to_string(&Part { per_second: seen.per_second(), times: times.collect() })? + "\n")
}
