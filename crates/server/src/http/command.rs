//! `POST /v1/operations/{id}:cancel` and `:retry`, `DELETE /v1/operations/{id}`.
//!
//! These calls take nothing but the id: a body is not read, so that no limit on bodies stands in the way of a
//! cancellation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::ALLOW;
use operations::{Operation, OperationId, Refusal};
use store::{OperationCommand, Scope};

use super::caller::Caller;
use super::target::Target;
use crate::app::App;
use crate::error::ApiError;
use crate::render::{self, OperationAnswer, to_json};

/// What `/v1/operations/{id}` without a verb takes.
const METHODS_WITHOUT_VERB: &str = "GET,HEAD,DELETE";

/// A call with a verb.
pub(super) async fn post(State(app): State<App>, caller: Caller, target: Target) -> Result<Response, ApiError> {
    let command = match target.verb() {
        Some("cancel") => OperationCommand::Cancel,
        Some("retry") => OperationCommand::Retry,
        Some(_) => return Err(ApiError::NotFound("path")),
        None => {
            let mut response = ApiError::MethodNotAllowed.into_response();
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS_WITHOUT_VERB));
            return Ok(response);
        }
    };
    caller.require(Scope::OperationsWrite)?;
    let operation = carry_out(&app, &caller, target.id_before_verb()?, command).await?;
    match command {
        // The engine of this process need not wait for its next heartbeat to learn it.
        OperationCommand::Cancel => app.waker.cancelled(),
        OperationCommand::Retry | OperationCommand::Delete => app.waker.wake(),
    }
    Ok(render::response(to_json(&OperationAnswer::from(&operation))))
}

/// Removes an operation that has ended.
pub(super) async fn delete(State(app): State<App>, caller: Caller, target: Target) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    carry_out(&app, &caller, target.id()?, OperationCommand::Delete).await?;
    Ok(render::response("{}"))
}

async fn carry_out(
    app: &App,
    caller: &Caller,
    id: OperationId,
    command: OperationCommand,
) -> Result<Operation, ApiError> {
    let outcome = app.store.command(caller.access(), id, command).await?;
    outcome.ok_or(ApiError::NotFound("operation"))?.map_err(|refusal| match refusal {
        Refusal::WrongStatus(status) => ApiError::WrongStatus { status, allowed: allowed(command) },
        other => ApiError::Internal(other.into()),
    })
}

/// Which states a command is for.
fn allowed(command: OperationCommand) -> &'static str {
    match command {
        OperationCommand::Cancel => "only a PENDING or RUNNING one can be cancelled",
        OperationCommand::Retry => "only a FAILED one can be tried again",
        OperationCommand::Delete => "only a COMPLETED or FAILED one can be deleted; cancel it first",
    }
}
