//! `POST /v1/evidence` and `GET /v1/evidence/{digest}`: pieces of evidence by the digest of their content.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use store::{Content, EvidenceRecord};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::body::{self, Pieces};
use super::caller::Caller;
use super::if_none_match::IfNoneMatch;
use super::openapi::{CreateErrors, ItemErrors};
use crate::app::App;
use crate::calls::evidence;
use crate::error::{ApiError, BoxError};
use crate::render::{self, to_json};
use crate::shares::Share;

/// A piece of evidence that is stored.
#[derive(Serialize, ToSchema)]
#[schema(as = Evidence)]
pub(super) struct WireEvidence<'a> {
    /// By what it is found.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    digest: String,
    /// Its length in bytes.
    size: u64,
    /// The material type that was detected; empty when none was.
    #[schema(example = "SBOM_CYCLONEDX_JSON")]
    kind: &'a str,
}

/// Bytes, as the document shows them.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code)]
struct RawBytes(Vec<u8>);

/// Store evidence
///
/// Takes the raw content as the body, whatever its Content-Type.
#[utoipa::path(post, path = "/v1/evidence", operation_id = "EvidenceService_PutEvidence", tag = "EvidenceService",
    request_body(content = inline(RawBytes), content_type = "application/octet-stream"),
    responses((status = 200, description = "What was stored.", body = WireEvidence), CreateErrors))]
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    evidence::may_put(&caller)?;
    if body::is_encoded(&headers) {
        return Err(ApiError::UnsupportedMediaType("application/octet-stream"));
    }
    body::check_length(&headers, app.content.limit())?;
    // An upload goes on for as long as the client's network takes, and has a place among the large bodies.
    caller.step_aside();
    let mut pieces = Pieces::new(body, &app.settings);
    let stored = evidence::put(&app, &caller, &mut pieces).await;
    // What broke off the body says more than that it broke off.
    let record = stored.map_err(|error| pieces.broken.map_or(error, ApiError::from))?;
    let json = to_json(&WireEvidence { digest: record.digest.to_string(), size: record.size, kind: &record.kind });
    Ok(render::response(json))
}

/// Get stored evidence
#[utoipa::path(get, path = "/v1/evidence/{digest}", operation_id = "EvidenceService_GetEvidence",
    tag = "EvidenceService",
    params(("digest" = String, Path, description = "sha256: and 64 hexadecimal digits.")),
    responses((status = 200, description = "The content.", body = inline(RawBytes),
        content_type = "application/octet-stream"),
        (status = 304, description = "The client has it already."), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    method: Method,
    digest: Result<Path<String>, PathRejection>,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    let digest = digest.ok().map(|Path(digest)| digest);
    let record = evidence::find(&app, &caller, digest.as_deref()).await?;
    let etag = format!("\"{}\"", record.digest);
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
        return Ok(content.ok_or_else(|| evidence::missing(&record.digest))?.into());
    }
    let permit = body::permit(app, caller)?;
    let content = evidence::open(app, caller, &record.digest).await?;
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
