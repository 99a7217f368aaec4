//! The code that runs an operation, and its arguments.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::types::Operation;

/// Maximum size of a progress message in bytes; longer ones are cut.
const MAX_PROGRESS_BYTES: usize = 1024;

/// One attempt of an operation, as its handler sees it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The operation, now running.
    pub operation: Operation,
    /// Its organization, for workers that work for several.
    pub organization: String,
    /// A JSON text as its creator wrote it, or empty if there is none. [`Attempt::parse_input`] parses it.
    pub input: String,
    /// The number of the attempt; 1 for the first.
    pub number: u32,
    /// The attempt as a span of the trace to which the operation belongs, for calls that the handler makes: a
    /// `traceparent` of W3C Trace Context.
    pub traceparent: Option<String>,
    /// Cancelled when the result is no longer wanted: a cancellation was requested, the lease was lost, the time limit
    /// expired, or the worker's drain time ended. A handler that does not check it is stopped a little later, at its
    /// next `.await`; one that works on a separate thread must check it.
    pub cancelled: CancellationToken,
    /// Reports the progress of the attempt.
    pub progress: Progress,
}

impl Attempt {
    /// The input as a value.
    ///
    /// # Errors
    /// A permanent failure when the input is not such a value.
    pub fn parse_input<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = if self.input.is_empty() { "null" } else { &self.input };
        serde_json::from_str(text)
            .map_err(|error| Failure::permanent(format!("the input is not valid for this worker: {error}")))
    }
}

/// Reports the progress of an attempt. The last report is sent with the next heartbeat, within a second.
#[derive(Clone, Debug)]
pub struct Progress {
    latest: Arc<Mutex<Option<String>>>,
    told: Arc<Notify>,
}

impl Progress {
    pub(super) fn new(told: Arc<Notify>) -> Progress {
        Progress { latest: Arc::default(), told }
    }

    /// Reports the progress, for people: at most 1 KiB, the rest is cut.
    pub fn report(&self, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_PROGRESS_BYTES));
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        self.told.notify_one();
    }

    /// Whether something was reported since the last time.
    pub(super) fn is_told(&self) -> bool {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What was reported since the last time.
    pub(super) fn take(&self) -> Option<String> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back a report that could not be sent, unless there is a newer one.
    pub(super) fn put_back(&self, text: String) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }
}

/// Why an attempt failed.
///
/// With `?`, any error becomes a transient failure; use [`Failure::permanent`] for one that another attempt would only
/// repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message for people; becomes the operation's `error_message`.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Whether the work was not even started, for a reason that lies with the worker and not with the operation: the
    /// operation is released, and the attempt is not charged.
    pub not_started: bool,
}

impl Failure {
    /// A failure that another attempt would only repeat: invalid input.
    pub fn permanent(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: false, not_started: false }
    }

    /// A failure that may be temporary: a full disk, a peer that is away.
    pub fn transient(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: true, not_started: false }
    }

    /// The work could not be started, for a reason unrelated to the operation: a program that does not exist. The
    /// operation goes back to the queue uncharged; a worker to which this happens repeatedly ends with
    /// [`Error::NotStarted`].
    ///
    /// [`Error::NotStarted`]: crate::Error::NotStarted
    pub fn not_started(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), retryable: true, not_started: true }
    }
}

impl<E: StdError> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure::transient(message)
    }
}

/// Runs operations. An async function that takes an [`Attempt`], or a closure that returns a future, is a handler too.
///
/// Execution is at least once: a handler may get the same operation again, for instance when its worker was
/// disconnected. A panic is a retryable failure. Long computations belong in `spawn_blocking`.
pub trait Handler: Send + Sync + 'static {
    /// Does the work; returns the operation's output, at most 1 MiB (structured output as a JSON text).
    fn run(&self, attempt: Attempt) -> impl Future<Output = Result<String, Failure>> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Attempt) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, Failure>> + Send,
{
    fn run(&self, attempt: Attempt) -> impl Future<Output = Result<String, Failure>> + Send {
        self(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_cut_at_a_character_and_the_newest_counts() {
        let progress = Progress::new(Arc::new(Notify::new()));
        progress.report("first");
        progress.report("é".repeat(600));
        let text = progress.take().expect("told");
        assert_eq!((text.len(), progress.take()), (1024, None));
        progress.report("new");
        progress.put_back("old".to_owned());
        assert_eq!(progress.take().as_deref(), Some("new"));
    }

    #[test]
    fn errors_are_transient_and_tell_their_causes() {
        fn read() -> Result<String, Failure> {
            Ok(String::from_utf8(vec![0xff])?)
        }
        let failure = read().expect_err("not UTF-8");
        assert!(failure.retryable && failure.message.contains("utf-8"), "{failure:?}");
    }
}
