//! Evidence evaluation: given a piece of software supply-chain evidence and policies, a verdict.
//!
//! This is the library behind the kind `evidence_evaluation`. [`material`] reads and validates evidence, [`policy`]
//! finds and reads policies, [`rego`] runs their scripts, [`Evaluator`] puts these together, [`check`](mod@check) runs
//! the examples of a policy. All of that is synchronous and knows neither HTTP nor storage. [`Evaluations`] does it for
//! a server in processes of its own ([`worker`]): what callers send is never read in the server itself.
//!
//! What it promises: what cannot be evaluated is an error or a skip with its reason, never a pass; evidence and
//! policies of strangers neither crash the process nor outlast their time; policies reach no network and no file.

pub mod check;
mod evaluator;
mod handler;
pub mod material;
mod output;
mod plan;
pub mod policy;
pub mod rego;
mod request;
#[cfg(test)]
mod tests;
pub mod worker;
pub mod yaml;

pub use evaluator::{EvaluateError, Evaluator, EvaluatorConfig};
pub use handler::{EvaluationHandler, KIND};
pub use material::{Material, MaterialError, MaterialKind, detect};
pub use output::{EvidenceOutput, LeftOut, Output, PolicyOutput, Status, Totals, ViolationOutput};
pub use request::{EvaluateRequest, GroupAttachment, RequestError};
pub use worker::{CheckError, Evaluations, JobError, Worker};
