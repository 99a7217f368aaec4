//! The message that a receiver gets: a CloudEvent 1.0 in structured JSON.
//!
//! Source: CloudEvents specification 1.0.2, and its JSON event format.

use operations::{Operation, Status};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::wire::WireOperation;

/// The content type of an event in structured JSON.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// An event: an operation has ended.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    specversion: &'static str,
    /// The same each time that this event is sent: it consists of the operation and the time of its end, since an
    /// operation that is retried ends more than once.
    pub id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    data: &'a WireOperation<'a>,
}

impl<'a> Event<'a> {
    /// The event that an operation has ended; `None` when it has not. `wire` is the operation in its JSON form.
    pub fn of(organization: &str, operation: &Operation, wire: &'a WireOperation<'a>) -> Option<Event<'a>> {
        let kind = match operation.status {
            Status::Completed => "longrun.operation.completed",
            Status::Failed => "longrun.operation.failed",
            Status::Pending | Status::Running => return None,
        };
        let finished_at = operation.finished_at?;
        Some(Event {
            specversion: "1.0",
            id: format!("{}-{}", operation.id, finished_at.as_millis()),
            // A URI reference, as the specification requires.
            source: format!("/longrun/organizations/{}", utf8_percent_encode(organization, NON_ALPHANUMERIC)),
            kind,
            subject: operation.id.to_string(),
            time: finished_at.to_string(),
            datacontenttype: "application/json",
            data: wire,
        })
    }
}
