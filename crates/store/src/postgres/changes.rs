//! The change log: appended to by the statements that change operations, read in commit order.
//!
//! **Order.** A row's position is the number of its transaction. Of two transactions that change the same operation,
//! the first to commit must have the smaller number. It does if a transaction takes its number (by its first lock)
//! after the snapshot that showed it the operation: then everything that it sees was committed by older ones. A change
//! between that snapshot and the lock may come from a younger one: see [`overtaken`].
//!
//! **Readers** stop at the oldest transaction under way, below which nothing more can be committed. They take no lock
//! and need no notification.

use operations::{OperationId, Status, Timestamp};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgExecutor, PgRow};
use uuid::Uuid;

use super::connections::Connections;
use super::{error, rows};
use crate::StoreError;
use crate::changes::{ChangeRow, Changes, Position, batch_of_changes, bytes_of_ids};

/// Rows of the change log that one read examines, including the one before, which may have been read whole; each has at
/// least one operation.
const ROWS: u32 = 256;

/// Served by the primary key. There is always a row, with the columns that concern the whole read. Rows are sent until
/// those before have $6 bytes of ids (as an array, which has 24 bytes more; it may be compressed, and then there are
/// more): creations in bulk put thousands into one row.
const READ: &str = "
    SELECT $2::text::xid8 > pg_snapshot_xmax(pg_current_snapshot()) OR coalesce((
            SELECT ($2::text::xid8, $3::int, $4::int) < (f.xid, f.n, f.entries)
            FROM change_floors f WHERE f.organization_id = $1), false) AS is_unknown,
        c.*,
        (SELECT h.at FROM changes h WHERE h.organization_id = $1 AND h.xid >= pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY h.xid, h.n LIMIT 1) AS held_up
    FROM (SELECT 1) AS one LEFT JOIN LATERAL (
        SELECT xid::text AS xid_text, n, at, status, is_creation, ids FROM (
            SELECT changes.*, sum(pg_column_size(ids) - 24)
                OVER (ORDER BY xid, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
            FROM changes
            WHERE organization_id = $1 AND (xid, n) >= ($2::text::xid8, $3::int)
                AND xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY xid, n LIMIT $5) AS r
        WHERE bytes_before IS NULL OR bytes_before < $6
        ORDER BY xid, n) AS c ON true";

/// The last row that is read, or the floor if there is none above it. Served by the primary keys.
const LAST: &str = "
    SELECT xid::text, n, seen FROM (
        (SELECT xid, n, cardinality(ids) AS seen FROM changes
            WHERE organization_id = $1 AND xid < pg_snapshot_xmin(pg_current_snapshot())
            ORDER BY xid DESC, n DESC LIMIT 1)
        UNION ALL SELECT xid, n, entries FROM change_floors WHERE organization_id = $1) AS l
    ORDER BY l.xid DESC, l.n DESC, l.seen DESC LIMIT 1";

/// One row for each status, in its order.
const APPEND: &str = "
    INSERT INTO changes (organization_id, at, status, ids)
    SELECT $1, $2, status, array_agg(id) FROM unnest($3::uuid[], $4::smallint[]) AS c (id, status) GROUP BY status";

/// The end of an organization's change log: nothing more can be committed below it. It is the position of a row, which a
/// standby has once it is visible here. The number of a transaction alone would not do: after a failover the standby
/// gives the numbers again that it did not hear of, and changes with these numbers would lie before the position.
pub(super) async fn end(pool: &Connections, organization: &str) -> Result<Position, StoreError> {
    let last: Option<(String, i32, i32)> = sqlx::query_as(LAST).bind(organization).fetch_optional(pool).await?;
    last.map_or(Ok(Position { row: 0, part: 0, seen: 0 }), |(xid, n, seen)| position(&xid, n, seen))
}

/// A position from the columns of a row.
pub(super) fn position(xid: &str, n: i32, seen: i32) -> Result<Position, StoreError> {
    Ok(Position { row: number(xid)?, part: n.unsigned_abs(), seen: seen.unsigned_abs() })
}

pub(super) async fn read(
    pool: &Connections,
    organization: &str,
    after: Position,
    limit: u32,
) -> Result<Changes, StoreError> {
    let (Ok(part), Ok(seen)) = (i32::try_from(after.part), i32::try_from(after.seen)) else {
        return Err(StoreError::PositionUnknown);
    };
    let row_limit = limit.saturating_add(1).min(ROWS);
    let found = sqlx::query(READ)
        .bind(organization)
        .bind(after.row.to_string())
        .bind(part)
        .bind(seen)
        .bind(i64::from(row_limit))
        .bind(bytes_of_ids(after, limit))
        .fetch_all(pool)
        .await?;
    let (mut rows_found, mut held_up) = (Vec::with_capacity(found.len()), None);
    for row in &found {
        if row.try_get("is_unknown")? {
            return Err(StoreError::PositionUnknown);
        }
        held_up = rows::time(row, "held_up")?;
        let Some(xid) = row.try_get::<Option<String>, _>("xid_text")? else { continue };
        let ids: Vec<Uuid> = row.try_get("ids")?;
        let ids = ids.into_iter().map(|id| OperationId::from_bytes(*id.as_bytes())).collect();
        let at = Timestamp::from_millis(row.try_get("at")?);
        let part = row.try_get::<i32, _>("n")?.unsigned_abs();
        let (row_number, is_creation) = (number(&xid)?, row.try_get("is_creation")?);
        rows_found.push(ChangeRow { row: row_number, part, at, status: became(row)?, is_creation, ids });
    }
    let is_full = rows_found.len() >= row_limit as usize;
    let mut changes = batch_of_changes(after, limit, rows_found);
    if !is_full && changes.changes.len() < limit as usize {
        changes.held_up = held_up;
    }
    Ok(changes)
}

/// The new status of the operations of a row.
fn became(row: &PgRow) -> Result<Option<Status>, StoreError> {
    if row.try_get::<i16, _>("status")? == 0 { Ok(None) } else { rows::status(row).map(Some) }
}

pub(super) fn number(xid: &str) -> Result<u64, StoreError> {
    xid.parse().map_err(|_| StoreError::Unusable("the number of a transaction is not valid".to_owned()))
}

/// Appends the new statuses of operations; `None`: they were removed.
pub(super) async fn append(
    connection: &mut PgConnection,
    organization: &str,
    at: Timestamp,
    changes: &[(Uuid, Option<Status>)],
) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    let (ids, statuses): (Vec<Uuid>, Vec<i16>) =
        changes.iter().map(|(id, status)| (*id, status.map_or(0, |status| status.number().into()))).unzip();
    sqlx::query(APPEND).bind(organization).bind(at.as_millis()).bind(ids).bind(statuses).execute(connection).await?;
    Ok(())
}

