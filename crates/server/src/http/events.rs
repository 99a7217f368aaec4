//! `GET /v1/operations/{id}/events`: what happened to an operation, oldest first, in pages.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use operations::{OperationId, Timestamp};
use serde::Serialize;
use store::{HistoryEvent, HistoryKind, HistoryPage, Scope};

use super::caller::Caller;
use super::get::NOT_FOUND;
use super::query::HistoryQuery;
use crate::app::App;
use crate::error::ApiError;
use crate::render::{self, shown, to_json};

pub(super) async fn events(
    State(app): State<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let query = HistoryQuery::parse(query.as_deref().unwrap_or("")).map_err(ApiError::Invalid)?;
    let Path(id) = id.map_err(|_| NOT_FOUND)?;
    let id: OperationId = id.parse().map_err(|_| NOT_FOUND)?;
    let history = app.store.history(caller.access(), id).await?.ok_or(NOT_FOUND)?;
    let page = HistoryPage::of(history, query.after, query.size as usize);
    let events = page.events.iter().map(WireEvent::from).collect();
    let next_page_token = page.next.map(|next| next.to_string());
    Ok(render::response(to_json(&Answer { events, next_page_token })))
}

#[derive(Serialize)]
struct Answer<'a> {
    events: Vec<WireEvent<'a>>,
    /// Only when there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// An event as it stands on the wire.
#[derive(Serialize)]
struct WireEvent<'a> {
    #[serde(serialize_with = "shown")]
    time: Timestamp,
    r#type: &'static str,
    attempt: u32,
    worker: &'a str,
    message: &'a str,
}

impl<'a> From<&'a HistoryEvent> for WireEvent<'a> {
    fn from(event: &'a HistoryEvent) -> WireEvent<'a> {
        let r#type = match event.kind {
            HistoryKind::Created => "CREATED",
            HistoryKind::AttemptStarted => "ATTEMPT_STARTED",
            HistoryKind::Progress => "PROGRESS",
            HistoryKind::CancelRequested => "CANCEL_REQUESTED",
            HistoryKind::AttemptFailed => "ATTEMPT_FAILED",
            HistoryKind::AttemptLost => "ATTEMPT_LOST",
            HistoryKind::AttemptReleased => "ATTEMPT_RELEASED",
            HistoryKind::Completed => "COMPLETED",
            HistoryKind::Failed => "FAILED",
            HistoryKind::Retried => "RETRIED",
        };
        let HistoryEvent { at, attempt, worker, message, .. } = event;
        WireEvent { time: *at, r#type, attempt: *attempt, worker, message }
    }
}
