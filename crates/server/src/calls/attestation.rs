//! The signed result of an evaluation.

use attestation::Envelope;
use kinds::evaluation;
use operations::{OperationId, Status};

use super::list;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;

/// The envelope with the statement that was signed when the evaluation ended.
pub(crate) async fn get(app: &App, caller: &Caller, id: Result<OperationId, ApiError>) -> Result<Envelope, ApiError> {
    let found = list::get(app, caller, id).await?;
    let operation = &found.operation;
    let none = |why: String| ApiError::NoAttestation(why);
    if operation.kind != evaluation::KIND {
        return Err(none(format!(
            "it is of the kind {}, and only results of the kind {} are signed",
            operation.kind,
            evaluation::KIND
        )));
    }
    if operation.status != Status::Completed {
        return Err(none(format!(
            "it is {}, and only the results of completed evaluations are signed",
            operation.status
        )));
    }
    let envelope = evaluation::attestation_of(caller.organization(), operation).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, operation = %operation.id, "could not make a statement of the output of an evaluation");
        ApiError::NotAsSigned
    })?;
    let envelope =
        envelope.ok_or_else(|| none("the server that ran the evaluation had no key to sign with".to_owned()))?;
    // A signature by a key that is no longer here cannot be verified here; somebody who has the key can.
    let published = app.signer.iter().flat_map(|signer| signer.published());
    let mut known = published.filter(|key| envelope.signatures.iter().any(|one| one.keyid == key.id())).peekable();
    if known.peek().is_some() && envelope.verified_by(known).is_none() {
        tracing::error!(operation = %operation.id, "the output of an evaluation is not the one that was signed");
        return Err(ApiError::NotAsSigned);
    }
    Ok(envelope)
}
