//! `GET /v1/operations/{id}/events`: what happened to an operation, oldest first, in pages.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use operations::{OperationId, Timestamp};
use serde::Serialize;
use store::HistoryEvent;
use utoipa::ToSchema;

use super::caller::Querying;
use super::openapi::ItemErrors;
use crate::app::App;
use crate::calls::events::{self, ListEvents};
use crate::calls::list::NOT_FOUND;
use crate::error::ApiError;
use crate::render::{self, shown, to_json};
use crate::strict;

/// List what happened to an operation
///
/// Lists the attempts, workers, progress and transitions of an operation, oldest first, in pages.
#[utoipa::path(get, path = "/v1/operations/{operation_id}/events",
    operation_id = "AsyncOperationsService_ListOperationEvents", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id."), ListEvents),
    responses((status = 200, description = "A page of the history.", body = Events), ItemErrors))]
pub(super) async fn events(
    State(app): State<App>,
    Querying(caller, query): Querying,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let asked = strict::query::<ListEvents>(&query)?;
    let id = id.ok().and_then(|Path(id)| id.parse::<OperationId>().ok()).ok_or(NOT_FOUND);
    let page = events::events(&app, &caller, id, asked).await?;
    let events = page.events.iter().map(WireEvent::from).collect();
    let next_page_token = page.next.map(|next| next.to_string());
    Ok(render::response(to_json(&Events { events, next_page_token })))
}

/// A page of the history of an operation.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationEvents)]
pub(super) struct Events<'a> {
    /// Oldest first.
    events: Vec<WireEvent<'a>>,
    /// The page_token of the next page; left out on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Something that happened to an operation.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationEvent)]
pub(super) struct WireEvent<'a> {
    /// When it happened.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// What happened: CREATED, ATTEMPT_STARTED, PROGRESS, CANCEL_REQUESTED, ATTEMPT_FAILED, ATTEMPT_LOST,
    /// ATTEMPT_RELEASED, COMPLETED, FAILED or RETRIED.
    r#type: &'static str,
    /// The number of the attempt; 0 before the first.
    attempt: u32,
    /// The worker or server that ran the attempt; empty when none did.
    worker: &'a str,
    /// A line of text for people.
    message: &'a str,
}

impl<'a> From<&'a HistoryEvent> for WireEvent<'a> {
    fn from(event: &'a HistoryEvent) -> WireEvent<'a> {
        let HistoryEvent { at, attempt, worker, message, .. } = event;
        WireEvent { time: *at, r#type: events::wire_name(event.kind), attempt: *attempt, worker, message }
    }
}
