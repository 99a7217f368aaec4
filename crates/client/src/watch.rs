//! Watching operations: a stream of their transitions that continues after the connection broke.

use std::collections::VecDeque;

use reqwest::Response;
use tokio::time::Instant;

use crate::client::{Client, Sent};
use crate::error::{Error, Refusal, RpcStatus, origin};
use crate::retry::pause;
use crate::types::{Operation, OperationAnswer};

/// The header that names the event after which to continue.
const LAST_EVENT_ID: &str = "last-event-id";
/// The code of the error for a token that is no longer valid.
const UNAUTHENTICATED: i32 = 16;
/// Maximum size of an event in bytes: an output of 1 MiB in JSON, with space for escapes.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// What to watch. A field that is left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// Only transitions to this status, by its wire name.
    pub status: Option<String>,
    /// Only operations of this kind.
    pub kind: Option<String>,
    /// Only operations about a resource of this type; goes together with `resource_id`.
    pub resource_type: Option<String>,
    /// Only operations about this resource; goes together with `resource_type`.
    pub resource_id: Option<String>,
    /// The id of the event after which to continue; if left out, the stream starts now.
    pub last_event_id: Option<String>,
}

impl WatchRequest {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let parameters = [
            ("status", &self.status),
            ("kind", &self.kind),
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
        ];
        parameters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// A transition of an operation, or its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The cursor for continuing after this event: [`WatchRequest::last_event_id`].
    pub id: String,
    /// The operation as it was right after the transition; for a deleted one, only the id.
    pub operation: Operation,
    /// Whether it was deleted. Deletions are reported regardless of the filters, to callers that can see all projects.
    pub is_deletion: bool,
    /// What the server sent: `{"operation":{…}}`, or `{"id":"…"}` for a deletion.
    pub data: String,
}

/// A stream of transitions; created by [`Client::watch`].
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: WatchRequest,
    response: Option<Response>,
    parser: Parser,
    /// The number of consecutive connections that delivered nothing.
    failures: u32,
    /// When the connection broke, until it is back.
    lost_at: Option<Instant>,
    /// It is not reconnected before this time.
    connect_at: Instant,
}

/// One step of a [`Watch`].
#[derive(Debug)]
pub enum WatchStep {
    /// A transition, or a deletion.
    Event(Box<WatchEvent>),
    /// The connection broke, for this reason; the client reconnects after growing pauses. Reported once, until it is
    /// back.
    Lost(String),
    /// The connection is back; what happened meanwhile follows.
    Back,
}

impl Client {
    /// `GET /v1/operations:watch`: every transition of the operations that match, from when this returns.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 11 when the server no longer has the events after
    /// [`WatchRequest::last_event_id`].
    pub async fn watch(&self, request: &WatchRequest) -> Result<Watch, Error> {
        let mut watch = Watch {
            client: self.clone(),
            request: request.clone(),
            response: None,
            parser: Parser::default(),
            failures: 0,
            lost_at: None,
            connect_at: Instant::now(),
        };
        watch.connect().await?;
        // The server sends the current position in the change log at once: without it, a connection that breaks before
        // the first event could not be resumed.
        while watch.request.last_event_id.is_none() {
            watch.read_on().await?;
            let first = watch.parser.blocks.iter().find(|block| !block.id.is_empty());
            // The position from the first block; if the block contains an event, that is still to be reported.
            if let Some(block) = first.filter(|block| block.data.is_empty()) {
                watch.request.last_event_id = Some(block.id.clone());
            } else if !watch.parser.blocks.is_empty() {
                break;
            }
        }
        Ok(watch)
    }
}

impl Watch {
    /// The next transition. When the connection breaks (a server that stops, a proxy), the client reconnects, and
    /// continues with what happened meanwhile: nothing is missed and nothing is reported twice.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the server refuses, and when it could not be reached again within
    /// [`Settings::reconnect_for`](crate::Settings::reconnect_for).
    pub async fn next(&mut self) -> Result<WatchEvent, Error> {
        loop {
            if let WatchStep::Event(event) = self.next_step().await? {
                return Ok(*event);
            }
        }
    }

