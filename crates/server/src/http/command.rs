//! `POST /v1/operations/{id}:cancel` and `:retry`, `DELETE /v1/operations/{id}`.
//!
//! These calls take nothing but the id: a body is not read, so that no limit on bodies stands in the way of a
//! cancellation.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use store::OperationCommand;

use super::caller::Caller;
use super::openapi::ItemErrors;
use super::routing::method_not_allowed;
use super::target::Target;
use crate::app::App;
use crate::calls::command;
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, to_json};

/// A call with a verb.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    target: Target,
) -> Result<Response, ApiError> {
    match target.verb() {
        Some("cancel") => cancel(&app, &caller, &target).await,
        Some("retry") => retry(&app, &caller, &target).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Cancel an operation
///
/// A pending operation ends at once. A running one is asked to stop, and ends when its worker agrees or its grace
/// period is over.
#[utoipa::path(post, path = "/v1/operations/{operation_id}:cancel",
    operation_id = "AsyncOperationsService_CancelOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "The operation.", body = OperationAnswer), ItemErrors))]
async fn cancel(app: &App, caller: &Caller, target: &Target) -> Result<Response, ApiError> {
    carry_out(app, caller, target, OperationCommand::Cancel).await
}

/// Retry a failed operation
///
/// It becomes pending again; its history is kept.
#[utoipa::path(post, path = "/v1/operations/{operation_id}:retry",
    operation_id = "AsyncOperationsService_RetryOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "The operation.", body = OperationAnswer), ItemErrors))]
async fn retry(app: &App, caller: &Caller, target: &Target) -> Result<Response, ApiError> {
    carry_out(app, caller, target, OperationCommand::Retry).await
}

async fn carry_out(app: &App, caller: &Caller, target: &Target, what: OperationCommand) -> Result<Response, ApiError> {
    let operation = command::command(app, caller, target.id_before_verb(), what).await?;
    Ok(render::response(to_json(&OperationAnswer::from(&operation))))
}

/// Delete an operation that has ended
#[utoipa::path(delete, path = "/v1/operations/{operation_id}",
    operation_id = "AsyncOperationsService_DeleteOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "It is gone.", body = render::Empty), ItemErrors))]
pub(super) async fn delete(State(app): State<App>, caller: Caller, target: Target) -> Result<Response, ApiError> {
    command::command(&app, &caller, target.id(), OperationCommand::Delete).await?;
    Ok(render::response("{}"))
}
