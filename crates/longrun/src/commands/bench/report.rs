//! The report of a benchmark.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    versions: Versions,
    settings: serde_json::Value,
    results: Vec<Measured>,
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
    sqlite: String,
}

/// One row: longrun beside its baseline.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What was measured, e.g. `pages`.
    pub name: &'static str,
    /// `sqlite`.
    pub engine: &'static str,
    /// Operations in the store.
    pub rows: u64,
    /// Which filter.
    pub filter: String,
    /// `first`, `middle` or `last`.
    pub page: &'static str,
    /// longrun.
    #[serde(flatten)]
    pub times: Times,
    /// The plain table.
    pub baseline: Times,
    /// Baseline p50 / longrun p50: above 1, longrun is the better.
    pub ratio: f64,
}

/// Times of one kind of call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were at most so long, in milliseconds; with few samples, the longest.
    pub p99_ms: f64,
    /// Calls a second, one after the other.
    pub per_second: f64,
}

impl Times {
    /// Sums up a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Times {
        let millis = |nanos: f64| (nanos / 1_000.0).round() / 1_000.0;
        Times {
            p50_ms: millis(histogram.value_at_quantile(0.50) as f64),
            p99_ms: millis(histogram.value_at_quantile(0.99) as f64),
            per_second: (1e9 / histogram.mean().max(1.0)).round(),
        }
    }
}

impl Report {
    /// A report of this machine.
    pub fn new(sqlite: String, settings: serde_json::Value, results: Vec<Measured>) -> Report {
        Report {
            machine: Machine::this(),
            versions: Versions { longrun: env!("CARGO_PKG_VERSION"), sqlite },
            settings,
            results,
        }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never, unless memory is short.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// As a table.
    pub fn table(&self) -> String {
        let Machine { cores, processor, memory_gib, os } = &self.machine;
        let mut text = format!(
            "{cores} cores ({processor}), {memory_gib} GiB, {os}; longrun {}, SQLite {}\n\n",
            self.versions.longrun, self.versions.sqlite
        );
        let _ = writeln!(
            text,
            "{:<38} {:<7} {:>9} {:>9}   {:>10} {:>10} {:>9}",
            "filter", "page", "p50 ms", "p99 ms", "plain p50", "plain p99", "ratio"
        );
        for row in &self.results {
            let _ = writeln!(
                text,
                "{:<38} {:<7} {:>9.3} {:>9.3}   {:>10.3} {:>10.3} {:>9.1}",
                row.filter,
                row.page,
                row.times.p50_ms,
                row.times.p99_ms,
                row.baseline.p50_ms,
                row.baseline.p99_ms,
                row.ratio
            );
        }
        let worst = self.results.iter().map(|row| row.times.p99_ms).fold(0.0, f64::max);
        let _ = writeln!(text, "\nworst p99 of longrun: {worst:.3} ms");
        text
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
