//! Why there is no verdict.

use attestation::{KeyError, RootError};

use crate::material::MaterialError;
use crate::policy::PolicyError;
use crate::rego::RegoError;
use crate::request::RequestError;

/// Why there is no output. Failing the policies is not among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The input of the operation is no request.
    #[error("the input is not an evaluation request: {0}")]
    Unreadable(String),
    /// The request cannot be carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The evidence cannot be read as what it claims to be.
    #[error("evidence: {0}")]
    Evidence(#[from] MaterialError),
    /// The evidence is larger than what the memory limit lets through.
    #[error("evidence: {size} bytes would need more than the memory limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// The policies report more than an operation keeps.
    #[error("the output would be longer than {limit} bytes, the most that is kept: let the policies report less")]
    OutputTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// A policy is not available or not in order.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A policy broke, or was ended.
    #[error("policy {policy}: {source}")]
    Evaluation {
        /// Its name.
        policy: String,
        /// What happened.
        source: RegoError,
    },
    /// A key whose signatures are to be trusted cannot be used.
    #[error("the trusted key {name}: {source}")]
    TrustedKey {
        /// Its name.
        name: String,
        /// Why not.
        source: KeyError,
    },
    /// What the signatures of trusted identities rest on cannot be used.
    #[error("the trusted root: {0}")]
    TrustedRoot(#[from] RootError),
    /// The caller no longer wants the answer.
    #[error("the evaluation was cancelled")]
    Cancelled,
}

impl EvaluateError {
    /// Whether another attempt may do better.
    pub fn is_retryable(&self) -> bool {
        let exhausted = matches!(self, EvaluateError::Evaluation { source: RegoError::Exhausted, .. });
        exhausted || matches!(self, EvaluateError::Cancelled)
    }
}
