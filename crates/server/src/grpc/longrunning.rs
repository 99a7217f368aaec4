//! `google.longrunning.Operations` over the same operations, for clients that know Google's.
//!
//! A name is `operations/{id}`. The metadata is a `longrun.v1.OperationMetadata`, the response a
//! `longrun.v1.OperationOutput`. Of a list's page token there is one form: the number of the page and its size, so that
//! what is created between two pages moves the rest, and an operation may be seen twice.

use operations::{Operation, OperationId, Status as State};
use prost::Message;
use prost_types::Any;
use proto::google::longrunning as google;
use proto::google::longrunning::operations_server::Operations;
use proto::google::rpc;
use proto::longrun::v1 as wire;
use store::{HistoryKind, OperationCommand};
use tonic::{Code, Request, Response, Status};

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
                "is not understood here; use longrun.v1 to list by kind, resource or status",
            )
            .into());
        }
        if !["", COLLECTION].contains(&&*asked.name) {
            return Err(ApiError::field("name", "must be operations, or empty").into());
        }
        let mut violations = Vec::new();
        let size = convert::count("page_size", asked.page_size, &mut violations).filter(|size| *size > 0);
        let size = size.unwrap_or(app.settings.default_page_size).min(MAX_PAGE).min(app.settings.max_page_size);
        let (page, size) = match &*asked.page_token {
            "" => (0, size),
            token => place(token)
                .ok_or_else(|| ApiError::field("page_token", "must be the next_page_token of a page before"))?,
        };
        let number = app.settings.first_page.shown(page);
        let value = ListOperations { page: Some(number), page_size: Some(size), ..ListOperations::default() };
        let found = list::list(app, &caller, Read { value, violations }).await?;
        let next = i64::from(page) + 1 < i64::from(found.listing.page.wire_total_pages());
        Ok(Response::new(google::ListOperationsResponse {
            operations: found.listing.entries.iter().map(|entry| operation(&entry.operation, String::new())).collect(),
            next_page_token: if next { format!("v1.{}.{size}", page + 1) } else { String::new() },
            unreachable: Vec::new(),
        }))
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

    /// Of one that has ended already there is nothing to cancel, which is no error to those who ask.
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
        let found = wait::wait(&self.0, &call.caller, id(&asked.name)?, Read { value, violations }).await?;
        Ok(Response::new(self.whole(&call.caller, &found.operation).await?))
    }
}

impl Face {
    /// With the last line about its progress, when it runs.
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

/// The page's number and its size.
pub(super) fn place(token: &str) -> Option<(u32, u32)> {
    let (page, size) = token.strip_prefix("v1.")?.split_once('.')?;
    let (page, size) = (page.parse().ok()?, size.parse().ok()?);
    ((1..=MAX_PAGE).contains(&size) && i32::try_from(page).is_ok() && format!("v1.{page}.{size}") == token)
        .then_some((page, size))
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
