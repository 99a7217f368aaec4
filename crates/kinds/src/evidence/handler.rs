//! The kind `evidence_evaluation`: brings stored evidence to the [`Evaluator`] and its verdict to the operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use engine::{Attempt, Failure, Handler};
use store::{ContentError, ContentStore, Digest};

use super::{EvaluateRequest, Evaluator};

/// The name of the kind.
pub const KIND: &str = "evidence_evaluation";

/// Runs operations of the kind [`KIND`]: their input is an [`EvaluateRequest`], their output an
/// [`Output`](super::Output), both as JSON.
#[derive(Clone, Debug)]
pub struct EvaluationHandler {
    content: ContentStore,
    evaluator: Arc<Evaluator>,
}

impl EvaluationHandler {
    /// A handler over stored evidence.
    pub fn new(content: ContentStore, evaluator: Arc<Evaluator>) -> EvaluationHandler {
        EvaluationHandler { content, evaluator }
    }
}

#[async_trait]
impl Handler for EvaluationHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        let request: EvaluateRequest = serde_json::from_str(&attempt.input)
            .map_err(|error| Failure::permanent(format!("the input is not an evaluation request: {error}")))?;
        let digest: Digest = request.digest.parse().map_err(|error| Failure::permanent(format!("digest: {error}")))?;
        let bytes = match self.content.get(&attempt.organization, &digest).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Failure::permanent(format!("evidence: {digest} is not stored"))),
            Err(error @ ContentError::Damaged(_)) => return Err(Failure::permanent(format!("evidence: {error}"))),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "could not read evidence");
                return Err(Failure::transient("evidence: the content store could not be read"));
            }
        };
        // The evaluator looks at this flag; it blocks, so that it cannot wait for the token itself.
        let stop = Arc::new(AtomicBool::new(false));
        let (evaluator, flag) = (Arc::clone(&self.evaluator), Arc::clone(&stop));
        let mut evaluation = tokio::task::spawn_blocking(move || evaluator.evaluate(&request, &bytes, &flag));
        let joined = tokio::select! {
            joined = &mut evaluation => joined,
            () = attempt.cancelled.cancelled() => {
                stop.store(true, Ordering::Relaxed);
                evaluation.await
            }
        };
        let output = match joined {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.is_retryable() => return Err(Failure::transient(error.to_string())),
            Ok(Err(error)) => return Err(Failure::permanent(error.to_string())),
            Err(panic) => {
                tracing::error!(error = &panic as &dyn std::error::Error, "an evaluation crashed");
                return Err(Failure::transient("the evaluation crashed; the server's log says more"));
            }
        };
        serde_json::to_string(&output).map_err(|error| Failure::permanent(format!("the output has no JSON: {error}")))
    }
}
