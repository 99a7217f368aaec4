//! Operations in JSON with all their fields: the twelve of [`crate::render`] and more.

use operations::{Labels, OperationId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use store::OperationDetail;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::calls::duration;
use crate::render::{AsyncOperationStatus, shown, shown_if_set};

/// An operation with all its fields. Texts that are not set are empty; times and durations that are not set are left
/// out.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationDetail)]
pub(crate) struct WireDetail<'a> {
    /// The output; empty until the operation is completed. Structured output is JSON in this text.
    output: &'a str,
    /// Why it failed; empty unless it did.
    error_message: &'a str,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_set")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    finished_at: Option<Timestamp>,
    /// The project that it belongs to.
    project_id: &'a str,
    /// The kind of work.
    #[schema(example = "evidence_evaluation")]
    kind: &'a str,
    /// The type of the resource that it is about.
    #[schema(example = "evidence")]
    resource_type: &'a str,
    /// When it was created.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime, example = "2000-01-23T04:56:07.000Z")]
    created_at: Timestamp,
    /// When its last attempt began.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_set")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    started_at: Option<Timestamp>,
    /// The id of the resource that it is about.
    resource_id: &'a str,
    /// Its id, a UUID of version 7.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = Uuid)]
    id: OperationId,
    /// The version of the project.
    project_version_id: &'a str,
    /// Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message.
    #[schema(value_type = AsyncOperationStatus)]
    status: &'static str,
    /// The input that it was created with, as it was written; `null` when there is none.
    #[schema(value_type = serde_json::Value)]
    input: Option<&'a RawValue>,
    /// Its labels.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    labels: &'a Labels,
    /// While it has not ended, a creation with the same key returns this operation.
    unique_key: &'a str,
    /// At most `concurrency_limit` operations with this key run at a time.
    concurrency_key: &'a str,
    /// How many operations with the `concurrency_key` may run at a time; left out without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    concurrency_limit: Option<u32>,
    /// Its priority: among pending operations, those with a higher one start first.
    #[schema(minimum = -100, maximum = 100)]
    priority: i16,
    /// How many attempts were charged, including the running one.
    attempts: u32,
    /// The largest number of attempts.
    max_attempts: u32,
    /// The earliest time at which a PENDING operation may start: as requested, or as set after a failed attempt.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_set")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    run_after: Option<Timestamp>,
    /// How long one attempt may take, in seconds with the suffix s; left out if the operation has no timeout of its
    /// own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "60s")]
    timeout: Option<String>,
    /// The worker or server that runs it, or ran its last attempt.
    worker: &'a str,
    /// Whether the running attempt was asked to stop.
    cancel_requested: bool,
    /// The progress that the worker of the latest attempt reported last.
    progress: &'a str,
    /// The name of the schedule that created it.
    schedule: &'a str,
}

impl<'a> From<&'a OperationDetail> for WireDetail<'a> {
    fn from(detail: &'a OperationDetail) -> WireDetail<'a> {
        let operation = &detail.operation;
        let resource = operation.resource.as_ref();
        WireDetail {
            output: &operation.output,
            error_message: &operation.error_message,
            finished_at: operation.finished_at,
            project_id: &operation.project_id,
            kind: &operation.kind,
            resource_type: resource.map_or("", |r| &r.resource_type),
            created_at: operation.created_at,
            started_at: operation.started_at,
            resource_id: resource.map_or("", |r| &r.resource_id),
            id: operation.id,
            project_version_id: &operation.project_version_id,
            status: operation.status.wire_name(),
            // The input of a creation here is JSON; the input from an inbox is checked there.
            input: serde_json::from_str(&detail.input).ok(),
            labels: &detail.labels,
            unique_key: detail.unique_key.as_deref().unwrap_or(""),
            concurrency_key: detail.concurrency.as_ref().map_or("", |concurrency| &concurrency.key),
            concurrency_limit: detail.concurrency.as_ref().map(|concurrency| concurrency.limit),
            priority: detail.priority,
            attempts: detail.attempts,
            max_attempts: detail.max_attempts,
            run_after: detail.run_after,
            timeout: detail.timeout.map(duration::write),
            worker: &detail.worker,
            cancel_requested: detail.cancel_requested,
            progress: &detail.progress,
            schedule: detail.schedule.as_deref().unwrap_or(""),
        }
    }
}

/// `{"operation":{…}}` with all fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationDetailAnswer<'a> {
    /// The operation.
    operation: WireDetail<'a>,
}

impl<'a> From<&'a OperationDetail> for OperationDetailAnswer<'a> {
    fn from(detail: &'a OperationDetail) -> OperationDetailAnswer<'a> {
        OperationDetailAnswer { operation: detail.into() }
    }
}

/// The answer of a call that shows as much of an operation as the client requests.
pub(crate) struct AnyOperationAnswer;

impl PartialSchema for AnyOperationAnswer {
    fn schema() -> RefOr<Schema> {
        let one = |name| Ref::from_schema_name(name);
        AnyOfBuilder::new().item(one("OperationAnswer")).item(one("OperationDetailAnswer")).into()
    }
}

impl ToSchema for AnyOperationAnswer {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((OperationDetailAnswer::name().into_owned(), OperationDetailAnswer::schema()));
        OperationDetailAnswer::schemas(schemas);
    }
}
