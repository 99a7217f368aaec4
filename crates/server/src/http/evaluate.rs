//! `POST /v1/agents/evaluate-evidence`: starts an operation of the kind `evidence_evaluation`.
//!
//! Everything that can be known to be wrong is told here, before there is an operation; the rules of the request itself
//! are in [`evaluation`](super::evaluation).

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::HeaderMap;
use operations::{NewOperation, Violation};
use serde::Serialize;
use store::{Digest, Scope};

use super::caller::Caller;
use super::evaluation::KIND;
use super::json::{Fields, canonical};
use super::{body, creation, evaluation, evidence, idempotency};
use crate::app::App;
use crate::error::ApiError;
use crate::render::{self, to_json};

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
    creation::check_input(&app, &caller, &operation)?;
    // The request is checked before anything is stored.
    let request = evaluation::request(&app, &caller, &operation.input, "").await?;
    if let Some(content) = content {
        evidence::keep(&app, &caller, digest, content).await?;
    }
    drop(place);
    evaluation::about(&app, &caller, &mut operation, &request, "").await?;
    let key = idempotency::key(&headers, &caller, "POST /v1/agents/evaluate-evidence", || {
        creation::fingerprinted(&operation)
    })?;
    let operation = app.waker.create(&*app.store, caller.organization(), operation, key).await?;
    let json = to_json(&Answer { operation_id: operation.id.to_string() });
    Ok(render::response(json))
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
