//! The metrics of the API: each request is counted once, when its answer has been passed to the connection or broken
//! off.
//!
//! Labels are route templates, methods that routes have, and status classes, so their number is bounded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use store::meters::{Form, Meters, Present, render};

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The metrics of the API, and of the layers below it. Clones share everything.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

struct Inner {
    registry: Registry,
    /// Without the prefix of the others.
    process: Registry,
    below: Meters,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    shed: Family<ShedLabel, Counter>,
    others: Others,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: Class,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ShedLabel {
    reason: Shed,
}

/// The class of a status.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Class(u16);

impl EncodeLabelValue for Class {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        use fmt::Write as _;
        write!(encoder, "{}xx", self.0)
    }
}

/// Why a call was refused before it was processed.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the values of the label")]
pub(crate) enum Shed {
    /// The server was overloaded.
    overloaded,
    /// Its token or organization made more calls than it may.
    call_rate,
}

/// Counters of the process that are counted elsewhere.
#[derive(Clone, Debug, Default)]
struct Others(Arc<Mutex<Vec<Other>>>);

#[derive(Debug)]
struct Other {
    name: &'static str,
    help: &'static str,
    read: fn() -> u64,
}

impl Collector for Others {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Other { name, help, read } in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let counter = ConstCounter::new(read());
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The label of a method: methods that no route has share one, whatever clients send.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

impl Metrics {
    /// Metrics of an API, shown with those of the layers below it.
    pub fn new(below: Meters) -> Metrics {
        let mut inner = Inner {
            registry: Registry::with_prefix("longrun"),
            process: Registry::default(),
            below,
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            shed: Family::default(),
            others: Others::default(),
        };
        // Prometheus cannot distinguish a counter that does not exist yet from one that grew by one.
        for reason in [Shed::overloaded, Shed::call_rate] {
            drop(inner.shed.get_or_create(&ShedLabel { reason }));
        }
        let registry = &mut inner.registry;
        let answered = "Requests answered, by route, method and class of status";
        registry.register("http_requests", answered, inner.requests.clone());
        let took = "Time from the headers of a request to the end of its answer";
        registry.register_with_unit("http_request_duration", took, Unit::Seconds, inner.durations.clone());
        registry.register("http_requests_in_flight", "Requests in progress", inner.in_flight.clone());
        registry.register("shed", "Calls that were refused because of overload or a call rate", inner.shed.clone());
        registry.register_collector(Box::new(inner.others.clone()));
        let started = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()));
        inner.process.register("process_start_time_seconds", "Start of the process since the Unix epoch", started);
        Metrics(Arc::new(inner))
    }

    /// Shows a counter of the process that is counted elsewhere; its name is given without the prefix and without
    /// `_total`.
    pub fn add_counter(&self, name: &'static str, help: &'static str, read: fn() -> u64) {
        self.0.others.0.lock().unwrap_or_else(PoisonError::into_inner).push(Other { name, help, read });
    }

    /// Counts a request as in progress.
    pub(crate) fn enter(&self) -> Present {
        Present::one_more(&self.0.in_flight)
    }

    /// Counts a call that was refused.
    pub(crate) fn shed(&self, reason: Shed) {
        self.0.shed.get_or_create(&ShedLabel { reason }).inc();
    }

    /// Counts an answered request.
    pub(crate) fn record(&self, route: &str, of: &Method, status: u16, duration: Duration) {
        let labels = RouteLabels { route: route.to_owned(), method: method(of) };
        self.0.durations.get_or_create(&labels).observe(duration.as_secs_f64());
        let RouteLabels { route, method } = labels;
        let status = Class((status / 100).clamp(1, 5));
        self.0.requests.get_or_create(&RequestLabels { route, method, status }).inc();
    }

    /// The text of all metrics, together with these registries.
    pub(crate) fn render_with(&self, found: &[&Registry], form: Form) -> String {
        let own = [&self.0.registry, self.0.below.registry(), &self.0.process];
        render(&[&own, found].concat(), form)
    }

    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        self.render_with(&[], Form::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let metrics = Metrics::new(Meters::default());
        let get = |status, millis| {
            metrics.record("/v1/operations", &Method::GET, status, Duration::from_millis(millis));
        };
        for millis in [1, 2, 40, 20_000] {
            get(200, millis);
        }
        get(404, 1);
        metrics.record("unmatched", &Method::from_bytes(b"MADEUP").expect("a method"), 405, Duration::ZERO);
        let under_way = metrics.enter();
        let text = metrics.render();
        for line in [
            "longrun_http_requests_total{route=\"/v1/operations\",method=\"GET\",status=\"2xx\"} 4",
            "longrun_http_requests_total{route=\"/v1/operations\",method=\"GET\",status=\"4xx\"} 1",
            "longrun_http_requests_total{route=\"unmatched\",method=\"other\",status=\"4xx\"} 1",
            "longrun_http_request_duration_seconds_bucket{le=\"0.001\",route=\"/v1/operations\",method=\"GET\"} 2",
            "longrun_http_request_duration_seconds_bucket{le=\"0.05\",route=\"/v1/operations\",method=\"GET\"} 4",
            "longrun_http_request_duration_seconds_bucket{le=\"10.0\",route=\"/v1/operations\",method=\"GET\"} 4",
            "longrun_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"/v1/operations\",method=\"GET\"} 5",
            "longrun_http_request_duration_seconds_count{route=\"/v1/operations\",method=\"GET\"} 5",
            "longrun_http_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing from\n{text}");
        }
        drop(under_way);
        assert!(metrics.render().contains("longrun_http_requests_in_flight 0"));
    }
}
