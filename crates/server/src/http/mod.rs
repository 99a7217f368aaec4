//! The routes of the API and what every request passes through.
//!
//! From the outside in: `observe` (request id, access log, metrics), `leftover` (bodies that were refused), a net for
//! panics, a time limit, then the handler,
//! whose `Caller` argument authenticates. One file a call: parse, call, render.

mod addresses;
mod admin;
mod batch_create;
mod body;
mod command;
mod create;
mod duration;
mod evaluate;
mod events;
mod evidence;
mod get;
mod idempotency;
mod json;
mod leftover;
mod link;
mod list;
pub(crate) mod metrics;
mod observe;
mod pause;
mod plain;
mod query;
mod render;
mod serve;
mod stall;
mod target;
mod tls;
mod wait;
mod watch;
mod work;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

pub use admin::admin_router;
pub(crate) use link::Link;
pub use serve::serve;
pub use tls::{Tls, TlsError};

use crate::auth::{TokenLookup, Usage};
use crate::coalesce::Coalescer;
use crate::error::ApiError;
use crate::hub::Hub;
use crate::services::Services;
use crate::shares::Shares;
use crate::turns::Turns;

/// The services and what the HTTP layer keeps besides, shared by all requests.
#[derive(Clone)]
pub(crate) struct App(Arc<AppState>);

pub(crate) struct AppState {
    pub(crate) services: Services,
    /// Notes uses of tokens.
    pub(crate) usage: Usage,
    /// Finds tokens in the store.
    pub(crate) tokens: TokenLookup,
    /// Reads single operations.
    gets: Coalescer<get::Gets>,
    /// Reads pages.
    pages: Coalescer<list::Pages>,
    /// Reads the feed of changes.
    watch_reads: Coalescer<watch::WatchReads>,
    /// Tells who waits for operations.
    hub: Hub,
    /// One place a client that watches.
    watchers: Shares,
    /// Workers that wait for work.
    pub(crate) waiters: work::Waiters,
    /// The memory of bodies.
    pub(crate) memory: body::Memory,
    /// One a process that checks policies or looks into evidence.
    pub(crate) checks: Turns,
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0.services
    }
}

impl App {
    fn new(services: Services) -> App {
        let settings = &services.settings;
        let state = AppState {
            usage: Usage::start(services.store.clone()),
            tokens: TokenLookup::new(services.store.clone()),
            gets: Coalescer::new(get::Gets(services.store.clone())),
            pages: Coalescer::new(list::Pages { store: services.store.clone(), first_page: settings.first_page }),
            watch_reads: Coalescer::new(watch::WatchReads(services.store.clone())),
            hub: Hub::start(services.store.clone()),
            watchers: Shares::new(settings.max_watchers as u64, 1),
            waiters: work::Waiters::new(&services),
            memory: body::Memory::new(settings),
            // The last place is left to others.
            checks: Turns::new(settings.max_checks, settings.max_checks.saturating_sub(1)),
            services,
        };
        App(Arc::new(state))
    }

    /// What is not part of [`Services`].
    pub(crate) fn state(&self) -> &AppState {
        &self.0
    }
}

/// The router of the API. Must be called within a tokio runtime: it starts tasks, which end when it is dropped.
pub fn router(services: Services) -> Router {
    let app = App::new(services);
    let settings = &app.settings;
    let metrics = app.metrics.clone();
    let operations = Router::new()
        .route("/v1/operations", get(list::list).post(create::create))
        .route("/v1/operations/{id}", get(get::get).post(command::post).delete(command::delete))
        .route("/v1/operations/{id}/events", get(events::events))
        .route("/v1/operations:batchCreate", post(batch_create::create))
        .route("/v1/organizations/{name}", get(pause::get).post(pause::post_organization))
        .route("/v1/kinds/{name}", post(pause::post_kind))
        .route("/v1/operations:watch", get(watch::watch))
        .layer(from_fn_with_state(settings.request_timeout, within));
    let work = Router::new()
        .route("/v1/operations:heartbeat", post(work::heartbeat))
        .route("/v1/operations:settle", post(work::settle))
        .layer(from_fn_with_state(settings.request_timeout, within));
    let waiting = Router::new()
        .route("/v1/operations:claim", post(work::claim))
        .layer(from_fn_with_state(settings.request_timeout + work::MAX_WAIT, within));
    let evidence = Router::new()
        .route("/v1/agents/evaluate-evidence", post(evaluate::evaluate))
        .route("/v1/evidence", post(evidence::put))
        .route("/v1/evidence/{digest}", get(evidence::get))
        .layer(from_fn_with_state(settings.upload_timeout, within));
    let router = operations.merge(work).merge(waiting).merge(evidence).with_state(app);
    finish(router, metrics)
}

/// Adds what every router has: the error model for unknown paths, methods and panics, and the observation.
fn finish(router: Router, metrics: metrics::Metrics) -> Router {
    router
        .fallback(|| async { ApiError::NotFound("path") })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(leftover::drain))
        .layer(from_fn_with_state(metrics, observe::observe))
}

/// Ends a request that takes too long with 504. Futures of the store may be dropped at any time.
async fn within(State(mut limit): State<Duration>, request: Request, next: Next) -> Response {
    if request.uri().path().ends_with(wait::SUFFIX) {
        limit += wait::MAX_WAIT;
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout("the request").into_response(),
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    ApiError::Internal(format!("panic: {}", text.as_deref().unwrap_or("of no text")).into()).into_response()
}
