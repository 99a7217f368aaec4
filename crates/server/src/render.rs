//! Operations in JSON: the twelve fields of `GET /v1/operations`, in the documented order.

use std::fmt::Display;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use operations::{Operation, PageInfo, Timestamp};
use serde::{Serialize, Serializer};
use store::{Listed, Listing};
use utoipa::ToSchema;

use crate::services::FirstPage;

/// An operation with a short output fits into this many bytes.
const USUAL_BYTES: usize = 512;

/// An operation: long work that a client requested. Texts that are not set are empty; times that are not set are left
/// out.
#[derive(Serialize, ToSchema)]
#[schema(as = AsyncOperation)]
pub(crate) struct WireOperation<'a> {
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
    id: operations::OperationId,
    /// The version of the project.
    project_version_id: &'a str,
    /// Its status. An operation that was cancelled or ran out of time is FAILED and says so in error_message.
    #[schema(value_type = AsyncOperationStatus)]
    status: &'static str,
}

/// The status of an operation.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) enum AsyncOperationStatus {
    /// Waits to be run.
    #[schema(rename = "ASYNC_OPERATION_STATUS_PENDING")]
    Pending,
    /// Is being run.
    #[schema(rename = "ASYNC_OPERATION_STATUS_RUNNING")]
    Running,
    /// Has ended and has an output.
    #[schema(rename = "ASYNC_OPERATION_STATUS_COMPLETED")]
    Completed,
    /// Has ended without an output: error_message says why.
    #[schema(rename = "ASYNC_OPERATION_STATUS_FAILED")]
    Failed,
}

impl<'a> From<&'a Operation> for WireOperation<'a> {
    fn from(operation: &'a Operation) -> WireOperation<'a> {
        let resource = operation.resource.as_ref();
        WireOperation {
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
        }
    }
}

/// `{"operation":{…}}`.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationAnswer<'a> {
    /// The operation.
    operation: WireOperation<'a>,
}

impl<'a> From<&'a Operation> for OperationAnswer<'a> {
    fn from(operation: &'a Operation) -> OperationAnswer<'a> {
        OperationAnswer { operation: operation.into() }
    }
}

/// One page of operations.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct OperationsPage<'a> {
    /// Newest first.
    operations: Vec<WireOperation<'a>>,
    /// The number of the page, and how many there are.
    pagination: WirePagination,
}

/// The number of the page, and how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = Pagination)]
pub(crate) struct WirePagination {
    /// How many operations match, at most 2147483647.
    #[schema(minimum = 0)]
    total_count: i32,
    /// The number of this page.
    #[schema(value_type = i32, minimum = 0)]
    page: u32,
    /// How many pages there are; 0 when nothing matches.
    #[schema(minimum = 0)]
    total_pages: i32,
    /// Entries per page.
    #[schema(value_type = i32, minimum = 1)]
    page_size: u32,
}

/// `{}`.
#[derive(ToSchema)]
pub(crate) struct Empty {}

impl WirePagination {
    /// `page` is shown as the client counts pages, from zero or from one.
    pub(crate) fn new(info: PageInfo, first_page: FirstPage) -> WirePagination {
        WirePagination {
            total_count: info.wire_total_count(),
            page: first_page.shown(info.request.page),
            total_pages: info.wire_total_pages(),
            page_size: info.request.page_size,
        }
    }
}

/// A page that has all its outputs.
pub(crate) fn page(listing: &Listing, first_page: FirstPage) -> Bytes {
    let mut json = Vec::from(*PAGE_HEAD);
    for (index, entry) in listing.entries.iter().enumerate() {
        push_entry(&mut json, index, entry);
    }
    json.extend(page_tail(listing, first_page));
    json.into()
}

/// What a page begins with.
pub(crate) const PAGE_HEAD: &[u8; 15] = br#"{"operations":["#;

/// Writes an entry of a page after the previous ones.
pub(crate) fn push_entry(json: &mut Vec<u8>, index: usize, entry: &Listed) {
    if index > 0 {
        json.push(b',');
    }
    write_json(json, &WireOperation::from(&entry.operation));
}

/// The JSON after the entries of a page.
pub(crate) fn page_tail(listing: &Listing, first_page: FirstPage) -> Vec<u8> {
    let mut json = Vec::from(*br#"],"pagination":"#);
    write_json(&mut json, &WirePagination::new(listing.page, first_page));
    json.push(b'}');
    json
}

/// An answer with a JSON body.
pub(crate) fn response(json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The JSON text of an answer.
pub(crate) fn to_json(answer: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(USUAL_BYTES);
    write_json(&mut json, answer);
    json
}

/// Appends the JSON text of an answer.
fn write_json(json: &mut Vec<u8>, answer: &impl Serialize) {
    serde_json::to_writer(json, answer).expect("strings and numbers always serialise, and memory takes them");
}

pub(crate) fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn shown_if_set<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => shown(value, serializer),
        None => serializer.serialize_none(),
    }
}
