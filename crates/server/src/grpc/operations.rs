//! `longrun.v1.AsyncOperationsService`.

use std::mem;

use futures_util::stream;
use operations::{OperationId, Violation};
use prost::Message as _;
use proto::longrun::v1 as wire;
use proto::longrun::v1::async_operations_service_server::AsyncOperationsService;
use store::{CountGroup, OperationCommand, OperationDetail};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::budget::ByteBudget;
use super::{Answers, Call, Face, call, convert};
use crate::calls::bulk::{self, BulkOperations};
use crate::calls::creation::{BatchCreateOperations, Made};
use crate::calls::detail::{self, GetOperation, View};
use crate::calls::events::{self, ListEvents};
use crate::calls::list::{self, ListOperations};
use crate::calls::retry::{self, RetryOperation};
use crate::calls::search::{self, CountOperations, FoundPage, SearchOperations};
use crate::calls::wait::WaitOperation;
use crate::calls::watch::{self, WatchEvent, WatchOperations};
use crate::calls::{command, creation, wait};
use crate::error::ApiError;
use crate::http::Caller;
use crate::http::create::EXISTING;
use crate::strict::{List, Read};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AsyncOperationsService for Face {
    async fn list_operations(
        &self,
        request: Request<wire::ListOperationsRequest>,
    ) -> Answer<wire::ListOperationsResponse> {
        let (app, Call { caller, .. }, asked) = (&self.0, call(&request), request.into_inner());
        let mut violations = Vec::new();
        let pagination = asked.pagination.unwrap_or_default();
        let value = ListOperations {
            page: convert::count("pagination.page", pagination.page, &mut violations),
            page_size: convert::count("pagination.page_size", pagination.page_size, &mut violations),
            resource_id: asked.resource_id,
            resource_type: asked.resource_type,
            status: convert::status_filter(asked.status),
            kind: asked.kind,
        };
        let page = list::list(app, &caller, Read { value, violations }).await?;
        let entries = &page.listing.entries;
        let mut operations: Vec<wire::AsyncOperation> =
            entries.iter().map(|entry| convert::operation(&entry.operation)).collect();
        let mut budget = ByteBudget::after(operations.iter().map(|operation| operation.encoded_len()));
        for (operation, entry) in operations.iter_mut().zip(entries) {
            if !entry.output_left_out {
                continue;
            }
            match self.long_output(&caller, entry.operation.id, &mut budget).await? {
                Some(output) => operation.output = output,
                None => operation.output_left_out = true,
            }
        }
        let pagination = Some(convert::pagination(page.listing.page, app.settings.first_page));
        Ok(Response::new(wire::ListOperationsResponse { operations, pagination }))
    }

    async fn get_operation(&self, request: Request<wire::GetOperationRequest>) -> Answer<wire::GetOperationResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let id = convert::id(&asked.operation_id);
        let view = GetOperation { view: convert::view(asked.view) };
        if detail::view(Read { value: view, violations: Vec::new() })? == View::Full {
            let detail = detail::detail(&self.0, &caller, id).await?;
            let operation = Some(convert::operation(&detail.operation));
            return Ok(Response::new(wire::GetOperationResponse { operation, detail: Some(convert::detail(detail)) }));
        }
        let found = list::get(&self.0, &caller, id).await?;
        let operation = Some(convert::operation(&found.operation));
        Ok(Response::new(wire::GetOperationResponse { operation, detail: None }))
    }

    async fn search_operations(
        &self,
        request: Request<wire::SearchOperationsRequest>,
    ) -> Answer<wire::SearchOperationsResponse> {
        let (app, Call { caller, .. }, asked) = (&self.0, call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = SearchOperations {
            filter: asked.filter,
            page: convert::count("page", asked.page, &mut violations).filter(|page| *page > 0),
            page_size: convert::count("page_size", asked.page_size, &mut violations),
            page_token: asked.page_token,
            order_by: asked.order_by,
        };
        let FoundPage { page, next_page_token } = search::search(app, &caller, Read { value, violations }).await?;
        let found = page.found.into_iter().map(|detail| {
            let long = (detail.output_left_out || detail.input_left_out).then(|| detail.clone());
            (found_operation(detail), long)
        });
        let (mut operations, long): (Vec<wire::FoundOperation>, Vec<Option<OperationDetail>>) = found.unzip();
        let mut budget = ByteBudget::after(operations.iter().map(|operation| operation.encoded_len()));
        for (shown, detail) in operations.iter_mut().zip(long) {
            if let Some(detail) = detail {
                *shown = self.long_texts(&caller, detail, &mut budget).await?;
            }
        }
        Ok(Response::new(wire::SearchOperationsResponse {
            operations,
            total_count: page.total,
            total_is_exact: page.total_is_exact,
            next_page_token,
        }))
    }

    async fn count_operations(
        &self,
        request: Request<wire::CountOperationsRequest>,
    ) -> Answer<wire::CountOperationsResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let value = CountOperations { filter: asked.filter, group_by: asked.group_by };
        let counts = search::count(&self.0, &caller, Read { value, violations: Vec::new() }).await?;
        let group = |group: CountGroup| wire::OperationCount {
            status: group.status.map_or(0, |status| status.number().into()),
            kind: group.kind.unwrap_or_default(),
            project_id: group.project_id,
            count: group.count,
        };
        Ok(Response::new(wire::CountOperationsResponse {
            groups: counts.counted.groups.into_iter().map(group).collect(),
            groups_left_out: counts.groups_left_out,
            total_count: counts.counted.total,
            total_is_exact: counts.counted.is_exact,
        }))
    }

    async fn wait_operation(
        &self,
        request: Request<wire::WaitOperationRequest>,
    ) -> Answer<wire::WaitOperationResponse> {
        let (call, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let timeout = convert::given_duration("timeout", asked.timeout, &mut violations);
        let value = WaitOperation { timeout: Some(call.within_deadline(timeout.unwrap_or(wait::DEFAULT_WAIT))) };
        let id = convert::id(&asked.operation_id);
        let found = wait::wait(&self.0, &call.caller, id, Read { value, violations }).await?;
        let operation = Some(convert::operation(&found.operation));
        Ok(Response::new(wire::WaitOperationResponse { operation }))
    }

    async fn list_operation_events(
        &self,
        request: Request<wire::ListOperationEventsRequest>,
    ) -> Answer<wire::ListOperationEventsResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let page_size = convert::count("page_size", asked.page_size, &mut violations);
        let page_token = events::place_of(&asked.page_token).unwrap_or_else(|error| {
            violations.push(Violation::new("page_token", error.to_string()));
            None
        });
        let value = ListEvents { page_size, page_token };
        let id = convert::id(&asked.operation_id);
        let page = events::events(&self.0, &caller, id, Read { value, violations }).await?;
        let events = page.events.into_iter().map(|event| wire::OperationEvent {
            time: Some(convert::timestamp(event.at)),
            r#type: events::wire_name(event.kind).to_owned(),
            attempt: event.attempt,
            worker: event.worker,
            message: event.message,
        });
        let next_page_token = page.next.map_or_else(String::new, |next| next.to_string());
        Ok(Response::new(wire::ListOperationEventsResponse { events: events.collect(), next_page_token }))
    }

    type WatchOperationsStream = Answers<wire::WatchOperationsResponse>;

    async fn watch_operations(
        &self,
        request: Request<wire::WatchOperationsRequest>,
    ) -> Answer<Self::WatchOperationsStream> {
        let (call, asked) = (call(&request), request.into_inner());
        let value = WatchOperations {
            resource_id: asked.resource_id,
            resource_type: asked.resource_type,
            status: convert::status_filter(asked.status),
            kind: asked.kind,
            last_event_id: asked.last_event_id,
        };
        let watcher = watch::watch(&self.0, &call.caller, Read { value, violations: Vec::new() }).await?;
        let events = stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((watch_response(event), watcher))
        });
        Ok(Response::new(call.until_deadline("the watch", events)))
    }

    async fn create_operation(
        &self,
        request: Request<wire::CreateOperationRequest>,
    ) -> Answer<wire::CreateOperationResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let key = convert::key(&asked.idempotency_key);
        let created = creation::create(&self.0, &caller, convert::creation(&asked), key).await?;
        let operation = Some(convert::operation(&created.operation));
        Ok(made(wire::CreateOperationResponse { operation }, &created))
    }

    async fn batch_create_operations(
        &self,
        request: Request<wire::BatchCreateOperationsRequest>,
    ) -> Answer<wire::BatchCreateOperationsResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let operations = List::of(&asked.operations, convert::part);
        let value = BatchCreateOperations { operations };
        let key = convert::key(&asked.idempotency_key);
        let created = creation::batch(&self.0, &caller, Read { value, violations: Vec::new() }, key).await?;
        let mut operations: Vec<wire::AsyncOperation> =
            created.iter().map(|made| convert::operation(&made.operation)).collect();
        // A call that is repeated answers the operations of the first one, which may have ended.
        let outputs: Vec<String> = operations.iter_mut().map(|operation| mem::take(&mut operation.output)).collect();
        let mut budget = ByteBudget::after(operations.iter().map(|operation| operation.encoded_len()));
        for (operation, output) in operations.iter_mut().zip(outputs) {
            match budget.take(output.len()) {
                true => operation.output = output,
                false => operation.output_left_out = true,
            }
        }
        let existing = (0..).zip(&created).filter(|(_, made)| made.existing).map(|(place, _)| place).collect();
        Ok(Response::new(wire::BatchCreateOperationsResponse { operations, existing }))
    }

    async fn bulk_operations(
        &self,
        request: Request<wire::BulkOperationsRequest>,
    ) -> Answer<wire::BulkOperationsResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let action = match asked.action() {
            wire::bulk_operations_request::Action::Unspecified => "",
            wire::bulk_operations_request::Action::Cancel => "cancel",
            wire::bulk_operations_request::Action::Retry => "retry",
            wire::bulk_operations_request::Action::Delete => "delete",
        };
        let value = BulkOperations {
            action: action.to_owned(),
            filter: asked.filter,
            dry_run: asked.dry_run,
            expected_count: asked.expected_count,
        };
        let key = convert::key(&asked.idempotency_key);
        let begun = bulk::begin(&self.0, &caller, Read { value, violations: Vec::new() }, key).await?;
        Ok(Response::new(wire::BulkOperationsResponse {
            matching_count: begun.count.cast_signed(),
            count_is_exact: begun.is_exact,
            operation: begun.operation.as_ref().map(convert::operation),
        }))
    }

    async fn cancel_operation(
        &self,
        request: Request<wire::CancelOperationRequest>,
    ) -> Answer<wire::CancelOperationResponse> {
        let (call, id) = (call(&request), request.into_inner().operation_id);
        let operation = Some(self.command(call, &id, OperationCommand::Cancel).await?);
        Ok(Response::new(wire::CancelOperationResponse { operation }))
    }

    async fn retry_operation(
        &self,
        request: Request<wire::RetryOperationRequest>,
    ) -> Answer<wire::RetryOperationResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = RetryOperation { input: convert::json("input", &asked.input, &mut violations) };
        let (id, key) = (convert::id(&asked.operation_id), convert::key(&asked.idempotency_key));
        let created = retry::retry(&self.0, &caller, id, Read { value, violations }, key).await?;
        let operation = Some(convert::operation(&created.operation));
        Ok(made(wire::RetryOperationResponse { operation }, &created))
    }

    async fn delete_operation(
        &self,
        request: Request<wire::DeleteOperationRequest>,
    ) -> Answer<wire::DeleteOperationResponse> {
        let (call, id) = (call(&request), request.into_inner().operation_id);
        self.command(call, &id, OperationCommand::Delete).await?;
        Ok(Response::new(wire::DeleteOperationResponse {}))
    }
}

