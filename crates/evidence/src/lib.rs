//! Evidence evaluation: computes a verdict from a piece of software supply-chain evidence and policies.
//!
//! [`material`] reads and validates evidence, [`policy`] finds and reads policies, [`rego`] runs their scripts,
//! [`Evaluator`] combines these, [`check`](mod@check) runs the cases of a policy. All of that is synchronous and knows
//! neither HTTP nor storage nor operations; `kinds::evaluation` runs it for a server, in processes of their own.
//!
//! What it promises: evidence that cannot be evaluated results in an error or a skip with its reason, never in a pass;
//! untrusted evidence and policies neither crash the process nor exceed their time limit; policies reach no network and
//! no file (the caller decides whether to make the calls that they request with `http.send`).

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
mod utf8;
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
pub use utf8::whole_characters;
pub use vex::{Vex, VexError};
pub use waivers::{Covered, Difference, DifferenceCounts, Objection, Waived, WaivedByVex, Waiver};
