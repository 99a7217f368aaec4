//! `GET /v1/operations/{id}:wait`: one operation, when it has ended or the time is over.

use axum::extract::State;
use axum::response::Response;

use super::caller::Querying;
use super::if_none_match::IfNoneMatch;
use super::openapi::ItemErrors;
use super::target::Target;
use crate::app::App;
use crate::calls::wait::{self, WaitOperation};
use crate::error::ApiError;
use crate::render::OperationAnswer;
use crate::strict;

/// The verb after the id.
pub(super) const VERB: &str = "wait";
/// The same as the suffix of a path, and of the route in logs and metrics.
pub(super) const SUFFIX: &str = ":wait";

/// Wait for an operation
///
/// Answers when the operation has ended; after the timeout, with the operation as it is then.
#[utoipa::path(get, path = "/v1/operations/{operation_id}:wait", operation_id = "AsyncOperationsService_WaitOperation",
    tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id."), WaitOperation),
    responses((status = 200, description = "The operation.", body = OperationAnswer),
        (status = 304, description = "The operation has not changed since the given ETag."), ItemErrors))]
pub(super) async fn wait(
    State(app): State<App>,
    Querying(caller, query): Querying,
    target: Target,
    given: IfNoneMatch,
) -> Result<Response, ApiError> {
    let asked = strict::query::<WaitOperation>(&query)?;
    let found = wait::wait(&app, &caller, target.id_before_verb(), asked).await?;
    Ok(super::get::answer(&found, &given))
}
