//! `POST /v1/kinds/{name}:pause` and `:resume`.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use operations::check_kind;
use serde::Serialize;
use store::Pausable;

use super::caller::Caller;
use super::pause::{Verb, authorize, paused_kinds, text};
use crate::app::App;
use crate::error::ApiError;
use crate::render::{self, to_json};

/// Kinds that an organization may pause at a time: every claim looks at what is paused.
const MAX_KINDS: usize = 100;

/// Pauses or resumes a kind in the caller's organization.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let target = text(path)?;
    let (kind, verb) = target.rsplit_once(':').ok_or(ApiError::NotFound("path"))?;
    let verb = Verb::parse(verb)?;
    authorize(&caller)?;
    let is_declared = app.kinds.iter().any(|known| known == kind);
    if check_kind("kind", kind).is_err() || !is_declared && !app.allow_undeclared_kinds {
        return Err(ApiError::NotFound("kind"));
    }
    if verb == Verb::Pause && paused_kinds(&app, &caller).await?.1.len() >= MAX_KINDS {
        return Err(ApiError::field("kind", format!("is one too many: {MAX_KINDS} are paused; resume some")));
    }
    let organization = caller.organization().to_owned();
    verb.carry_out(&app, Pausable::KindOf { organization, kind: kind.to_owned() }).await?;
    let paused = paused_kinds(&app, &caller).await?.1.iter().any(|paused| paused == kind);
    let json = to_json(&KindAnswer { kind: WireKind { name: kind, paused } });
    Ok(render::response(json))
}

#[derive(Serialize)]
struct KindAnswer<'a> {
    kind: WireKind<'a>,
}

#[derive(Serialize)]
struct WireKind<'a> {
    name: &'a str,
    paused: bool,
}