    /// Like [`Watch::next`], but also reports when the connection is lost and when it is back.
    ///
    /// # Errors
    /// As those of [`Watch::next`].
    pub async fn next_step(&mut self) -> Result<WatchStep, Error> {
        loop {
            while let Some(block) = self.parser.blocks.pop_front() {
                if let Some(event) = self.take(block)? {
                    return Ok(WatchStep::Event(Box::new(event)));
                }
            }
            if self.response.is_none() {
                tokio::time::sleep_until(self.connect_at).await;
                match self.connect().await {
                    Ok(()) if self.lost_at.take().is_some() => return Ok(WatchStep::Back),
                    Ok(()) => {}
                    Err(error) if error.is_transient() && self.goes_on() => {
                        tracing::debug!(%error, "the server cannot be watched; trying again");
                        self.pause();
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            match self.read_on().await {
                Ok(()) => self.failures = 0,
                Err(Error::Transport { reason, .. }) => {
                    self.response = None;
                    // A block that was incomplete is sent again.
                    self.parser = Parser::default();
                    self.lost_at = Some(Instant::now());
                    // Not at once: a server that is stopping may end its streams while it still accepts connections.
                    self.pause();
                    return Ok(WatchStep::Lost(reason));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn goes_on(&self) -> bool {
        self.lost_at.is_none_or(|lost| self.client.goes_on_since(lost))
    }

    /// Delays the next connection.
    fn pause(&mut self) {
        self.connect_at = Instant::now() + pause(None, self.failures);
        self.failures = self.failures.saturating_add(1);
    }

    /// Reads available data; [`Error::Transport`] when the connection has ended.
    async fn read_on(&mut self) -> Result<(), Error> {
        let broken = |reason: String| Error::Transport { url: origin(&self.client.address("")), reason };
        let Some(response) = &mut self.response else { return Err(broken("there is no connection".to_owned())) };
        match response.chunk().await {
            Ok(Some(bytes)) if self.parser.push(&bytes) => Ok(()),
            Ok(Some(_)) => Err(self.unexpected("an event without an end")),
            Ok(None) => Err(broken("the server ended the stream".to_owned())),
            Err(error) => Err(Error::from_reqwest(&self.client.address(""), &error)),
        }
    }

    /// The position in the stream, from which the program can continue after a restart.
    pub fn last_event_id(&self) -> Option<&str> {
        self.request.last_event_id.as_deref()
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let mut address = self.client.address("v1/operations:watch");
        let query = self.request.query();
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        let mut repetition = 0;
        loop {
            let mut request = self.client.http().get(address.clone());
            if let Some(id) = &self.request.last_event_id {
                request = request.header(LAST_EVENT_ID, id);
            }
            match self.client.send_once(request).await? {
                Sent::Done(response) => {
                    self.response = Some(response);
                    return Ok(());
                }
                Sent::Busy(response) => self.client.pause(response, &mut repetition).await?,
            }
        }
    }

    fn take(&mut self, block: Block) -> Result<Option<WatchEvent>, Error> {
        if block.name == "error" {
            let Ok(status) = serde_json::from_str::<RpcStatus>(&block.data) else {
                return Err(self.unexpected(&block.data));
            };
            return Err(Error::Refused(Box::new(Refusal {
                // The status that a normal call would have had.
                http_status: if status.code == UNAUTHENTICATED { 401 } else { 400 },
                status,
                request_id: None,
                retry_after: None,
            })));
        }
        if !block.id.is_empty() {
            self.request.last_event_id = Some(block.id.clone());
        }
        if block.name == "deleted" {
            let Ok(Gone { id }) = serde_json::from_str(&block.data) else {
                return Err(self.unexpected(&block.data));
            };
            let operation = Operation { id, ..Operation::default() };
            return Ok(Some(WatchEvent { id: block.id, operation, is_deletion: true, data: block.data }));
        }
        if block.data.is_empty() || !block.name.is_empty() {
            // A keep-alive, or something from a newer server.
            return Ok(None);
        }
        match serde_json::from_str::<OperationAnswer>(&block.data) {
            Ok(answer) => {
                Ok(Some(WatchEvent { id: block.id, operation: answer.operation, is_deletion: false, data: block.data }))
            }
            Err(_) => Err(self.unexpected(&block.data)),
        }
    }

    fn unexpected(&self, text: &str) -> Error {
        let excerpt = text.chars().take(200).collect();
        Error::Unexpected { url: origin(&self.client.address("")), http_status: 200, excerpt }
    }
}

/// The event of a deleted operation.
#[derive(serde::Deserialize)]
struct Gone {
    id: String,
}

/// One block of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    id: String,
    name: String,
    data: String,
}

/// An incremental parser for a stream of events.
#[derive(Debug, Default)]
struct Parser {
    rest: Vec<u8>,
    /// The number of bytes of `rest` that are known to contain no line break.
    looked_at: usize,
    block: Block,
    blocks: VecDeque<Block>,
}

impl Parser {
    /// Adds data; `false` if an event exceeds the maximum size.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend(bytes);
        while let Some(at) = self.rest[self.looked_at..].iter().position(|byte| *byte == b'\n') {
            let end = self.looked_at + at;
            let line = String::from_utf8_lossy(&self.rest[..end]).trim_end_matches('\r').to_owned();
            self.rest.drain(..=end);
            self.looked_at = 0;
            self.line(&line);
        }
        self.looked_at = self.rest.len();
        self.rest.len() + self.block.data.len() <= MAX_EVENT_BYTES
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let block = std::mem::take(&mut self.block);
            if block != Block::default() {
                self.blocks.push_back(block);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.block.id),
            "event" => value.clone_into(&mut self.block.name),
            "data" => {
                if !self.block.data.is_empty() {
                    self.block.data.push('\n');
                }
                self.block.data.push_str(value);
            }
            // A comment, which has no name, or a field that is not used here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_come() {
        let text = ": watching\nid: 1-1-0\n\nid: 1-1-1\ndata: {\"a\":\"é\"}\n\n\n:\n\nevent: error\r\ndata:x\r\ndata: y\r\n\r\nid: 2";
        let block = |id: &str, name: &str, data: &str| Block { id: id.into(), name: name.into(), data: data.into() };
        let expected = [block("1-1-0", "", ""), block("1-1-1", "", "{\"a\":\"é\"}"), block("", "error", "x\ny")];
        for size in 1..=text.len() {
            let mut parser = Parser::default();
            assert!(text.as_bytes().chunks(size).all(|part| parser.push(part)));
            assert_eq!(parser.blocks, expected, "in parts of {size}");
        }
    }
}
