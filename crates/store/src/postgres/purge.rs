//! Removing terminal operations whose time is over.

use std::sync::LazyLock;

use operations::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::connections::Connections;
use super::{details, resources};
use crate::StoreError;

/// Organizations, in order, that have something whose time is over: a loose scan, one seek each. Those that are being
/// moved are left out: a copy must stay as it was read. Served by settled_by_purge.
const DUE: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM settled WHERE purge_at IS NOT NULL ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM settled WHERE purge_at IS NOT NULL AND organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization CROSS JOIN LATERAL (
        SELECT FROM settled WHERE organization_id = organization.id AND purge_at <= $1 AND purge_at IS NOT NULL LIMIT 1) AS o
    WHERE id IS NOT NULL AND NOT EXISTS (
        SELECT FROM organizations_elsewhere e WHERE e.organization_id = organization.id)
    ORDER BY id COLLATE \"C\"";

/// Removes those whose time was over first, with their counts and histories, and appends that to the change log; rows
/// that another server is working on are left to it. The lock on the organization's row, which creations wait for, is
/// taken last. Served by settled_by_purge and events_by_operation.
const PURGE: &str = "
    WITH gone AS (
        DELETE FROM settled WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM settled WHERE organization_id = $1 AND purge_at <= $2 AND purge_at IS NOT NULL
            ORDER BY purge_at LIMIT $3 FOR UPDATE SKIP LOCKED)) AND organization_id IS NOT DISTINCT FROM $1
        RETURNING id, seq, kind, status, project_id, resource_type, resource_id
    ), forgotten AS (
        DELETE FROM events WHERE ctid = ANY (ARRAY(SELECT e.ctid FROM gone CROSS JOIN LATERAL (
            SELECT ctid FROM events WHERE organization_id = $1 AND seq = gone.seq OFFSET 0) AS e))
            AND organization_id IS NOT DISTINCT FROM $1
    ), {forgotten}, logged AS (
        INSERT INTO changes (organization_id, at, status, ids)
        SELECT $1, $2, 0, array_agg(id) FROM gone HAVING count(*) > 0
    ), counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind, 0, 0,
            -count(*) FILTER (WHERE status = 3), -count(*) FILTER (WHERE status = 4)
        FROM gone GROUP BY 2, 3, 4
    ), counted_by_resource AS (
        {of_resources}
    )
    SELECT (SELECT count(*) FROM gone) AS removed, {keyed}";

const NOTE_REMOVED: &str = "UPDATE organizations SET removed = removed + $2 WHERE organization_id = $1";

pub(super) async fn due(pool: &Connections, now: Timestamp) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(DUE).bind(now.as_millis()).fetch_all(pool).await?)
}

/// Removes up to `limit` operations of one organization; answers how many.
pub(super) async fn purge(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    limit: u32,
) -> Result<u64, StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let counts = "0, 0, -count(*) FILTER (WHERE status = 3), -count(*) FILTER (WHERE status = 4)";
        PURGE
            .replace("{of_resources}", &resources::deltas("gone", counts))
            .replace("{forgotten}", details::FORGOTTEN)
            .replace("{keyed}", details::KEYED)
    });
    let query =
        sqlx::query(AssertSqlSafe(SQL.as_str())).bind(organization).bind(now.as_millis()).bind(i64::from(limit));
    let row = query.fetch_one(&mut *connection).await?;
    let removed: i64 = row.try_get("removed")?;
    if removed > 0 {
        note_removed(connection, organization, removed).await?;
        details::forget_keys(connection, organization, &row).await?;
    }
    Ok(removed.unsigned_abs())
}

/// Counts operations whose numbers are not used any more.
pub(super) async fn note_removed(
    connection: &mut PgConnection,
    organization: &str,
    count: i64,
) -> Result<(), StoreError> {
    sqlx::query(NOTE_REMOVED).bind(organization).bind(count).execute(connection).await?;
    Ok(())
}
