//! `/ui/operations/{id}/retry`: retrying an operation, with the same or an edited input.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use operations::OperationId;
use serde_json::value::RawValue;

use super::assets::Assets;
use super::error::Problem;
use super::form::{Name, Sent, Wrong};
use super::format::pretty;
use super::operation::{parse, url};
use super::respond;
use super::visitor::{Frame, Visitor};
use crate::app::App;
use crate::calls::detail;
use crate::calls::retry::{self, RetryOperation};
use crate::strict::Read;

#[derive(Template)]
#[template(path = "ui/retry.html")]
struct Page {
    assets: Assets,
    frame: Frame,
    id: String,
    kind: String,
    input: String,
    /// Identifies this request, so that only one operation is created however often it is sent.
    key: String,
    wrong: Wrong,
}

/// `GET /ui/operations/{id}/retry`: the input, to be edited.
pub(super) async fn form(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Name(name): Name,
) -> Result<Response, Problem> {
    let detail = Problem::found(&name, detail::detail(&app, &visitor.caller, parse(&name)).await)?;
    let input = if detail.input.is_empty() { "{}".to_owned() } else { pretty(&detail.input) };
    let key = OperationId::new(app.store.now()).to_string();
    let template = Page {
        assets: Assets,
        frame: visitor.frame("operations"),
        id: detail.operation.id.to_string(),
        kind: detail.operation.kind,
        input,
        key,
        wrong: Wrong::default(),
    };
    respond::page(&headers, &template)
}

/// `POST /ui/operations/{id}/retry`: with an `input`, creates a new operation; without one, retries the same one.
pub(super) async fn send(
    State(app): State<App>,
    headers: HeaderMap,
    Name(name): Name,
    sent: Sent,
) -> Result<Response, Problem> {
    let Sent { visitor, fields } = sent;
    let id = Problem::found(&name, parse(&name))?;
    let text = fields.text("input");
    let mut wrong = Wrong::default();
    let input = if fields.has("input") {
        serde_json::from_str::<&RawValue>(text.trim()).map(Some).unwrap_or_else(|error| {
            wrong.add("input", format!("is not JSON: {error}"));
            None
        })
    } else {
        None
    };
    let mut status = StatusCode::BAD_REQUEST;
    if wrong.is_empty() {
        let key = Some(fields.one("key")).filter(|key| !key.is_empty());
        let asked = Read { value: RetryOperation { input }, violations: Vec::new() };
        match retry::retry(&app, &visitor.caller, Ok(id), asked, key).await {
            Ok(made) => return Ok(Redirect::to(&url(&made.operation.id.to_string())).into_response()),
            // No input was typed that could be lost.
            Err(error) if input.is_none() => return Problem::found(&name, Err(error)),
            Err(error) => (wrong, status) = Problem::found(&name, Wrong::of(error))?,
        }
    }
    let detail = Problem::found(&name, detail::detail(&app, &visitor.caller, Ok(id)).await)?;
    let (frame, key, kind) = (visitor.frame("operations"), fields.one("key").to_owned(), detail.operation.kind);
    let template = Page { assets: Assets, frame, id: id.to_string(), kind, input: text, key, wrong };
    respond::page_with(status, &headers, &template)
}
