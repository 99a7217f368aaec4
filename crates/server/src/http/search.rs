//! `GET /v1/operations:search` and `GET /v1/operations:count`.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use operations::Access;
use serde::Serialize;
use store::{CountGroup, OperationDetail};
use utoipa::ToSchema;

use super::caller::Querying;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::search::{self, CountOperations, Counts, FoundPage, SearchOperations};
use crate::detail::WireDetail;
use crate::error::{ApiError, BoxError};
use crate::render::{self, AsyncOperationStatus, to_json};
use crate::strict;

/// Search for async operations
///
/// Returns one page of the operations that the token may see and that the filter matches, with all their fields. The
/// filter language is a subset of AIP-160: see filter.md.
#[utoipa::path(get, path = "/v1/operations:search", operation_id = "AsyncOperationsService_SearchOperations",
    tag = "AsyncOperationsService", params(SearchOperations),
    responses((status = 200, description = "The page; empty after the last one.", body = FoundOperations), ListErrors))]
pub(super) async fn search(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = strict::query::<SearchOperations>(&query)?;
    let FoundPage { page, next_page_token } = search::search(&app, &caller, asked).await?;
    let (total_count, total_is_exact) = (page.total, page.total_is_exact);
    if page.found.iter().all(|detail| !detail.output_left_out && !detail.input_left_out) {
        let operations = page.found.iter().map(WireDetail::from).collect();
        let answer = FoundOperations { operations, total_count, total_is_exact, next_page_token };
        return Ok(render::response(to_json(&answer)));
    }
    let tail = FoundTail { total_count, total_is_exact, next_page_token };
    Ok(render::response(streamed(app, caller.access().clone(), page.found, &tail)))
}

/// A page with long texts: they are read one by one while the body is sent, so that only one operation's are in memory
/// at a time.
fn streamed(app: App, access: Access, found: Vec<OperationDetail>, tail: &FoundTail) -> Body {
    // `{"total_count":…}` after `{"operations":[…],`.
    let tail = [b"],".as_slice(), &to_json(tail)[1..]].concat();
    let entries = stream::iter(found.into_iter().enumerate().map(Ok::<_, BoxError>));
    let entries = entries.and_then(move |(index, detail)| {
        let (app, access) = (app.clone(), access.clone());
        async move {
            let detail = search::whole(&app, &access, detail).await?;
            let comma = if index > 0 { b",".as_slice() } else { b"" };
            Ok(Bytes::from([comma, &to_json(&WireDetail::from(&detail))].concat()))
        }
    });
    let entries =
        entries.inspect_err(|error| tracing::error!(%error, "could not send the result of a search to its end"));
    let head = stream::iter([Ok(Bytes::from_static(br#"{"operations":["#))]);
    let tail = stream::iter([Ok(Bytes::from(tail))]);
    Body::from_stream(head.chain(entries).chain(tail))
}

/// Operations that were found.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundOperations<'a> {
    /// In the requested order.
    operations: Vec<WireDetail<'a>>,
    /// How many operations match; a lower bound if total_is_exact is false.
    total_count: u64,
    /// Whether total_count is exact. It is, except for filters for which the server must check operations one by one,
    /// when there are more than 100,000 of them.
    total_is_exact: bool,
    /// The token that requests the next page; empty on the last page. A page may be empty and still have a next one.
    next_page_token: String,
}

/// The fields after the operations, where the operations are written one by one.
#[derive(Serialize)]
struct FoundTail {
    total_count: u64,
    total_is_exact: bool,
    next_page_token: String,
}

/// Count async operations
///
/// Counts the operations that the token may see and that the filter matches, by group.
#[utoipa::path(get, path = "/v1/operations:count", operation_id = "AsyncOperationsService_CountOperations",
    tag = "AsyncOperationsService", params(CountOperations),
    responses((status = 200, description = "The counts.", body = OperationCounts), ListErrors))]
pub(super) async fn count(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = strict::query::<CountOperations>(&query)?;
    let Counts { counted, groups_left_out } = search::count(&app, &caller, asked).await?;
    let groups = counted.groups.iter().map(WireGroup::from).collect();
    let (total_count, total_is_exact) = (counted.total, counted.is_exact);
    Ok(render::response(to_json(&OperationCounts { groups, groups_left_out, total_count, total_is_exact })))
}

/// The result of a count.
#[derive(Serialize, ToSchema)]
pub(super) struct OperationCounts<'a> {
    /// The groups that have operations, those with the most operations first; at most 1000.
    groups: Vec<WireGroup<'a>>,
    /// How many groups are not shown.
    groups_left_out: u64,
    /// How many operations match in all groups together; a lower bound if total_is_exact is false.
    total_count: u64,
    /// Whether total_count is exact.
    total_is_exact: bool,
}

/// How many operations a group has. The fields that group_by does not name are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationCount)]
pub(super) struct WireGroup<'a> {
    /// The status of its operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AsyncOperationStatus>, nullable = false)]
    status: Option<&'static str>,
    /// The kind of its operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<&'a str>,
    /// The project of its operations; empty for operations without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    project_id: Option<&'a str>,
    /// The number of operations in the group; at least one.
    count: u64,
}

impl<'a> From<&'a CountGroup> for WireGroup<'a> {
    fn from(group: &'a CountGroup) -> WireGroup<'a> {
        WireGroup {
            status: group.status.map(operations::Status::wire_name),
            kind: group.kind.as_deref(),
            project_id: group.project_id.as_deref(),
            count: group.count,
        }
    }
}
