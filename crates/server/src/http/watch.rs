//! `GET /v1/operations:watch`: every transition of the operations that the caller may see, as server-sent events.
//!
//! Each client reads the store's feed at its own pace: what it does not take is not read for it, so that a slow one
//! costs a batch of the feed in memory and nothing more, and one that takes nothing at all is cut off by the
//! connection's patience. Clients with the same access that stand at the same place, as all do who keep up, share what
//! is read. The [hub](crate::hub) tells them when there is more.
//!
//! The id of an event is its cursor, sealed ([`PositionKey`]), the same on every server of the store. Signs of life
//! bring ids that are others each time: the place that a stream begins with moves with what other organizations do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue};
use operations::{Filter, Operation, OperationId};
use store::{Position, PositionKey, Scope, StoreError};
use tokio::time::Instant;

use super::caller::{Caller, next_look};
use super::query::WatchQuery;
use crate::app::App;
use crate::error::{ApiError, BoxError};
use crate::hub::Moves;
use crate::reads::{Event, FeedBatch, What};
use crate::render::{OperationAnswer, to_json};
use crate::shares::Share;

/// Between two signs of life; proxies give up on a stream that is silent for a minute or so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After a look at a store that is away.
const RETRY: Duration = Duration::from_secs(1);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn watch(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let place = app.watchers.take(caller.organization(), 1).ok_or(ApiError::TooManyWatchers)?;
    let query = WatchQuery::parse(query.as_deref().unwrap_or("")).map_err(ApiError::Invalid)?;
    let key = app.store.position_key().await?;
    let resumed = resumed(&headers, query.last_event_id.as_deref())
        .map(|text| key.open(caller.organization(), text).map_err(|_| ApiError::EventUnknown))
        .transpose()?;
    // Before the first look.
    let moves = app.hub.moves(caller.organization()).await?;
    let position = match resumed {
        Some(position) => {
            // A place that is none is told as an answer and not as an event.
            app.reads.changes(caller.access(), position).await?;
            position
        }
        None => moves.end,
    };
    let watcher = Watcher {
        app,
        caller,
        key,
        filter: query.filter,
        moves,
        position,
        waiting: VecDeque::new(),
        heartbeat_at: Instant::now(),
        ended: false,
        _place: place,
    };
    let mut response = Body::from_stream(stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((Ok::<_, BoxError>(frame), watcher))
    }))
    .into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies collect what they pass on, unless they are told not to.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The id of the event to go on from. The header counts before the parameter: a browser that connects again sends its
/// latest event in the header, and the address as it was.
fn resumed<'t>(headers: &'t HeaderMap, parameter: Option<&'t str>) -> Option<&'t str> {
    let text = match headers.get(LAST_EVENT_ID) {
        Some(header) => Some(header.to_str().unwrap_or("?")),
        None => parameter,
    };
    text.filter(|text| !text.is_empty())
}

/// A client that watches.
struct Watcher {
    app: App,
    caller: Caller,
    key: PositionKey,
    filter: Filter,
    moves: Moves,
    /// Up to where the client was told.
    position: Position,
    /// What of the batch that was read last is still to be told: places in it.
    waiting: VecDeque<(Arc<FeedBatch>, usize)>,
    heartbeat_at: Instant,
    ended: bool,
    /// One of the places for those who watch.
    _place: Share,
}

