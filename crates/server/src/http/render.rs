//! Operations in JSON: the twelve fields of `GET /v1/operations`, in the documented order.

use operations::{Operation, PageInfo, Timestamp};
use serde::{Serialize, Serializer};

use crate::services::FirstPage;

/// An operation as it stands on the wire.
#[derive(Serialize)]
pub(super) struct WireOperation<'a> {
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
pub(super) struct OperationAnswer<'a> {
    operation: WireOperation<'a>,
}

impl<'a> From<&'a Operation> for OperationAnswer<'a> {
    fn from(operation: &'a Operation) -> OperationAnswer<'a> {
        OperationAnswer { operation: operation.into() }
    }
}

/// The four fields of a list's `pagination`.
#[derive(Serialize)]
pub(super) struct WirePagination {
    total_count: i32,
    page: u32,
    total_pages: i32,
    page_size: u32,
}

impl WirePagination {
    /// `page` is told in the client's way of counting.
    pub fn new(info: PageInfo, first_page: FirstPage) -> WirePagination {
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

/// The JSON text of an answer.
pub(super) fn to_json(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).expect("strings and numbers always serialise")
}

pub(super) fn shown<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn shown_if_set<S: Serializer>(value: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => shown(value, serializer),
        None => serializer.serialize_none(),
    }
}
