//! Operations in JSON: the twelve fields of `GET /v1/operations`, in the documented order.

use std::fmt::Display;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use operations::{Operation, PageInfo, Timestamp};
use serde::{Serialize, Serializer};
use store::{Listed, Listing};

use crate::services::FirstPage;

/// An operation with a short output fits into so many bytes.
const USUAL_BYTES: usize = 512;

/// An operation as it stands on the wire.
#[derive(Serialize)]
pub(crate) struct WireOperation<'a> {
    output: &'a str,
    error_message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_set")]
    finished_at: Option<Timestamp>,
    project_id: &'a str,
    kind: &'a str,
    resource_type: &'a str,
    #[serde(serialize_with = "shown")]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_if_set")]
    started_at: Option<Timestamp>,
    resource_id: &'a str,
    #[serde(serialize_with = "shown")]
    id: operations::OperationId,
    project_version_id: &'a str,
    status: &'static str,
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
#[derive(Serialize)]
pub(crate) struct OperationAnswer<'a> {
    operation: WireOperation<'a>,
}

impl<'a> From<&'a Operation> for OperationAnswer<'a> {
    fn from(operation: &'a Operation) -> OperationAnswer<'a> {
        OperationAnswer { operation: operation.into() }
    }
}

/// The four fields of a list's `pagination`.
#[derive(Serialize)]
pub(crate) struct WirePagination {
    total_count: i32,
    page: u32,
    total_pages: i32,
    page_size: u32,
}

impl WirePagination {
    /// `page` is told in the client's way of counting.
    pub(crate) fn new(info: PageInfo, first_page: FirstPage) -> WirePagination {
        WirePagination {
            total_count: info.wire_total_count(),
            page: match first_page {
                FirstPage::Zero => info.request.page,
                FirstPage::One => info.request.page.saturating_add(1),
            },
            total_pages: info.wire_total_pages(),
            page_size: info.request.page_size,
        }
    }
}

/// A page whose outputs are all there.
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

/// Writes an entry of a page behind those before it.
pub(crate) fn push_entry(json: &mut Vec<u8>, index: usize, entry: &Listed) {
    if index > 0 {
        json.push(b',');
    }
    write_json(json, &WireOperation::from(&entry.operation));
}

/// What stands behind the entries of a page.
pub(crate) fn page_tail(listing: &Listing, first_page: FirstPage) -> Vec<u8> {
    let mut json = Vec::from(*br#"],"pagination":"#);
    write_json(&mut json, &WirePagination::new(listing.page, first_page));
    json.push(b'}');
    json
}

/// An answer of JSON.
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

/// Writes the JSON text behind what is there.
fn write_json(json: &mut Vec<u8>, answer: &impl Serialize) {
    serde_json::to_writer(json, answer).expect("strings and numbers always serialise, and memory takes them");
}

pub(crate) fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn shown_if_set<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => shown(value, serializer),
        None => serializer.serialize_none(),
    }
}
