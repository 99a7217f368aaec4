//! `POST /v1/agents/evaluate-evidence`: starts an operation of the kind `evidence_evaluation`.
//!
//! Everything that can be known to be wrong is told here, before there is an operation; the rules of the request itself
//! are those of [`EvaluateRequest`]. The same rules hold for such an operation that comes by `POST /v1/operations`.

use std::borrow::Cow;

use ::evidence::{EvaluateRequest, RequestError};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{CONTENT_TYPE, HeaderMap};
use kinds::evaluation::{CheckError, KIND};
use operations::{NewOperation, Resource, Violation};
use serde::Serialize;
use store::{Digest, Scope};

use super::json::{Fields, canonical};
use super::render::to_json;
use super::{App, body, evidence, idempotency};
use crate::auth::Caller;
use crate::error::ApiError;

/// The `resource_type` of these operations; their `resource_id` is the digest.
const RESOURCE_TYPE: &str = "evidence";
/// What a body may hold besides the content in base64.
const BODY_OVERHEAD: u64 = 1024 * 1024;
/// The fields that go into the operation's input as they are.
const INPUT_FIELDS: [&str; 6] = ["kind", "name", "policies", "policy_groups", "project_name", "project_version_name"];

pub(super) async fn evaluate(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let limit = app.content.limit().div_ceil(3).saturating_mul(4).saturating_add(BODY_OVERHEAD);
    let body = body::read_json(&app, &caller, &headers, body, limit).await?;
    let Asked { evidence, mut operation } = Asked::parse(&app, &body)?;
    // Held until the content is stored: what is bounded is memory.
    let place = body.into_place();
    caller.require_project(&operation.project_id)?;
    let (digest, content) = match evidence {
        Evidence::Stored(digest) => {
            caller.require(Scope::EvidenceRead)?;
            (digest, None)
        }
        Evidence::Given(text) => {
            caller.require(Scope::EvidenceWrite)?;
            let (digest, content) = decode(text, app.content.limit()).await?;
            (digest, Some(content))
        }
    };
    operation.input = with_digest(&operation.input, &digest);
    super::create::check_input(&app, &caller, &operation)?;
    // The request is checked before anything is stored.
    let request = request(&app, &caller, &operation.input, "").await?;
    if let Some(content) = content {
        evidence::keep(&app, &caller, digest, content).await?;
    }
    drop(place);
    about(&app, &caller, &mut operation, &request, "").await?;
    let key = idempotency::key(&headers, &caller, "POST /v1/agents/evaluate-evidence", || {
        super::create::fingerprinted(&operation)
    })?;
    let operation = app.waker.create(&*app.store, caller.organization(), operation, key).await?;
    let json = to_json(&Answer { operation_id: operation.id.to_string() });
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

#[derive(Serialize)]
struct Answer {
    operation_id: String,
}

/// The evidence of a request.
enum Evidence {
    /// By its digest.
    Stored(Digest),
    /// Its content, in base64.
    Given(Bytes),
}

/// A request that was read: the operation's input lacks the digest still.
struct Asked {
    evidence: Evidence,
    operation: NewOperation,
}

impl Asked {
    fn parse(app: &App, body: &Bytes) -> Result<Asked, ApiError> {
        let mut fields = Fields::parse(body)?;
        let (digest, content) = (fields.text("digest"), fields.text("content"));
        let defaults = app.defaults(KIND);
        let mut operation = NewOperation {
            max_attempts: defaults.max_attempts,
            timeout: defaults.timeout,
            ..NewOperation::of_kind(KIND)
        };
        operation.project_id = fields.text("project_id").into_owned();
        operation.project_version_id = fields.text("project_version_id").into_owned();
        let mut members = Vec::new();
        for name in INPUT_FIELDS {
            // What is too long is not looked into.
            let short = |raw: &'_ serde_json::value::RawValue| {
                let most = operations::MAX_INLINE_BYTES;
                if raw.get().len() > most { Err(format!("is longer than {most} bytes")) } else { canonical(raw) }
            };
            match fields.raw(name).map(short) {
                Some(Ok(value)) => members.push(format!("\"{name}\":{value}")),
                Some(Err(problem)) => fields.violations.push(Violation::new(name, problem)),
                None => {}
            }
        }
        let prompt = fields.text("prompt");
        if !prompt.is_empty() {
            if app.has_ai_provider {
                members.push(format!("\"prompt\":{}", serde_json::Value::from(prompt.as_ref())));
            } else {
                fields.violations.push(Violation::new("prompt", "no AI provider is configured"));
            }
        }
        operation.input = format!("{{{}}}", members.join(","));
        let evidence = match (digest.is_empty(), content.is_empty()) {
            (false, true) => digest.parse().map(Evidence::Stored).map_err(|e| Violation::new("digest", e.to_string())),
            (true, false) => Ok(Evidence::Given(match &content {
                Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text.clone()),
            })),
            _ => Err(Violation::new("digest", "exactly one of digest and content must be given")),
        };
        let mut violations = fields.finish();
        for violation in operation.violations() {
            if violations.iter().all(|v| v.field != violation.field) {
                violations.push(violation);
            }
        }
        match evidence {
            Ok(evidence) if violations.is_empty() => Ok(Asked { evidence, operation }),
            evidence => {
                violations.extend(evidence.err());
                Err(ApiError::Invalid(violations))
            }
        }
    }
}

