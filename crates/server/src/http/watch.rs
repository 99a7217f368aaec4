//! `GET /v1/operations:watch`: every transition of the operations that the caller may see, as server-sent events.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use http::{HeaderName, HeaderValue};

use super::caller::Querying;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::watch::{self, WatchEvent, WatchOperations};
use crate::error::{ApiError, BoxError};
use crate::render::{OperationAnswer, to_json};
use crate::strict;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Watch operations
///
/// Streams server-sent events. The data of an event is an operation as it was after a transition. An event named
/// deleted has the id of an operation that was deleted; one named error says why the stream ends. Last-Event-ID resumes
/// the stream without gaps and repetitions.
#[utoipa::path(get, path = "/v1/operations:watch", operation_id = "AsyncOperationsService_WatchOperations",
    tag = "AsyncOperationsService",
    params(WatchOperations, ("Last-Event-ID" = Option<String>, Header,
        description = "The id of the last event that the client received: the stream resumes after it. Takes precedence over the parameter.")),
    responses((status = 200, description = "A stream of events.", body = String, content_type = "text/event-stream"),
        ListErrors))]
pub(super) async fn watch(
    State(app): State<App>,
    Querying(caller, query): Querying,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut asked = strict::query::<WatchOperations>(&query)?;
    asked.value.last_event_id = resumed(&headers, asked.value.last_event_id);
    let watcher = watch::watch(&app, &caller, asked).await?;
    let mut response = Body::from_stream(stream::unfold(watcher, |mut watcher| async move {
        let frame = frame(watcher.next().await?).await;
        Some((Ok::<_, BoxError>(frame), watcher))
    }))
    .into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies buffer responses unless a header forbids it.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The id of the event to resume after. The header takes precedence over the parameter: a browser that connects again
/// sends its latest event in the header, and the address as it was.
fn resumed(headers: &HeaderMap, parameter: String) -> String {
    headers.get(LAST_EVENT_ID).map_or(parameter, |header| header.to_str().unwrap_or("?").to_owned())
}

/// An event as it is sent. JSON escapes line breaks, which would end the event.
async fn frame(event: WatchEvent) -> Bytes {
    match event {
        WatchEvent::Became { event_id, operation } => {
            let json = to_json(&OperationAnswer::from(&*operation));
            [format!("id: {event_id}\ndata: ").as_bytes(), &json, b"\n\n"].concat().into()
        }
        WatchEvent::Deleted { event_id, id } => {
            format!("id: {event_id}\nevent: deleted\ndata: {{\"id\":\"{id}\"}}\n\n").into()
        }
        WatchEvent::Alive { event_id } => format!(": watching\nid: {event_id}\n\n").into(),
        // The data is the body of an error.
        WatchEvent::Failed(error) => {
            let body = error.into_response().into_body();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            [b"event: error\ndata: ".as_slice(), &body, b"\n\n"].concat().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_counts_before_the_parameter() {
        let headers = |text: &'static str| HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static(text))]);
        assert_eq!(resumed(&HeaderMap::new(), String::new()), "");
        assert_eq!(resumed(&headers(""), "1".to_owned()), "");
        assert_eq!(resumed(&HeaderMap::new(), "1".to_owned()), "1");
        assert_eq!(resumed(&headers("2"), "1".to_owned()), "2");
    }
}
