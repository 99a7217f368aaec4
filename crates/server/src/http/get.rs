//! `GET /v1/operations/{id}`: one operation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use operations::Status;

use super::caller::Querying;
use super::if_none_match::IfNoneMatch;
use super::openapi::ItemErrors;
use super::target::Target;
use crate::app::App;
use crate::calls::detail::{self, GetOperation, View};
use crate::calls::list;
use crate::detail::{AnyOperationAnswer, OperationDetailAnswer};
use crate::error::ApiError;
use crate::reads::{Answer, Found};
use crate::render;
use crate::strict;

/// The time after which a client should poll an unfinished operation again, in seconds.
const POLL_AFTER_SECONDS: u64 = 1;

/// Get async operation status
///
/// Retrieves the current status and result of an asynchronous operation. The answer has an ETag; with If-None-Match it is 304 as long as nothing has changed. While
/// the operation has not ended, Retry-After says when to poll again. With view=FULL, the answer has all fields of the
/// operation, and no ETag.
#[utoipa::path(get, path = "/v1/operations/{operation_id}", operation_id = "AsyncOperationsService_GetOperation",
    tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "Unique identifier of the async operation."), GetOperation),
    responses((status = 200, description = "The operation.", body = inline(AnyOperationAnswer)),
        (status = 304, description = "The operation has not changed since the given ETag."), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    Querying(caller, query): Querying,
    target: Target,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    match detail::view(strict::query::<GetOperation>(&query)?)? {
        View::Basic => Ok(answer(&*list::get(&app, &caller, target.id()).await?, &given)),
        View::Full => {
            let detail = detail::detail(&app, &caller, target.id()).await?;
            let mut response = render::response(render::to_json(&OperationDetailAnswer::from(&detail)));
            poll_later(&mut response, detail.operation.status);
            Ok(response)
        }
    }
}

/// The answer with the operation, or 304 when the client has it already.
pub(super) fn answer(found: &Found, given: &IfNoneMatch) -> Response {
    let Answer { json, etag } = found.answer().clone();
    let mut response =
        if given.names(etag.as_bytes()) { StatusCode::NOT_MODIFIED.into_response() } else { render::response(json) };
    response.headers_mut().insert(ETAG, etag);
    poll_later(&mut response, found.operation.status);
    response
}

/// Sets when to poll again, while the operation has not ended.
fn poll_later(response: &mut Response, status: Status) {
    if !status.is_terminal() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(POLL_AFTER_SECONDS));
    }
}
