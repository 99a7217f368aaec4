//! Retrying an operation: with the same input, or with another one.

use operations::{Operation, OperationId, RETRY_OF, Violation};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{OperationCommand, Scope};
use utoipa::ToSchema;

use super::creation::{self, Made};
use super::list::NOT_FOUND;
use super::{command, evaluation};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Read, canonical};

/// How an operation is retried.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryOperation<'a> {
    /// Another input. If it is given, a new operation is created with this input, the label retry_of, which is the id
    /// of the old one, and the same kind, resource, project, labels and limits as the old one.
    #[serde(default, borrow)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub(crate) input: Option<&'a RawValue>,
}

/// Makes a failed operation pending again; or, with an input, creates one that does the same with that input.
pub(crate) async fn retry(
    app: &App,
    caller: &Caller,
    id: Result<OperationId, ApiError>,
    asked: Read<RetryOperation<'_>>,
    key: Option<&str>,
) -> Result<Made, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    let (RetryOperation { input }, mut found) = asked.into_parts();
    let Some(input) = input.filter(|_| found.is_empty()) else {
        found.none()?;
        let operation = command::command(app, caller, id, OperationCommand::Retry).await?;
        return Ok(Made { operation, existing: false });
    };
    let id = id?;
    // The texts of the old one are not read.
    let detail = app.store.detail_up_to(caller.access(), id, 0).await?.ok_or(NOT_FOUND)?;
    let Operation { status, .. } = detail.operation;
    let mut new = detail.to_new();
    input.get().clone_into(&mut new.input);
    new.labels.insert(RETRY_OF.to_owned(), id.to_string());
    if new.kind == evaluation::KIND {
        // It follows from the input.
        new.resource = None;
    }
    if input.get().len() <= operations::MAX_INLINE_BYTES
        && let Err(problem) = canonical(input)
    {
        found.add(Violation::new("input", problem));
    }
    creation::check_new(app, &new, &mut found);
    found.none()?;
    let key_of_its_own = new.unique_key.is_some();
    let call = format!("POST /v1/operations/{id}:retry");
    // The call may have been made before: then its answer stands, whatever became of the old operation.
    if !status.is_terminal() && !creation::is_repeated(app, caller, new.clone(), &call, key).await? {
        let allowed = "only a COMPLETED or FAILED operation can be repeated with another input; cancel it first";
        return Err(ApiError::WrongStatus { status, allowed });
    }
    let made = creation::one(app, caller, new, &call, key).await?;
    if key_of_its_own && made.existing {
        // Only a repetition of this very call may be answered with an operation that existed before.
        let there = app.store.detail_up_to(caller.access(), made.operation.id, 0).await?;
        let is_this = there.is_some_and(|there| there.labels.get(RETRY_OF) == Some(&id.to_string()));
        if !is_this {
            return Err(ApiError::UniqueKeyInUse);
        }
    }
    Ok(made)
}