impl Face {
    /// The output that was left out of a page, while there is space for it. An operation that was removed in between
    /// has none.
    async fn long_output(
        &self,
        caller: &Caller,
        id: OperationId,
        budget: &mut ByteBudget,
    ) -> Result<Option<String>, ApiError> {
        if budget.is_full() {
            return Ok(None);
        }
        let output = self.0.store.output(caller.access(), id).await?.unwrap_or_default();
        Ok(budget.take(output.len()).then_some(output))
    }

    /// An operation with the texts that were left out of a page, or with the flags that say that they are left out.
    async fn long_texts(
        &self,
        caller: &Caller,
        detail: OperationDetail,
        budget: &mut ByteBudget,
    ) -> Result<wire::FoundOperation, ApiError> {
        let mut left_out = found_operation(detail.clone());
        if let Some(operation) = &mut left_out.operation {
            operation.output_left_out = detail.output_left_out;
        }
        if let Some(known) = &mut left_out.detail {
            known.input_left_out = detail.input_left_out;
        }
        if budget.is_full() {
            return Ok(left_out);
        }
        let whole = search::whole(&self.0, caller.access(), detail).await?;
        let fits = budget.take(whole.input.len() + whole.operation.output.len());
        Ok(if fits { found_operation(whole) } else { left_out })
    }

