//! The binary running for long: mixed load over HTTP, kills at first, and then nothing grows that should be flat.
//!
//! `make soak`: `SOAK_SECONDS` (3600) is the duration; 600 is the short form. `SOAK_STORE=postgres` runs it on
//! PostgreSQL. In the first quarter the server is killed now and then, and PostgreSQL, too; the rest is measured, after
//! a while in which retention comes to an even level.
//!
//! Quantities that should be flat grow by less than is stated at [`Bound`], by the straight line through all samples.
//! Some of the data should grow with the creations, for a day or a week: idempotency keys, the change log, the audit
//! log, statistics. So the growth of the whole is bounded by the number of creations.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longrun_client::{BulkRequest, ListRequest, NewOperation, ScheduleWish, SearchRequest, StatsRequest, WatchRequest};
use rand::RngExt as _;
use rand::rngs::StdRng;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::tempdir;
use testkit::{Cluster, Durability};
use tokio_util::sync::CancellationToken;

use crate::common::{Server, admin_token, command, free_address, run_in};
use crate::load::{KIND, Load, serve_by};
use crate::slope::Series;

const SECONDS: u64 = 3_600;
const CREATORS: u64 = 4;
/// The pause between two creations of one creator: the load is the same all the time.
const PACE: Duration = Duration::from_millis(15);
const WORKERS: u64 = 3;
const WATCHERS: usize = 3;
/// How long operations are kept after their end.
const RETAIN_FOR: &str = "20s";
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// The share of the time in which the server is killed, and the time after it in which nothing is measured yet.
const FAULTS: f64 = 0.25;
const SETTLES: Duration = Duration::from_secs(60);

/// Connections of the server to an embedded store, each of which keeps this much of the file in memory: while the file
/// is smaller, memory grows with it.
const CONNECTIONS: f64 = 5.0;
const CACHE: f64 = 16.0 * 1024.0 * 1024.0;

/// How much something may grow over the measured time: by this amount, or by this part of its mean.
struct Bound {
    name: &'static str,
    by: f64,
    part: f64,
}

const MIB: f64 = 1024.0 * 1024.0;
const FLAT: [Bound; 5] = [
    Bound { name: "memory, KiB", by: 16.0 * 1024.0, part: 0.10 },
    Bound { name: "file descriptors", by: 6.0, part: 0.10 },
    Bound { name: "rows of active", by: 200.0, part: 0.25 },
    Bound { name: KEPT, by: 10.0, part: 0.15 },
    Bound { name: "rows of leases", by: 200.0, part: 0.25 },
];
/// The same for an embedded store alone.
const FLAT_SQLITE: [Bound; 1] = [Bound { name: "log, bytes", by: MIB, part: 0.10 }];
/// The same for PostgreSQL alone, where rows that are gone take space until it is used again: tables with their
/// indexes.
const FLAT_POSTGRES: [Bound; 3] = [
    Bound { name: "bytes of active", by: 2.0 * MIB, part: 0.25 },
    Bound { name: "bytes of settled", by: 8.0 * MIB, part: 0.25 },
    Bound { name: "bytes of leases", by: 2.0 * MIB, part: 0.25 },
];
/// The size of everything that is kept.
const ALL: &str = "all data, bytes";

/// What is counted in both stores.
const ROWS: [(&str, &str); 5] = [
    ("rows of active", "SELECT count(*) FROM active"),
    ("rows of settled", "SELECT count(*) FROM settled"),
    ("rows of leases", "SELECT count(*) FROM leases"),
    ("rows of changes", "SELECT count(*) FROM changes"),
    ("rows of idempotency", "SELECT count(*) FROM idempotency_keys"),
];
const SIZES: [(&str, &str); 6] = [
    (ALL, "SELECT pg_database_size(current_database())"),
    ("bytes of active", "SELECT pg_total_relation_size('active')"),
    ("bytes of settled", "SELECT pg_total_relation_size('settled')"),
    ("bytes of leases", "SELECT pg_total_relation_size('leases')"),
    ("bytes of changes", "SELECT pg_total_relation_size('changes')"),
    ("bytes of idempotency", "SELECT pg_total_relation_size('idempotency_keys')"),
];

/// Where the server keeps its data.
enum Data {
    Sqlite(PathBuf),
    Postgres(Cluster, String),
}

impl Data {
    async fn prepare(folder: &Path) -> Data {
        match std::env::var("SOAK_STORE").as_deref() {
            Err(_) | Ok("sqlite") => Data::Sqlite(folder.join("longrun.db")),
            Ok("postgres") => {
                let cluster = Cluster::start(Durability::Full).unwrap();
                let url = cluster.database().await.unwrap();
                Data::Postgres(cluster, url)
            }
            Ok(other) => panic!("SOAK_STORE is sqlite or postgres, not {other}"),
        }
    }

    fn url(&self) -> String {
        match self {
            Data::Sqlite(file) => format!("sqlite:{}", file.display()),
            Data::Postgres(_, url) => url.clone(),
        }
    }

