//! Heartbeats: the leases of attempts are extended, and the reports of their workers are kept.

use std::collections::{HashMap, HashSet};

use operations::{OperationId, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{history, rows};
use crate::history::bounded;
use crate::{Heartbeat, LeaseStatus, StoreError};

const EXTEND: &str = "
    UPDATE leases l SET expires_at = $4 FROM unnest($2::bigint[], $3::bigint[]) AS h (seq, fence)
    WHERE l.organization_id = $1 AND l.seq = h.seq AND l.fence = h.fence
    RETURNING l.seq, l.fence";

/// Served by active_by_id.
const BEATING: &str = "
    SELECT a.* FROM unnest($2::uuid[]) AS w (id) CROSS JOIN LATERAL (
        SELECT seq, id, kind, project_id, cancel_requested, attempts FROM active
        WHERE id = w.id AND organization_id = $1 OFFSET 0) AS a";

/// An operation of `active` whose worker says that it is still working on it.
struct Beating {
    seq: i64,
    attempts: i32,
    kind: String,
    project_id: String,
    cancel_requested: bool,
}

/// Extends the leases that are still held. A lease that exists holds its fencing token, so nothing else is looked at.
pub(super) async fn heartbeat(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    beats: &[&Heartbeat],
    expires_at: Timestamp,
) -> Result<Vec<LeaseStatus>, StoreError> {
    let ids: Vec<Uuid> = beats.iter().map(|beat| rows::uuid(&beat.lease.id)).collect();
    let found = sqlx::query(BEATING).bind(organization).bind(ids).fetch_all(&mut *connection).await?;
    let mut beating: HashMap<OperationId, Beating> = HashMap::with_capacity(found.len());
    for row in &found {
        let entry = Beating {
            seq: row.try_get("seq")?,
            attempts: row.try_get("attempts")?,
            kind: row.try_get("kind")?,
            project_id: row.try_get("project_id")?,
            cancel_requested: row.try_get("cancel_requested")?,
        };
        beating.insert(rows::id(row)?, entry);
    }
    let reached = |beat: &Heartbeat| {
        beating.get(&beat.lease.id).filter(|entry| beat.lease.covers(&entry.project_id, &entry.kind))
    };
    let mut wanted: Vec<(i64, i64)> = beats
        .iter()
        .filter_map(|beat| reached(beat).map(|entry| (entry.seq, beat.lease.fence.cast_signed())))
        .collect();
    wanted.sort_unstable();
    let (keys, fences): (Vec<i64>, Vec<i64>) = wanted.into_iter().unzip();
    let extended: Vec<(i64, i64)> = sqlx::query_as(EXTEND)
        .bind(organization)
        .bind(keys)
        .bind(fences)
        .bind(expires_at.as_millis())
        .fetch_all(&mut *connection)
        .await?;
    let held: HashSet<(i64, i64)> = extended.into_iter().collect();
    // The last of each counts.
    let said: HashMap<i64, (i32, String)> = beats
        .iter()
        .filter_map(|beat| {
            let (progress, entry) = (beat.progress.as_deref()?, reached(beat)?);
            let is_held = held.contains(&(entry.seq, beat.lease.fence.cast_signed()));
            is_held.then(|| (entry.seq, (entry.attempts, bounded(progress).to_owned())))
        })
        .collect();
    history::append_progress(connection, now, organization, said).await?;
    let status = |beat: &&Heartbeat| match reached(beat) {
        Some(entry) if held.contains(&(entry.seq, beat.lease.fence.cast_signed())) => {
            LeaseStatus::Held { expires_at, cancel_requested: entry.cancel_requested }
        }
        _ => LeaseStatus::Lost,
    };
    Ok(beats.iter().map(status).collect())
}