impl Watcher {
    /// The next piece of the stream; `None` when it ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // A server that stops ends the stream; the client goes on at another one.
            if self.ended || self.app.shutdown.is_cancelled() {
                return None;
            }
            // Before each event; the answer is remembered for a second.
            if !self.caller.is_still_valid(&self.app).await {
                self.ended = true;
                return Some(failure(ApiError::Unauthenticated).await);
            }
            if let Some((batch, index)) = self.waiting.pop_front() {
                let event = &batch.events[index];
                match self.frame(event).await {
                    Ok(frame) => {
                        self.position = event.position;
                        let Some(frame) = frame else { continue };
                        self.heartbeat_at = Instant::now() + HEARTBEAT;
                        return Some(frame);
                    }
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "an output was not read; later");
                        self.waiting.push_front((batch, index));
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            if Instant::now() >= self.heartbeat_at {
                return Some(self.heartbeat());
            }
            self.moves.forget();
            let pause = match self.app.reads.changes(self.caller.access(), self.position).await {
                Ok(batch) if batch.next == self.position => HEARTBEAT,
                Ok(batch) => {
                    self.take(&batch);
                    continue;
                }
                Err(StoreError::PositionUnknown) => {
                    self.ended = true;
                    return Some(failure(ApiError::EventUnknown).await);
                }
                // The store is away; the client need not know.
                Err(_) => RETRY,
            };
            // The token is looked at again also when nothing happens.
            let until = (Instant::now() + pause).min(next_look()).min(self.heartbeat_at);
            tokio::select! {
                () = self.moves.next() => {}
                () = tokio::time::sleep_until(until) => {}
                () = self.app.shutdown.cancelled() => {}
            }
        }
    }

    /// Puts what matches of a batch in line. What does not match is passed.
    fn take(&mut self, batch: &Arc<FeedBatch>) {
        let matching = batch.events.iter().enumerate().filter(|(_, event)| match &event.what {
            What::Became { operation, .. } => self.filter.matches(operation),
            What::Deleted(_) => true,
        });
        self.waiting.extend(matching.map(|(index, _)| (Arc::clone(batch), index)));
        if self.waiting.is_empty() {
            self.position = batch.next;
        }
    }

    /// An event as it is sent; `None` when its operation is gone.
    async fn frame(&self, event: &Event) -> Result<Option<Bytes>, StoreError> {
        let event_id = self.key.seal(self.caller.organization(), event.position);
        match &event.what {
            What::Deleted(id) => Ok(Some(deleted(&event_id, *id))),
            What::Became { operation, output_left_out: false } => Ok(Some(frame(&event_id, operation))),
            What::Became { operation, output_left_out: true } => {
                let output = self.app.store.output(self.caller.access(), operation.id).await?;
                Ok(output.map(|output| frame(&event_id, &Operation { output, ..Operation::clone(operation) })))
            }
        }
    }

    /// A sign of life, with the place up to which there is nothing for this client: where it goes on when it connects
    /// again, however long nothing matched.
    fn heartbeat(&mut self) -> Bytes {
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        let event_id = self.key.seal_anew(self.caller.organization(), self.position);
        format!(": watching\nid: {event_id}\n\n").into()
    }
}

fn frame(event_id: &str, operation: &Operation) -> Bytes {
    let mut frame = format!("id: {event_id}\ndata: ").into_bytes();
    // JSON escapes line ends, which would end the event.
    frame.extend(to_json(&OperationAnswer::from(operation)));
    frame.extend(b"\n\n");
    frame.into()
}

/// That an operation is gone.
fn deleted(event_id: &str, id: OperationId) -> Bytes {
    format!("id: {event_id}\nevent: deleted\ndata: {{\"id\":\"{id}\"}}\n\n").into()
}

/// Why the stream ends, as an event; the body is that of an error.
async fn failure(error: ApiError) -> Bytes {
    let body = axum::body::to_bytes(error.into_response().into_body(), usize::MAX).await.unwrap_or_default();
    [b"event: error\ndata: ".as_slice(), &body, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_counts_before_the_parameter() {
        let headers = |text: &'static str| HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static(text))]);
        assert_eq!(resumed(&HeaderMap::new(), None), None);
        assert_eq!(resumed(&headers(""), Some("1")), None);
        assert_eq!(resumed(&HeaderMap::new(), Some("1")), Some("1"));
        assert_eq!(resumed(&headers("2"), Some("1")), Some("2"));
    }
}
