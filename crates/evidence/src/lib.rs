//! Evidence evaluation: given a piece of software supply-chain evidence and policies, a verdict.
//!
//! [`material`] reads and validates evidence, [`policy`] finds and reads policies, [`rego`] runs their scripts,
//! [`Evaluator`] puts these together, [`check`](mod@check) runs the examples of a policy. All of that is synchronous and
//! knows neither HTTP nor storage nor operations; `kinds::evaluation` does it for a server, in processes of their own.
//!
//! What it promises: evidence that cannot be evaluated gives an error or a skip with its reason, never a pass; evidence
//! and policies of strangers neither crash the process nor outlast their time; policies reach no network and no file
//! (the calls that they ask for by `http.send` are made, or not, by the caller).

pub mod check;
mod digest;
mod error;
mod evaluator;
pub mod material;
mod output;
mod plan;
pub mod policy;
pub mod rego;
mod request;
#[cfg(test)]
mod tests;
mod vex;
pub mod waivers;
pub mod yaml;

pub use digest::digest;
pub use error::EvaluateError;
pub use evaluator::{Evaluator, EvaluatorConfig};
pub use material::{Material, MaterialError, MaterialKind, detect};
pub use output::{
    AiOutput, EvidenceOutput, GroupOutput, LeftOut, Output, PolicyOutput, Status, Totals, ViolationOutput,
};
pub use request::{EvaluateRequest, GroupAttachment, RequestError};
pub use vex::{Vex, VexError};
pub use waivers::{Covered, Difference, DifferenceCounts, Objection, Waived, WaivedByVex, Waiver};
