//! Why there is no verdict.

use attestation::{KeyError, RootError};

use crate::material::MaterialError;
use crate::policy::PolicyError;
use crate::rego::RegoError;
use crate::request::RequestError;

/// Why there is no output. A failed policy is not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The input of the operation is not a request.
    #[error("the input is not an evaluation request: {0}")]
    Unreadable(String),
    /// The request cannot be carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The evidence is not valid for its kind.
    #[error("evidence: {0}")]
    Evidence(#[from] MaterialError),
    /// The evidence is larger than the memory limit allows.
    #[error("evidence: {size} bytes would need more than the memory limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// The policies report more than an operation can store.
    #[error("the output would be longer than the limit of {limit} bytes: make the policies report less")]
    OutputTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// A policy is not available or not valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A policy failed, or was stopped.
    #[error("policy {policy}: {source}")]
    Evaluation {
        /// Its name.
        policy: String,
        /// What happened.
        source: RegoError,
    },
    /// A trusted key cannot be used.
    #[error("the trusted key {name}: {source}")]
    TrustedKey {
        /// Its name.
        name: String,
        /// The reason.
        source: KeyError,
    },
    /// The trusted root cannot be used.
    #[error("the trusted root: {0}")]
    TrustedRoot(#[from] RootError),
}

impl EvaluateError {
    /// Whether another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, EvaluateError::Evaluation { source: RegoError::Exhausted, .. })
    }
}
