//! `GET /v1/operations`: one page of the operations that the caller may see.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use operations::{Access, Filter, PageRequest};
use store::{Listed, Listing, Scope, Store, StoreError};

use super::App;
use super::query::ListQuery;
use super::render::{WireOperation, WirePagination, to_json};
use crate::auth::Caller;
use crate::coalesce::Read;
use crate::error::{ApiError, BoxError};
use crate::services::FirstPage;

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsRead)?;
    let query = ListQuery::parse(query.as_deref().unwrap_or(""), &app.settings).map_err(ApiError::Invalid)?;
    let asked = (caller.access().clone(), query.filter, query.page);
    let body = match app.state().pages.get(asked, ()).await? {
        Page::Whole(json) => json.into(),
        Page::Streamed(listing) => {
            let first_page = app.settings.first_page;
            streamed(app, caller.access().clone(), Arc::unwrap_or_clone(listing), first_page)
        }
    };
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reads pages; callers with the same access who ask for the same page share it, written out once.
pub(super) struct Pages {
    pub(super) store: Arc<dyn Store>,
    pub(super) first_page: FirstPage,
}

/// A page as it is sent.
#[derive(Clone)]
pub(super) enum Page {
    /// Every output is short, so it is one piece with a `Content-Length`: the usual case.
    Whole(Bytes),
    /// With long outputs.
    Streamed(Arc<Listing>),
}

#[async_trait]
impl Read for Pages {
    type Key = (Access, Filter, PageRequest);
    type Item = ();
    type Found = Page;

    async fn read(&self, (access, filter, page): &Self::Key, items: Vec<()>) -> Result<Vec<Page>, StoreError> {
        let listing = self.store.list(access, filter, *page).await?;
        let page = if listing.entries.iter().any(|entry| entry.output_left_out) {
            Page::Streamed(Arc::new(listing))
        } else {
            Page::Whole(whole(&listing, self.first_page))
        };
        Ok(vec![page; items.len()])
    }
}

fn whole(listing: &Listing, first_page: FirstPage) -> Bytes {
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
