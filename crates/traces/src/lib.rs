//! Traces of OpenTelemetry: whether requests and operations have spans, and how these reach a collector (OTLP over
//! HTTP, in protobuf).
//!
//! A [`Traces`] that is off costs no more than checking an `Option`. One that is on accepts the `traceparent` that
//! callers send, begins a trace for some of the creations that come without one, and passes everything on to the code
//! that runs the work. Where there is a collector, spans are sent there: those of requests when they have been
//! answered, those of operations once they have ended, by the server that then reads the change log.
//!
//! Spans contain names, times, ids and numbers: nothing of an input or an output, no message and no secret.

mod export;
mod otlp;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meters::Meters;
use operations::{Operation, SpanId, Timestamp, TraceContext};

pub use export::Collector;
use export::Exporter;
pub use otlp::Kind;

/// A span, which is part of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace id and its span id.
    pub context: TraceContext,
    /// The parent span; `None`: it is the first span of its trace.
    pub parent: Option<SpanId>,
    /// Its name, one of a few.
    pub name: String,
    /// Its kind, in relation to other spans.
    pub kind: Kind,
    /// The start, in nanoseconds since 1970.
    pub start: u64,
    /// The end, in nanoseconds since 1970, no earlier than the start.
    pub end: u64,
    /// Its attributes, named by OpenTelemetry's conventions where these define names.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

/// How this process handles traces. Cheap to clone; clones share everything. The default is off.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    /// A trace begins when a random number is at most this; 0: no trace begins.
    threshold: u64,
    exporter: Option<Exporter>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

impl Traces {
    /// Accepts and passes on traces, and adds nothing to them: for servers between other parts that send spans.
    pub fn handed_on() -> Traces {
        Traces(Some(Arc::new(Inner { threshold: 0, exporter: None })))
    }

    /// Sends spans to a collector; `share` (0 to 1) of the creations that come without a trace begin one. Must be
    /// called within a tokio runtime.
    pub fn exported(collector: Collector, share: f64, meters: Meters) -> Traces {
        // The conversion saturates at both ends.
        let threshold = (share * u64::MAX as f64) as u64;
        Traces(Some(Arc::new(Inner { threshold, exporter: Some(Exporter::start(collector, meters)) })))
    }

    /// Whether traces are accepted and passed on.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether spans are sent to a collector.
    pub fn are_exported(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.exporter.is_some())
    }

    /// The span of a request that came with `parent`: a span of its own where spans are exported, otherwise `parent`.
    /// Without a parent a trace may begin.
    pub fn below(&self, parent: Option<TraceContext>) -> Option<TraceContext> {
        let inner = self.0.as_ref()?;
        match parent {
            Some(parent) if inner.exporter.is_some() => Some(parent.with_span(rand::random())),
            Some(parent) => Some(parent),
            None => {
                let begins = inner.threshold > 0 && rand::random::<u64>() <= inner.threshold;
                begins.then(|| TraceContext::new(rand::random(), rand::random(), true))
            }
        }
    }

    /// The span of an attempt of an operation that was created in the span `created`: a span of its own where spans are
    /// exported.
    pub fn at_attempt(&self, created: TraceContext, operation: &Operation, attempt: u32) -> TraceContext {
        match operation.started_at {
            Some(started_at) if self.are_exported() => created.of_attempt(operation.id, attempt, started_at),
            _ => created,
        }
    }

    /// The parent span of work that follows from the end of an operation.
    pub fn after(&self, created: TraceContext, ended: &Operation) -> TraceContext {
        match ended.finished_at {
            Some(finished_at) if self.are_exported() => created.of_operation(ended.id, finished_at),
            _ => created,
        }
    }

    /// Sends a span, if its trace is recorded and there is a collector. Never waits.
    pub fn send(&self, span: Span) {
        if let Some(exporter) = self.0.as_ref().and_then(|inner| inner.exporter.as_ref())
            && span.context.is_sampled()
        {
            exporter.send(span);
        }
    }

    /// Sends the waiting spans, as long as `limit` allows: for the shutdown of a process.
    pub async fn flush(&self, limit: Duration) {
        if let Some(exporter) = self.0.as_ref().and_then(|inner| inner.exporter.as_ref()) {
            exporter.flush(limit).await;
        }
    }
}

/// A time of the store, in nanoseconds since 1970; earlier times are 0.
pub fn nanos(at: Timestamp) -> u64 {
    at.as_millis().max(0).unsigned_abs().saturating_mul(1_000_000)
}

/// A time of this machine, in nanoseconds since 1970.
pub fn nanos_of(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
