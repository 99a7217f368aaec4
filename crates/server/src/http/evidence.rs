//! `POST /v1/evidence` and `GET /v1/evidence/{digest}`: pieces of evidence by the digest of their content.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use kinds::evaluation::JobError;
use serde::Serialize;
use store::{Content, ContentError, Digest, EvidenceRecord, InvalidDigest, Scope};
use tokio::sync::mpsc;

use super::body::{self, Pieces};
use super::caller::Caller;
use super::if_none_match::IfNoneMatch;
use crate::app::App;
use crate::error::{ApiError, BoxError};
use crate::render::{self, to_json};
use crate::shares::Share;

/// Content that is in memory is sent, and stored, in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Serialize)]
struct Answer<'a> {
    digest: String,
    size: u64,
    kind: &'a str,
}

/// Takes the raw content as the body, whatever its `Content-Type`.
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::EvidenceWrite)?;
    if body::is_encoded(&headers) {
        return Err(ApiError::UnsupportedMediaType("application/octet-stream"));
    }
    body::check_length(&headers, app.content.limit())?;
    // An upload goes on for as long as the client's network takes, and has a place among the large bodies.
    caller.step_aside();
    let mut pieces = Pieces::new(body, &app.settings);
    let (digest, size) = match app.content.put(caller.organization(), &mut pieces).await {
        Ok(stored) => stored,
        Err(ContentError::Receive(text)) => {
            return Err(pieces.broken.map_or(ApiError::Malformed(text), ApiError::from));
        }
        Err(error) => return Err(error.into()),
    };
    let record = match app.store.evidence(caller.organization(), &digest).await? {
        Some(record) => record,
        None => note(&app, &caller, digest, size).await?,
    };
    let json = to_json(&Answer { digest: digest.to_string(), size, kind: &record.kind });
    Ok(render::response(json))
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    caller.require(Scope::EvidenceRead)?;
    const NOT_FOUND: ApiError = ApiError::NotFound("evidence");
    let invalid = || ApiError::field("digest", InvalidDigest.to_string());
    let Path(digest) = digest.map_err(|_| invalid())?;
    let digest: Digest = digest.parse().map_err(|_| invalid())?;
    let record = app.store.evidence(caller.organization(), &digest).await?.ok_or(NOT_FOUND)?;
    let etag = format!("\"{digest}\"");
    let mut response = if given.names(etag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = if method == Method::HEAD { Body::empty() } else { content(&app, &caller, &record).await? };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(record.size));
        // Evidence comes from anywhere: no browser shall show it as a page of this server.
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    };
    response.headers_mut().insert(ETAG, HeaderValue::try_from(etag).expect("a quoted digest is a header value"));
    Ok(response)
}

/// The content as a body. Large content takes one of the places of large bodies until it has been sent.
async fn content(app: &App, caller: &Caller, record: &EvidenceRecord) -> Result<Body, ApiError> {
    if record.size <= app.settings.body_limit {
        let content = app.content.get(caller.organization(), &record.digest).await?;
        return Ok(content.ok_or_else(|| missing(&record.digest))?.into());
    }
    let permit = body::permit(app, caller)?;
    let content = open(app, caller, &record.digest).await?;
    Ok(slowly(content, permit, app.settings.body_idle_timeout, app.settings.upload_timeout))
}

/// Large content as a body, read as it is sent. A client who reads too slowly cannot keep the place that it takes.
///
/// Nobody asks the body for more while the client takes nothing, so the clock runs in a task of its own.
fn slowly(mut content: Content, permit: Share, idle: Duration, whole: Duration) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let size = content.size;
    tokio::spawn(async move {
        let _held = permit;
        let sending = async {
            while let Some(piece) = content.next().await {
                let is_last = piece.is_err();
                if let Err(error) = &piece {
                    tracing::error!(
                        error = error as &dyn std::error::Error,
                        "could not read evidence that is being sent"
                    );
                }
                if sender.send_timeout(piece.map_err(BoxError::from), idle).await.is_err() || is_last {
                    return;
                }
            }
        };
        // Whether it was sent or not, it is dropped now; the body below tells.
        let _ = tokio::time::timeout(whole, sending).await;
    });
    Body::from_stream(stream::unfold((receiver, size), |(mut receiver, left)| async move {
        if left == 0 {
            return None;
        }
        let received: Option<Result<Bytes, BoxError>> = receiver.recv().await;
        let piece = received.unwrap_or_else(|| Err("the client read too slowly".into()));
        let left = piece.as_ref().map_or(0, |piece| left.saturating_sub(piece.len() as u64));
        Some((piece, (receiver, left)))
    }))
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
async fn open(app: &App, caller: &Caller, digest: &Digest) -> Result<Content, ApiError> {
    let content = app.content.open(caller.organization(), digest).await?;
    content.ok_or_else(|| missing(digest))
}

fn missing(digest: &Digest) -> ApiError {
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
    app.store.put_evidence(caller.organization(), record.clone()).await?;
    Ok(record)
}
