//! `/v1/views`: saved views.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Uri;
use http::header::HeaderMap;
use serde::Serialize;
use store::View;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::{CreateErrors, ItemErrors, ListErrors, UpdateErrors};
use super::routing::method_not_allowed;
use super::{body, path_text};
use crate::app::App;
use crate::calls::views::{self, CreateView, UpdateView, ViewCount};
use crate::error::ApiError;
use crate::render::{self, to_json};
use crate::strict;

/// Create a view
///
/// A view is a filter and columns with a name. It is private to the token that creates it, or shared in its
/// organization, which needs the scope operations:write for the whole organization. An organization has at most 100
/// shared views, and a token has at most 50 private ones.
#[utoipa::path(post, path = "/v1/views", operation_id = "ViewsService_CreateView", tag = "ViewsService",
    request_body(content = CreateView, example = json!({"name": "Failed today", "filter": "status = FAILED AND created_at >= \"-24h\""})),
    responses((status = 200, description = "The view.", body = ViewAnswer), CreateErrors))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read_json(&app, &caller, &headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<CreateView>(&body)?;
    Ok(answer(&views::create(&app, &caller, asked).await?, None))
}

/// List views
///
/// Returns the caller's own views and, to callers who see the whole organization, the shared ones, each with the number
/// of operations that it shows now.
#[utoipa::path(get, path = "/v1/views", operation_id = "ViewsService_ListViews", tag = "ViewsService",
    responses((status = 200, description = "The views, sorted by name, shared ones first.", body = ViewList), ListErrors))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let views = views::list(&app, &caller).await?;
    let views = views.iter().map(|(view, count)| WireView::new(view, *count)).collect();
    Ok(render::response(to_json(&ViewList { views })))
}

/// Get a view
#[utoipa::path(get, path = "/v1/views/{view_id}", operation_id = "ViewsService_GetView", tag = "ViewsService",
    params(("view_id" = String, Path, description = "The view's id.")),
    responses((status = 200, description = "The view.", body = ViewAnswer), ItemErrors))]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let (view, count) = views::get(&app, &caller, &path_text(path)?).await?;
    Ok(answer(&view, count))
}

/// `:update`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    match target.rsplit_once(':') {
        Some((id, "update")) => update(&app, &caller, id, &headers, body).await,
        Some(_) => Err(ApiError::NotFound("path")),
        None => Ok(method_not_allowed(uri.path())),
    }
}

/// Update a view
///
/// Replaces its name, filter and columns; its visibility and owner do not change. Changing a shared view needs the
/// scope operations:write for the whole organization.
#[utoipa::path(post, path = "/v1/views/{view_id}:update", operation_id = "ViewsService_UpdateView", tag = "ViewsService",
    params(("view_id" = String, Path, description = "The view's id.")),
    request_body(content = UpdateView, example = json!({"name": "Failed", "filter": "status = FAILED"})),
    responses((status = 200, description = "The view.", body = ViewAnswer), UpdateErrors))]
async fn update(app: &App, caller: &Caller, id: &str, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let body = body::read_json(app, caller, headers, body, app.settings.body_limit).await?;
    let asked = strict::json::<UpdateView>(&body)?;
    Ok(answer(&views::update(app, caller, id, asked).await?, None))
}

/// Delete a view
///
/// The operations that it shows are not deleted. Deleting a shared view needs the scope operations:write for the whole
/// organization.
#[utoipa::path(delete, path = "/v1/views/{view_id}", operation_id = "ViewsService_DeleteView", tag = "ViewsService",
    params(("view_id" = String, Path, description = "The view's id.")),
    responses((status = 200, description = "The view was deleted.", body = DeletedView), ItemErrors))]
pub(super) async fn delete(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    body::none(&app, &caller, body).await?;
    views::delete(&app, &caller, &path_text(path)?).await?;
    Ok(render::response(to_json(&DeletedView {})))
}

fn answer(view: &View, count: Option<ViewCount>) -> Response {
    render::response(to_json(&ViewAnswer { view: WireView::new(view, count) }))
}

/// `{}`.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedView {}

/// `{"view":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewAnswer<'a> {
    /// The view.
    view: WireView<'a>,
}

/// Views.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewList<'a> {
    /// Sorted by name, shared ones first.
    views: Vec<WireView<'a>>,
}

/// A saved view.
#[derive(Serialize, ToSchema)]
#[schema(as = View)]
pub(super) struct WireView<'a> {
    /// Its id, a UUID.
    id: &'a str,
    /// The name of the view, for people.
    name: &'a str,
    /// The filter of the operations that it shows, as it was written.
    filter: &'a str,
    /// The names of the columns, in order; empty for the default columns.
    columns: &'a [String],
    /// private or shared.
    visibility: &'static str,
    /// When it was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// How many operations it shows to the caller now; left out in the answer to a change, and in a list when counting
    /// takes too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// Whether the count is exact; otherwise it is a lower bound. Left out without a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    count_is_exact: Option<bool>,
}

impl<'a> WireView<'a> {
    fn new(view: &'a View, count: Option<ViewCount>) -> WireView<'a> {
        WireView {
            id: &view.id,
            name: &view.name,
            filter: &view.filter,
            columns: &view.columns,
            visibility: views::visibility(view),
            created_at: view.created_at.to_string(),
            updated_at: view.updated_at.to_string(),
            count: count.map(|count| count.total),
            count_is_exact: count.map(|count| count.is_exact),
        }
    }
}
