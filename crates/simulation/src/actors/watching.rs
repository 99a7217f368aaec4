//! The watcher: it reads the stream of all transitions, and resumes it by the id of the latest event wherever it broke
//! off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use operations::{OperationId, Status};
use serde_json::Value;
use store::{Store, StoreError};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use super::status;
use crate::host::{PORT, SERVER};
use crate::wire::Wire;
use crate::world::{ORGANIZATION, World, lock};

/// A stream that is silent for this long is given up: the server sends a keep-alive comment every 15 s.
const SILENCE: Duration = Duration::from_secs(20);

/// The events that the watcher received. They are kept where a crash of the watcher does not lose them.
#[derive(Default)]
pub struct Watched {
    /// The id of the first event of all, a heartbeat: the position from which on the watcher is to receive everything.
    first: Option<String>,
    /// The id of the latest event.
    last: Option<String>,
    received: Vec<Became>,
}

/// What an operation became; without a status: it was removed.
type Became = (OperationId, Option<Status>);

/// Watches forever.
pub async fn watch(world: Arc<World>) {
    loop {
        let why = stream(&world).await.map_or_else(|why| why, |()| "the stream ended".to_owned());
        world.log(format_args!("watcher: {why}"));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn stream(world: &World) -> Result<(), String> {
    let connecting = timeout(Duration::from_secs(3), TcpStream::connect((SERVER, PORT)));
    let stream = connecting.await.map_err(|_| "no connection in time")?.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(Wire(stream))).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let mut request = Request::get("/v1/operations:watch")
        .header("host", SERVER)
        .header("authorization", format!("Bearer {}", world.token.expose()));
    if let Some(last) = &lock(&world.watched).last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let asked = timeout(SILENCE, sender.send_request(request)).await.map_err(|_| "no answer in time")?;
    let mut response = asked.map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the answer was {}", response.status()));
    }
    let mut text = String::new();
    loop {
        let frame = timeout(SILENCE, response.frame()).await.map_err(|_| "the stream fell silent")?;
        let Some(frame) = frame else { return Ok(()) };
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        text.push_str(&String::from_utf8_lossy(&data));
        while let Some((event, rest)) = text.split_once("\n\n") {
            take(world, event)?;
            text = rest.to_owned();
        }
    }
}

/// Records an event.
fn take(world: &World, event: &str) -> Result<(), String> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let Some(id) = field("id") else { return Err(format!("an event without an id: {event}")) };
    let mut watched = lock(&world.watched);
    watched.first.get_or_insert_with(|| id.to_owned());
    if let Some(data) = field("data") {
        let data: Value = serde_json::from_str(data).map_err(|error| format!("{error}: {event}"))?;
        let (id, status) = match field("event") {
            None => (&data["operation"]["id"], Some(status(&data["operation"]["status"]))),
            Some("deleted") => (&data["id"], None),
            Some(other) => return Err(format!("an event {other}")),
        };
        let id = id.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| format!("no operation in {event}"))?;
        world.log(format_args!("watcher: {id} became {status:?}"));
        watched.received.push((id, status));
    }
    watched.last = Some(id.to_owned());
    Ok(())
}

/// Compares the events that the watcher received with the change log; returns what is wrong, if anything is.
pub async fn judge_watched(store: &dyn Store, world: &World) -> Result<Result<(), String>, StoreError> {
    let (first, received) = {
        let watched = lock(&world.watched);
        (watched.first.clone(), watched.received.clone())
    };
    let Some(first) = first else { return Ok(Err("the watcher was never answered".to_owned())) };
    let Ok(begin) = store.position_key().await?.open(ORGANIZATION, &first) else {
        return Ok(Err(format!("the first id that the watcher received is not a cursor: {first}")));
    };
    let changes = store.changes(ORGANIZATION, begin, 100_000).await?.changes;
    let log: Vec<Became> = changes.into_iter().map(|change| (change.id, change.status)).collect();
    Ok(compare(&received, &log))
}

/// The watcher must have received the changes that come after its first cursor, all and in their order, except for those
/// of operations that have been deleted.
fn compare(received: &[Became], log: &[Became]) -> Result<(), String> {
    let (mut received_next, mut missed) = (received.iter().peekable(), Vec::new());
    for change in log {
        if received_next.next_if(|event| *event == change).is_none() {
            missed.push(change.0);
        }
    }
    if let Some(more) = received_next.next() {
        return Err(format!("the watcher received {more:?}, which is not in the change log, or not at this position"));
    }
    match missed.into_iter().find(|id| !received.contains(&(*id, None))) {
        Some(id) => Err(format!("the watcher was not notified of a change of {id}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use operations::Timestamp;

    use super::*;

    #[test]
    fn what_a_watcher_misses_is_found() {
        let [one, other] = [0, 1].map(|at| OperationId::new(Timestamp::from_millis(at)));
        let log = [
            (one, Some(Status::Pending)),
            (one, Some(Status::Running)),
            (other, Some(Status::Pending)),
            (one, Some(Status::Completed)),
        ];
        let without = |place: usize| [&log[..place], &log[place + 1..]].concat();
        assert_eq!(compare(&log, &log), Ok(()));
        assert_eq!(compare(&[], &[]), Ok(()));
        for place in 0..log.len() {
            assert!(compare(&without(place), &log).unwrap_err().contains("was not notified"), "{place}");
            assert!(compare(&log, &without(place)).unwrap_err().contains("is not in the change log"), "{place}");
        }
        assert!(compare(&[], &log).unwrap_err().contains("was not notified"));
        let removed = [&log[..], &[(one, None)]].concat();
        assert_eq!(compare(&removed[2..3], &removed[2..3]), Ok(()));
        assert_eq!(compare(&removed[2..], &removed), Ok(()), "who was told of a removal may not know what was before");
    }
}
