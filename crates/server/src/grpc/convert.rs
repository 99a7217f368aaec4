//! Conversions between messages and the requests and answers of calls.

use std::time::Duration;

use operations::{Operation, OperationId, PageInfo, Timestamp, Violation};
use proto::longrun::v1 as wire;
use serde_json::value::RawValue;
use store::OperationDetail;

use crate::calls::creation::CreateOperation;
use crate::calls::list::NOT_FOUND;
use crate::calls::page::PageQuery;
use crate::error::ApiError;
use crate::services::FirstPage;
use crate::strict::Read;

/// A text that is not an id is answered like an unknown id.
pub(super) fn id(text: &str) -> Result<OperationId, ApiError> {
    text.parse().map_err(|_| NOT_FOUND)
}

pub(super) fn operation(operation: &Operation) -> wire::AsyncOperation {
    let (resource_type, resource_id) = match &operation.resource {
        Some(resource) => (resource.resource_type.clone(), resource.resource_id.clone()),
        None => Default::default(),
    };
    wire::AsyncOperation {
        id: operation.id.to_string(),
        kind: operation.kind.clone(),
        status: status(operation.status).into(),
        resource_type,
        resource_id,
        project_id: operation.project_id.clone(),
        project_version_id: operation.project_version_id.clone(),
        created_at: Some(timestamp(operation.created_at)),
        started_at: operation.started_at.map(timestamp),
        finished_at: operation.finished_at.map(timestamp),
        output: operation.output.clone(),
        error_message: operation.error_message.clone(),
        output_left_out: false,
    }
}

/// A view as a query writes it.
pub(super) fn view(number: i32) -> Option<String> {
    match wire::OperationView::try_from(number) {
        Ok(wire::OperationView::Unspecified) => None,
        Ok(wire::OperationView::Basic) => Some("BASIC".to_owned()),
        Ok(wire::OperationView::Full) => Some("FULL".to_owned()),
        Err(_) => Some(number.to_string()),
    }
}

/// The fields of an operation in addition to those of `AsyncOperation`.
pub(super) fn detail(detail: OperationDetail) -> wire::OperationDetail {
    let (concurrency_key, concurrency_limit) =
        detail.concurrency.map(|concurrency| (concurrency.key, concurrency.limit)).unwrap_or_default();
    wire::OperationDetail {
        concurrency_key,
        concurrency_limit,
        input: detail.input,
        labels: detail.labels.into_iter().collect(),
        unique_key: detail.unique_key.unwrap_or_default(),
        priority: detail.priority.into(),
        attempts: detail.attempts,
        max_attempts: detail.max_attempts,
        run_after: detail.run_after.map(timestamp),
        timeout: detail.timeout.map(duration),
        worker: detail.worker,
        cancel_requested: detail.cancel_requested,
        progress: detail.progress,
        schedule: detail.schedule.unwrap_or_default(),
        input_left_out: false,
    }
}

pub(super) fn status(status: operations::Status) -> wire::AsyncOperationStatus {
    use wire::AsyncOperationStatus as Wire;
    match status {
        operations::Status::Pending => Wire::Pending,
        operations::Status::Running => Wire::Running,
        operations::Status::Completed => Wire::Completed,
        operations::Status::Failed => Wire::Failed,
    }
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let millis = time.as_millis();
    let nanos = i32::try_from(millis.rem_euclid(1_000) * 1_000_000).expect("below a second");
    prost_types::Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    // A duration longer than 300,000 million years is shown as that.
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).expect("below a second") }
}

