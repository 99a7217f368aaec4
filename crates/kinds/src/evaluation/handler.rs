//! The kind `evidence_evaluation`: brings stored evidence to an evaluation process and its verdict to the operation.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler};
use operations::MAX_INLINE_BYTES;
use serde::Deserialize;
use store::{ContentError, ContentStore, Digest};

use super::{Evaluations, JobError};

/// The name of the kind.
pub const KIND: &str = "evidence_evaluation";

/// Runs operations of the kind [`KIND`]: their input is an [`EvaluateRequest`](evidence::EvaluateRequest), their output an
/// [`Output`](evidence::Output), both as JSON.
#[derive(Clone, Debug)]
pub struct EvaluationHandler {
    content: ContentStore,
    evaluations: Arc<Evaluations>,
}

impl EvaluationHandler {
    /// A handler over stored evidence.
    pub fn new(content: ContentStore, evaluations: Arc<Evaluations>) -> EvaluationHandler {
        EvaluationHandler { content, evaluations }
    }
}

/// What the server itself needs to know of a request.
#[derive(Deserialize)]
struct Wanted {
    digest: String,
}

#[async_trait]
impl Handler for EvaluationHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let wanted: Wanted = serde_json::from_str(&attempt.input)
            .map_err(|error| Failure::permanent(format!("the input is not an evaluation request: {error}")))?;
        let digest: Digest = wanted.digest.parse().map_err(|error| Failure::permanent(format!("digest: {error}")))?;
        let evaluate = async {
            let content = self.content.open(&attempt.organization, &digest).await?;
            let Some(content) = content else {
                let message = format!("evidence: {digest} is not stored");
                return Err(JobError::Failed { message, retryable: false });
            };
            self.evaluations.evaluate(&attempt.organization, &attempt.input, content, MAX_INLINE_BYTES).await
        };
        let outcome = tokio::select! {
            outcome = evaluate => outcome,
            // Dropping the evaluation ends its process.
            () = attempt.cancelled.cancelled() => return Err(Failure::transient("the evaluation was cancelled")),
        };
        outcome.map_err(|error| match error {
            JobError::Failed { message, retryable: true } => Failure::transient(message),
            JobError::Failed { message, retryable: false } => Failure::permanent(message),
            JobError::Content(error @ ContentError::Damaged(_)) => Failure::permanent(format!("evidence: {error}")),
            JobError::Content(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "could not read evidence");
                Failure::transient("evidence: the content store could not be read")
            }
        })
    }
}
