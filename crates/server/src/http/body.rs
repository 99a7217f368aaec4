//! Bodies from the network: bounded in size, in time, and in how much of them is in memory.
//!
//! Memory is allocated as the bytes arrive, not as they are announced, and no organization can take all of it
//! ([`Shares`]). The calls of workers have memory of their own, so that heartbeats and settlements arrive whatever
//! others send.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::{FutureExt, Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

use super::caller::Caller;
use crate::app::App;
use crate::error::ApiError;
use crate::services::ApiSettings;
use crate::shares::{Share, Shares};
use crate::strict::{self, Nothing, Read};

/// A body begins with this much memory, and doubles it when it is full.
const FIRST_BYTES: usize = 16 * 1024;

/// More is not read of the body of a call that takes none.
const MOST_OF_NONE: usize = 1024;

/// A JSON body, and the share of memory that it takes.
pub(crate) struct Json {
    bytes: Bytes,
    place: Share,
}

impl Json {
    /// Drops the bytes, except those that others hold, and keeps the share of memory.
    pub fn into_place(self) -> Share {
        self.place
    }
}

impl std::ops::Deref for Json {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Why a body did not arrive completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The client went silent, or sends too little at a time.
    Slow,
    /// The client ended it early or framed it wrongly.
    Cut,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::Slow => "it arrived too slowly",
            Broken::Cut => "it ended early",
        })
    }
}

impl From<Broken> for ApiError {
    fn from(broken: Broken) -> ApiError {
        match broken {
            Broken::Slow => ApiError::Timeout("waiting for the request's body"),
            Broken::Cut => ApiError::Malformed("the request's body ended early".to_owned()),
        }
    }
}

/// The pieces of a body; ends with [`Broken::Slow`] when the client pauses for too long, or is too slow.
///
/// The server waits for a client as long as it may pause, and each byte that it sends gives it more time, according to
/// the minimum rate. Only the time in which the server waits for the client counts, not the time to process the pieces.
pub(crate) struct Pieces {
    data: BodyDataStream,
    /// How long the client may pause.
    pause: Duration,
    /// How long the server still waits for it.
    left: Duration,
    /// The bytes per second that it must send.
    min_rate: u64,
    /// Since when the server has been waiting for it.
    waits: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    /// How it broke, for code that passes the stream on and gets another error back.
    pub broken: Option<Broken>,
}

impl Pieces {
    pub fn new(body: Body, settings: &ApiSettings) -> Pieces {
        let pause = settings.body_idle_timeout;
        Pieces {
            data: body.into_data_stream(),
            pause,
            left: pause,
            min_rate: settings.body_min_rate.max(1),
            waits: None,
            alarm: Box::pin(tokio::time::sleep(pause)),
            broken: None,
        }
    }

    /// The next piece. If the server must wait for it, the caller releases its place.
    async fn next_for(&mut self, caller: &Caller) -> Option<Result<Bytes, Broken>> {
        // A small body arrives together with the head of its request. A call that released its place to wait for it
        // would have to queue behind all others again.
        if let Some(piece) = self.next().now_or_never() {
            return piece;
        }
        // Nothing is processed while the server waits for the client.
        caller.step_aside();
        self.next().await
    }

