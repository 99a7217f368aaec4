//! The routes of the API and the layers that every request passes through.
//!
//! From the outside in: `observe` (request id, access log, metrics, panics) with `leftover` (bodies of refused
//! requests), a time limit, then the handler, whose `Caller` argument authenticates. One file per call: parse, call
//! ([`crate::calls`]), render; a test checks its part of the OpenAPI document against the routes.

mod addresses;
mod admin;
mod admission;
mod attestation;
mod audit;
pub(crate) mod body;
mod bulk;
mod call_class;
mod caller;
mod command;
mod connections;
mod cors;
pub(crate) mod create;
mod evaluate;
mod events;
mod evidence;
pub(crate) mod fuzzing;
mod get;
mod if_none_match;
mod kinds;
mod leftover;
mod list;
mod listening;
mod observe;
mod openapi;
mod organizations;
mod plain;
mod protection;
mod routing;
mod schedules;
pub(crate) mod search;
mod serve;
mod sessions;
pub(crate) mod shedding;
mod standings;
mod stats;
mod target;
mod tls;
mod tokens;
mod trace;
mod views;
mod wait;
mod waivers;
mod watch;
mod work;
mod workers;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::routing::{delete, get, post};
use http::HeaderMap;

pub use admin::admin_router;
pub(crate) use admin::readiness;
pub(crate) use caller::{Caller, Origin, next_look};
pub use listening::{Listening, Peer};
pub(crate) use observe::panicked;
pub use openapi::openapi;
pub use serve::serve;
pub use tls::{Tls, TlsError};

use self::routing::ByVerb;
pub(crate) use self::routing::Within;
use crate::app::App;
use crate::calls::wait::MAX_WAIT;
use crate::calls::{idempotency, work as work_calls};
use crate::error::ApiError;
use crate::grpc;
use crate::services::Services;

/// The router of the API. Must be called within a tokio runtime: it starts tasks, which end when the router is dropped.
pub fn router(services: Services) -> Router {
    let app = App::new(services);
    let settings = &app.settings;
    let (metrics, traces) = (app.metrics.clone(), app.traces.clone());
    metrics.add_counter(
        "connections_closed",
        "Connections that were closed because there were too many",
        connections::closed,
    );
    let origins = settings.cors_origins.clone();
    let (limit, upload) = (settings.request_timeout, settings.upload_timeout);
    let operation =
        ByVerb { verb: wait::VERB, with: Within(limit + MAX_WAIT, wait::wait), without: Within(limit, get::get) };
    let router = Router::new()
        .route("/v1/operations", get(Within(limit, list::list)).post(Within(limit, create::create)))
        .route(
            "/v1/operations/{id}",
            get(operation).post(Within(limit, command::post)).delete(Within(limit, command::delete)),
        )
        .route("/v1/operations/{id}/events", get(Within(limit, events::events)))
        .route("/v1/operations/{id}/attestation", get(Within(limit, attestation::get)))
        .route("/v1/operations:search", get(Within(limit, search::search)))
        .route("/v1/operations:count", get(Within(limit, search::count)))
        .route("/v1/operations:batchCreate", post(Within(limit, create::batch_create)))
        .route("/v1/operations:bulk", post(Within(limit, bulk::bulk)))
        .route("/v1/organizations", get(Within(limit, organizations::list)).post(Within(limit, organizations::create)))
        .route(
            "/v1/organizations/{name}",
            get(Within(limit, organizations::get))
                .post(Within(limit, organizations::post))
                .delete(Within(limit, organizations::delete)),
        )
        .route("/v1/tokens", get(Within(limit, tokens::list)).post(Within(limit, tokens::create)))
        .route("/v1/tokens/{id}", get(Within(limit, tokens::get)).post(Within(limit, tokens::post)))
        .route("/v1/schedules", get(Within(limit, schedules::list)).post(Within(limit, schedules::create)))
        .route(
            "/v1/schedules/{name}",
            get(Within(limit, schedules::get))
                .patch(Within(limit, schedules::update))
                .post(Within(limit, schedules::post))
                .delete(Within(limit, schedules::delete)),
        )
        .route("/v1/sessions", get(Within(limit, sessions::list)))
        .route("/v1/sessions/{id}", post(Within(limit, sessions::post)))
        .route("/v1/audit", get(Within(limit, audit::list)))
        .route("/v1/views", get(Within(limit, views::list)).post(Within(limit, views::create)))
        .route(
            "/v1/views/{id}",
            get(Within(limit, views::get)).post(Within(limit, views::post)).delete(Within(limit, views::delete)),
        )
        .route("/v1/waivers", get(Within(limit, waivers::list)).post(Within(limit, waivers::create)))
        .route("/v1/waivers/{id}", delete(Within(limit, waivers::delete)))
        .route("/v1/evidence:reevaluate", post(Within(limit, waivers::reevaluate)))
        .route("/v1/stats", get(Within(limit, stats::get)))
        .route("/v1/workers", get(Within(limit, workers::list)))
        .route("/v1/kinds/{name}", post(Within(limit, kinds::post)))
        .route("/v1/operations:watch", get(Within(limit, watch::watch)))
        .route("/v1/operations:heartbeat", post(Within(limit, work::heartbeat)))
        .route("/v1/operations:settle", post(Within(limit, work::settle)))
        .route("/v1/operations:claim", post(Within(limit + work_calls::claim::MAX_WAIT, work::claim)))
        .route("/v1/agents/evaluate-evidence", post(Within(upload, evaluate::evaluate)))
        .route("/v1/evidence", get(Within(limit, evidence::list)).post(Within(upload, evidence::put)))
        .route("/v1/evidence/{digest}", get(Within(upload, evidence::get)).delete(Within(limit, evidence::delete)))
        .merge(crate::auth::sign_in_routes(&app.auth, limit))
        .merge(crate::ui::routes(&app))
        .with_state(app.clone())
        .merge(attestation::keys(app.signer.as_ref()))
        .merge(openapi::routes())
        .merge(grpc::routes(&app));
    observe::observed(router, metrics, traces, &origins)
}

/// The header `Idempotency-Key`, if there is one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| idempotency::is_valid(key) && values.next().is_none());
    let invalid = || ApiError::field("Idempotency-Key", "must be one header of 1 to 256 printable ASCII characters");
    key.map(Some).ok_or_else(invalid)
}

/// The text in the path; nothing has a name that is not UTF-8.
fn path_text(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(text)| text).map_err(|_| ApiError::NotFound("path"))
}
