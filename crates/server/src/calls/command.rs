//! Cancelling, retrying and deleting an operation.

use operations::{Operation, OperationId, Refusal};
use store::{OperationCommand, Scope};

use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;

/// Carries out a command; a deletion returns the operation as it was.
pub(crate) async fn command(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
    command: OperationCommand,
) -> Result<Operation, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let action = match command {
        OperationCommand::Cancel => "operations.cancel",
        OperationCommand::Retry => "operations.retry",
        OperationCommand::Delete => "operations.delete",
    };
    let outcome = caller.store(app, action, Vec::new()).command(caller.access(), id?, command).await?;
    let operation = outcome.ok_or(super::list::NOT_FOUND)?.map_err(|refusal| match refusal {
        Refusal::WrongStatus(status) => ApiError::WrongStatus { status, allowed: allowed(command) },
        Refusal::UniqueKeyInUse => ApiError::UniqueKeyInUse,
        other => ApiError::Internal(other.into()),
    })?;
    match command {
        // The engine of this process need not wait for its next heartbeat to learn of it.
        OperationCommand::Cancel => app.waker.cancelled(),
        OperationCommand::Retry => app.waker.wake(),
        OperationCommand::Delete => {}
    }
    Ok(operation)
}

/// Which states a command is for.
fn allowed(command: OperationCommand) -> &'static str {
    match command {
        OperationCommand::Cancel => "only a PENDING or RUNNING one can be cancelled",
        OperationCommand::Retry => "only a FAILED one can be tried again",
        OperationCommand::Delete => "only a COMPLETED or FAILED one can be deleted; cancel it first",
    }
}