    /// The bytes that an operation may leave after its retention: its key, its changes, the entries about it.
    fn bytes_of_an_operation(&self) -> f64 {
        match self {
            Data::Sqlite(_) => 2_500.0,
            Data::Postgres(..) => 4_000.0,
        }
    }

    fn flat(&self) -> impl Iterator<Item = &'static Bound> {
        let own = match self {
            Data::Sqlite(_) => &FLAT_SQLITE[..],
            Data::Postgres(..) => &FLAT_POSTGRES,
        };
        FLAT.iter().chain(own)
    }

    /// Sizes and numbers of rows.
    async fn sample(&self) -> Vec<(&'static str, f64)> {
        let mut values = Vec::new();
        match self {
            Data::Sqlite(file) => {
                let bytes = |name: &Path| name.metadata().map_or(0, |file| file.len()) as f64;
                values.extend([(ALL, bytes(file)), ("log, bytes", bytes(&file.with_extension("db-wal")))]);
                let mut connection =
                    SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
                for (name, sql) in ROWS {
                    let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
                    values.push((name, rows as f64));
                }
                connection.close().await.unwrap();
            }
            Data::Postgres(_, url) => {
                let mut connection = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
                for (name, sql) in SIZES.into_iter().chain(ROWS) {
                    let number: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
                    values.push((name, number as f64));
                }
                connection.close().await.unwrap();
            }
        }
        values
    }
}

/// How long the settled operations would take to be created: there are more of them while more are created, as when other
/// work on the machine ends.
const KEPT: &str = "settled, in seconds";
/// The creations of this time say how fast operations are created.
const WINDOW: f64 = 60.0;

