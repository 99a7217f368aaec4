//! The routes for operators and their monitoring, on a listener of their own: liveness, readiness, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use store::Store;
use store::meters::{Form, Meters};
use tokio_util::sync::CancellationToken;
use traces::Traces;

use super::standings::Looks;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::services::Services;

/// How long the store may take to answer before the server counts as not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Admin {
    store: Arc<dyn Store>,
    metrics: Metrics,
    looks: Looks,
    shutdown: CancellationToken,
}

/// `/healthz` (the process answers), `/readyz` (the store answers too, the maintenance tasks do their work, and no
/// shutdown has begun), `/metrics`.
///
/// Needs no token: bind it to an address that only operators reach.
pub fn admin_router(services: &Services, shutdown: CancellationToken) -> Router {
    let admin = Admin {
        store: services.store.clone(),
        metrics: services.metrics.clone(),
        looks: Looks::new(services.store.clone()),
        shutdown,
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    // Probes have separate metrics that are not shown: they would drown those of the API.
    super::observe::observed(router, Metrics::new(Meters::default()), Traces::default(), &[])
}

async fn ready(State(admin): State<Admin>) -> Result<&'static str, ApiError> {
    readiness(&*admin.store, &admin.shutdown).await.map(|()| "ready\n")
}

/// Whether the server is ready for calls, and if not, what is wrong.
pub(crate) async fn readiness(store: &dyn Store, shutdown: &CancellationToken) -> Result<(), ApiError> {
    if shutdown.is_cancelled() {
        return Err(ApiError::NotReady("the server is shutting down".to_owned()));
    }
    let troubles = store.health().troubles();
    if !troubles.is_empty() {
        return Err(ApiError::NotReady(troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    }
    match tokio::time::timeout(PING_TIMEOUT, store.ping()).await {
        Ok(Ok(())) => Ok(()),
        // Whatever is wrong with the store, the server is not ready.
        Ok(Err(error)) => Err(ApiError::Unavailable(error.into())),
        Err(_) => Err(ApiError::Unavailable("the store did not answer in time".into())),
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> ([(http::HeaderName, &'static str); 2], String) {
    let form = Form::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let found = admin.looks.registry().await;
    ([(CONTENT_TYPE, form.content_type()), (VARY, "accept")], admin.metrics.render_with(&[&found], form))
}
