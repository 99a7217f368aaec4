//! Extending leases, many at once.

use operations::{OperationId, Violation};
use serde::Deserialize;
use store::{Heartbeat, LeaseStatus};
use utoipa::ToSchema;

use super::lease::{MAX_ROWS, lease, scope};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{List, Read};

/// The most bytes of a progress, which is a line of text for people.
const MAX_PROGRESS_BYTES: usize = 1024;

/// The operations that a worker still holds.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatOperations {
    /// One row for each operation.
    #[schema(value_type = Vec<HeartbeatRow>, required = true, min_items = 1, max_items = 1000)]
    #[serde(default)]
    pub(crate) operations: List<Read<HeartbeatRow>, MAX_ROWS>,
}

/// An operation that a worker holds.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatRow {
    /// The id of the operation.
    #[schema(required = true, format = Uuid)]
    #[serde(default)]
    pub(crate) id: String,
    /// The lease_token of the claim.
    #[schema(required = true)]
    #[serde(default)]
    pub(crate) lease_token: String,
    /// The organization of the operation, from the claim; workers for several organizations must give it.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
    /// The progress of the attempt: a line of text for people, of at most 1024 bytes.
    #[schema(value_type = Option<String>, max_length = 1024, example = "scanned 30 of 200 files")]
    #[serde(default)]
    pub(crate) progress: String,
}

/// Extends leases; returns for each row, in order, whether the operation is still held.
pub(crate) async fn heartbeat(
    app: &App,
    caller: &Caller,
    asked: Read<HeartbeatOperations>,
) -> Result<Vec<(OperationId, LeaseStatus)>, ApiError> {
    caller.require_work()?;
    let (asked, mut found) = asked.into_parts();
    let rows = asked.operations.required("operations", &mut found);
    let scope = scope(app, caller);
    let mut beats = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        let (row, mut wrong) = row.into_parts();
        let lease = lease(&row.id, &row.lease_token, row.organization, caller, &scope, &mut wrong);
        if row.progress.len() > MAX_PROGRESS_BYTES {
            let length = row.progress.len();
            let description = format!("is {length} bytes long; at most {MAX_PROGRESS_BYTES} are allowed");
            wrong.add(Violation::new("progress", description));
        }
        found.add_at(&format!("operations[{index}]"), wrong);
        let progress = Some(row.progress).filter(|progress| !progress.is_empty());
        beats.extend(lease.map(|(lease, _)| Heartbeat { lease, progress }));
    }
    found.none()?;
    let ids: Vec<OperationId> = beats.iter().map(|beat| beat.lease.id).collect();
    let statuses = app.store.heartbeat(beats, app.settings.work.lease).await?;
    Ok(ids.into_iter().zip(statuses).collect())
}
