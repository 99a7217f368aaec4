//! How both engines read the columns of a row.

use operations::{Progress, State, Status, Timestamp};

use crate::StoreError;

/// The error for a row that is not valid.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Unusable(format!("a row holds no valid {what}; run longrun doctor"))
}

/// The columns that rows of `active` and `settled` have in common.
pub(crate) struct Columns {
    pub(crate) status: Status,
    pub(crate) progress: Progress,
    pub(crate) started_at: Option<Timestamp>,
}

impl Columns {
    /// The state of a row of `active`. Columns are read only where the status has them: not every row has all.
    pub(crate) fn active(
        self,
        due_at: impl FnOnce() -> Result<Option<Timestamp>, StoreError>,
        cancel_requested: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<State, StoreError> {
        let Columns { status, progress, started_at } = self;
        match status {
            Status::Pending => Ok(State::Pending { progress, started_at, due_at: due_at()? }),
            Status::Running => {
                let started_at = started_at.ok_or_else(|| damaged("started_at"))?;
                Ok(State::Running { progress, started_at, cancel_requested: cancel_requested()? })
            }
            Status::Completed | Status::Failed => Err(damaged("status")),
        }
    }

    /// The state of a row of `settled`; `text` reads a column of text.
    pub(crate) fn settled(
        self,
        finished_at: Option<Timestamp>,
        text: impl FnOnce(&'static str) -> Result<String, StoreError>,
    ) -> Result<State, StoreError> {
        let Columns { status, progress, started_at } = self;
        let finished_at = finished_at.ok_or_else(|| damaged("finished_at"))?;
        match status {
            Status::Completed => {
                let started_at = started_at.ok_or_else(|| damaged("started_at"))?;
                Ok(State::Completed { progress, started_at, finished_at, output: text("output")? })
            }
            Status::Failed => {
                Ok(State::Failed { progress, started_at, finished_at, error_message: text("error_message")? })
            }
            Status::Pending | Status::Running => Err(damaged("status")),
        }
    }
}
