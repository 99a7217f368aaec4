//! Handlers, which run operations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use operations::{Operation, TraceContext};
use tokio_util::sync::CancellationToken;
use traces::Traces;

use crate::{FollowUp, Limits, Progress};

/// One attempt of an operation, as its handler receives it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The organization that the operation belongs to.
    pub organization: String,
    /// The operation, which is running.
    pub operation: Operation,
    /// The input: a JSON text, or empty for none.
    pub input: String,
    /// The number of this attempt; 1 for the first.
    pub number: u32,
    /// The span of the attempt in the trace that the operation belongs to, to be passed on to everything that the
    /// handler calls.
    pub trace: Option<TraceContext>,
    /// Cancelled when the result is no longer wanted: somebody cancelled the operation, the lease was lost, the attempt
    /// took too long, or the drain time ended. A handler that works on a thread of its own must check it and stop.
    pub cancelled: CancellationToken,
    /// Where the handler may report its progress.
    pub progress: Progress,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message for people; it becomes the operation's `error_message`.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// The shortest time that another attempt should wait, if the peer that could not do the work requested one.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt would only repeat: bad input, a broken policy.
    pub fn permanent(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: false, retry_after: None }
    }

    /// A failure that may pass: a full disk, a peer that is unavailable.
    pub fn transient(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: true, retry_after: None }
    }
}

/// Runs the operations of a kind.
///
/// An operation is executed at least once: a handler may receive the same operation again after a crash. A panic is a
/// retryable failure. Long computations belong in `spawn_blocking`, never on the async threads.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does the work; returns the operation's output (structured output as a JSON text).
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

    /// Adds a kind; the last handler given for a kind is used.
    #[must_use]
    pub fn with(mut self, kind: impl Into<String>, handler: impl Handler) -> Registry {
        self.handlers.insert(kind.into(), Arc::new(handler));
        self
    }

    /// Sets the limits of a kind; the last limits given are used.
    #[must_use]
    pub fn with_limits(mut self, kind: impl Into<String>, limits: Limits) -> Registry {
        self.limits.insert(kind.into(), limits);
        self
    }

    /// Sets what is created when operations end, of all kinds and in all processes; the last one given is used.
    #[must_use]
    pub fn with_follow_up(mut self, follow_up: impl FollowUp) -> Registry {
        self.follow_up = Some(Arc::new(follow_up));
        self
    }

    /// Adds attempts, and operations that are created when others end, to the traces of their operations; the last one
    /// given is used.
    #[must_use]
    pub fn with_traces(mut self, traces: Traces) -> Registry {
        self.traces = traces;
        self
    }

    /// How traces are handled.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// What is created when operations end, if anything is.
    pub fn follow_up(&self) -> Option<Arc<dyn FollowUp>> {
        self.follow_up.clone()
    }

    /// The limits of a kind.
    pub fn limits(&self, kind: &str) -> Limits {
        self.limits.get(kind).copied().unwrap_or_default()
    }

    /// How long attempts may take, for the kinds that have a limit.
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
