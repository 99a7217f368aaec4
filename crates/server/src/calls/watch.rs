//! Every transition of the operations that the caller may see, as it happens.
//!
//! Each client reads the store's change log at its own pace: the server reads no further than the client consumes, so
//! that a slow client costs one batch of the change log in memory and nothing more. A client that reads nothing at all
//! is disconnected by the write timeout of its connection. Clients with the same access at the same position, as all
//! are that keep up, share the reads. The [hub](crate::hub) notifies them when there is more.
//!
//! The id of an event is its cursor, sealed ([`PositionKey`]), the same on every server of the store. Heartbeats carry
//! ids that differ each time: the position that a stream begins with moves with what other organizations do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use operations::{Filter, Operation, OperationId};
use serde::Deserialize;
use store::{Position, PositionKey, Scope, StoreError};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::list::{self, StatusFilter};
use crate::app::App;
use crate::error::ApiError;
use crate::http::{Caller, next_look};
use crate::hub::Moves;
use crate::reads::{Event, FeedBatch, What};
use crate::shares::Share;
use crate::strict::Read;

/// The time between two heartbeats; proxies give up on a stream that is silent for a minute or so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The pause after the store was found unavailable.
const RETRY: Duration = Duration::from_secs(1);

/// Which operations to watch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchOperations {
    /// The id of the resource that the operation is about; must come together with resource_type.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) resource_id: String,
    /// The type of the resource that the operation is about; must come together with resource_id.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) resource_type: String,
    /// Only transitions to this status; its number is understood too.
    #[param(value_type = Option<StatusFilter>, inline, required = false)]
    #[serde(default)]
    pub(crate) status: String,
    /// Only operations of exactly this kind.
    #[param(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) kind: String,
    /// The id of the last event that the client received: the stream resumes after it. For clients that cannot send the
    /// header Last-Event-ID.
    #[param(required = false)]
    #[serde(default)]
    pub(crate) last_event_id: String,
}

/// A message to a client that watches.
pub(crate) enum WatchEvent {
    /// An operation as it is after a transition.
    Became { event_id: String, operation: Box<Operation> },
    /// An operation was deleted.
    Deleted { event_id: String, id: OperationId },
    /// Nothing has happened up to this position.
    Alive { event_id: String },
    /// Why the stream ends.
    Failed(ApiError),
}

/// Starts to watch, from now on or after an event.
pub(crate) async fn watch(app: &App, caller: &Caller, asked: Read<WatchOperations>) -> Result<Watcher, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let place = app.watchers.take(caller.organization(), 1).ok_or(ApiError::TooManyWatchers)?;
    let (asked, found) = asked.into_parts();
    let filter = list::filter(found, &asked.status, asked.kind, asked.resource_type, asked.resource_id)?;
    let key = app.store.position_key().await?;
    let resumed = Some(asked.last_event_id)
        .filter(|id| !id.is_empty())
        .map(|text| key.open(caller.organization(), &text).map_err(|_| ApiError::EventUnknown))
        .transpose()?;
    // Before the first read.
    let moves = app.hub.moves(caller.organization()).await?;
    let position = match resumed {
        Some(position) => {
            // An invalid position is reported in the answer and not as an event.
            app.reads.changes(caller.access(), position).await?;
            position
        }
        None => moves.end,
    };
    Ok(Watcher {
        app: app.clone(),
        caller: caller.clone(),
        key,
        filter,
        moves,
        position,
        waiting: VecDeque::new(),
        heartbeat_at: Instant::now(),
        ended: false,
        _place: place,
    })
}

/// A client that watches.
pub(crate) struct Watcher {
    app: App,
    caller: Caller,
    key: PositionKey,
    filter: Filter,
    moves: Moves,
    /// Up to where the client was notified.
    position: Position,
    /// The events of the latest batch that are still to be sent, by their indexes in it.
    waiting: VecDeque<(Arc<FeedBatch>, usize)>,
    heartbeat_at: Instant,
    ended: bool,
    /// One of the slots for clients that watch.
    _place: Share,
}

impl Watcher {
    /// The next message to the client; `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            // A server that stops ends the stream; the client continues at another one.
            if self.ended || self.app.shutdown.is_cancelled() {
                return None;
            }
            // Before each event; the answer is remembered for a second.
            if !self.caller.is_still_valid(&self.app).await {
                self.ended = true;
                return Some(WatchEvent::Failed(ApiError::Unauthenticated));
            }
            if let Some((batch, index)) = self.waiting.pop_front() {
                let event = &batch.events[index];
                match self.event(event).await {
                    Ok(shown) => {
                        self.position = event.position;
                        let Some(shown) = shown else { continue };
                        self.heartbeat_at = Instant::now() + HEARTBEAT;
                        return Some(shown);
                    }
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "could not read an output; trying again"
                        );
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
                    return Some(WatchEvent::Failed(ApiError::EventUnknown));
                }
                // The store is unavailable; the client need not know.
                Err(_) => RETRY,
            };
            // The token is checked again even when nothing happens.
            let until = (Instant::now() + pause).min(next_look()).min(self.heartbeat_at);
            tokio::select! {
                () = self.moves.next() => {}
                () = tokio::time::sleep_until(until) => {}
                () = self.app.shutdown.cancelled() => {}
            }
        }
    }

    /// Queues the events of a batch that match. Others are skipped.
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

    /// The message about an event; `None` when its operation no longer exists.
    async fn event(&self, event: &Event) -> Result<Option<WatchEvent>, StoreError> {
        let event_id = self.key.seal(self.caller.organization(), event.position);
        match &event.what {
            What::Deleted(id) => Ok(Some(WatchEvent::Deleted { event_id, id: *id })),
            What::Became { operation, output_left_out: false } => {
                Ok(Some(WatchEvent::Became { event_id, operation: operation.clone() }))
            }
            What::Became { operation, output_left_out: true } => {
                let output = self.app.store.output(self.caller.access(), operation.id).await?;
                let operation = output.map(|output| Box::new(Operation { output, ..Operation::clone(operation) }));
                Ok(operation.map(|operation| WatchEvent::Became { event_id, operation }))
            }
        }
    }

    /// A heartbeat, with the position up to which there is nothing for this client: where it continues when it connects
    /// again, however long nothing matched.
    fn heartbeat(&mut self) -> WatchEvent {
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        WatchEvent::Alive { event_id: self.key.seal_anew(self.caller.organization(), self.position) }
    }
}
