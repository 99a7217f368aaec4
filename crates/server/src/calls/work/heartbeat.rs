//! Keeping leases, many at once.

use operations::{OperationId, Violation};
use serde::Deserialize;
use store::{Heartbeat, LeaseStatus};
use utoipa::ToSchema;

use super::lease::{MAX_ROWS, lease, scope};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{List, Read};

/// The most bytes of a progress: a line for people.
const MAX_PROGRESS_BYTES: usize = 1024;

/// What a worker holds still.
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
    /// Its id.
    #[schema(required = true, format = Uuid)]
    #[serde(default)]
    pub(crate) id: String,
    /// What the claim gave.
    #[schema(required = true)]
    #[serde(default)]
    pub(crate) lease_token: String,
    /// The organization that the claim gave; needed by workers for several.
    #[schema(required = false, max_length = 128)]
    #[serde(default)]
    pub(crate) organization: String,
    /// A line for people: how far it is. At most 1024 bytes.
    #[schema(value_type = Option<String>, max_length = 1024, example = "scanned 30 of 200 files")]
    #[serde(default)]
    pub(crate) progress: String,
}

/// Extends leases; answers for each row, in their order, whether it is still held.
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
            let told = format!("is {length} bytes long; at most {MAX_PROGRESS_BYTES} are taken");
            wrong.add(Violation::new("progress", told));
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
