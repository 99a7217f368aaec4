//! `POST /v1/kinds/{name}:pause` and `:resume`.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::body;
use super::caller::Caller;
use super::openapi::ItemErrors;
use super::path_text;
use crate::app::App;
use crate::calls::pause::{self, Verb};
use crate::error::ApiError;
use crate::render::{self, to_json};

/// `:pause` and `:resume`.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let target = path_text(path)?;
    body::none(&app, &caller, body).await?;
    let (kind, verb) = target.rsplit_once(':').ok_or(ApiError::NotFound("path"))?;
    match Verb::parse(verb)? {
        Verb::Pause => pause(&app, &caller, kind).await,
        Verb::Resume => resume(&app, &caller, kind).await,
    }
}

/// Pause a kind
///
/// No operation of the kind is started in the caller's organization until it is resumed; running operations continue.
#[utoipa::path(post, path = "/v1/kinds/{name}:pause", operation_id = "KindsService_PauseKind", tag = "KindsService",
    params(("name" = String, Path, description = "The name of the kind. A slash in it is written as %2F.")),
    responses((status = 200, description = "The kind.", body = KindAnswer), ItemErrors))]
async fn pause(app: &App, caller: &Caller, kind: &str) -> Result<Response, ApiError> {
    Ok(answer(kind, pause::pause_kind(app, caller, kind, Verb::Pause).await?))
}

/// Resume a kind
#[utoipa::path(post, path = "/v1/kinds/{name}:resume", operation_id = "KindsService_ResumeKind", tag = "KindsService",
    params(("name" = String, Path, description = "The name of the kind. A slash in it is written as %2F.")),
    responses((status = 200, description = "The kind.", body = KindAnswer), ItemErrors))]
async fn resume(app: &App, caller: &Caller, kind: &str) -> Result<Response, ApiError> {
    Ok(answer(kind, pause::pause_kind(app, caller, kind, Verb::Resume).await?))
}

fn answer(name: &str, paused: bool) -> Response {
    render::response(to_json(&KindAnswer { kind: WireKind { name, paused } }))
}

/// `{"kind":{…}}`.
#[derive(Serialize, ToSchema)]
pub(super) struct KindAnswer<'a> {
    /// The kind.
    kind: WireKind<'a>,
}

/// A kind of operations in the caller's organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Kind)]
pub(super) struct WireKind<'a> {
    /// Its name.
    name: &'a str,
    /// Whether it is paused: no operation of the kind is started.
    paused: bool,
}
