//! `POST /v1/operations:heartbeat`: a worker says that it is still at its operations, and learns which it shall end.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;
use operations::{OperationId, Refusal, Timestamp, Violation};
use serde::Serialize;
use store::{Heartbeat, LeaseStatus, Scope};

use super::lease::{MAX_ROWS, lease, scope};
use crate::app::App;
use crate::error::{ApiError, RowStatus};
use crate::http::body;
use crate::http::caller::Caller;
use crate::http::json::Fields;
use crate::render::{self, shown, to_json};

/// The most bytes of a progress: a line for people.
const MAX_PROGRESS_BYTES: usize = 1024;

pub(in crate::http) async fn heartbeat(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.require(Scope::OperationsWork)?;
    let body = body::read_work(&app, &caller, &headers, body).await?;
    let beats = parse(&app, &caller, &body)?;
    let ids: Vec<OperationId> = beats.iter().map(|beat| beat.lease.id).collect();
    let statuses = app.store.heartbeat(beats, app.settings.work.lease).await?;
    let operations = ids.into_iter().zip(statuses).map(|(id, status)| Row::new(id, status)).collect();
    Ok(render::response(to_json(&Answer { operations })))
}

fn parse(app: &App, caller: &Caller, body: &Bytes) -> Result<Vec<Heartbeat>, ApiError> {
    let mut fields = Fields::parse(body)?;
    let scope = scope(app, caller);
    let beats = fields.rows::<_, MAX_ROWS>("operations", |row| {
        let lease = lease(row, caller, &scope);
        let progress = row.text("progress");
        if progress.len() > MAX_PROGRESS_BYTES {
            let length = progress.len();
            let told = format!("is {length} bytes long; at most {MAX_PROGRESS_BYTES} are taken");
            row.violations.push(Violation::new("progress", told));
        }
        let progress = (!progress.is_empty()).then(|| progress.into_owned());
        lease.map(|(lease, _)| Heartbeat { lease, progress })
    });
    let violations = fields.finish();
    if violations.is_empty() { Ok(beats) } else { Err(ApiError::Invalid(violations)) }
}

#[derive(Serialize)]
struct Answer {
    operations: Vec<Row>,
}

/// What became of one row: it is held, or it is not and `error` says so.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
    Held {
        #[serde(serialize_with = "shown")]
        id: OperationId,
        #[serde(serialize_with = "shown")]
        lease_expires_at: Timestamp,
        cancel_requested: bool,
    },
    Refused {
        #[serde(serialize_with = "shown")]
        id: OperationId,
        error: RowStatus,
    },
}

impl Row {
    fn new(id: OperationId, status: LeaseStatus) -> Row {
        match status {
            LeaseStatus::Held { expires_at: lease_expires_at, cancel_requested } => {
                Row::Held { id, lease_expires_at, cancel_requested }
            }
            LeaseStatus::Lost => Row::Refused { id, error: Refusal::StaleLease.into() },
        }
    }
}
