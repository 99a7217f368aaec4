//! What operators and their machines ask, on a listener of its own: alive, ready, counters.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use store::{Pausable, Paused, Store};
use tasks::TaskReport;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::services::Services;

/// How long the store may take to answer before the server counts as not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Admin {
    store: Arc<dyn Store>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

/// `/healthz` (the process answers), `/readyz` (the store answers too, the maintenance tasks do their work, and no
/// shutdown has begun), `/metrics`.
///
/// Needs no token: bind it to an address that only operators reach.
pub fn admin_router(services: &Services, shutdown: CancellationToken) -> Router {
    let admin = Admin { store: services.store.clone(), metrics: services.metrics.clone(), shutdown };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    // Probes have counters of their own that nobody sees: they would drown the API's.
    super::observe::observed(router, Metrics::default(), &[])
}

async fn ready(State(admin): State<Admin>) -> Result<&'static str, ApiError> {
    if admin.shutdown.is_cancelled() {
        return Err(ApiError::NotReady("the server is shutting down".to_owned()));
    }
    let troubles = admin.store.health().troubles();
    if !troubles.is_empty() {
        return Err(ApiError::NotReady(troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")));
    }
    match tokio::time::timeout(PING_TIMEOUT, admin.store.ping()).await {
        Ok(Ok(())) => Ok("ready\n"),
        // Whatever is wrong with the store: not ready.
        Ok(Err(error)) => Err(ApiError::Unavailable(error.into())),
        Err(_) => Err(ApiError::Unavailable("the store did not answer in time".into())),
    }
}

async fn metrics(State(admin): State<Admin>) -> ([(http::HeaderName, &'static str); 1], String) {
    let mut text = admin.metrics.render();
    text.push_str(&render_tasks(&admin.store.health().report()));
    // The rest is worth having while the store is away.
    if let Ok(Ok(paused)) = tokio::time::timeout(PING_TIMEOUT, admin.store.paused()).await {
        text.push_str(&render_paused(&paused));
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// The maintenance tasks and loops of the process.
fn render_tasks(tasks: &[TaskReport]) -> String {
    const RESTARTS: &str = "longrun_task_restarts_total";
    const SUCCEEDED: &str = "longrun_task_seconds_since_success";
    let mut text =
        format!("# HELP {RESTARTS} How often a task broke off and was restarted.\n# TYPE {RESTARTS} counter\n");
    for TaskReport { task, restarts, .. } in tasks {
        text.push_str(&format!("{RESTARTS}{{task=\"{task}\"}} {restarts}\n"));
    }
    text.push_str(&format!(
        "# HELP {SUCCEEDED} Seconds since the last round of a task that succeeded.\n# TYPE {SUCCEEDED} gauge\n"
    ));
    for TaskReport { task, succeeded, .. } in tasks {
        if let Some(succeeded) = succeeded {
            text.push_str(&format!("{SUCCEEDED}{{task=\"{task}\"}} {}\n", succeeded.as_secs_f64()));
        }
    }
    text
}

/// A line for each thing that is paused: there are few, and only operators and organizations themselves make them.
fn render_paused(paused: &[Paused]) -> String {
    const NAME: &str = "longrun_paused";
    let mut text = format!("# HELP {NAME} What is not started for the time being; empty: all.\n# TYPE {NAME} gauge\n");
    for Paused { what, .. } in paused {
        let (organization, kind) = match what {
            Pausable::Organization(organization) => (organization.as_str(), ""),
            Pausable::Kind(kind) => ("", kind.as_str()),
            Pausable::KindOf { organization, kind } => (organization.as_str(), kind.as_str()),
        };
        // Names have no control characters, and so no line ends.
        let label = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let (organization, kind) = (label(organization), label(kind));
        text.push_str(&format!("{NAME}{{organization=\"{organization}\",kind=\"{kind}\"}} 1\n"));
    }
    text
}
