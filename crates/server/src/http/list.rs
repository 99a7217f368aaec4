//! `GET /v1/operations`: one page of the operations that the caller may see.

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use operations::Access;
use store::{Listed, Listing, Scope};

use super::App;
use super::query::ListQuery;
use super::render::{WireOperation, WirePagination, to_json};
use crate::auth::Caller;
use crate::error::{ApiError, BoxError};
use crate::services::FirstPage;

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let query = ListQuery::parse(query.as_deref().unwrap_or(""), &app.settings).map_err(ApiError::Invalid)?;
    let listing = app.store.list(caller.access(), &query.filter, query.page).await?;
    let first_page = app.settings.first_page;
    let body = if listing.entries.iter().any(|entry| entry.output_left_out) {
        streamed(app, caller.access().clone(), listing, first_page)
    } else {
        whole(&listing, first_page)
    };
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The usual case: every output is short, so the page is one piece with a `Content-Length`.
fn whole(listing: &Listing, first_page: FirstPage) -> Body {
    let mut json = Vec::from(*HEAD);
    for (index, entry) in listing.entries.iter().enumerate() {
        push(&mut json, index, entry);
    }
    json.extend(tail(listing, first_page));
    json.into()
}

/// A page with long outputs: they are read one by one while the body is sent, so that one is in memory at a time.
///
/// An output that cannot be read breaks the body off, so that no client takes half a page for a whole one.
fn streamed(app: App, access: Access, listing: Listing, first_page: FirstPage) -> Body {
    let tail = tail(&listing, first_page);
    let entries = stream::iter(listing.entries.into_iter().enumerate().map(Ok::<_, BoxError>));
    let entries = entries.and_then(move |(index, mut entry)| {
        let (app, access) = (app.clone(), access.clone());
        async move {
            if entry.output_left_out {
                let output = app.store.output(&access, entry.operation.id).await?;
                entry.operation.output = output.ok_or("the operation was removed while the page was sent")?;
            }
            let mut json = Vec::new();
            push(&mut json, index, &entry);
            Ok(Bytes::from(json))
        }
    });
    let entries = entries.inspect_err(|error| tracing::error!(%error, "a list was broken off"));
    let head = stream::iter([Ok(Bytes::from_static(HEAD))]);
    let tail = stream::iter([Ok(Bytes::from(tail))]);
    Body::from_stream(head.chain(entries).chain(tail))
}

const HEAD: &[u8; 15] = br#"{"operations":["#;

fn push(json: &mut Vec<u8>, index: usize, entry: &Listed) {
    if index > 0 {
        json.push(b',');
    }
    json.extend(to_json(&WireOperation::from(&entry.operation)));
}

fn tail(listing: &Listing, first_page: FirstPage) -> Vec<u8> {
    let mut json = Vec::from(*br#"],"pagination":"#);
    json.extend(to_json(&WirePagination::new(listing.page, first_page)));
    json.push(b'}');
    json
}
