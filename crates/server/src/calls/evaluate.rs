//! Starting an operation of the kind `evidence_evaluation` with its evidence.
//!
//! Every error that can be known is reported here, before there is an operation; the rules of the request itself are in
//! [`evaluation`](super::evaluation).

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Bytes;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use operations::{NewOperation, Operation, Violation};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{Digest, Scope};
use utoipa::ToSchema;

use super::evaluation::KIND;
use super::{creation, evaluation, evidence};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::shares::Share;
use crate::strict::{Read, canonical};

/// A policy to evaluate. Exactly one of ref and embedded must be given.
#[derive(ToSchema)]
#[allow(dead_code)]
struct PolicyAttachment {
    /// A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a
    /// host that the server allows, `https://…@sha256:…`.
    #[schema(rename = "ref", example = "sbom-licenses-present")]
    reference: Option<String>,
    /// The policy itself: its text, or an object.
    embedded: Option<serde_json::Value>,
    /// Arguments by name.
    with: Option<BTreeMap<String, String>>,
    /// Limits the policy to materials with a given name, in addition to its own limits.
    #[schema(inline)]
    selector: Option<MaterialSelector>,
    /// Whether the policy is left out; the output says so.
    disabled: Option<bool>,
}

/// Which materials a policy applies to.
#[derive(ToSchema)]
#[allow(dead_code)]
struct MaterialSelector {
    /// The name of the material.
    name: Option<String>,
}

/// A group of policies to evaluate.
#[derive(ToSchema)]
#[allow(dead_code)]
struct PolicyGroupAttachment {
    /// A name or `file://` path in the server's policy folder, with an optional `@sha256:…` pin; or an address on a
    /// host that the server allows, `https://…@sha256:…`.
    #[schema(rename = "ref", example = "release-gate")]
    reference: String,
    /// Arguments by name.
    with: Option<BTreeMap<String, String>>,
    /// The names of policies of the group to leave out.
    skip: Option<Vec<String>>,
}

/// The most bytes of a request in addition to the evidence.
pub(crate) const OVERHEAD_BYTES: u64 = 1024 * 1024;

/// An evaluation to start. Exactly one of digest and content must be given.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluateEvidence<'a> {
    /// The digest of evidence that is stored.
    #[schema(value_type = Option<String>, example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    #[serde(default)]
    pub(crate) digest: String,
    /// The evidence itself, in base64; may be empty, for example for a report without findings.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, format = Byte)]
    pub(crate) content: Option<Text<'a>>,
    /// The material type, such as SBOM_CYCLONEDX_JSON; by default it is detected from the content.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>, example = "SBOM_CYCLONEDX_JSON")]
    pub(crate) kind: Option<&'a RawValue>,
    /// The material's name, for policies that select by name.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>)]
    pub(crate) name: Option<&'a RawValue>,
    /// The policies to evaluate, each embedded or by reference. If neither policies nor groups are given, the server's
    /// default policies are evaluated.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<PolicyAttachment>>, max_items = 100)]
    pub(crate) policies: Option<&'a RawValue>,
    /// The groups of policies to evaluate.
    #[serde(default, borrow)]
    #[schema(value_type = Option<Vec<PolicyGroupAttachment>>, max_items = 20)]
    pub(crate) policy_groups: Option<&'a RawValue>,
    /// The project's name, as policies see it.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>)]
    pub(crate) project_name: Option<&'a RawValue>,
    /// The name of the project's version, as policies see it.
    #[serde(default, borrow)]
    #[schema(value_type = Option<String>)]
    pub(crate) project_version_name: Option<&'a RawValue>,
    /// The project that the operation belongs to.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(default)]
    pub(crate) project_id: String,
    /// The version of the project.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(default)]
    pub(crate) project_version_id: String,
    /// A question about the evidence for an AI provider; refused unless the server has one configured.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub(crate) prompt: String,
}

/// A text that is copied only where that is necessary.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The evidence of a request.
pub(crate) enum Evidence {
    /// By its digest.
    Stored(Digest),
    /// Its content, in base64.
    Base64(Bytes),
    /// Its content.
    Raw(Bytes),
}

/// An evaluation, checked as far as that is possible without the evidence. The input of the operation still lacks the
/// digest.
pub(crate) struct Evaluation {
    evidence: Evidence,
    operation: NewOperation,
}

