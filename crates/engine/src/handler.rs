//! What runs an operation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use operations::{Operation, TraceContext};
use tokio_util::sync::CancellationToken;
use traces::Traces;

use crate::{FollowUp, Limits, Progress};

/// One attempt of an operation, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The organization that the operation belongs to.
    pub organization: String,
    /// The operation, running.
    pub operation: Operation,
    /// A JSON text, or empty for none.
    pub input: String,
    /// Which attempt this is; 1 for the first.
    pub number: u32,
    /// The attempt as a span of the trace that the operation belongs to, to be passed on to what is called for it.
    pub trace: Option<TraceContext>,
    /// Cancelled when the result is no longer wanted: somebody asked to stop the operation, the lease was lost, the
    /// time is over, or the drain time ended. A handler that works on a thread of its own must look at it and stop.
    pub cancelled: CancellationToken,
    /// Where the handler may report its progress.
    pub progress: Progress,
}

/// Why an attempt did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people; becomes the operation's `error_message`.
    pub message: String,
    /// Whether another attempt may do better.
    pub retryable: bool,
    /// The least that another attempt should wait, when the peer that could not do the work said so.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt would only repeat: bad input, a broken policy.
    pub fn permanent(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: false, retry_after: None }
    }

    /// A failure that may pass: a full disk, a peer that is away.
    pub fn transient(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: true, retry_after: None }
    }
}

/// Runs the operations of a kind.
///
/// Execution is at least once: a handler may see the same operation again after a crash. A panic is a retryable
/// failure. Long computations belong in `spawn_blocking`, never on the async threads.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does the work; the answer is the operation's output (structured output as a JSON text).
    async fn run(&self, attempt: Attempt) -> Result<String, Failure>;
}

/// The kinds that run in this process.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    limits: BTreeMap<String, Limits>,
    follow_up: Option<Arc<dyn FollowUp>>,
    traces: Traces,
}

impl Registry {
    /// No kinds yet.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a kind; the last handler given for a kind counts.
    #[must_use]
    pub fn with(mut self, kind: impl Into<String>, handler: impl Handler) -> Registry {
        self.handlers.insert(kind.into(), Arc::new(handler));
        self
    }

    /// Sets the limits of a kind; the last ones given count.
    #[must_use]
    pub fn with_limits(mut self, kind: impl Into<String>, limits: Limits) -> Registry {
        self.limits.insert(kind.into(), limits);
        self
    }

    /// Says what follows from the ends of operations, of all kinds and in all processes; the last one given counts.
    #[must_use]
    pub fn with_follow_up(mut self, follow_up: impl FollowUp) -> Registry {
        self.follow_up = Some(Arc::new(follow_up));
        self
    }

    /// Makes attempts and what follows from ends part of the traces of their operations; the last ones given count.
    #[must_use]
    pub fn with_traces(mut self, traces: Traces) -> Registry {
        self.traces = traces;
        self
    }

    /// What happens to traces.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// What follows from the ends of operations, if anything does.
    pub fn follow_up(&self) -> Option<Arc<dyn FollowUp>> {
        self.follow_up.clone()
    }

    /// The limits of a kind.
    pub fn limits(&self, kind: &str) -> Limits {
        self.limits.get(kind).copied().unwrap_or_default()
    }

    /// How long attempts may take, for the kinds that say so.
    pub(crate) fn timeouts(&self) -> BTreeMap<String, Duration> {
        self.limits.iter().filter_map(|(kind, limits)| Some((kind.clone(), limits.timeout?))).collect()
    }

    /// The kinds, in alphabetical order.
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().cloned().collect()
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &str) -> Option<Arc<dyn Handler>> {
        self.handlers.get(kind).cloned()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.kinds()).finish()
    }
}