/// Deletes changes that another cluster numbered (a restored dump), since no reader of this one would ever come to them,
/// and makes the cursors of that cluster unknown.
pub(super) async fn adopt(pool: &Connections) -> Result<(), sqlx::Error> {
    // Rows that are committed here and visible have a number below that of the next transaction.
    let mut deleted = 0;
    for table in ["changes", "change_floors"] {
        let sql = format!("DELETE FROM {table} WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())");
        deleted += sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await?.rows_affected();
    }
    if deleted > 0 {
        renew_position_key(pool).await?;
    }
    // The servers' own readers begin anew.
    for table in ["change_marks", "change_readers"] {
        let sql = format!("DELETE FROM {table} WHERE xid > pg_snapshot_xmax(pg_current_snapshot())");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await?;
    }
    Ok(())
}

/// Makes every cursor that was given before unknown.
pub(super) async fn renew_position_key(pool: &Connections) -> Result<(), sqlx::Error> {
    let sql =
        "UPDATE secrets SET value = uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) WHERE name = 'feed'";
    sqlx::query(sql).execute(pool).await?;
    Ok(())
}

/// Makes every position that was given before unknown: imported operations have no changes.
pub(super) async fn begin_anew(executor: impl PgExecutor<'_>, organization: &str) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO change_floors (organization_id, xid, n, entries) VALUES ($1, pg_current_xact_id(), 0, 0)
        ON CONFLICT (organization_id) DO UPDATE SET xid = excluded.xid, n = 0, entries = 0";
    sqlx::query(sql).bind(organization).execute(executor).await?;
    Ok(())
}

/// The error for a row that another transaction changed between this one's first read and its lock. That transaction
/// may have a greater number, and yet its change came first: this one is retried, with a new number.
pub(super) fn overtaken() -> StoreError {
    StoreError::Database(sqlx::Error::Database(Box::new(error::Overtaken)))
}
