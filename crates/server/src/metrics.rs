//! Counters of the HTTP layer and their Prometheus text form.
//!
//! Few and honest: each request is counted once, when its answer has been handed to the connection or broken off.
//! Labels are route templates and status classes, so their number is fixed.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Inner {
    in_flight: AtomicI64,
    shed: [AtomicU64; Shed::ALL.len()],
    routes: Mutex<BTreeMap<String, Route>>,
    /// What is counted elsewhere.
    others: Mutex<Vec<Counter>>,
    started_at: f64,
}

struct Counter {
    name: &'static str,
    help: &'static str,
    read: fn() -> u64,
}

#[derive(Debug, Default)]
struct Route {
    by_class: [u64; CLASSES.len()],
    /// Requests at or below each bound and above the one before; those above all bounds are only in `by_class`.
    by_duration: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        Metrics(Arc::new(Inner {
            in_flight: AtomicI64::new(0),
            shed: Default::default(),
            routes: Mutex::default(),
            others: Mutex::default(),
            started_at,
        }))
    }
}

/// Why a call was sent away before it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// The server had too much to do.
    Overloaded,
    /// Its token or organization made more calls than it may.
    CallRate,
}

impl Shed {
    const ALL: [(Shed, &'static str); 2] = [(Shed::Overloaded, "overloaded"), (Shed::CallRate, "call_rate")];
}

/// A request that is under way; not any more when this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Metrics);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Shows a counter of the process that somebody else counts.
    pub fn add_counter(&self, name: &'static str, help: &'static str, read: fn() -> u64) {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner).push(Counter { name, help, read });
    }

    /// Counts a request as under way.
    pub(crate) fn enter(&self) -> InFlight {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Counts a call that was sent away.
    pub(crate) fn shed(&self, why: Shed) {
        self.0.shed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answered request.
    pub(crate) fn record(&self, route: &str, status: u16, duration: Duration) {
        let mut routes = self.0.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        let counters = routes.get_mut(route).expect("inserted above");
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        counters.by_class[class] += 1;
        let seconds = duration.as_secs_f64();
        counters.seconds += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            counters.by_duration[bucket] += 1;
        }
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let routes = self.0.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        render(&mut text, &routes, self.0.in_flight.load(Ordering::Relaxed), self.0.started_at)
            .expect("writing to a String does not fail");
        text.push_str(
            "# HELP longrun_shed_total Calls that were sent away unanswered.\n# TYPE longrun_shed_total counter\n",
        );
        for (why, reason) in Shed::ALL {
            let count = self.0.shed[why as usize].load(Ordering::Relaxed);
            text.push_str(&format!("longrun_shed_total{{reason=\"{reason}\"}} {count}\n"));
        }
        for Counter { name, help, read } in &*self.0.others.lock().unwrap_or_else(PoisonError::into_inner) {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", read()));
        }
        text
    }
}

fn render(text: &mut String, routes: &BTreeMap<String, Route>, in_flight: i64, started_at: f64) -> std::fmt::Result {
    const REQUESTS: &str = "longrun_http_requests_total";
    const DURATION: &str = "longrun_http_request_duration_seconds";
    writeln!(text, "# HELP {REQUESTS} Requests answered, by route and class of status.\n# TYPE {REQUESTS} counter")?;
    for (route, counters) in routes {
        for (class, count) in CLASSES.iter().zip(counters.by_class).filter(|(_, count)| *count > 0) {
            writeln!(text, "{REQUESTS}{{route=\"{route}\",status=\"{class}\"}} {count}")?;
        }
    }
    writeln!(
        text,
        "# HELP {DURATION} From the headers of the request to the end of the answer.\n# TYPE {DURATION} histogram"
    )?;
    for (route, counters) in routes {
        let mut cumulative = 0;
        for (bound, count) in BUCKETS.iter().zip(counters.by_duration) {
            cumulative += count;
            writeln!(text, "{DURATION}_bucket{{route=\"{route}\",le=\"{bound}\"}} {cumulative}")?;
        }
        let total: u64 = counters.by_class.iter().sum();
        writeln!(text, "{DURATION}_bucket{{route=\"{route}\",le=\"+Inf\"}} {total}")?;
        writeln!(text, "{DURATION}_sum{{route=\"{route}\"}} {}", counters.seconds)?;
        writeln!(text, "{DURATION}_count{{route=\"{route}\"}} {total}")?;
    }
    const IN_FLIGHT: &str = "longrun_http_requests_in_flight";
    writeln!(text, "# HELP {IN_FLIGHT} Requests under way.\n# TYPE {IN_FLIGHT} gauge\n{IN_FLIGHT} {in_flight}")?;
    const START: &str = "process_start_time_seconds";
    writeln!(
        text,
        "# HELP {START} Start of the process since the Unix epoch.\n# TYPE {START} gauge\n{START} {started_at}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let metrics = Metrics::default();
        for millis in [1, 2, 40, 20_000] {
            metrics.record("/v1/operations", 200, Duration::from_millis(millis));
        }
        metrics.record("/v1/operations", 404, Duration::from_millis(1));
        let under_way = metrics.enter();
        let text = metrics.render();
        for line in [
            "longrun_http_requests_total{route=\"/v1/operations\",status=\"2xx\"} 4",
            "longrun_http_requests_total{route=\"/v1/operations\",status=\"4xx\"} 1",
            "longrun_http_request_duration_seconds_bucket{route=\"/v1/operations\",le=\"0.001\"} 2",
            "longrun_http_request_duration_seconds_bucket{route=\"/v1/operations\",le=\"0.05\"} 4",
            "longrun_http_request_duration_seconds_bucket{route=\"/v1/operations\",le=\"10\"} 4",
            "longrun_http_request_duration_seconds_bucket{route=\"/v1/operations\",le=\"+Inf\"} 5",
            "longrun_http_request_duration_seconds_count{route=\"/v1/operations\"} 5",
            "longrun_http_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
        }
        drop(under_way);
        assert!(metrics.render().contains("longrun_http_requests_in_flight 0"));
    }
}