fn anything(random: &mut StdRng) -> NewOperation {
    let one_in = |random: &mut StdRng, n: u32| random.random_range(0..n) == 0;
    NewOperation {
        kind: KIND.to_owned(),
        max_attempts: Some(random.random_range(1..=3)),
        priority: Some(random.random_range(-1..=1)),
        retain_for: Some(RETAIN_FOR.to_owned()),
        input: Some(serde_json::json!({"image": "registry.example/app", "n": random.random_range(0..1_000)})),
        labels: [("batch".to_owned(), random.random_range(0..20).to_string())].into(),
        concurrency_key: one_in(random, 10).then(|| format!("key-{}", random.random_range(0..5))),
        concurrency_limit: None,
        ..NewOperation::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes an hour, or SOAK_SECONDS: make soak"]
async fn nothing_grows_that_is_to_be_flat() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let begun = Instant::now();
    let faults_until = begun + Duration::from_secs(seconds).mul_f64(FAULTS);
    let end = begun + Duration::from_secs(seconds);
    let (folder, address) = (tempdir().unwrap(), free_address());
    let data = Data::prepare(folder.path()).await;
    let store = data.url();
    let mut server = serve_by(command(), &store, folder.path(), &address);
    let token = admin_token(&store);
    let load = Load::new(&address, &token);
    schedules(&load).await;
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CREATORS {
        tasks.spawn(Arc::clone(&load).create(number, PACE, anything));
    }
    for number in 0..WORKERS {
        tasks.spawn(Arc::clone(&load).work(number, &[KIND, "tick"], stop.clone()));
    }
    for _ in 0..WATCHERS {
        tasks.spawn(watch(Arc::clone(&load), stop.clone()));
    }
    tasks.spawn(many(Arc::clone(&load), stop.clone()));
    tasks.spawn(read(Arc::clone(&load), stop.clone()));

    let mut kills = 0;
    while Instant::now() < faults_until {
        let pause = Duration::from_secs(rand::rng().random_range(5..20)).min(faults_until - Instant::now());
        tokio::time::sleep(pause).await;
        load.fault_begins();
        kills += 1;
        match &data {
            Data::Postgres(cluster, _) if kills % 2 == 0 => {
                cluster.crash().unwrap();
                cluster.start_again().unwrap();
            }
            _ => {
                server.process.kill_9();
                server = serve_by(command(), &store, folder.path(), &address);
            }
        }
    }
    tokio::time::sleep(SETTLES.min(Duration::from_secs(seconds).mul_f64(FAULTS))).await;
    let (samples, created) = measure(&load, &server, &data, end).await;

    load.stop.cancel();
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    server.process.signal("TERM");
    let exit_code = server.process.exit_code();
    let doctor = run_in(folder.path(), &["doctor", "--store", &store]);
    println!(
        "{seconds} s, {kills} kills (acknowledged again after {}: median, maximum), {} operations created, {created} of them \
         while measured",
        testkit::spread(&load.recoveries.lock().unwrap()),
        load.count()
    );
    samples.iter().for_each(|series| println!("{series}"));
    // Everything that is wrong is told at once: a run takes an hour.
    let mut wrong = judge(&samples, created, &data);
    let errors = load.errors.lock().unwrap();
    if !errors.is_empty() {
        let some = &errors[..errors.len().min(5)];
        wrong.push(format!("{} errors that no fault explains: {some:#?}", errors.len()));
    }
    if exit_code != 0 {
        wrong.push(format!("the server ended with {exit_code}"));
    }
    if doctor.code != 0 {
        wrong.push(format!("longrun doctor finds something: {}{}", doctor.stdout, doctor.stderr));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What grew by more than it may.
fn judge(samples: &[Series], created: f64, data: &Data) -> Vec<String> {
    let of = |name: &str| samples.iter().find(|series| series.name == name).unwrap();
    let mut wrong = Vec::new();
    let cached = |sample: Option<&(f64, f64)>| sample.map_or(0.0, |(_, bytes)| bytes.min(CACHE));
    let all = &of(ALL).samples;
    let mut caches = 0.0;
    if let Data::Sqlite(_) = data {
        caches = CONNECTIONS * (cached(all.last()) - cached(all.first())) / 1024.0;
        println!("caches may have grown by {caches:.0} KiB while measured");
    }
    for Bound { name, by, part } in data.flat() {
        let more = if *name == "memory, KiB" { caches } else { 0.0 };
        let (growth, most) = (of(name).growth(), (of(name).mean() * part).max(*by) + more);
        if growth > most {
            wrong.push(format!("{name} grew by {growth:.0}, and may by {most:.0}"));
        }
    }
    let (each, most) = (of(ALL).growth() / created, data.bytes_of_an_operation());
    println!("the data grew by {each:.0} bytes for each operation");
    if each > most {
        wrong.push(format!("the data grew by {each:.0} bytes for each operation, and may by {most}"));
    }
    wrong
}

/// Samples until `end`; also returns how many operations were created meanwhile.
async fn measure(load: &Load, server: &Server, data: &Data, end: Instant) -> (Vec<Series>, f64) {
    let mut samples: Vec<Series> = Vec::new();
    let (begun, before) = (Instant::now(), load.count());
    while Instant::now() < end {
        let process = format!("/proc/{}", server.process.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory: f64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
        let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
        let mut values = vec![("memory, KiB", memory), ("file descriptors", descriptors as f64)];
        values.extend(data.sample().await);
        values.push(("operations created", (load.count() - before) as f64));
        let at = begun.elapsed().as_secs_f64();
        for (place, (name, value)) in values.into_iter().enumerate() {
            if samples.len() <= place {
                samples.push(Series { name, samples: Vec::new() });
            }
            samples[place].samples.push((at, value));
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    let series = |name: &str| &samples.iter().find(|series| series.name == name).unwrap().samples;
    let kept = kept(series("rows of settled"), series("operations created"));
    samples.push(kept);
    (samples, (load.count() - before) as f64)
}

/// The settled operations over time, each number divided by the creations per second in the [`WINDOW`] before it.
fn kept(settled: &[(f64, f64)], created: &[(f64, f64)]) -> Series {
    let samples = settled.iter().zip(created).filter_map(|((at, settled), (_, count))| {
        let (from, before) = created.iter().rfind(|(from, _)| *from <= at - WINDOW)?;
        Some((*at, settled * (at - from) / (count - before)))
    });
    Series { name: KEPT, samples: samples.collect() }
}

async fn schedules(load: &Load) {
    for number in 0..3 {
        let operation = NewOperation {
            kind: "tick".to_owned(),
            retain_for: Some(RETAIN_FOR.to_owned()),
            ..NewOperation::default()
        };
        let wish = ScheduleWish {
            name: Some(format!("tick-{number}")),
            every: Some("60s".to_owned()),
            operation: Some(operation),
            ..ScheduleWish::default()
        };
        load.client.create_schedule(&wish).await.unwrap();
    }
}

/// Follows the changes, and disconnects now and then.
async fn watch(load: Arc<Load>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Some(mut watch) = load.answer("watch", load.client.watch(&WatchRequest::default()).await) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        for _ in 0..2_000 {
            let next = tokio::select! {
                next = watch.next() => next,
                () = stop.cancelled() => return,
            };
            if load.answer("watch", next).is_none() {
                break;
            }
        }
    }
}

/// Retries and cancels many at once.
async fn many(load: Arc<Load>, stop: CancellationToken) {
    for round in 0.. {
        let (action, filter) = match round % 2 {
            0 => ("cancel", format!("labels.batch={} AND status=PENDING", round % 20)),
            _ => ("retry", format!("labels.batch={} AND status=FAILED", round % 20)),
        };
        let request = BulkRequest { action: action.to_owned(), filter, dry_run: false, expected_count: None };
        load.answer("bulk", load.client.bulk(&request, None).await);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(3)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Reads the pages that people read.
async fn read(load: Arc<Load>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let client = &load.client;
        load.answer("list", client.list(&ListRequest::default()).await);
        let search = SearchRequest { filter: "labels.batch=3".to_owned(), ..SearchRequest::default() };
        load.answer("search", client.search(&search).await);
        load.answer("count", client.count("kind=scan", &["status"]).await);
        load.answer("stats", client.stats(&StatsRequest::default()).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
