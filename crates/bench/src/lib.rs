//! `longrun bench`: measurements, each beside a baseline in the same run.
//!
//! Machines are noisy: what counts are the ratios of one run, not the milliseconds of two. The report is a table for
//! people and JSON with the machine, the versions and the settings.

mod api;
mod bulk;
mod cells;
mod data;
mod evaluate;
mod fairness;
mod fill;
mod grpc;
mod http;
mod latency;
mod lifecycle;
mod load;
mod multiply;
mod overload;
mod pages;
mod plain;
mod processes;
mod report;
mod schedules;
mod searches;
mod sizes;
mod spinner;
mod target;
mod waiters;
mod wire;

use std::time::Duration;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use kinds::evaluation::Worker;
use report::Report;
use store::StoreUrl;
use target::Target;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// One page with its exact total, for every kind of filter, at the first, the middle and the last page
    Pages(PagesArgs),
    /// Create, claim, settle, each durable: one by one and in batches, by several clients
    Lifecycle(LifecycleArgs),
    /// From a creation to the start of its handler, at low load
    Latency(LatencyArgs),
    /// Creations and reads over HTTP, by clients that keep their connection
    Http(HttpArgs),
    /// More creations over HTTP than the server can carry out: what it answers, what it sheds, its memory
    Overload(OverloadArgs),
    /// Thousands of clients that wait for operations: memory, queries, time from the end to the answer
    Waiters(WaitersArgs),
    /// Many schedules on one PostgreSQL while one of several servers is killed every second: what is doubled, missed, late
    Schedules(SchedulesArgs),
    /// How long an organization's first operation waits behind a million of another's
    Fairness(FairnessArgs),
    /// Retrying many failed operations at once, and what another organization's calls take meanwhile
    Bulk(BulkArgs),
    /// Evaluations of small and of large evidence in processes, beside the same without a process
    Evaluate(EvaluateArgs),
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// With the machine, the versions and the settings.
    Json,
}

/// What every benchmark takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The store to measure, kept afterwards: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE. Without it a temporary
    /// SQLite file
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

/// `longrun bench pages`.
#[derive(Debug, clap::Args)]
pub struct PagesArgs {
    #[command(flatten)]
    common: Common,
    /// Operations in the store; a store that has them already is read without filling it. Beyond 1,000,000 the rows are
    /// copies, made in SQL
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Reads of each page
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Measure searches by filter expressions instead of the list
    #[arg(long)]
    search: bool,
    /// Do not make the plain table, which takes as much disk again as the store, and measure the store alone
    #[arg(long)]
    without_plain_table: bool,
}

/// `longrun bench lifecycle`.
#[derive(Debug, clap::Args)]
pub struct LifecycleArgs {
    #[command(flatten)]
    common: Common,
    /// Clients that work at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=150))]
    clients: u32,
    /// Operations of a call where clients work in batches
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Lifecycles that the measurement in batches goes through, for as long as it takes; then sizes and dead rows are
    /// told. Without it, it takes as long as the others
    #[arg(long)]
    lifecycles: Option<u64>,
    /// Hold a snapshot open during the run, as a forgotten transaction or a long report does, and tell the throughput
    /// at its start and at its end
    #[arg(long)]
    held_snapshot: bool,
    /// With a held snapshot: do not measure the plain table, which takes as long again
    #[arg(long, requires = "held_snapshot")]
    without_plain_table: bool,
    /// Run so many processes on one PostgreSQL, each with a store of its own, one number after the other: 1,2,4
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: Vec<u32>,
    /// Spread organizations over these PostgreSQL databases, which are cells of the directory that --store names: one
    /// organization in each; all must be new
    #[arg(long, value_name = "URLS", value_delimiter = ',', conflicts_with_all = ["processes", "held_snapshot"])]
    cells: Vec<String>,
    /// Be one of these processes, for this organization
    #[arg(long, value_name = "ORGANIZATION", hide = true)]
    as_part_of: Option<String>,
}