impl Evaluation {
    /// Checks a request. `content` turns the text of the field, if there is one, or its replacement into evidence. In
    /// addition to a digest, an empty text counts as missing: clients write it for a field that they leave out.
    pub(crate) fn check(
        app: &App,
        asked: Read<EvaluateEvidence<'_>>,
        content: impl FnOnce(Option<&Cow<str>>) -> Option<Evidence>,
    ) -> Result<Evaluation, ApiError> {
        let (asked, mut found) = asked.into_parts();
        let defaults = app.defaults(KIND);
        let mut operation = NewOperation {
            max_attempts: defaults.max_attempts,
            timeout: defaults.timeout,
            project_id: asked.project_id,
            project_version_id: asked.project_version_id,
            ..NewOperation::of_kind(KIND)
        };
        let mut members = Vec::new();
        for (name, raw) in [
            ("kind", asked.kind),
            ("name", asked.name),
            ("policies", asked.policies),
            ("policy_groups", asked.policy_groups),
            ("project_name", asked.project_name),
            ("project_version_name", asked.project_version_name),
        ] {
            // A value that is too long is not parsed.
            let short = |raw: &'_ RawValue| {
                let most = operations::MAX_INLINE_BYTES;
                if raw.get().len() > most { Err(format!("is longer than {most} bytes")) } else { canonical(raw) }
            };
            match raw.map(short) {
                Some(Ok(value)) => members.push(format!("\"{name}\":{value}")),
                Some(Err(problem)) => found.add(Violation::new(name, problem)),
                None => {}
            }
        }
        if !asked.prompt.is_empty() {
            members.push(format!("\"prompt\":{}", serde_json::Value::from(asked.prompt)));
        }
        operation.input = format!("{{{}}}", members.join(","));
        operation.violations().into_iter().for_each(|violation| found.add(violation));
        let text =
            asked.content.as_ref().map(|Text(text)| text).filter(|text| asked.digest.is_empty() || !text.is_empty());
        let evidence = match (asked.digest.is_empty(), content(text)) {
            (false, None) => {
                asked.digest.parse().map(Evidence::Stored).map_err(|e| Violation::new("digest", e.to_string()))
            }
            (true, Some(given)) => Ok(given),
            _ => Err(Violation::new("digest", "exactly one of digest and content must be given")),
        };
        match evidence {
            Ok(evidence) => found.none().map(|()| Evaluation { evidence, operation }),
            Err(violation) => {
                found.add(violation);
                found.none().map(|()| unreachable!("there is a violation"))
            }
        }
    }
}

/// Stores the evidence if it came along, and creates the operation. `place` is the memory that the request takes.
pub(crate) async fn evaluate(
    app: &App,
    caller: &Caller,
    asked: Evaluation,
    place: Share,
    key: Option<&str>,
) -> Result<Operation, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let Evaluation { evidence, mut operation } = asked;
    caller.require_project(&operation.project_id)?;
    let (digest, content) = match evidence {
        Evidence::Stored(digest) => {
            caller.require(Scope::EvidenceRead)?;
            (digest, None)
        }
        Evidence::Base64(text) => {
            caller.require(Scope::EvidenceWrite)?;
            let (digest, content) = decode(text, app.content.limit()).await?;
            (digest, Some(content))
        }
        Evidence::Raw(content) => {
            caller.require(Scope::EvidenceWrite)?;
            let (digest, content) = measure(content, app.content.limit()).await?;
            (digest, Some(content))
        }
    };
    operation.input = with_digest(&operation.input, &digest);
    creation::check_input(app, caller, &operation)?;
    // The request is checked before anything is stored.
    let request = evaluation::request(app, caller, &operation.input, "").await?;
    if let Some(content) = content {
        evidence::keep(app, caller, digest, content).await?;
    }
    // Held until the content is stored: it bounds the memory.
    drop(place);
    evaluation::about(app, caller, &mut operation, &request, "").await?;
    operation.trace = caller.trace();
    let key = super::idempotency::key(key, caller, "POST /v1/agents/evaluate-evidence", || {
        creation::fingerprinted(&operation)
    })?;
    let store = caller.store(app, "evidence.evaluate", Vec::new());
    Ok(app.waker.create(&*store, caller.access(), operation, None, key).await?)
}

fn with_digest(input: &str, digest: &Digest) -> String {
    let rest = input.strip_prefix('{').expect("built above as an object");
    let comma = if rest == "}" { "" } else { "," };
    format!("{{\"digest\":\"{digest}\"{comma}{rest}")
}

/// Decodes base64 of either alphabet, padded or not, as proto3 JSON does; off the async threads. Returns the digest
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

/// The digest of content that came as it is; off the async threads.
async fn measure(content: Bytes, limit: u64) -> Result<(Digest, Bytes), ApiError> {
    if content.len() as u64 > limit {
        return Err(ApiError::TooLarge { limit });
    }
    let measured = tokio::task::spawn_blocking(move || (Digest::of(&content), content));
    measured.await.map_err(|error| ApiError::Internal(error.into()))
}
