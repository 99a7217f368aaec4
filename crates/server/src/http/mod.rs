//! The routes of the API and what every request passes through.
//!
//! From the outside in: `observe` (request id, access log, metrics, a net for panics) with `leftover` (bodies that were
//! refused), a time limit, then the handler, whose `Caller` argument authenticates. One file a call: parse, call,
//! render.

mod addresses;
mod admin;
mod batch_create;
mod body;
mod caller;
mod command;
mod connections;
mod cors;
mod create;
mod creation;
mod duration;
mod evaluate;
mod evaluation;
mod events;
mod evidence;
mod get;
mod idempotency;
mod if_none_match;
mod json;
mod kinds;
mod lane;
mod leftover;
mod list;
mod observe;
mod organizations;
mod pause;
mod plain;
mod protection;
mod query;
mod routing;
mod serve;
mod target;
mod tls;
mod wait;
mod watch;
mod work;

use axum::Router;
use axum::routing::{get, post};

pub use admin::admin_router;
pub use serve::serve;
pub use tls::{Tls, TlsError};

use self::routing::{ByVerb, Within};
use crate::app::App;
use crate::services::Services;

/// The router of the API. Must be called within a tokio runtime: it starts tasks, which end when it is dropped.
pub fn router(services: Services) -> Router {
    let app = App::new(services);
    let settings = &app.settings;
    let metrics = app.metrics.clone();
    metrics.add_counter(
        "longrun_connections_closed_total",
        "Connections that were closed because there were too many.",
        connections::closed,
    );
    let origins = settings.cors_origins.clone();
    let (limit, upload) = (settings.request_timeout, settings.upload_timeout);
    let operation =
        ByVerb { verb: wait::VERB, with: Within(limit + wait::MAX_WAIT, wait::wait), without: Within(limit, get::get) };
    let router = Router::new()
        .route("/v1/operations", get(Within(limit, list::list)).post(Within(limit, create::create)))
        .route(
            "/v1/operations/{id}",
            get(operation).post(Within(limit, command::post)).delete(Within(limit, command::delete)),
        )
        .route("/v1/operations/{id}/events", get(Within(limit, events::events)))
        .route("/v1/operations:batchCreate", post(Within(limit, batch_create::create)))
        .route(
            "/v1/organizations/{name}",
            get(Within(limit, organizations::get)).post(Within(limit, organizations::post)),
        )
        .route("/v1/kinds/{name}", post(Within(limit, kinds::post)))
        .route("/v1/operations:watch", get(Within(limit, watch::watch)))
        .route("/v1/operations:heartbeat", post(Within(limit, work::heartbeat)))
        .route("/v1/operations:settle", post(Within(limit, work::settle)))
        .route("/v1/operations:claim", post(Within(limit + work::MAX_WAIT, work::claim)))
        .route("/v1/agents/evaluate-evidence", post(Within(upload, evaluate::evaluate)))
        .route("/v1/evidence", post(Within(upload, evidence::put)))
        .route("/v1/evidence/{digest}", get(Within(upload, evidence::get)))
        .with_state(app);
    observe::observed(router, metrics, &origins)
}
