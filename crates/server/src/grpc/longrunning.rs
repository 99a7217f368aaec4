//! `google.longrunning.Operations` over the same operations, for clients of Google's long-running operations.
//!
//! A name is `operations/{id}`. The metadata is a `longrun.v1.OperationMetadata`, the response a
//! `longrun.v1.OperationOutput`. The page token of a list consists of the number of the page and its size, and, when
//! not all operations of the page fitted into one answer, how many of them were answered before. Therefore operations
//! that are created between two pages shift the others, and an operation may appear twice.

use std::fmt;

use operations::{Operation, OperationId, Status as State};
use prost::Message;
use prost_types::Any;
use proto::google::longrunning as google;
use proto::google::longrunning::operations_server::Operations;
use proto::google::rpc;
use proto::longrun::v1 as wire;
use store::{HistoryKind, Listed, OperationCommand};
use tonic::{Code, Request, Response, Status};

use super::budget::ByteBudget;
use super::{Call, Face, call, convert};
use crate::calls::list::{self, ListOperations, NOT_FOUND};
use crate::calls::wait::{self, WaitOperation};
use crate::calls::{command, events};
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::Read;

/// What names begin with.
const COLLECTION: &str = "operations";
/// The most entries of a page.
const MAX_PAGE: u32 = 100;

#[tonic::async_trait]
impl Operations for Face {
    async fn list_operations(
        &self,
        request: Request<google::ListOperationsRequest>,
    ) -> Result<Response<google::ListOperationsResponse>, Status> {
        let (app, Call { caller, .. }, asked) = (&self.0, call(&request), request.into_inner());
        if !asked.filter.is_empty() {
            return Err(ApiError::field(
                "filter",
                "is not supported here; use longrun.v1 to list by kind, resource or status",
            )
            .into());
        }
        if !["", COLLECTION].contains(&&*asked.name) {
            return Err(ApiError::field("name", "must be operations, or empty").into());
        }
        let mut violations = Vec::new();
        let size = convert::count("page_size", asked.page_size, &mut violations).filter(|size| *size > 0);
        let size = size.unwrap_or(app.settings.default_page_size).min(MAX_PAGE).min(app.settings.max_page_size);
        let at = match &*asked.page_token {
            "" => Place { page: 0, size, skip: 0 },
            token => place(token)
                .ok_or_else(|| ApiError::field("page_token", "must be the next_page_token of a previous page"))?,
        };
        let number = app.settings.first_page.shown(at.page);
        let value = ListOperations { page: Some(number), page_size: Some(at.size), ..ListOperations::default() };
        let found = list::list(app, &caller, Read { value, violations }).await?;
        let (operations, skip) = self.some_of(&caller, &found.listing.entries, at.skip).await?;
        let has_next = i64::from(at.page) + 1 < i64::from(found.listing.page.wire_total_pages());
        let next = match skip {
            Some(skip) => Some(Place { skip, ..at }),
            None => has_next.then(|| Place { page: at.page + 1, skip: 0, ..at }),
        };
        let next_page_token = next.map(|next| next.to_string()).unwrap_or_default();
        Ok(Response::new(google::ListOperationsResponse { operations, next_page_token, unreachable: Vec::new() }))
    }

