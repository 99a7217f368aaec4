//! Bodies from the network: bounded in size, in time between pieces, and in how many large ones are in memory.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::App;
use crate::error::ApiError;

/// How much of JSON bodies is in memory at a time, in KiB; large ones apart, which [`permit`] bounds. At least one body
/// of the limit has room.
pub(super) fn memory_kib(body_limit: u64) -> usize {
    usize::try_from(body_limit.div_ceil(1024))
        .unwrap_or(Semaphore::MAX_PERMITS)
        .clamp(256 * 1024, Semaphore::MAX_PERMITS)
}

/// A JSON body, and the place in memory that it takes.
pub(super) struct Json {
    bytes: Bytes,
    place: OwnedSemaphorePermit,
}

impl Json {
    /// Lets the bytes go, but for what others hold of them, and keeps the place.
    pub fn into_place(self) -> OwnedSemaphorePermit {
        self.place
    }
}

impl std::ops::Deref for Json {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Why a body did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client went silent.
    Idle,
    /// The client ended it early or framed it wrongly.
    Cut,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::Idle => "nothing arrived for too long",
            Broken::Cut => "it ended early",
        })
    }
}

impl From<Broken> for ApiError {
    fn from(broken: Broken) -> ApiError {
        match broken {
            Broken::Idle => ApiError::Timeout("waiting for the request's body"),
            Broken::Cut => ApiError::Malformed("the request's body ended early".to_owned()),
        }
    }
}

/// The pieces of a body; ends with [`Broken::Idle`] when the client pauses for too long.
pub(super) struct Pieces {
    data: BodyDataStream,
    idle: Duration,
    alarm: Pin<Box<Sleep>>,
    /// How it broke, for those who hand the stream on and get another error back.
    pub broken: Option<Broken>,
}

impl Pieces {
    pub fn new(body: Body, idle: Duration) -> Pieces {
        Pieces { data: body.into_data_stream(), idle, alarm: Box::pin(tokio::time::sleep(idle)), broken: None }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let broken = match self.data.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(piece))) => {
                let deadline = Instant::now() + self.idle;
                self.alarm.as_mut().reset(deadline);
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Broken::Cut,
            Poll::Pending => match self.alarm.as_mut().poll(context) {
                Poll::Ready(()) => Broken::Idle,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.broken = Some(broken);
        Poll::Ready(Some(Err(broken)))
    }
}

/// Refuses a body that says that it is larger than `limit`, before any of it is used.
pub(super) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    if declared_length(headers).is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge { limit });
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes a place among the large bodies in memory.
pub(super) fn permit(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    app.state().large_bodies.clone().try_acquire_owned().map_err(|_| ApiError::Busy)
}

/// Reads a JSON body whole: declared as JSON, at most `limit` bytes.
///
/// # Errors
/// [`ApiError::Busy`] when there is no place for it in memory: waiting would keep the client's upload in the kernel for
/// who knows how long.
pub(super) async fn read_json(app: &App, headers: &HeaderMap, body: Body, limit: u64) -> Result<Json, ApiError> {
    check_json(headers)?;
    check_length(headers, limit)?;
    let most = declared_length(headers).unwrap_or(limit);
    let place = if most > app.settings.body_limit {
        permit(app)?
    } else {
        let kib = u32::try_from(most.div_ceil(1024)).unwrap_or(u32::MAX);
        app.state().body_memory.clone().try_acquire_many_owned(kib).map_err(|_| ApiError::Busy)?
    };
    let mut pieces = Pieces::new(body, app.settings.body_idle_timeout);
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if (whole.len() + piece.len()) as u64 > limit {
            return Err(ApiError::TooLarge { limit });
        }
        if whole.is_empty() {
            let declared = declared_length(headers).unwrap_or(0).min(limit);
            whole.reserve_exact(usize::try_from(declared).unwrap_or(0).max(piece.len()));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Json { bytes: whole.into(), place })
}

fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    const JSON: &str = "application/json";
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if !media_type.eq_ignore_ascii_case(JSON) || is_encoded(headers) {
        return Err(ApiError::UnsupportedMediaType(JSON));
    }
    Ok(())
}

/// Whether the body is compressed: it would be taken for what it is not.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
