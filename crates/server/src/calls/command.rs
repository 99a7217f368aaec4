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
        // The engine of this process need not wait for its next heartbeat to notice.
        OperationCommand::Cancel => app.waker.cancelled(),
        OperationCommand::Retry => app.waker.wake(),
        OperationCommand::Delete => {}
    }
    Ok(operation)
}

/// Which statuses allow a command.
fn allowed(command: OperationCommand) -> &'static str {
    match command {
        OperationCommand::Cancel => "only a PENDING or RUNNING operation can be cancelled",
        OperationCommand::Retry => "only a FAILED operation can be retried",
        OperationCommand::Delete => "only a COMPLETED or FAILED operation can be deleted; cancel it first",
    }
}
