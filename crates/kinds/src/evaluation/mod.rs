//! The kind `evidence_evaluation`: runs the code of the crate [`evidence`] in processes of its own.
//!
//! These processes read everything that callers send beyond the outer JSON: they can be killed whatever they do, and
//! the system bounds their memory.
//!
//! A thread cannot be killed, memory cannot be reclaimed from it, and a stack overflow ends the whole process. So a
//! server passes policies and evidence to [`Evaluations`], which starts processes ([`Worker`]) and communicates with
//! them over their standard input and output; [`serve`] is the other end. When the time has run out, or nobody wants
//! the answer any more, the process is killed. It gets no environment, so no secrets.
//!
//! A process that has done a job waits for the next one of the same organization, with the policies that it has
//! compiled. It serves no other organization, and is replaced after a job that failed, was stopped or left it too
//! large.
//!
//! Policies from the network are fetched by the server ([`References`]): a process that lacks one reports which, and
//! the job is repeated once the policy has been fetched.
//!
//! The server also makes the HTTP calls of policies ([`Calls`]): a process that lacks an answer requests it in the
//! middle of its job, and evaluates again with the answer that it gets.
//!
//! The protocol: first a line of JSON with the settings of the whole process, then jobs one after the other. A job is a
//! line of JSON, followed by the request and the content, whose lengths the line states. An answer is a line of JSON,
//! followed by the output, whose length the line states.

mod calls;
mod evaluations;
mod handler;
mod pool;
mod process;
mod prompt;
mod records;
mod references;
mod serve;
mod vex;
mod wire;

pub use calls::{CallSettings, Calls};
pub use evaluations::{CheckError, Evaluations, JobError};
pub use handler::{EvaluationHandler, KIND, attestation_of};
pub use process::Worker;
pub use prompt::{DEFAULT_EVIDENCE_LIMIT, DEFAULT_TIMEOUT, Provider, ProviderSettings, ResponseFormat};
pub(crate) use records::all_evaluations;
pub use references::{NotFetched, ReferenceSettings, References};
pub use serve::serve;
pub use vex::{MAX_VEX_BYTES, VexUnread, read_vex};