    async fn get_operation(
        &self,
        request: Request<google::GetOperationRequest>,
    ) -> Result<Response<google::Operation>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let found = list::get(&self.0, &caller, id(&asked.name)).await?;
        Ok(Response::new(self.whole(&caller, &found.operation).await?))
    }

    async fn delete_operation(&self, request: Request<google::DeleteOperationRequest>) -> Result<Response<()>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        command::command(&self.0, &caller, id(&asked.name), OperationCommand::Delete).await?;
        Ok(Response::new(()))
    }

    /// If it has ended already, there is nothing to cancel, and the call succeeds.
    async fn cancel_operation(&self, request: Request<google::CancelOperationRequest>) -> Result<Response<()>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        match command::command(&self.0, &caller, id(&asked.name), OperationCommand::Cancel).await {
            Ok(_) | Err(ApiError::WrongStatus { .. }) => Ok(Response::new(())),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_operation(
        &self,
        request: Request<google::WaitOperationRequest>,
    ) -> Result<Response<google::Operation>, Status> {
        let (call, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let timeout = convert::given_duration("timeout", asked.timeout, &mut violations);
        let value = WaitOperation { timeout: Some(call.within_deadline(timeout.unwrap_or(wait::DEFAULT_WAIT))) };
        let found = wait::wait(&self.0, &call.caller, id(&asked.name), Read { value, violations }).await?;
        Ok(Response::new(self.whole(&call.caller, &found.operation).await?))
    }
}

impl Face {
    /// The operations of a page after those that are skipped, each with its whole output, as many as fit into an
    /// answer; and how many to skip next time, when there are more. At least one is returned.
    async fn some_of(
        &self,
        caller: &Caller,
        entries: &[Listed],
        skip: u32,
    ) -> Result<(Vec<google::Operation>, Option<u32>), ApiError> {
        let (mut answered, mut budget) = (Vec::new(), ByteBudget::whole());
        for (index, entry) in (0..).zip(entries) {
            if index < skip {
                continue;
            }
            let mut whole = entry.operation.clone();
            if entry.output_left_out {
                // An operation that was removed in the meantime has none.
                whole.output = self.0.store.output(caller.access(), whole.id).await?.unwrap_or_default();
            }
            let shown = operation(&whole, String::new());
            if !budget.take(shown.encoded_len()) && !answered.is_empty() {
                return Ok((answered, Some(index)));
            }
            answered.push(shown);
        }
        Ok((answered, None))
    }

    /// The operation, with the progress that was reported last while it is running.
    async fn whole(&self, caller: &Caller, found: &Operation) -> Result<google::Operation, Status> {
        let progress = match found.status {
            State::Running => events::all(&self.0, caller, Ok(found.id)).await?.into_iter().rev(),
            _ => Vec::new().into_iter().rev(),
        };
        let progress = progress.filter(|event| event.kind == HistoryKind::Progress).map(|event| event.message).next();
        Ok(operation(found, progress.unwrap_or_default()))
    }
}

pub(super) fn id(name: &str) -> Result<OperationId, ApiError> {
    let id = name.strip_prefix(COLLECTION).and_then(|rest| rest.strip_prefix('/')).ok_or(NOT_FOUND)?;
    convert::id(id)
}

/// Where a list continues.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The number of the page, from 0.
    page: u32,
    size: u32,
    /// How many operations of the page were answered before.
    skip: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { page, size, skip } = self;
        write!(f, "v1.{page}.{size}")?;
        if *skip > 0 { write!(f, ".{skip}") } else { Ok(()) }
    }
}

/// The position that a token names.
pub(super) fn place(token: &str) -> Option<Place> {
    let mut numbers = token.strip_prefix("v1.")?.split('.').map(|number| number.parse::<u32>().ok());
    let (page, size) = (numbers.next()??, numbers.next()??);
    let place = Place { page, size, skip: numbers.next().unwrap_or(Some(0))? };
    let is_place = (1..=MAX_PAGE).contains(&size) && i32::try_from(page).is_ok() && place.skip < size;
    (is_place && place.to_string() == token).then_some(place)
}

fn operation(operation: &Operation, progress: String) -> google::Operation {
    use google::operation::Result as Ended;
    let wire::AsyncOperation { kind, status, resource_type, resource_id, created_at, started_at, finished_at, .. } =
        convert::operation(operation);
    let metadata = wire::OperationMetadata {
        kind,
        status,
        resource_type,
        resource_id,
        create_time: created_at,
        start_time: started_at,
        end_time: finished_at,
        progress,
    };
    let result = match operation.status {
        State::Pending | State::Running => None,
        State::Completed => {
            let output = wire::OperationOutput { output: operation.output.clone() };
            Some(Ended::Response(any("longrun.v1.OperationOutput", &output)))
        }
        State::Failed => {
            let code = if operation.was_cancelled() { Code::Cancelled } else { Code::Unknown };
            let message = operation.error_message.clone();
            Some(Ended::Error(rpc::Status { code: code.into(), message, details: Vec::new() }))
        }
    };
    google::Operation {
        name: format!("{COLLECTION}/{}", operation.id),
        metadata: Some(any("longrun.v1.OperationMetadata", &metadata)),
        done: operation.status.is_terminal(),
        result,
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_has_one_form() {
        for token in ["v1.0.1", "v1.1.50", "v1.2147483647.100", "v1.0.50.1", "v1.3.50.49"] {
            assert_eq!(place(token).map(|place| place.to_string()).as_deref(), Some(token));
        }
        for bad in
            ["", "v1", "v1.1", "v1.1.0", "v1.1.101", "v1.01.5", "v1.2147483648.5", "v1.1.5.0", "v1.1.5.5", "v1.1.5.1.1"]
        {
            assert!(place(bad).is_none(), "{bad}");
        }
    }
}
