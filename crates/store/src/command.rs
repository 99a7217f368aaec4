//! What callers do to operations that exist: cancel, retry, delete.

use operations::{Event, Operation, Refusal, State, Timestamp};

/// What a caller wants done to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationCommand {
    /// End it if it is pending; ask its worker to stop if it is running.
    Cancel,
    /// Have it retried after it failed.
    Retry,
    /// Remove it after it ended.
    Delete,
}

/// The result of an [`OperationCommand`]: `None` when there is no such operation or it may not be seen; a refusal when
/// its state does not allow it; else the operation as it is now, or as it was when it is gone.
pub type CommandOutcome = Option<Result<Operation, Refusal>>;

impl OperationCommand {
    /// The state afterwards; `None` when the operation is to be removed.
    pub(crate) fn apply(self, state: &State, at: Timestamp) -> Result<Option<State>, Refusal> {
        match self {
            OperationCommand::Cancel => state.clone().apply(Event::Cancel { at }).map(Some),
            OperationCommand::Retry => state.clone().apply(Event::Retry).map(Some),
            OperationCommand::Delete => state.check_removal().map(|()| None),
        }
    }
}

/// The operation in a new state.
pub(crate) fn in_state(operation: Operation, state: &State) -> Operation {
    let (started_at, finished_at, output, error_message) = match state {
        State::Pending { started_at, .. } => (*started_at, None, "", ""),
        State::Running { started_at, .. } => (Some(*started_at), None, "", ""),
        State::Completed { started_at, finished_at, output, .. } => {
            (Some(*started_at), Some(*finished_at), output.as_str(), "")
        }
        State::Failed { started_at, finished_at, error_message, .. } => {
            (*started_at, Some(*finished_at), "", error_message.as_str())
        }
    };
    Operation {
        status: state.status(),
        started_at,
        finished_at,
        output: output.to_owned(),
        error_message: error_message.to_owned(),
        ..operation
    }
}
