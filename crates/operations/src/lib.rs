//! The domain of longrun: what an operation is, which states it goes through and how it is listed.
//!
//! **Responsibility.** The types and rules that every other crate shares: [`Status`] and the transition function
//! [`State::apply`], [`Filter`], the filter grammar of [`search`], the pagination arithmetic of [`page`], ids, times,
//! validation of new operations.
//!
//! **Promises.** The crate is pure: no I/O, no async, no clock (times are arguments). It holds the only set of rules:
//! stores and handlers call [`State::apply`] and never decide a transition themselves. Every value that this crate
//! returns is valid by construction.

pub mod backoff;
mod concurrency;
mod create;
mod filter;
mod id;
mod labels;
pub mod page;
pub mod schedule;
pub mod search;
mod state;
mod statistics;
mod status;
mod text;
mod time;
mod trace;

pub use concurrency::{Concurrency, MAX_CONCURRENCY_KEY_BYTES, MAX_CONCURRENCY_LIMIT};
pub use create::{DEFAULT_MAX_ATTEMPTS, MAX_INLINE_BYTES, MAX_PRIORITY, NewOperation, repeated_unique_keys};
pub use filter::{Access, BULK_KIND, Filter, NOTICE_KIND, Projects, Resource};
pub use id::OperationId;
pub use labels::{
    Labels, MAX_LABEL_KEY_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_UNIQUE_KEY_BYTES, RETRY_OF, check_label_key,
    check_label_value, check_unique_key,
};
pub use page::{PageInfo, PageRequest};
pub use search::{InvalidFilter, Search};
pub use state::{Event, MAX_ERROR_BYTES, Outcome, Progress, Refusal, State, cut_message, is_own_message};
pub use statistics::{Durations, InvalidDurations, Step, UnknownStep};
pub use status::Status;
pub use text::{MAX_TEXT_BYTES, Violation, check_kind, check_name, check_text};
pub use time::Timestamp;
pub use trace::{InvalidTraceContext, SpanId, TraceContext, TraceId};

/// An operation as clients see it: the twelve fields of `GET /v1/operations`.
///
/// Strings that are not set are empty; times that are not set are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Unique, time-ordered, assigned at creation.
    pub id: OperationId,
    /// The kind of the work, e.g. `evidence_evaluation`.
    pub kind: String,
    /// Its status.
    pub status: Status,
    /// What the work is about; both parts or neither.
    pub resource: Option<Resource>,
    /// The project it belongs to, or empty.
    pub project_id: String,
    /// The version of the project, or empty.
    pub project_version_id: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its terminal state; set once.
    pub finished_at: Option<Timestamp>,
    /// The output of the work; structured output is JSON in this string.
    pub output: String,
    /// Why it failed; empty unless [`Status::Failed`].
    pub error_message: String,
}

impl Operation {
    /// Whether it was cancelled before it could complete.
    pub fn was_cancelled(&self) -> bool {
        self.status == Status::Failed && self.error_message == state::CANCELLED
    }
}
