//! `POST /v1/evidence` and `GET /v1/evidence/{digest}`: pieces of evidence by the digest of their content.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use store::{ContentError, Digest, EvidenceRecord, InvalidDigest, Scope};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::body::{self, Pieces};
use super::render::to_json;
use super::{App, get::matches};
use crate::auth::Caller;
use crate::error::{ApiError, BoxError};

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
    let mut pieces = Pieces::new(body, app.settings.body_idle_timeout);
    let (digest, size) = match app.content.put(caller.organization(), &mut pieces).await {
        Ok(stored) => stored,
        Err(ContentError::Receive(text)) => {
            return Err(pieces.broken.map_or(ApiError::Malformed(text), ApiError::from));
        }
        Err(error) => return Err(error.into()),
    };
    let record = match app.store.evidence(caller.organization(), &digest).await? {
        Some(record) => record,
        None => {
            let content = load(&app, &caller, &digest).await?;
            note(&app, &caller, digest, size, content).await?
        }
    };
    let json = to_json(&Answer { digest: digest.to_string(), size, kind: &record.kind });
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Scope::EvidenceRead)?;
    const NOT_FOUND: ApiError = ApiError::NotFound("evidence");
    let invalid = || ApiError::field("digest", InvalidDigest.to_string());
    let Path(digest) = digest.map_err(|_| invalid())?;
    let digest: Digest = digest.parse().map_err(|_| invalid())?;
    let record = app.store.evidence(caller.organization(), &digest).await?.ok_or(NOT_FOUND)?;
    let etag = format!("\"{digest}\"");
    let mut response = if matches(&headers, &etag) {
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
        return Ok(load(app, caller, &record.digest).await?.into());
    }
    let permit = body::permit(app)?;
    let content = load(app, caller, &record.digest).await?;
    Ok(slowly(content, permit, app.settings.body_idle_timeout, app.settings.upload_timeout))
}

/// Large content as a body, which a client who reads too slowly cannot keep in memory, nor the place that it takes.
///
/// Nobody asks the body for more while the client takes nothing, so the clock runs in a task of its own, and what waits to
/// be sent are copies.
fn slowly(content: Bytes, permit: OwnedSemaphorePermit, idle: Duration, whole: Duration) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let size = content.len();
    tokio::spawn(async move {
        let _held = permit;
        let sending = async {
            for piece in content.chunks(PIECE_BYTES) {
                if sender.send_timeout(Bytes::copy_from_slice(piece), idle).await.is_err() {
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
        let received: Option<Bytes> = receiver.recv().await;
        let left = left - received.as_ref().map_or(left, Bytes::len);
        Some((received.ok_or("the client read too slowly"), (receiver, left)))
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

/// Stores content that is in memory, unless the organisation has it already, whole; answers its record.
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
    let (stored, size) = app.content.put(caller.organization(), pieces(content.clone())).await?;
    if stored != digest {
        return Err(ApiError::Internal(format!("{digest} was stored as {stored}").into()));
    }
    match record {
        Some(record) => Ok(record),
        None => note(app, caller, digest, size, content).await,
    }
}

/// What was just stored, or is on record.
async fn load(app: &App, caller: &Caller, digest: &Digest) -> Result<Bytes, ApiError> {
    let content = app.content.get(caller.organization(), digest).await?;
    content.ok_or_else(|| ApiError::Internal(format!("{digest} is on record but its content is missing").into()))
}

/// Looks into new content for its kind and puts it on record.
async fn note(
    app: &App,
    caller: &Caller,
    digest: Digest,
    size: u64,
    content: Bytes,
) -> Result<EvidenceRecord, ApiError> {
    let _place = app.state().detections.acquire().await.expect("the semaphore is never closed");
    let kind = tokio::task::spawn_blocking(move || kinds::evidence::detect(&content))
        .await
        .map_err(|error| ApiError::Internal(error.into()))?;
    let record = EvidenceRecord { digest, size, kind: kind.map_or("", |kind| kind.as_str()).to_owned() };
    app.store.put_evidence(caller.organization(), record.clone()).await?;
    Ok(record)
}
