//! Pieces of evidence by the digest of their content.

use std::fmt::Display;

use axum::body::Bytes;
use futures_util::{Stream, stream};
use kinds::evaluation::JobError;
use store::{Content, Digest, EvidenceRecord, InvalidDigest, Scope};

use crate::app::App;
use crate::error::{ApiError, BoxError};
use crate::http::Caller;

/// Content that is in memory is sent, and stored, in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

/// Refuses who may not store evidence, before anything is read.
pub(crate) fn may_put(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::EvidenceWrite)
}

/// Stores content as it arrives, of at most the configured size.
pub(crate) async fn put<E: Display + Send>(
    app: &App,
    caller: &Caller,
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> Result<EvidenceRecord, ApiError> {
    may_put(caller)?;
    let (digest, size) = app.content.put(caller.organization(), pieces).await?;
    match app.store.evidence(caller.organization(), &digest).await? {
        Some(record) => Ok(record),
        None => note(app, caller, digest, size).await,
    }
}

/// The record of a piece of evidence.
pub(crate) async fn find(app: &App, caller: &Caller, digest: Option<&str>) -> Result<EvidenceRecord, ApiError> {
    caller.require(Scope::EvidenceRead)?;
    let digest = digest.and_then(|digest| digest.parse::<Digest>().ok());
    let digest = digest.ok_or_else(|| ApiError::field("digest", InvalidDigest.to_string()))?;
    app.store.evidence(caller.organization(), &digest).await?.ok_or(ApiError::NotFound("evidence"))
}

/// Content in pieces, without a copy.
fn pieces(content: Bytes) -> impl Stream<Item = Result<Bytes, BoxError>> + Unpin {
    stream::iter(
        (0..content.len())
            .step_by(PIECE_BYTES)
            .map(move |start| Ok(content.slice(start..content.len().min(start + PIECE_BYTES)))),
    )
}

/// Stores content that is in memory, unless the organization has it already, whole; answers its record.
pub(super) async fn keep(
    app: &App,
    caller: &Caller,
    digest: Digest,
    content: Bytes,
) -> Result<EvidenceRecord, ApiError> {
    let record = app.store.evidence(caller.organization(), &digest).await?;
    if let Some(record) = &record
        && app.content.is_sound(caller.organization(), &digest).await?
    {
        return Ok(record.clone());
    }
    // Also what is on record and was lost: whoever sends it again repairs it.
    let (stored, size) = app.content.put(caller.organization(), pieces(content)).await?;
    if stored != digest {
        return Err(ApiError::Internal(format!("{digest} was stored as {stored}").into()));
    }
    match record {
        Some(record) => Ok(record),
        None => note(app, caller, digest, size).await,
    }
}

/// What was just stored, or is on record.
pub(crate) async fn open(app: &App, caller: &Caller, digest: &Digest) -> Result<Content, ApiError> {
    let content = app.content.open(caller.organization(), digest).await?;
    content.ok_or_else(|| missing(digest))
}

pub(crate) fn missing(digest: &Digest) -> ApiError {
    ApiError::Internal(format!("{digest} is on record but its content is missing").into())
}

/// Looks into content that was just stored for its kind, in a process of its own, and puts it on record.
async fn note(app: &App, caller: &Caller, digest: Digest, size: u64) -> Result<EvidenceRecord, ApiError> {
    let mut kind = None;
    if let Some(evaluations) = &app.evaluations {
        let turn = app.checks.take(caller.organization()).await;
        let content = open(app, caller, &digest).await?;
        let detected = evaluations.detect(caller.organization(), content, turn).await;
        kind = detected.map_err(|error| match error {
            JobError::Content(error) => ApiError::from(error),
            failed @ JobError::Failed { .. } => ApiError::Unavailable(failed.into()),
        })?;
    }
    let record = EvidenceRecord { digest, size, kind: kind.map_or("", |kind| kind.as_str()).to_owned() };
    let store = caller.store(app, "evidence.put", vec![format!("evidence/{}", record.digest)]);
    store.put_evidence(caller.organization(), record.clone()).await?;
    Ok(record)
}
