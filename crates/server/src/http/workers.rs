//! `GET /v1/workers`: which workers and servers run operations now.

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
/// Lists the workers and servers that run operations now, those with the most attempts first: workers by the id of
/// their token, servers by their name. Workers that run nothing are not known to the service. A token that is limited
/// to projects sees who runs the operations of these projects.
#[utoipa::path(get, path = "/v1/workers", operation_id = "WorkersService_ListWorkers", tag = "WorkersService",
    responses((status = 200, description = "The workers.", body = WorkerList), ListErrors))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let list = workers::list(&app, &caller).await?;
    let workers = list.workers.iter().map(WireWorker::from).collect();
    Ok(render::response(to_json(&WorkerList { workers, is_complete: list.is_complete })))
}

/// The workers and servers that run operations.
#[derive(Serialize, ToSchema)]
pub(super) struct WorkerList<'a> {
    /// Those with the most attempts first.
    workers: Vec<WireWorker<'a>>,
    /// Whether these are all of them. When more than 5,000 attempts are running, only those of the oldest operations
    /// are examined.
    is_complete: bool,
}

/// A worker or server that runs operations.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningWorker)]
pub(super) struct WireWorker<'a> {
    /// The id of the token of a worker, or the name of a server.
    name: &'a str,
    /// The number of its running attempts.
    running: u64,
    /// The kinds of these attempts, sorted.
    kinds: &'a [String],
    /// When the oldest of its attempts began.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    oldest_started_at: Timestamp,
    /// When it last claimed an operation or extended a lease.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    last_heartbeat_at: Timestamp,
    /// Its 20 oldest running attempts.
    attempts: Vec<WireAttempt<'a>>,
}

/// A running attempt.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningAttempt)]
pub(super) struct WireAttempt<'a> {
    /// The operation's id.
    operation_id: String,
    /// The kind of the operation.
    kind: &'a str,
    /// The project of the operation; left out when it has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    project_id: &'a str,
    /// The number of the attempt, from 1.
    attempt: u32,
    /// When the attempt began.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When its lease ends unless a heartbeat extends it.
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
