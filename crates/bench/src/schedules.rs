//! `longrun bench schedules`: many schedules on one PostgreSQL, and several servers, one of which is killed every
//! second.
//!
//! Each server is a separate process, this program with a store and an engine, and is ended as if by `kill -9`; another
//! one takes its place. At the end, the due times of each schedule, computed again, are compared with the operations
//! that it created: the k-th operation is that of the k-th due time.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use engine::{Engine, Registry, Settings};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use operations::schedule::{CatchUp, NewSchedule, Overlap};
use operations::{Access, NewOperation, Timestamp};
use serde_json::json;
use store::{Quota, Quotas, Store, StoreUrl, fire_schedules};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::report::{Measured, Report, Times};
use super::spinner::Spinner;
use super::target::{Database, Target};

/// The organization that has the schedules.
const ORGANIZATION: &str = "bench";
/// What a server prints when its engine runs.
const READY: &str = "ready";
/// The variable that contains the address of the store.
const URL: &str = "LONGRUN_BENCH_STORE";
/// Schedules that are created at the same time.
const MAKERS: usize = 32;
/// Schedules of a page, and the number of those that are handled at once at the end.
const PAGE: u32 = 1_000;

/// The settings of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub schedules: u32,
    pub servers: usize,
    pub period: Duration,
    pub length: Duration,
}

/// What the operations say about the due times.
#[derive(Default)]
struct Seen {
    due: u64,
    created: u64,
    doubled: u64,
    missed: u64,
}

/// Measures how late due times are handled while servers die.
///
/// # Errors
/// When the store is not one that servers can share or has schedules already, or a server does not start.
pub async fn measure(target: &Target, plan: Plan) -> anyhow::Result<Report> {
    let (Database::Postgres(pool), StoreUrl::Postgres(url)) = (&target.database, &target.url) else {
        bail!("several servers can only share PostgreSQL: give --store postgres://…");
    };
    let store = target.open().await?;
    let spinner = Spinner::start("schedules");
    ensure!(
        store.schedules(&Access::organization(ORGANIZATION), "", 1).await?.is_empty(),
        "the store has schedules of the organization {ORGANIZATION}; give an empty database"
    );
    store.set_quotas(Quotas { everybody: Quota { max_schedules: u32::MAX, ..Quota::default() }, ..Quotas::default() });
    spinner.say(format!("{} servers", plan.servers));
    let mut servers = Vec::new();
    for _ in 0..plan.servers {
        servers.push(server(url.expose()).await?);
    }
    spinner.say(format!("creating {} schedules", plan.schedules));
    let make = |number| {
        let store = Arc::clone(&store);
        async move { store.create_schedule(ORGANIZATION, schedule(number, plan.period)).await?.map_err(anyhow::Error::from) }
    };
    let _: Vec<_> = stream::iter(0..plan.schedules).map(make).buffer_unordered(MAKERS).try_collect().await?;

    let (begun, mut killed) = (Instant::now(), 0_u32);
    while begun.elapsed() < plan.length {
        tokio::time::sleep_until((begun + Duration::from_secs(1) * (killed + 1)).into()).await;
        let mut victim = servers.remove(0);
        victim.kill().await?;
        killed += 1;
        spinner.say(format!("{killed} servers were killed"));
        servers.push(server(url.expose()).await?);
    }
    for mut server in servers {
        server.kill().await?;
    }
    // The due times up to now that no server has handled yet.
    let end = store.now();
    while !store.due_schedules().await?.organizations.is_empty() {
        fire_schedules(&*store, ORGANIZATION, PAGE).await?;
    }
    spinner.say("comparing".to_owned());
    let sql = "SELECT d.schedule, a.created_at FROM longrun.details d
        JOIN longrun.active a ON a.organization_id = d.organization_id AND a.seq = d.seq
        WHERE d.organization_id = $1 ORDER BY a.seq";
    let mut created: HashMap<String, Vec<i64>> = HashMap::new();
    let mut rows = sqlx::query_as::<_, (String, i64)>(sql).bind(ORGANIZATION).fetch(pool);
    while let Some((schedule, at)) = rows.try_next().await? {
        created.entry(schedule).or_default().push(at);
    }
    let mut late = Histogram::<u64>::new(3)?;
    let seen = compare(&*store, &created, end, &mut late).await?;
    drop(spinner);
    let settings = json!({
        "schedules": plan.schedules, "servers": plan.servers, "period_seconds": plan.period.as_secs(),
        "seconds": plan.length.as_secs(), "engine": target.settings().await?,
    });
    let per_second = seen.created as f64 / begun.elapsed().as_secs_f64();
    let row = Measured {
        mode: Some("lateness, one server killed every second".to_owned()),
        ..Measured::new("schedules", target.engine(), Times::at(&late, per_second))
    };
    let mut report = Report::new(target, settings, vec![row]);
    let Seen { due, created, doubled, missed } = seen;
    report.notes.push(format!(
        "{due} due times, {created} operations, {doubled} doubled, {missed} missed; {killed} servers were killed; the \
         longest lateness was {} ms",
        late.max() / 1_000_000
    ));
    report.notes.push(
        "lateness is from the due time to the creation, by the database's clock; servers and database share the cores"
            .to_owned(),
    );
    let findings = store.doctor().await?.findings;
    ensure!(findings.is_empty(), "longrun doctor finds: {findings:?}");
    store.close().await;
    Ok(report)
}

