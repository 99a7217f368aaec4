//! The web page: what people see in a browser, below `/ui`.
//!
//! Pages are rendered on the server and work without scripts, with ordinary links and forms. The content of a page
//! comes from the calls of the API ([`crate::calls`]), with the caller of the browser's session, so that nobody can see
//! or do here what the API would refuse. Only the frame is not part of the API: the session and its [`Visitor`],
//! templates (`templates/ui`), and the assets, which are compiled in.

mod assets;
mod audit;
mod bulk;
mod by_kind;
mod chart;
mod commands;
mod error;
mod evidence;
mod evidence_list;
mod filter;
mod form;
mod format;
mod life;
mod operation;
mod operations;
mod outcome;
mod overview;
mod respond;
mod retry;
mod schedule_form;
mod schedules;
mod sign_in;
mod tokens;
mod views;
mod visitor;
mod waivers;
mod workers;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{MethodRouter, any, get};

use crate::app::App;
use crate::http::Within;

/// The address of the first page.
const HOME: &str = "/ui";
/// The list of operations.
const LIST: &str = "/ui/operations";

/// The routes of the page.
pub(crate) fn routes(app: &App) -> Router<App> {
    let limit = app.settings.request_timeout;
    // Addresses that forms are sent to have no page: a visitor who opens one gets an error that says so.
    let only_sent: MethodRouter<App> = get(Within(limit, error::unknown));
    Router::new()
        .route("/", get(home))
        .route("/ui/", get(home))
        .route("/ui/{*rest}", any(Within(limit, error::unknown)))
        .route("/ui", get(Within(limit, overview::show)))
        .route("/ui/sign-in", get(Within(limit, sign_in::page)).post(Within(limit, sign_in::sign_in)))
        .route("/ui/sign-out", only_sent.clone().post(Within(limit, sign_in::sign_out)))
        .route("/ui/workers", get(Within(limit, workers::show)))
        .route("/ui/audit", get(Within(limit, audit::show)))
        .route("/ui/tokens", get(Within(limit, tokens::show)).post(Within(limit, tokens::create)))
        .route("/ui/tokens/{id}/{action}", only_sent.clone().post(Within(limit, tokens::act)))
        .route("/ui/sessions/{id}/revoke", only_sent.clone().post(Within(limit, tokens::end_session)))
        .route("/ui/evidence", get(Within(limit, evidence_list::show)))
        .route("/ui/waivers", get(Within(limit, waivers::list)).post(Within(limit, waivers::create)))
        .route("/ui/waivers/{id}/remove", only_sent.clone().post(Within(limit, waivers::remove)))
        .route("/ui/evidence/{digest}", get(Within(limit, evidence::show)))
        .route("/ui/operations", get(Within(limit, operations::list)))
        .route("/ui/operations/{id}", get(Within(limit, operation::show)))
        .route("/ui/operations/{id}/output", get(Within(limit, operation::output)))
        .route("/ui/operations/{id}/attestation", get(Within(limit, operation::attestation)))
        .route("/ui/operations/{id}/input", get(Within(limit, operation::input)))
        .route("/ui/operations/{id}/retry", get(Within(limit, retry::form)).post(Within(limit, retry::send)))
        .route("/ui/operations/{id}/{action}", only_sent.clone().post(Within(limit, operation::act)))
        .route("/ui/bulk", only_sent.clone().post(Within(limit, bulk::bulk)))
        .route("/ui/schedules", get(Within(limit, schedules::list)).post(Within(limit, schedules::create)))
        .route("/ui/schedules:new", get(Within(limit, schedules::new)))
        .route("/ui/schedules/{name}", get(Within(limit, schedules::show)))
        .route("/ui/schedules/{name}/edit", get(Within(limit, schedules::edit)).post(Within(limit, schedules::update)))
        .route("/ui/schedules/{name}/{action}", only_sent.clone().post(Within(limit, schedules::act)))
        .route("/ui/views", get(Within(limit, views::list)).post(Within(limit, views::create)))
        .route("/ui/views/{id}", get(Within(limit, views::show)).post(Within(limit, views::update)))
        .route("/ui/views/{id}/delete", only_sent.clone().post(Within(limit, views::delete)))
        .route("/ui/assets/{version}/{name}", get(assets::asset))
        .layer(axum::middleware::from_fn(error::framed))
}

async fn home() -> Redirect {
    Redirect::to(HOME)
}
