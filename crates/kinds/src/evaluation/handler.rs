//! The kind `evidence_evaluation`: passes stored evidence to an evaluation process, and to an AI provider when there is
//! a prompt, and returns their verdict as the output of the operation.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use attestation::{Evaluated, Signer, summary};
use engine::{Attempt, Failure, Handler};
use evidence::{EvaluateError, Output, PolicyOutput};
use futures_util::TryStreamExt;
use operations::{MAX_INLINE_BYTES, Operation};
use serde::Deserialize;
use store::{Content, ContentError, ContentStore, Digest, Store};

use super::prompt::{Provider, Question};
use super::records::Records;
use super::{Evaluations, JobError};

/// The name of the kind.
pub const KIND: &str = "evidence_evaluation";

/// Runs operations of the kind [`KIND`]: their input is an [`EvaluateRequest`](evidence::EvaluateRequest), their output
/// an [`Output`](evidence::Output), both as JSON. The output has the member `attestation` when it is signed.
#[derive(Clone, Debug)]
pub struct EvaluationHandler {
    content: ContentStore,
    evaluations: Arc<Evaluations>,
    provider: Option<Provider>,
    /// Signs the outputs. It is used here, in the server's process: the evaluation processes have no key.
    signer: Option<Arc<Signer>>,
    /// Where waivers and earlier evaluations are stored.
    records: Option<Records>,
}

impl EvaluationHandler {
    /// A handler for stored evidence, which signs nothing and fails operations that have a `prompt`.
    pub fn new(content: ContentStore, evaluations: Arc<Evaluations>) -> EvaluationHandler {
        EvaluationHandler { content, evaluations, provider: None, signer: None, records: None }
    }

    /// The handler, which sends the `prompt` of an evaluation to a provider.
    pub fn with_provider(self, provider: Option<Provider>) -> EvaluationHandler {
        EvaluationHandler { provider, ..self }
    }

    /// The handler, which signs the outputs of evaluations.
    pub fn with_signer(self, signer: Option<Arc<Signer>>) -> EvaluationHandler {
        EvaluationHandler { signer, ..self }
    }

    /// The handler, which marks violations that waivers of this store cover, and lists what is new since the previous
    /// evaluation.
    pub fn with_store(self, store: Arc<dyn Store>) -> EvaluationHandler {
        EvaluationHandler { records: Some(Records::new(store)), ..self }
    }

    async fn evaluate(&self, attempt: &Attempt) -> Result<String, Failure> {
        let wanted: Wanted = serde_json::from_str(&attempt.input)
            .map_err(|error| Failure::permanent(format!("the input is not an evaluation request: {error}")))?;
        let digest: Digest = wanted.digest.parse().map_err(|error| Failure::permanent(format!("digest: {error}")))?;
        // The longest output leaves space for the signature.
        let limit = MAX_INLINE_BYTES - summary::MAX_ADDED_BYTES;
        // Read at the beginning: a store that is unavailable at the end does not cost an attempt.
        let (waivers, before) = match &self.records {
            Some(records) => {
                records.note_use(&attempt.organization, digest).await?;
                (records.waivers(&attempt.organization, &self.content).await?, records.before(attempt).await?)
            }
            None => (Vec::new(), None),
        };
        let content = self.open(&attempt.organization, &digest).await?;
        let evaluated = self.evaluations.evaluate(&attempt.organization, &attempt.input, content, limit).await;
        let output = evaluated.map_err(failure)?;
        if wanted.prompt.is_none() && waivers.is_empty() && before.is_none() {
            return self.signed(attempt, output);
        }
        let mut output: Output = serde_json::from_str(&output)
            .map_err(|_| Failure::transient("the evaluation process returned an invalid answer"))?;
        if let Some(prompt) = wanted.prompt {
            let content = self.open(&attempt.organization, &digest).await?;
            output.add(self.ask(&prompt, &output, content).await?);
        }
        output.waive(&attempt.operation.project_id, &wanted.project_name.unwrap_or_default(), &waivers);
        if let Some(before) = before {
            output.compare(before.operation.to_string(), &before.output);
        }
        let json = serde_json::to_string(&output).expect("every value of an output has a form in JSON");
        if json.len() > limit {
            return Err(Failure::permanent(EvaluateError::OutputTooLarge { limit }.to_string()));
        }
        self.signed(attempt, json)
    }

    /// The AI provider's answer to a prompt.
    async fn ask(&self, prompt: &str, output: &Output, content: Content) -> Result<PolicyOutput, Failure> {
        let Some(provider) = &self.provider else {
            return Err(Failure::permanent("prompt: no AI provider is configured"));
        };
        let size = content.size;
        let bytes = beginning(content, provider.evidence_limit()).await.map_err(|error| failure(error.into()))?;
        provider.check(Question { prompt, kind: &output.evidence.kind.to_string(), content: &bytes, size }).await
    }

    async fn open(&self, organization: &str, digest: &Digest) -> Result<Content, Failure> {
        let opened = self.content.open(organization, digest).await.map_err(|error| failure(error.into()))?;
        opened.ok_or_else(|| Failure::permanent(format!("evidence: {digest} is not stored")))
    }

    /// The output of an evaluation, signed if there is a key.
    fn signed(&self, attempt: &Attempt, output: String) -> Result<String, Failure> {
        let Some(signer) = &self.signer else { return Ok(output) };
        let (operation, version) = (attempt.operation.id.to_string(), env!("CARGO_PKG_VERSION"));
        let of = evaluated(&attempt.organization, &attempt.operation, &operation);
        summary::attest(signer, version, of, &output, SystemTime::now()).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "could not sign the result of an evaluation");
            Failure::permanent("the result of the evaluation could not be signed; see the server's log for details")
        })
    }
}

/// The first bytes of the content, at most `limit`.
pub(super) async fn beginning(mut content: Content, limit: usize) -> Result<Vec<u8>, ContentError> {
    let mut bytes = Vec::new();
    while let Some(piece) = content.try_next().await? {
        bytes.extend_from_slice(&piece[..piece.len().min(limit - bytes.len())]);
        if bytes.len() == limit {
            break;
        }
    }
    Ok(bytes)
}

fn failure(error: JobError) -> Failure {
    match error {
        JobError::Failed { message, retryable: true } => Failure::transient(message),
        JobError::Failed { message, retryable: false } => Failure::permanent(message),
        JobError::Content(error @ ContentError::Damaged(_)) => Failure::permanent(format!("evidence: {error}")),
        JobError::Content(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "could not read evidence");
            Failure::transient("evidence: the content store could not be read")
        }
    }
}

/// The envelope with the statement of a completed evaluation operation; `None` when it was not signed.
///
/// # Errors
/// [`SummaryError`](attestation::SummaryError) when it was signed, and the statement cannot be created from what is
/// stored.
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

/// The parts of a request that the server itself needs.
#[derive(Deserialize)]
struct Wanted {
    digest: String,
    prompt: Option<String>,
    project_name: Option<String>,
}

#[async_trait]
impl Handler for EvaluationHandler {
    async fn run(&self, attempt: Attempt) -> Result<String, Failure> {
        tokio::select! {
            outcome = self.evaluate(&attempt) => outcome,
            // Dropping the evaluation ends its process.
            () = attempt.cancelled.cancelled() => Err(Failure::transient("the evaluation was cancelled")),
        }
    }
}
