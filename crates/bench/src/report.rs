//! The report of a benchmark.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use super::sizes::Size;
use super::target::Target;

/// The report of a whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    versions: Versions,
    settings: serde_json::Value,
    results: Vec<Measured>,
    /// The disk space of tables and indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<Size>,
    /// Further notes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    processor: String,
    memory_gib: u64,
    os: String,
}

#[derive(Debug, Serialize)]
struct Versions {
    longrun: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres: Option<String>,
}

/// One row: longrun and its baseline. Fields that do not apply are left out.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What was measured, e.g. `pages`.
    pub name: &'static str,
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// The mode, e.g. `one by one`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Operations in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// `first`, `middle` or `last`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<&'static str>,
    /// longrun.
    #[serde(flatten)]
    pub times: Times,
    /// The times of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Times>,
    /// Above 1, longrun is better: by the median where single calls are timed, by throughput where clients call as fast
    /// as they can.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rounded")]
    pub ratio: Option<f64>,
}

fn rounded<S: Serializer>(ratio: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    ratio.map(|ratio| (ratio * 100.0).round() / 100.0).serialize(serializer)
}

impl Measured {
    /// A row with the fields that every row has.
    pub fn new(name: &'static str, engine: &'static str, times: Times) -> Measured {
        let (mode, rows, filter, page, baseline, ratio) = (None, None, None, None, None, None);
        Measured { name, engine, mode, rows, filter, page, times, baseline, ratio }
    }

    /// What distinguishes it from the other rows.
    fn label(&self) -> String {
        [self.filter.as_deref(), self.mode.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Times of one kind of call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most this long, in milliseconds; with few samples, the longest time.
    pub p99_ms: f64,
    /// Calls per second: one after the other, or as many as all clients together had answered.
    pub per_second: f64,
}

impl Times {
    /// A summary of a histogram of nanoseconds, for calls that were made one after the other.
    pub fn of(histogram: &Histogram<u64>) -> Times {
        Times::at(histogram, 1e9 / histogram.mean().max(1.0))
    }

    /// A summary of a histogram of nanoseconds, for calls that were made at this rate.
    pub fn at(histogram: &Histogram<u64>, per_second: f64) -> Times {
        let millis = |nanos: f64| (nanos / 1_000.0).round() / 1_000.0;
        Times {
            p50_ms: millis(histogram.value_at_quantile(0.50) as f64),
            p99_ms: millis(histogram.value_at_quantile(0.99) as f64),
            per_second: per_second.round(),
        }
    }
}

impl Report {
    /// A report of this machine.
    pub fn new(target: &Target, settings: serde_json::Value, results: Vec<Measured>) -> Report {
        let version = |engine: &str| (target.engine() == engine).then(|| target.version().to_owned());
        let mut report = Report::without_store(settings, results);
        report.versions.sqlite = version("sqlite");
        report.versions.postgres = version("postgres");
        report
    }

    /// The same for a measurement that needs no store.
    pub fn without_store(settings: serde_json::Value, results: Vec<Measured>) -> Report {
        Report {
            machine: Machine::this(),
            versions: Versions { longrun: env!("CARGO_PKG_VERSION"), sqlite: None, postgres: None },
            settings,
            results,
            sizes: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never, unless memory runs out.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// As a table.
    pub fn table(&self) -> String {
        let Machine { cores, processor, memory_gib, os } = &self.machine;
        let Versions { longrun, sqlite, postgres } = &self.versions;
        let engine = match (sqlite, postgres) {
            (Some(version), _) => format!("SQLite {version}"),
            (None, Some(version)) => format!("PostgreSQL {version}"),
            (None, None) => String::new(),
        };
        let mut text = format!("{cores} cores ({processor}), {memory_gib} GiB, {os}; longrun {longrun}, {engine}\n");
        let _ = writeln!(text, "{}\n", self.settings);
        let _ = writeln!(
            text,
            "{:<46} {:<6} {:>9} {:>9} {:>9}   {:>10} {:>10} {:>10} {:>8}",
            "", "page", "per s", "p50 ms", "p99 ms", "base per s", "base p50", "base p99", "ratio"
        );
        for row in &self.results {
            let Times { p50_ms, p99_ms, per_second } = row.times;
            let (label, page) = (row.label(), row.page.unwrap_or_default());
            let _ = write!(text, "{label:<46} {page:<6} {per_second:>9.0} {p50_ms:>9.3} {p99_ms:>9.3}");
            if let Some(Times { p50_ms, p99_ms, per_second }) = row.baseline {
                let _ = write!(text, "   {per_second:>10.0} {p50_ms:>10.3} {p99_ms:>10.3}");
            }
            if let Some(ratio) = row.ratio {
                let _ = write!(text, " {ratio:>8.1}");
            }
            text.push('\n');
        }
        if !self.sizes.is_empty() {
            let _ = writeln!(
                text,
                "\n{:<30} {:>11} {:>13} {:>13} {:>10} {:>11}",
                "storage", "rows", "table KiB", "indexes KiB", "bytes/row", "dead rows"
            );
        }
        for size in &self.sizes {
            let Size { table, rows, table_bytes, index_bytes, bytes_per_row, dead_rows, .. } = size;
            let (table_kib, index_kib) = (table_bytes / 1024, index_bytes / 1024);
            let optional = |n: &Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
            let _ = writeln!(
                text,
                "{table:<30} {rows:>11} {table_kib:>13} {index_kib:>13} {:>10} {:>11}",
                optional(bytes_per_row),
                optional(dead_rows)
            );
        }
        for note in &self.notes {
            let _ = write!(text, "\n{note}");
        }
        text + "\n"
    }
}

impl Machine {
    fn this() -> Machine {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib = field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|n| n.parse::<u64>().ok());
        Machine {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: field("/proc/cpuinfo", "model name"),
            memory_gib: kib.unwrap_or_default() / (1024 * 1024),
            os: std::env::consts::OS.to_owned(),
        }
    }
}
