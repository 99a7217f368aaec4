//! The recorded outcomes of operations whose settlement or release was refused.

use operations::{Refusal, Status};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::rows;
use crate::StoreError;
use crate::repeat::{Found, Recorded, Refused, answer};

/// The operations that a worker ended under the fencing tokens $3. Outputs are read only if they are as long as those
/// that were sent, so that no more is read than was sent. Served by settled_by_id.
const SETTLED: &str = "
    SELECT s.* FROM unnest($2::uuid[], $3::bigint[], $4::int[]) AS w (id, fence, bytes) CROSS JOIN LATERAL (
        SELECT id, kind, project_id, status, started_at, finished_at, attempts, max_attempts, fence, error_message, output
        FROM settled
        WHERE id = w.id AND organization_id = $1 AND fence = w.fence AND worker <> ''
            AND (status = 4 OR octet_length(output) = w.bytes) OFFSET 0) AS s";

/// The operations that wait for another attempt, with their last note. Served by active_by_id and events_by_operation.
const PENDING: &str = "
    SELECT a.*, n.* FROM unnest($2::uuid[], $3::bigint[]) AS w (id, fence) CROSS JOIN LATERAL (
        SELECT id, seq, kind, project_id, status, started_at, due_at, attempts, max_attempts, fence
        FROM active WHERE id = w.id AND organization_id = $1 AND fence = w.fence AND status = 1 OFFSET 0) AS a
    CROSS JOIN LATERAL (
        SELECT kind::bigint AS noted, message FROM events
        WHERE organization_id = $1 AND seq = a.seq AND kind NOT IN (4, 5)
        ORDER BY at DESC, attempt DESC, kind DESC LIMIT 1) AS n";

/// Reports those that were recorded already as recorded; `refused` are of one organization.
pub(super) async fn tell(
    connection: &mut PgConnection,
    organization: &str,
    refused: &[Refused<'_>],
    results: &mut [Result<Status, Refusal>],
) -> Result<(), StoreError> {
    let mut found = Found::new();
    let mut keep = |row: &PgRow, state, noted| {
        let recorded = Recorded { project_id: row.try_get("project_id")?, kind: row.try_get("kind")?, state, noted };
        found.insert((organization.to_owned(), rows::id(row)?), recorded);
        Ok::<_, StoreError>(())
    };
    let keys = |refused: &[&Refused<'_>]| -> (Vec<Uuid>, Vec<i64>) {
        refused.iter().map(|refused| (rows::uuid(&refused.lease.id), refused.fence.cast_signed())).unzip()
    };
    if !refused.is_empty() {
        let (ids, fences) = keys(&refused.iter().collect::<Vec<_>>());
        let bytes: Vec<i32> = refused
            .iter()
            .map(|refused| i32::try_from(rows::text_in(refused.output().to_owned()).len()).unwrap_or(i32::MAX))
            .collect();
        let query = sqlx::query(SETTLED).bind(organization).bind(ids).bind(fences).bind(bytes);
        for row in query.fetch_all(&mut *connection).await? {
            keep(&row, rows::settled_state(&row)?, None)?;
        }
    }
    let pending: Vec<_> = refused.iter().filter(|refused| refused.leaves_it_pending()).collect();
    if !pending.is_empty() {
        let (ids, fences) = keys(&pending);
        let query = sqlx::query(PENDING).bind(organization).bind(ids).bind(fences);
        for row in query.fetch_all(&mut *connection).await? {
            let noted = (row.try_get("noted")?, rows::text_out(row.try_get("message")?));
            keep(&row, rows::active_state(&row)?, Some(noted))?;
        }
    }
    answer(refused, &found, results);
    Ok(())
}
