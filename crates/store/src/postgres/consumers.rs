//! What the change log keeps: for the servers' own consumers, the rows that they have not read; for others, the rows of
//! some time.

use operations::Timestamp;
use sqlx::postgres::PgConnection;

use super::changes::position;
use super::connections::Connections;
use crate::StoreError;
use crate::changes::Position;

/// Deletes the first of the oldest $3 rows of an organization: as long as they are older than $2, and read by every
/// consumer or older than $4. Because of the floor, the scan does not pass over rows that were deleted before and are
/// not cleaned up yet.
const FORGET: &str = include_str!("sql/forget_changes.sql");

/// Organizations that have changes, except those that are being moved: a loose scan over the primary key, one seek
/// each.
const ORGANIZATIONS: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM changes ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM changes WHERE organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT id FROM organization WHERE id IS NOT NULL AND NOT EXISTS (
        SELECT FROM organizations_elsewhere e WHERE e.organization_id = organization.id)";

const BEGIN: &str = "
    INSERT INTO change_readers (reader, xid) VALUES ($1, pg_snapshot_xmin(pg_current_snapshot()))
    ON CONFLICT DO NOTHING";

/// Without the consumer, its marks would be where a later one of its name begins.
const END: &str = "
    WITH marks AS (DELETE FROM change_marks WHERE reader = $1)
    DELETE FROM change_readers WHERE reader = $1";

/// A lease that would last for more than twice the requested time, from $3 until $4, comes from a clock that
/// was set back since: it counts as free. The limit is not that time itself: of two servers that ask at once, the
/// other's clock, or the moment at which it read it, may be a little ahead.
const LEASE: &str = "
    UPDATE change_readers SET holder = $2, held_until = $4 WHERE reader = $1
        AND (holder = $2 OR held_until <= $3 OR held_until > 2 * $4::bigint - $3::bigint)";

const MARK: &str = "
    INSERT INTO change_marks (reader, organization_id, xid, n, seen) VALUES ($1, $2, $3::text::xid8, $4, $5)
    ON CONFLICT (reader, organization_id) DO UPDATE SET xid = excluded.xid, n = excluded.n, seen = excluded.seen
    WHERE (change_marks.xid, change_marks.n, change_marks.seen) < (excluded.xid, excluded.n, excluded.seen)";

/// All organizations that have changes, by a loose scan as above, and two seeks for each.
const UNCOMMITTED: &str = "
    WITH RECURSIVE organization (id) AS (
        (SELECT organization_id FROM changes WHERE organization_id > $2 ORDER BY organization_id LIMIT 1)
        UNION ALL
        SELECT (SELECT organization_id FROM changes WHERE organization_id > organization.id
            ORDER BY organization_id LIMIT 1)
        FROM organization WHERE organization.id IS NOT NULL
    )
    SELECT o.id, p.xid::text, p.n, p.seen
    FROM organization o CROSS JOIN LATERAL (
        SELECT coalesce(m.xid, r.xid) AS xid, coalesce(m.n, 0) AS n, coalesce(m.seen, 0) AS seen
        FROM change_readers r LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.id
        WHERE r.reader = $1 OFFSET 0) AS p CROSS JOIN LATERAL (
        SELECT FROM changes c
        WHERE c.organization_id = o.id AND (c.xid, c.n) >= (p.xid, p.n)
            AND c.xid < pg_snapshot_xmin(pg_current_snapshot())
            AND ((c.xid, c.n) > (p.xid, p.n) OR cardinality(c.ids) > p.seen)
        LIMIT 1) AS c
    WHERE o.id IS NOT NULL
    LIMIT $3";

pub(super) async fn begin(pool: &Connections, consumer: &str) -> Result<(), StoreError> {
    sqlx::query(BEGIN).bind(consumer).execute(pool).await?;
    Ok(())
}

/// As [`begin`], in the caller's transaction.
pub(super) async fn begin_on(connection: &mut PgConnection, consumer: &str) -> Result<(), StoreError> {
    sqlx::query(BEGIN).bind(consumer).execute(connection).await?;
    Ok(())
}

pub(super) async fn end(pool: &Connections, consumer: &str) -> Result<(), StoreError> {
    sqlx::query(END).bind(consumer).execute(pool).await?;
    Ok(())
}

pub(super) async fn acquire_consumer_lease(
    pool: &Connections,
    now: Timestamp,
    consumer: &str,
    process: &str,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(LEASE).bind(consumer).bind(process).bind(now.as_millis()).bind(until.as_millis());
    Ok(query.execute(pool).await?.rows_affected() > 0)
}

pub(super) async fn mark(
    pool: &Connections,
    consumer: &str,
    organization: &str,
    position: Position,
) -> Result<(), StoreError> {
    let small = |n: u32| i32::try_from(n).map_err(|_| StoreError::PositionUnknown);
    sqlx::query(MARK)
        .bind(consumer)
        .bind(organization)
        .bind(position.row.to_string())
        .bind(small(position.part)?)
        .bind(small(position.seen)?)
        .execute(pool)
        .await?;
    Ok(())
}

/// Organizations with changes that a consumer has not read, and its position there.
pub(super) async fn uncommitted(
    pool: &Connections,
    consumer: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, Position)>, StoreError> {
    let found: Vec<(String, String, i32, i32)> =
        sqlx::query_as(UNCOMMITTED).bind(consumer).bind(after).bind(i64::from(limit)).fetch_all(pool).await?;
    let placed =
        |(organization, xid, n, seen): (String, String, i32, i32)| Ok((organization, position(&xid, n, seen)?));
    found.into_iter().map(placed).collect()
}

/// Deletes up to `limit` rows that are older than `before`, uncommitted ones only before `uncommitted_before`; answers
/// how many.
pub(super) async fn forget(
    pool: &Connections,
    before: Timestamp,
    uncommitted_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let organizations: Vec<String> = sqlx::query_scalar(ORGANIZATIONS).fetch_all(pool).await?;
    let mut forgotten = 0_u64;
    for organization in organizations {
        let left = u64::from(limit).saturating_sub(forgotten);
        if left == 0 {
            break;
        }
        let count: i64 = sqlx::query_scalar(FORGET)
            .bind(organization)
            .bind(before.as_millis())
            .bind(i64::try_from(left).unwrap_or(i64::MAX))
            .bind(uncommitted_before.as_millis())
            .fetch_one(pool)
            .await?;
        forgotten += count.unsigned_abs();
    }
    Ok(forgotten)
}