fn schedule(number: u32, period: Duration) -> NewSchedule {
    NewSchedule {
        name: format!("s{number:06}"),
        cron: String::new(),
        every: Some(period),
        time_zone: String::new(),
        operation: NewOperation::of_kind("bench"),
        overlap: Overlap::Allow,
        catch_up: CatchUp::All,
        jitter: Duration::ZERO,
        paused: false,
    }
}

/// Compares the operations that each schedule created with its due times, until the first due time that was not
/// handled; that one must lie after the end.
async fn compare(
    store: &dyn Store,
    created: &HashMap<String, Vec<i64>>,
    end: Timestamp,
    late: &mut Histogram<u64>,
) -> anyhow::Result<Seen> {
    let (mut seen, mut after) = (Seen::default(), String::new());
    loop {
        let page = store.schedules(&Access::organization(ORGANIZATION), &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(seen) };
        after.clone_from(&last.wanted.name);
        for schedule in page {
            let next = schedule.next_due.context("a schedule is never due again")?;
            ensure!(next > end, "{} was not handled until the end", schedule.wanted.name);
            let timing = schedule.wanted.timing(schedule.anchor).map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
            let due = timing.between(schedule.anchor, Timestamp::from_millis(next.as_millis() - 1), usize::MAX);
            let created = created.get(&schedule.wanted.name).map_or(&[][..], Vec::as_slice);
            seen.due += due.len() as u64;
            seen.created += created.len() as u64;
            seen.doubled += created.len().saturating_sub(due.len()) as u64;
            seen.missed += due.len().saturating_sub(created.len()) as u64;
            for (due, created) in due.iter().zip(created) {
                let lateness = created - due.as_millis();
                // Before its time: an earlier one was created twice.
                seen.doubled += u64::from(lateness < 0);
                late.record(lateness.max(0).unsigned_abs() * 1_000_000)?;
            }
        }
    }
}

/// Starts a server, and waits until its engine runs.
async fn server(url: &str) -> anyhow::Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["bench", "schedules", "--as-server"])
        // Not as an argument: it may contain a password.
        .env(URL, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("a server without standard output")?;
    let said = BufReader::new(stdout).lines().next_line().await?;
    ensure!(said.as_deref() == Some(READY), "a server said {said:?} and not that it is ready");
    Ok(child)
}

/// One server: runs until it is killed, or the process that started it is gone.
///
/// # Errors
/// Those of the store.
pub async fn serve() -> anyhow::Result<String> {
    let url = std::env::var(URL).with_context(|| format!("{URL} is not set"))?;
    let store = Target::prepare(Some(url.parse()?)).await?.open().await?;
    let worker = format!("bench-{}", std::process::id());
    let running = Engine::start(store, Registry::default(), Settings::default(), worker);
    println!("{READY}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    running.drain().await;
    Ok(String::new())
}
