//! The kind `evidence_evaluation`: brings stored evidence to an evaluation process and its verdict to the operation.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use attestation::{Evaluated, Signer, summary};
use engine::{Attempt, Failure, Handler};
use operations::{MAX_INLINE_BYTES, Operation};
use serde::Deserialize;
use store::{ContentError, ContentStore, Digest};

use super::{Evaluations, JobError};

/// The name of the kind.
pub const KIND: &str = "evidence_evaluation";

/// Runs operations of the kind [`KIND`]: their input is an [`EvaluateRequest`](evidence::EvaluateRequest), their output an
/// [`Output`](evidence::Output), both as JSON, the output with the member `attestation` where it is signed.
#[derive(Clone, Debug)]
pub struct EvaluationHandler {
    content: ContentStore,
    evaluations: Arc<Evaluations>,
    /// Signs what comes out. It is used here, in the server's process: those that evaluate have no key.
    signer: Option<Arc<Signer>>,
}

impl EvaluationHandler {
    /// A handler over stored evidence, which signs nothing.
    pub fn new(content: ContentStore, evaluations: Arc<Evaluations>) -> EvaluationHandler {
        EvaluationHandler { content, evaluations, signer: None }
    }

    /// The handler, which signs what comes out of evaluations.
    pub fn with_signer(self, signer: Option<Arc<Signer>>) -> EvaluationHandler {
        EvaluationHandler { signer, ..self }
    }

    /// The output of an evaluation, signed if there is a key.
    fn signed(&self, attempt: &Attempt, output: String) -> Result<String, Failure> {
        let Some(signer) = &self.signer else { return Ok(output) };
        let (operation, version) = (attempt.operation.id.to_string(), env!("CARGO_PKG_VERSION"));
        let of = evaluated(&attempt.organization, &attempt.operation, &operation);
        summary::attest(signer, version, of, &output, SystemTime::now()).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "could not sign what came of an evaluation");
            Failure::permanent("what came of the evaluation could not be signed; the server's log says more")
        })
    }
}

/// The envelope with the statement of an operation that was an evaluation and is completed; none when it was not signed.
///
/// # Errors
/// [`SummaryError`](attestation::SummaryError) when it was, and the statement cannot be made of what is stored.
pub fn attestation_of(
    organization: &str,
    operation: &Operation,
) -> Result<Option<attestation::Envelope>, attestation::SummaryError> {
    let id = operation.id.to_string();
    summary::envelope(evaluated(organization, operation, &id), &operation.output)
}

fn evaluated<'a>(organization: &'a str, operation: &'a Operation, id: &'a str) -> Evaluated<'a> {
    Evaluated { organization, project: &operation.project_id, operation: id }
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
            // The signature has its place beside the longest output.
            let limit = MAX_INLINE_BYTES - summary::MAX_ADDED_BYTES;
            self.evaluations.evaluate(&attempt.organization, &attempt.input, content, limit).await
        };
        let outcome = tokio::select! {
            outcome = evaluate => outcome,
            // Dropping the evaluation ends its process.
            () = attempt.cancelled.cancelled() => return Err(Failure::transient("the evaluation was cancelled")),
        };
        let output = outcome.map_err(|error| match error {
            JobError::Failed { message, retryable: true } => Failure::transient(message),
            JobError::Failed { message, retryable: false } => Failure::permanent(message),
            JobError::Content(error @ ContentError::Damaged(_)) => Failure::permanent(format!("evidence: {error}")),
            JobError::Content(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "could not read evidence");
                Failure::transient("evidence: the content store could not be read")
            }
        })?;
        self.signed(&attempt, output)
    }
}
