//! `GET /v1/operations`: one page of the operations that the caller may see.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use operations::Access;
use store::Listing;

use super::caller::Querying;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::list::{self, ListOperations};
use crate::error::{ApiError, BoxError};
use crate::render::{self, OperationsPage, PAGE_HEAD, page_tail, push_entry};
use crate::services::FirstPage;
use crate::strict;

/// List async operations
///
/// Lists asynchronous operations with optional filters for resource association and status. The answer has one page of
/// the operations that the token may see, newest first, with the exact number of all that match.
#[utoipa::path(get, path = "/v1/operations", operation_id = "AsyncOperationsService_ListOperations",
    tag = "AsyncOperationsService", params(ListOperations),
    responses((status = 200, description = "The page; empty after the last one.", body = OperationsPage), ListErrors))]
pub(super) async fn list(State(app): State<App>, Querying(caller, query): Querying) -> Result<Response, ApiError> {
    let asked = strict::query::<ListOperations>(&query)?;
    let (page, first_page) = (list::list(&app, &caller, asked).await?, app.settings.first_page);
    Ok(match page.json(first_page) {
        Some(json) => render::response(json),
        None => render::response(streamed(app, caller.access().clone(), page.listing.clone(), first_page)),
    })
}

/// A page with long outputs: they are read one by one while the body is sent, so that only one is in memory at a time.
///
/// If an output cannot be read, the body is broken off, so that no client takes half a page for a whole one.
fn streamed(app: App, access: Access, listing: Listing, first_page: FirstPage) -> Body {
    let tail = page_tail(&listing, first_page);
    let entries = stream::iter(listing.entries.into_iter().enumerate().map(Ok::<_, BoxError>));
    let entries = entries.and_then(move |(index, mut entry)| {
        let (app, access) = (app.clone(), access.clone());
        async move {
            if entry.output_left_out {
                let output = app.store.output(&access, entry.operation.id).await?;
                entry.operation.output = output.ok_or("the operation was removed while the page was sent")?;
            }
            let mut json = Vec::new();
            push_entry(&mut json, index, &entry);
            Ok(Bytes::from(json))
        }
    });
    let entries = entries.inspect_err(|error| tracing::error!(%error, "could not send a list to its end"));
    let head = stream::iter([Ok(Bytes::from_static(PAGE_HEAD))]);
    let tail = stream::iter([Ok(Bytes::from(tail))]);
    Body::from_stream(head.chain(entries).chain(tail))
}
