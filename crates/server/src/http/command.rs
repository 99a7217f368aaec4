//! `POST /v1/operations/{id}:cancel` and `:retry`, `DELETE /v1/operations/{id}`.
//!
//! Cancelling and deleting take nothing but the id.

use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};
use store::{OperationCommand, Scope};

use super::caller::Caller;
use super::openapi::{ItemErrors, RetryErrors};
use super::routing::method_not_allowed;
use super::target::Target;
use super::{body, create, idempotency_key};
use crate::app::App;
use crate::calls::command;
use crate::calls::retry::{self, RetryOperation};
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, to_json};
use crate::strict;

/// A call with a verb.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    match target.verb() {
        Some("cancel") => cancel(&app, &caller, &target, body).await,
        Some("retry") => retry(&app, &caller, &target, &headers, body).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Cancel an operation
///
/// A pending operation ends at once. A running one is asked to stop; it ends when its worker complies or its grace
/// period is over.
#[utoipa::path(post, path = "/v1/operations/{operation_id}:cancel",
    operation_id = "AsyncOperationsService_CancelOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "The operation.", body = OperationAnswer), ItemErrors))]
async fn cancel(app: &App, caller: &Caller, target: &Target, body: Body) -> Result<Response, ApiError> {
    body::none(app, caller, body).await?;
    carry_out(app, caller, target, OperationCommand::Cancel).await
}

/// Retry an operation
///
/// A failed operation becomes pending again; its history is kept. With an input in the body, a new operation is created
/// instead, with that input, the label retry_of, and the same kind, resource, project, labels and limits as this one.
/// The old operation must have ended, and does not change.
#[utoipa::path(post, path = "/v1/operations/{operation_id}:retry",
    operation_id = "AsyncOperationsService_RetryOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
            description = "With an input only: printable ASCII that identifies this request: repeating it with the same key creates nothing twice.")),
    request_body(content = inline(Option<RetryOperation>), description = "Empty to retry the operation itself; with an input, a new operation is created with it.",
        example = json!({"input": {"image": "shop:1.3"}})),
    responses((status = 200, description = "The operation.", body = OperationAnswer), RetryErrors))]
async fn retry(
    app: &App,
    caller: &Caller,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    if body.is_end_stream() {
        return carry_out(app, caller, target, OperationCommand::Retry).await;
    }
    let body = body::read_json(app, caller, headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<RetryOperation>(&body)?;
    let made = retry::retry(app, caller, target.id_before_verb(), asked, idempotency_key(headers)?).await?;
    Ok(create::made(&made))
}

async fn carry_out(app: &App, caller: &Caller, target: &Target, what: OperationCommand) -> Result<Response, ApiError> {
    let operation = command::command(app, caller, target.id_before_verb(), what).await?;
    Ok(render::response(to_json(&OperationAnswer::from(&operation))))
}

/// Delete an operation that has ended
#[utoipa::path(delete, path = "/v1/operations/{operation_id}",
    operation_id = "AsyncOperationsService_DeleteOperation", tag = "AsyncOperationsService",
    params(("operation_id" = String, Path, format = Uuid, description = "The operation's id.")),
    responses((status = 200, description = "The operation was deleted.", body = render::Empty), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Result<Response, ApiError> {
    body::none(&app, &caller, body).await?;
    command::command(&app, &caller, target.id(), OperationCommand::Delete).await?;
    Ok(render::response("{}"))
}