/// A duration that is not negative.
pub(super) fn given_duration(
    field: &str,
    given: Option<prost_types::Duration>,
    found: &mut Vec<Violation>,
) -> Option<Duration> {
    let given = given?;
    let duration = u64::try_from(given.seconds).ok().zip(u32::try_from(given.nanos).ok());
    let duration = duration.filter(|(_, nanos)| *nanos < 1_000_000_000);
    if duration.is_none() {
        found
            .push(Violation::new(field, "must be a duration that is not negative, with less than one second in nanos"));
    }
    duration.map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

/// A time within the years that can be expressed.
pub(super) fn given_timestamp(
    field: &str,
    given: Option<prost_types::Timestamp>,
    found: &mut Vec<Violation>,
) -> Option<Timestamp> {
    let given = given?;
    let millis = given.seconds.checked_mul(1_000).zip(u32::try_from(given.nanos).ok());
    let millis = millis.filter(|(_, nanos)| *nanos < 1_000_000_000);
    let time = millis.and_then(|(millis, nanos)| {
        let millis = millis.checked_add(i64::from(nanos / 1_000_000))?;
        Some(Timestamp::from_millis(millis)).filter(|time| time.as_millis() == millis)
    });
    if time.is_none() {
        found.push(Violation::new(field, "must be a time between the years 0001 and 9999"));
    }
    time
}

/// The JSON in a text; none when the text is empty.
pub(super) fn json<'a>(field: &str, text: &'a str, found: &mut Vec<Violation>) -> Option<&'a RawValue> {
    if text.is_empty() {
        return None;
    }
    serde_json::from_str(text).map_err(|error| found.push(Violation::new(field, format!("is not JSON: {error}")))).ok()
}

/// A creation as the call accepts it.
pub(super) fn creation(given: &wire::CreateOperationRequest) -> Read<CreateOperation<'_>> {
    let mut violations = Vec::new();
    let value = CreateOperation {
        kind: given.kind.clone(),
        resource_type: given.resource_type.clone(),
        resource_id: given.resource_id.clone(),
        project_id: given.project_id.clone(),
        project_version_id: given.project_version_id.clone(),
        input: json("input", &given.input, &mut violations),
        priority: Some(given.priority.into()),
        run_after: given_timestamp("run_after", given.run_after, &mut violations),
        timeout: given_duration("timeout", given.timeout, &mut violations),
        // 0 means that it is not given.
        max_attempts: Some(given.max_attempts).filter(|most| *most != 0).map(i64::from),
        retain_for: given_duration("retain_for", given.retain_for, &mut violations),
        concurrency_key: given.concurrency_key.clone(),
        // 0 means that it is not given.
        concurrency_limit: Some(given.concurrency_limit).filter(|limit| *limit != 0).map(i64::from),
        labels: given.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        unique_key: given.unique_key.clone(),
    };
    Read { value, violations }
}

/// A creation within another request. Only a request has an idempotency key.
pub(super) fn part(given: &wire::CreateOperationRequest) -> Read<CreateOperation<'_>> {
    let mut read = creation(given);
    if !given.idempotency_key.is_empty() {
        let description = "must be empty here: a key identifies a request, and this operation is part of one";
        read.violations.push(Violation::new("idempotency_key", description));
    }
    read
}

/// A page's number or size; 0 means that it is not given.
pub(super) fn count(field: &str, given: i32, found: &mut Vec<Violation>) -> Option<u32> {
    let count = u32::try_from(given).ok();
    if count.is_none() {
        found.push(Violation::new(field, "must be an integer between 0 and 2147483647"));
    }
    count
}

/// Which page of a list.
pub(super) fn page(size: i32, token: String) -> Read<PageQuery> {
    let mut violations = Vec::new();
    let wanted = count("page_size", size, &mut violations);
    Read { value: PageQuery { wanted, token }, violations }
}

/// The text of a filter by status, as a query writes it.
pub(super) fn status_filter(number: i32) -> String {
    number.to_string()
}

pub(super) fn pagination(info: PageInfo, first_page: FirstPage) -> wire::Pagination {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    wire::Pagination {
        total_count: info.wire_total_count(),
        page: number(first_page.shown(info.request.page)),
        total_pages: info.wire_total_pages(),
        page_size: number(info.request.page_size),
    }
}

/// An idempotency key; none when it is empty.
pub(super) fn key(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
