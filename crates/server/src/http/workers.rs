//! `GET /v1/workers`: who runs what now.

use axum::extract::State;
use axum::response::Response;
use operations::Timestamp;
use serde::Serialize;
use store::HeldLease;
use utoipa::ToSchema;

use super::caller::Caller;
use super::openapi::ListErrors;
use crate::app::App;
use crate::calls::workers::{self, RunningWorker};
use crate::error::ApiError;
use crate::render::{self, shown, to_json};

/// List workers
///
/// Who runs operations now, those with most attempts first: workers by the id of their token, servers by their name. Who
/// runs nothing is not known. A token that is limited to projects sees who runs what is in these.
#[utoipa::path(get, path = "/v1/workers", operation_id = "WorkersService_ListWorkers", tag = "WorkersService",
    responses((status = 200, description = "Who runs what.", body = WorkerList), ListErrors))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let told = workers::list(&app, &caller).await?;
    let workers = told.workers.iter().map(WireWorker::from).collect();
    Ok(render::response(to_json(&WorkerList { workers, is_complete: told.is_complete })))
}

/// Who runs what.
#[derive(Serialize, ToSchema)]
pub(super) struct WorkerList<'a> {
    /// Those with most attempts first.
    workers: Vec<WireWorker<'a>>,
    /// Whether these are all; not when more than 5,000 attempts are under way, of which the oldest operations are looked at.
    is_complete: bool,
}

/// Who runs something.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningWorker)]
pub(super) struct WireWorker<'a> {
    /// The id of its token, or the name of a server.
    name: &'a str,
    /// Attempts under way.
    running: u64,
    /// Of which kinds, in order.
    kinds: &'a [String],
    /// When the oldest of its attempts began.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    oldest_started_at: Timestamp,
    /// When it claimed, or kept a lease, last.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    last_heartbeat_at: Timestamp,
    /// What it runs: the 20 oldest attempts.
    attempts: Vec<WireAttempt<'a>>,
}

/// An attempt under way.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningAttempt)]
pub(super) struct WireAttempt<'a> {
    /// The operation's id.
    operation_id: String,
    /// Its kind.
    kind: &'a str,
    /// Its project; left out when it has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    project_id: &'a str,
    /// Which attempt, from 1.
    attempt: u32,
    /// When it began.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When its lease runs out unless there is a heartbeat.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    lease_expires_at: Timestamp,
}

impl<'a> From<&'a RunningWorker> for WireWorker<'a> {
    fn from(worker: &'a RunningWorker) -> WireWorker<'a> {
        WireWorker {
            name: &worker.name,
            running: worker.running,
            kinds: &worker.kinds,
            oldest_started_at: worker.oldest_started_at,
            last_heartbeat_at: worker.last_heartbeat_at,
            attempts: worker.attempts.iter().map(WireAttempt::from).collect(),
        }
    }
}

impl<'a> From<&'a HeldLease> for WireAttempt<'a> {
    fn from(held: &'a HeldLease) -> WireAttempt<'a> {
        WireAttempt {
            operation_id: held.operation.to_string(),
            kind: &held.kind,
            project_id: &held.project_id,
            attempt: held.attempt,
            started_at: held.started_at,
            lease_expires_at: held.expires_at,
        }
    }
}
