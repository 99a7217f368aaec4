//! The rules for operations of the kind `evidence_evaluation`, whichever call creates them: those of
//! [`EvaluateRequest`], and that everything it names exists.

use ::evidence::{EvaluateRequest, RequestError};
use kinds::evaluation::CheckError;
pub(super) use kinds::evaluation::KIND;
use operations::{NewOperation, Resource, Violation};
use store::{Digest, Scope};

use super::evidence;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read};

/// The `resource_type` of these operations; their `resource_id` is the digest.
pub(crate) const RESOURCE_TYPE: &str = "evidence";

/// Reads the input of an evaluation and checks it as far as that is possible without the evidence. `prefix` is where
/// the client wrote the request.
///
/// Here it is read as JSON and no more; policies are read in a process of their own, which ends when the client leaves.
pub(super) async fn request(
    app: &App,
    caller: &Caller,
    input: &str,
    prefix: &str,
) -> Result<EvaluateRequest, ApiError> {
    let violation = |error: RequestError| {
        let path = format!("{prefix}{}", error.field);
        Violation::new(path.trim_end_matches('.'), error.message)
    };
    let input = if input.is_empty() { "{}" } else { input };
    let request: EvaluateRequest = serde_json::from_str(input).map_err(|_| malformed(input, prefix))?;
    let violations: Vec<Violation> = request.violations().into_iter().map(violation).collect();
    if !violations.is_empty() {
        return Err(ApiError::Invalid(violations));
    }
    if request.prompt.is_some() && !app.has_ai_provider {
        let description = "cannot be checked: this server has no AI provider; leave it out, or configure [ai]";
        return Err(ApiError::field(format!("{prefix}prompt"), description));
    }
    if let Some(evaluations) = app.evaluations.as_ref().filter(|_| request.names_policies()) {
        let share = app.checks.take(caller.organization()).await;
        match evaluations.check(caller.organization(), input, share).await {
            Ok(()) => {}
            Err(CheckError::Request(error)) => return Err(ApiError::Invalid(vec![violation(error)])),
            Err(CheckError::Job(error)) => return Err(ApiError::Unavailable(error.into())),
        }
    }
    Ok(request)
}

/// Everything that is wrong with an input that cannot be read.
fn malformed(input: &str, prefix: &str) -> ApiError {
    let read = serde_json::from_str::<Read<EvaluateRequest>>(input).unwrap_or_default();
    let (_, mut found) = read.into_parts();
    if found.is_empty() {
        // What other bodies allow: the input is stored as it was written.
        found.add(Violation::new("", "must have its fields in snake_case, and none that is null"));
    }
    let mut violations = Found::default();
    violations.add_at(prefix.trim_end_matches('.'), found);
    violations.none().expect_err("there is a violation")
}

/// Checks an `evidence_evaluation` that comes as an operation, and sets its resource.
pub(super) async fn complete(app: &App, caller: &Caller, operation: &mut NewOperation) -> Result<(), ApiError> {
    const PREFIX: &str = "input.";
    caller.require(Scope::EvidenceRead)?;
    let request = request(app, caller, &operation.input, PREFIX).await?;
    about(app, caller, operation, &request, PREFIX).await
}

/// Makes the evidence of a request, which must exist, the resource of its operation.
pub(super) async fn about(
    app: &App,
    caller: &Caller,
    operation: &mut NewOperation,
    request: &EvaluateRequest,
    prefix: &str,
) -> Result<(), ApiError> {
    if !request.names_policies() && request.prompt.is_none() && !app.has_default_policies {
        let description = "are missing, and no default policies are configured: give at least one policy";
        return Err(ApiError::field(format!("{prefix}policies"), description));
    }
    let field = format!("{prefix}digest");
    let digest: Digest =
        request.digest.parse().map_err(|e: store::InvalidDigest| ApiError::field(&field, e.to_string()))?;
    let Some(record) = app.store.evidence(caller.organization(), &digest).await? else {
        return Err(ApiError::field(
            field,
            "is not the digest of stored evidence; store it first with POST /v1/evidence",
        ));
    };
    // From here on it is not old enough to be removed until the operation that refers to it exists.
    evidence::touch(app, caller, &record, request.name.as_deref().unwrap_or_default()).await?;
    let resource = Resource { resource_type: RESOURCE_TYPE.to_owned(), resource_id: digest.to_string() };
    match &operation.resource {
        Some(given) if *given != resource => {
            let description =
                format!("of an evidence_evaluation must be the digest of the evidence: leave it out, or give {digest}");
            Err(ApiError::field("resource_id", description))
        }
        _ => {
            operation.resource = Some(resource);
            Ok(())
        }
    }
}