fn with_digest(input: &str, digest: &Digest) -> String {
    let rest = input.strip_prefix('{').expect("built above as an object");
    let comma = if rest == "}" { "" } else { "," };
    format!("{{\"digest\":\"{digest}\"{comma}{rest}")
}

/// Decodes base64 of either alphabet, padded or not, as proto3 JSON does; off the async threads. Answers the digest
/// too.
async fn decode(text: Bytes, limit: u64) -> Result<(Digest, Bytes), ApiError> {
    let decoded = tokio::task::spawn_blocking(move || {
        let alphabet = if text.iter().any(|b| matches!(b, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let content = GeneralPurpose::new(alphabet, config).decode(&text)?;
        Ok::<_, base64::DecodeError>((Digest::of(&content), content))
    });
    let (digest, content) = decoded
        .await
        .map_err(|error| ApiError::Internal(error.into()))?
        .map_err(|error| ApiError::field("content", format!("is not base64: {error}")))?;
    if content.len() as u64 > limit { Err(ApiError::TooLarge { limit }) } else { Ok((digest, content.into())) }
}

/// Reads the input of an evaluation and checks it as far as that goes without the evidence. `prefix` is where the
/// client wrote the request.
///
/// Here it is read as JSON and no more; policies are read in a process of their own, which ends when the client leaves.
async fn request(app: &App, caller: &Caller, input: &str, prefix: &str) -> Result<EvaluateRequest, ApiError> {
    let field = |error: RequestError| {
        let path = format!("{prefix}{}", error.field);
        ApiError::field(path.trim_end_matches('.'), error.message)
    };
    let input = if input.is_empty() { "{}" } else { input };
    let request: EvaluateRequest = serde_json::from_str(input)
        .map_err(|error| ApiError::field(prefix.trim_end_matches('.'), error.to_string()))?;
    request.validate().map_err(field)?;
    if let Some(evaluations) = app.evaluations.as_ref().filter(|_| request.names_policies()) {
        let turn = app.state().checks.take(caller.organization()).await;
        match evaluations.check(caller.organization(), input, turn).await {
            Ok(()) => {}
            Err(CheckError::Request(error)) => return Err(field(error)),
            Err(CheckError::Job(error)) => return Err(ApiError::Unavailable(error.into())),
        }
    }
    Ok(request)
}

/// Checks an `evidence_evaluation` that comes as an operation, and sets its resource.
pub(super) async fn complete(app: &App, caller: &Caller, operation: &mut NewOperation) -> Result<(), ApiError> {
    const PREFIX: &str = "input.";
    caller.require(Scope::EvidenceRead)?;
    let request = request(app, caller, &operation.input, PREFIX).await?;
    about(app, caller, operation, &request, PREFIX).await
}

/// Makes the evidence of a request, which must be there, the resource of its operation.
async fn about(
    app: &App,
    caller: &Caller,
    operation: &mut NewOperation,
    request: &EvaluateRequest,
    prefix: &str,
) -> Result<(), ApiError> {
    if !request.names_policies() && !app.has_default_policies {
        let description = "are missing, and no default policies are configured; name at least one policy";
        return Err(ApiError::field(format!("{prefix}policies"), description));
    }
    let field = format!("{prefix}digest");
    let digest: Digest =
        request.digest.parse().map_err(|e: store::InvalidDigest| ApiError::field(&field, e.to_string()))?;
    if app.store.evidence(caller.organization(), &digest).await?.is_none() {
        return Err(ApiError::field(field, "names no stored evidence; store it first by POST /v1/evidence"));
    }
    let resource = Resource { resource_type: RESOURCE_TYPE.to_owned(), resource_id: digest.to_string() };
    match &operation.resource {
        Some(given) if *given != resource => {
            let description = format!("of an evidence_evaluation is the digest: leave it out, or give {digest}");
            Err(ApiError::field("resource_id", description))
        }
        _ => {
            operation.resource = Some(resource);
            Ok(())
        }
    }
}