    /// Records a piece that arrived.
    fn came(&mut self, bytes: usize) {
        let waited = self.waits.take().map_or(Duration::ZERO, |since| since.elapsed());
        let earned = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / self.min_rate);
        self.left = (self.left.saturating_sub(waited) + earned).min(self.pause);
    }

    /// Pending while the server may wait for the client; otherwise how the body broke.
    fn may_wait(&mut self, context: &mut Context<'_>) -> Poll<Broken> {
        if self.waits.is_none() {
            let now = Instant::now();
            self.waits = Some(now);
            self.alarm.as_mut().reset(now + self.left);
        }
        self.alarm.as_mut().poll(context).map(|()| Broken::Slow)
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let broken = match self.data.poll_next_unpin(context) {
            Poll::Ready(Some(Ok(piece))) => {
                self.came(piece.len());
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Broken::Cut,
            Poll::Pending => match self.may_wait(context) {
                Poll::Ready(broken) => broken,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.broken = Some(broken);
        Poll::Ready(Some(Err(broken)))
    }
}

/// Refuses a body that is announced as larger than `limit`, before any of it is read.
pub(super) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    if declared_length(headers).is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge { limit });
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Takes a slot for a large body in memory.
pub(crate) fn permit(app: &App, caller: &Caller) -> Result<Share, ApiError> {
    app.memory.large.take(caller.organization(), 1).ok_or(ApiError::Busy)
}

/// Reads a JSON body whole: declared as JSON, at most `limit` bytes.
///
/// # Errors [`ApiError::Busy`] when no memory is left for the caller's organization: waiting would keep the client's
/// upload in the kernel for an unknown time.
pub(super) async fn read_json(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<Json, ApiError> {
    check_json(headers)?;
    read(app, &app.memory.small, caller, headers, body, limit).await
}

/// Reads the request that a JSON body is.
///
/// # Errors
/// As [`read_json`]; and [`ApiError::Malformed`] when it is not a JSON object at all.
pub(super) async fn request<T: DeserializeOwned>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Read<T>, ApiError> {
    strict::json(&read_json(app, caller, headers, body, app.settings.body_limit).await?)
}

/// The same for the bodies of workers, in memory of their own.
pub(super) async fn read_work(app: &App, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Json, ApiError> {
    check_json(headers)?;
    read(app, &app.memory.work, caller, headers, body, app.settings.body_limit).await
}

/// Reads a complete body of any type, of at most `limit` bytes, with a share of this memory.
pub(crate) async fn read(
    app: &App,
    memory: &Shares,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
    limit: u64,
) -> Result<Json, ApiError> {
    check_length(headers, limit)?;
    let small = app.settings.body_limit;
    let most = declared_length(headers).unwrap_or(limit).min(limit);
    let mut place = memory.take(caller.organization(), 0).ok_or(ApiError::Busy)?;
    let mut is_large = false;
    let mut pieces = Pieces::new(body, &app.settings);
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next_for(caller).await {
        let piece = piece?;
        let length = whole.len() + piece.len();
        if length as u64 > limit {
            return Err(ApiError::TooLarge { limit });
        }
        if length as u64 > small && !is_large {
            // Replaces the bytes that it held.
            place = permit(app, caller)?;
            is_large = true;
        }
        if length > whole.capacity() {
            let most = if is_large { most } else { most.min(small) };
            let capacity = grown(whole.capacity(), length, usize::try_from(most).unwrap_or(usize::MAX));
            if !is_large && !place.grow((capacity - whole.capacity()) as u64) {
                return Err(ApiError::Busy);
            }
            whole.reserve_exact(capacity - whole.len());
        }
        whole.extend_from_slice(&piece);
    }
    caller.step_in(app).await?;
    Ok(Json { bytes: whole.into(), place })
}

/// Reads the body of a call that takes none: it is empty, or an object without members, as some clients send it.
pub(super) async fn none(app: &App, caller: &Caller, body: Body) -> Result<(), ApiError> {
    let too_long = || ApiError::Malformed("this call takes no body".to_owned());
    let whole = read_short(app, caller, body, MOST_OF_NONE, too_long).await?;
    if whole.is_empty() { Ok(()) } else { strict::json::<Nothing>(&whole)?.into_parts().1.none() }
}

/// Reads a short body, of at most `limit` bytes.
///
/// It takes no share of the memory for bodies, so that their limits are not in the way of a cancellation.
pub(crate) async fn read_short(
    app: &App,
    caller: &Caller,
    body: Body,
    limit: usize,
    too_long: impl FnOnce() -> ApiError,
) -> Result<Bytes, ApiError> {
    let mut pieces = Pieces::new(body, &app.settings);
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next_for(caller).await {
        let piece = piece?;
        if whole.len() + piece.len() > limit {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    caller.step_in(app).await?;
    Ok(whole.into())
}

/// How much memory a body gets when it has `length` bytes and will have `most`.
fn grown(capacity: usize, length: usize, most: usize) -> usize {
    capacity.saturating_mul(2).max(FIRST_BYTES).min(most).max(length)
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

/// Whether the body is compressed: it would be read wrongly.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_arrives() {
        assert_eq!(grown(0, 1, 2_000_000), FIRST_BYTES, "whatever is announced");
        assert_eq!(grown(0, 1, 100), 100);
        assert_eq!(grown(FIRST_BYTES, FIRST_BYTES + 1, 2_000_000), 2 * FIRST_BYTES);
        assert_eq!(grown(FIRST_BYTES, 9 * FIRST_BYTES, 2_000_000), 9 * FIRST_BYTES);
        assert_eq!(grown(1_500_000, 1_500_001, 2_000_000), 2_000_000);
    }
}
