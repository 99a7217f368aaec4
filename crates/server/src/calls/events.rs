//! What happened to an operation, oldest first, in pages.

use operations::OperationId;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use store::{HistoryEvent, HistoryKind, HistoryPage, HistoryPlace, InvalidHistoryPlace, Scope};
use utoipa::IntoParams;

use super::list::NOT_FOUND;
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Read;

/// Events of a page by default.
const DEFAULT_PAGE: u32 = 100;
/// The most events of a page; larger requests get this many.
const MAX_PAGE: u32 = 1_000;

/// Which part of a history.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListEvents {
    /// The most events of the page, at most 1000; a larger number counts as 1000.
    #[param(value_type = Option<i32>, minimum = 0, default = 100, required = false)]
    #[serde(default)]
    pub(crate) page_size: Option<u32>,
    /// The next_page_token of the previous page.
    #[param(value_type = String, required = false)]
    #[serde(default, deserialize_with = "place")]
    pub(crate) page_token: Option<HistoryPlace>,
}

fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HistoryPlace>, D::Error> {
    place_of(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The position that a page token stands for; none when it is empty.
pub(crate) fn place_of(text: &str) -> Result<Option<HistoryPlace>, InvalidHistoryPlace> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// A page of an operation's history.
pub(crate) async fn events(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
    asked: Read<ListEvents>,
) -> Result<HistoryPage, ApiError> {
    let (asked, found) = asked.into_parts();
    found.none()?;
    let history = all(app, caller, id).await?;
    let size = asked.page_size.filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    Ok(HistoryPage::of(history, asked.page_token, size as usize))
}

/// The whole history of an operation, oldest first.
pub(crate) async fn all(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
) -> Result<Vec<HistoryEvent>, ApiError> {
    caller.require(Scope::OperationsRead)?;
    app.store.history(caller.access(), id?).await?.ok_or(NOT_FOUND)
}

/// What an event is called on the wire.
pub(crate) fn wire_name(kind: HistoryKind) -> &'static str {
    match kind {
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
    }
}