/// `longrun bench latency`.
#[derive(Debug, clap::Args)]
pub struct LatencyArgs {
    #[command(flatten)]
    common: Common,
    /// Operations that are created, one after the other
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Milliseconds between two creations
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

/// `longrun bench http`.
#[derive(Debug, clap::Args)]
pub struct HttpArgs {
    #[command(flatten)]
    common: Common,
    /// Clients, each with a connection of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// `longrun bench overload`.
#[derive(Debug, clap::Args)]
pub struct OverloadArgs {
    #[command(flatten)]
    common: Common,
    /// Connections that the calls come over
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Length of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many times what the server sustains
    #[arg(long, default_value_t = 2.0)]
    times: f64,
}

/// `longrun bench waiters`.
#[derive(Debug, clap::Args)]
pub struct WaitersArgs {
    #[command(flatten)]
    common: Common,
    /// Clients that wait, each with a connection of its own and for an operation of its own
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    waiters: u32,
}

/// `longrun bench schedules`.
#[derive(Debug, clap::Args)]
pub struct SchedulesArgs {
    #[command(flatten)]
    common: Common,
    /// Schedules
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    schedules: u32,
    /// Seconds between two due times of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    period: u32,
    /// Servers at a time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    servers: u32,
    /// Length of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Be one of the servers
    #[arg(long, hide = true)]
    as_server: bool,
}

/// `longrun bench fairness`.
#[derive(Debug, clap::Args)]
pub struct FairnessArgs {
    #[command(flatten)]
    common: Common,
    /// Operations of one organization that wait
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// Operations of the other, created one after the other
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Milliseconds between two of these
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

/// `longrun bench bulk`.
#[derive(Debug, clap::Args)]
pub struct BulkArgs {
    #[command(flatten)]
    common: Common,
    /// Operations of one organization that failed and are retried
    #[arg(long, default_value_t = 20_000)]
    failed: u64,
    /// Creations and claims of the other organization, one after the other, before the bulk operation
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Milliseconds between two of these
    #[arg(long, default_value_t = 5)]
    pause: u64,
}

/// `longrun bench evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// The form of the report
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
    /// Clients that evaluate small evidence at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs a benchmark; answers its report. `evaluation_worker` is the process that evaluates.
///
/// # Errors
/// When the store cannot be used, or holds something other than this benchmark's rows.
pub async fn run(bench: Bench, evaluation_worker: Worker) -> anyhow::Result<String> {
    let common = match &bench {
        Bench::Evaluate(args) => {
            let length = Duration::from_secs(args.seconds.into());
            let report = evaluate::measure(evaluation_worker, args.clients, length).await?;
            return shown(&report, args.output);
        }
        Bench::Lifecycle(LifecycleArgs { as_part_of: Some(organization), clients, seconds, .. }) => {
            return processes::take_part(organization, *clients, Duration::from_secs((*seconds).into())).await;
        }
        Bench::Schedules(SchedulesArgs { as_server: true, .. }) => return schedules::serve().await,
        Bench::Pages(args) => &args.common,
        Bench::Lifecycle(args) => &args.common,
        Bench::Latency(args) => &args.common,
        Bench::Http(args) => &args.common,
        Bench::Overload(args) => &args.common,
        Bench::Waiters(args) => &args.common,
        Bench::Fairness(args) => &args.common,
        Bench::Bulk(args) => &args.common,
        Bench::Schedules(args) => &args.common,
    };
    let form = common.output;
    // The error does not repeat the text, which may hold a password.
    let url = common.store.as_deref().map(str::parse::<StoreUrl>).transpose().context("--store")?;
    let target = Target::prepare(url).await?;
    let report: Report = match bench {
        Bench::Pages(args) => {
            let settings = pages::Settings {
                rows: args.rows,
                samples: args.samples,
                is_search: args.search,
                has_plain: !args.without_plain_table,
            };
            pages::measure(&target, settings).await?
        }
        Bench::Lifecycle(args) => {
            let plan = lifecycle::Plan {
                clients: args.clients,
                batch: args.batch,
                length: Duration::from_secs(args.seconds.into()),
                lifecycles: args.lifecycles,
            };
            if !args.cells.is_empty() {
                cells::measure(&target, &args.cells, plan.clients, plan.length).await?
            } else if !args.processes.is_empty() {
                processes::measure(&target, &args.processes, plan.clients, plan.length).await?
            } else if args.held_snapshot {
                lifecycle::measure_under_snapshot(&target, &plan, !args.without_plain_table).await?
            } else {
                lifecycle::measure(&target, &plan).await?
            }
        }
        Bench::Latency(args) => latency::measure(&target, args.samples, Duration::from_millis(args.pause)).await?,
        Bench::Http(args) => http::measure(&target, args.clients, Duration::from_secs(args.seconds.into())).await?,
        Bench::Overload(args) => {
            let length = Duration::from_secs(args.seconds.into());
            overload::measure(&target, args.connections, length, args.times).await?
        }
        Bench::Waiters(args) => waiters::measure(&target, args.waiters).await?,
        Bench::Bulk(args) => {
            bulk::measure(&target, args.failed, args.samples, Duration::from_millis(args.pause)).await?
        }
        Bench::Schedules(args) => {
            let plan = schedules::Plan {
                schedules: args.schedules,
                servers: args.servers as usize,
                period: Duration::from_secs(args.period.into()),
                length: Duration::from_secs(args.seconds.into()),
            };
            schedules::measure(&target, plan).await?
        }
        Bench::Evaluate(_) => unreachable!("it has no store and was measured above"),
        Bench::Fairness(args) => {
            fairness::measure(&target, args.pending, args.samples, Duration::from_millis(args.pause)).await?
        }
    };
    shown(&report, form)
}

fn shown(report: &Report, form: Form) -> anyhow::Result<String> {
    Ok(match form {
        Form::Table => report.table(),
        Form::Json => report.json()?,
    })
}