    async fn command(&self, call: Call, id: &str, what: OperationCommand) -> Result<wire::AsyncOperation, Status> {
        let operation = command::command(&self.0, &call.caller, convert::id(id), what).await?;
        Ok(convert::operation(&operation))
    }
}

fn found_operation(detail: OperationDetail) -> wire::FoundOperation {
    let operation = Some(convert::operation(&detail.operation));
    wire::FoundOperation { operation, detail: Some(convert::detail(detail)) }
}

/// An answer, with the metadata that says whether its operation existed before.
fn made<T>(answer: T, made: &Made) -> Response<T> {
    let mut response = Response::new(answer);
    if made.existing {
        response.metadata_mut().insert(EXISTING, MetadataValue::from_static("true"));
    }
    response
}

fn watch_response(event: WatchEvent) -> Result<wire::WatchOperationsResponse, Status> {
    use wire::watch_operations_response::Event;
    let (event_id, event) = match event {
        WatchEvent::Became { event_id, operation } => {
            (event_id, Some(Event::Operation(convert::operation(&operation))))
        }
        WatchEvent::Deleted { event_id, id } => (event_id, Some(Event::DeletedOperationId(id.to_string()))),
        WatchEvent::Alive { event_id } => (event_id, None),
        WatchEvent::Failed(error) => return Err(error.into()),
    };
    Ok(wire::WatchOperationsResponse { event_id, event })
}
