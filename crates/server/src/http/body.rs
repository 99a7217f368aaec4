//! Bodies from the network: bounded in size, in time between pieces, and in how many large ones are in memory.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::App;
use crate::error::ApiError;

/// How much, and for how long, is taken of a body that is refused already.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);

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
pub(super) async fn check_length(headers: &HeaderMap, pieces: &mut Pieces, limit: u64) -> Result<(), ApiError> {
    if declared_length(headers).is_none_or(|length| length <= limit) {
        return Ok(());
    }
    // Who waits for "100 Continue" has sent nothing, and shall not be told to.
    if !headers.contains_key(EXPECT) {
        linger(pieces).await;
    }
    Err(ApiError::TooLarge { limit })
}

/// Takes and drops what else arrives of a refused body, for a moment: when a connection is closed with unread data, the
/// client's side is reset and may lose the answer that says why.
pub(super) async fn linger(pieces: &mut Pieces) {
    let dropped = async {
        let mut size = 0;
        while let Some(Ok(piece)) = pieces.next().await {
            size += piece.len();
            if size > LINGER_BYTES {
                break;
            }
        }
    };
    // Either end is fine: the answer follows.
    let _ = tokio::time::timeout(LINGER, dropped).await;
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes a place among the large bodies in memory, if the body may be one.
///
/// # Errors
/// [`ApiError::Busy`] when there is none: waiting would keep the client's upload in the kernel for who knows how long.
pub(super) fn large_body_permit(app: &App, headers: &HeaderMap) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
    if declared_length(headers).is_some_and(|length| length <= app.settings.body_limit) {
        return Ok(None);
    }
    permit(app).map(Some)
}

/// Takes a place among the large bodies in memory.
pub(super) fn permit(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    app.state().large_bodies.clone().try_acquire_owned().map_err(|_| ApiError::Busy)
}

/// Reads a JSON body whole: declared as JSON, at most `limit` bytes.
pub(super) async fn read_json(headers: &HeaderMap, body: Body, limit: u64, idle: Duration) -> Result<Bytes, ApiError> {
    check_json(headers)?;
    let mut pieces = Pieces::new(body, idle);
    check_length(headers, &mut pieces, limit).await?;
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if (whole.len() + piece.len()) as u64 > limit {
            linger(&mut pieces).await;
            return Err(ApiError::TooLarge { limit });
        }
        if whole.is_empty() {
            let declared = declared_length(headers).unwrap_or(0).min(limit);
            whole.reserve_exact(usize::try_from(declared).unwrap_or(0).max(piece.len()));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
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
