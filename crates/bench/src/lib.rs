//! `longrun bench`: measurements, each next to a baseline in the same run.
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

/// The benchmark to run.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Read one page with its exact total, for every kind of filter, at the first, the middle and the last page
    Pages(PagesArgs),
    /// Create, claim and settle, each call durable: one by one and in batches, with several clients
    Lifecycle(LifecycleArgs),
    /// Measure the time from a creation to the start of its handler, at low load
    Latency(LatencyArgs),
    /// Create and read over HTTP, with clients that keep their connections open
    Http(HttpArgs),
    /// Send more creations over HTTP than the server can handle: what it answers and rejects, and its memory
    Overload(OverloadArgs),
    /// Let thousands of clients wait for operations: memory, queries, time from the end to the answer
    Waiters(WaitersArgs),
    /// Run many schedules on one PostgreSQL while one of several servers is killed every second: duplicates, misses,
    /// delays
    Schedules(SchedulesArgs),
    /// Measure how long an organization's first operation waits behind a million operations of another
    Fairness(FairnessArgs),
    /// Retry many failed operations at once, and time the calls of another organization meanwhile
    Bulk(BulkArgs),
    /// Evaluate small and large evidence in processes, compared with the same without a process
    Evaluate(EvaluateArgs),
}

/// The formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Readable tables
    Table,
    /// JSON with the machine, the versions and the settings
    Json,
}

/// The arguments of every benchmark.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Store to measure, kept afterwards: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE; default: a temporary
    /// SQLite file
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Format of the report
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

/// `longrun bench pages`.
#[derive(Debug, clap::Args)]
pub struct PagesArgs {
    #[command(flatten)]
    common: Common,
    /// Number of operations in the store; a store that already has them is not filled again. Beyond 1,000,000, the rows
    /// are copies made in SQL
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How often each page is read
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Measure searches by filter expressions instead of the list
    #[arg(long)]
    search: bool,
    /// Do not create the plain table, which takes as much disk space again as the store, and measure only the store
    #[arg(long)]
    without_plain_table: bool,
}

/// `longrun bench lifecycle`.
#[derive(Debug, clap::Args)]
pub struct LifecycleArgs {
    #[command(flatten)]
    common: Common,
    /// Number of clients that work at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=150))]
    clients: u32,
    /// Operations per call when clients work in batches
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Number of lifecycles in the measurement with batches, however long they take; sizes and dead rows are then
    /// reported. By default, it takes as long as the other measurements
    #[arg(long)]
    lifecycles: Option<u64>,
    /// Hold a snapshot open during the run, as a forgotten transaction or a long report does, and report the throughput
    /// at its start and at its end
    #[arg(long)]
    held_snapshot: bool,
    /// With a held snapshot: do not measure the plain table, which takes as long again
    #[arg(long, requires = "held_snapshot")]
    without_plain_table: bool,
    /// Run this many processes on one PostgreSQL, each with its own connections, one number after the other: 1,2,4
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: Vec<u32>,
    /// Distribute organizations over these PostgreSQL databases, which are cells of the directory that --store names:
    /// one organization in each; all must be new
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
    /// Number of operations to create, one after the other
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
    /// Number of clients, each with its own connection
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
    /// Number of connections for the calls
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Length of the measurement
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Load as a multiple of what the server can sustain
    #[arg(long, default_value_t = 2.0)]
    times: f64,
}

/// `longrun bench waiters`.
#[derive(Debug, clap::Args)]
pub struct WaitersArgs {
    #[command(flatten)]
    common: Common,
    /// Number of waiting clients, each with its own connection and its own operation
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    waiters: u32,
}

/// `longrun bench schedules`.
#[derive(Debug, clap::Args)]
pub struct SchedulesArgs {
    #[command(flatten)]
    common: Common,
    /// Number of schedules
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    schedules: u32,
    /// Seconds between two due times of each schedule
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    period: u32,
    /// Number of servers at the same time
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
    /// Number of pending operations of one organization
    #[arg(long, default_value_t = 1_000_000)]
    pending: u64,
    /// Number of operations of the other organization, created one after the other
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Milliseconds between two of these operations
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

/// `longrun bench bulk`.
#[derive(Debug, clap::Args)]
pub struct BulkArgs {
    #[command(flatten)]
    common: Common,
    /// Number of failed operations of one organization that are retried
    #[arg(long, default_value_t = 20_000)]
    failed: u64,
    /// Number of creations and claims of the other organization, one after the other, before the bulk operation
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
    samples: u32,
    /// Milliseconds between two of these calls
    #[arg(long, default_value_t = 5)]
    pause: u64,
}

/// `longrun bench evaluate`.
#[derive(Debug, clap::Args)]
pub struct EvaluateArgs {
    /// Format of the report
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
    /// Number of clients that evaluate small evidence at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Length of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs a benchmark; returns its report. `evaluation_worker` is the process that evaluates.
///
/// # Errors
/// When the store cannot be used, or contains something other than this benchmark's rows.
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
    // The error does not repeat the text, which may contain a password.
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
