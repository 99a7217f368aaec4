//! The Rust client of longrun: a thin, typed client of its HTTP API.
//!
//! **Responsibility.** One method per call of the API, typed errors built from the server's `google.rpc.Status`,
//! retries where a repetition is safe, waiting for an operation to end, and the [`Worker`], which runs operations.
//!
//! **Guarantees.** Every [`Answer`] keeps the body as the server sent it in addition to its typed form, so that a
//! program can pass answers on unchanged. The token never appears in an error, a log or a `Debug` text, and is never
//! sent to another host than the configured one: redirects are not followed. Only calls that are safe to repeat are
//! repeated, and only when the server asked for it (503, or 429 with `Retry-After`), as often as [`Settings::retries`]
//! allows.
//! [`Client::wait`], [`Watch`] and [`Worker`] survive a restart of the server. Every call's future is `Send`.
//!
//! ```no_run
//! # async fn example() -> Result<(), longrun_client::Error> {
//! use longrun_client::{Client, ListRequest, Token};
//!
//! let client = Client::new("http://127.0.0.1:8080", Token::new("lrn_…")?)?;
//! for operation in client.list(&ListRequest::default()).await?.value.operations {
//!     println!("{} {}", operation.id, operation.status);
//! }
//! # Ok(())
//! # }
//! ```

mod calls;
mod client;
mod error;
mod evidence;
mod health;
mod management;
mod pause;
mod retry;
mod schedules;
mod search;
mod stats;
mod types;
mod views;
mod wait;
mod waivers;
mod watch;
mod work;
mod worker;
mod workers;

pub use client::{Answer, Client, Settings, Token};
pub use error::{Error, FieldViolation, Refusal, RpcStatus};
pub use evidence::{EvidenceLastOperation, EvidenceList, EvidenceRequest, ListedEvidence};
pub use health::health;
pub use management::{
    ApiToken, ApiTokenAnswer, ApiTokenPage, AuditActor, AuditEntry, AuditPage, AuditRequest, IssuedToken, NewApiToken,
    OrganizationDeletion, OrganizationPage, OrganizationSummary, Page, Session, SessionAnswer, SessionPage,
    TokenRotation, WantedLimits,
};
pub use schedules::{Schedule, ScheduleAnswer, SchedulePage, ScheduleWish};
pub use search::{OperationCount, OperationCounts, SearchPage, SearchRequest};
pub use stats::{Stats, StatsDurations, StatsPoint, StatsRequest};
pub use types::{
    AttestationEnvelope, AttestationSignature, BulkAnswer, BulkRequest, CreatedOperations, Deleted, EvaluateRequest,
    History, HistoryEvent, Kind, KindAnswer, ListRequest, NewOperation, Operation, OperationAnswer, OperationDetail,
    OperationDetailAnswer, OperationPage, Organization, OrganizationAnswer, OrganizationLimits, Pagination,
    PolicyAttachment, PolicyGroupAttachment, StartedEvaluation, StoredEvidence, short_status,
};
pub use views::{NewView, View, ViewAnswer, ViewList};
pub use wait::WaitStep;
pub use waivers::{NewWaiver, ReevaluateRequest, Waiver, WaiverAnswer, WaiverList};
pub use watch::{Watch, WatchEvent, WatchRequest, WatchStep};
pub use work::{
    ClaimRequest, ClaimedOperation, Claims, Heartbeat, Heartbeats, LeaseState, Outcome, Settled, SettledOperation,
    Settlement,
};
pub use worker::{Attempt, CancellationToken, Failure, Handler, Progress, Worker};
pub use workers::{RunningAttempt, RunningWorker, WorkerList};
