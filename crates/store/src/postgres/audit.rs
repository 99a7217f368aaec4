//! The audit log: see [`crate::audit`]. Its numbers are in the organization's row, which a transaction locks last.

use operations::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::admin;
use super::connections::Connections;
use crate::audit::{self, AuditRow, PAGE_ROWS, Reading, Record};
use crate::{AuditFilter, AuditPage, StoreError};

/// An organization that is deleted has no log; the log of the instance is that of the empty name.
const APPEND: &str = "
    WITH numbered AS (
        UPDATE organizations SET audit_seq = audit_seq + $2
        WHERE organization_id = $1 AND (deleted < 2 OR organization_id = '')
        RETURNING audit_seq - $2 AS first
    )
    INSERT INTO audit (organization_id, seq, entries, at, log) SELECT $1, first, $2, $3, $4 FROM numbered";

/// Served by the primary key.
const READ: &str = "
    SELECT seq, at, log FROM audit WHERE organization_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";

/// The first row that is not before a time. Served by audit_by_time.
const FIRST_AT: &str = "
    SELECT seq FROM audit WHERE organization_id = $1 AND at >= $2 ORDER BY at, seq LIMIT 1";

/// Organizations with something older than $1, except those that are being moved. Served by audit_by_time.
const OLD: &str = "
    SELECT o.organization_id FROM organizations o WHERE EXISTS (
        SELECT FROM audit a WHERE a.organization_id = o.organization_id AND a.at < $1)
        AND NOT EXISTS (SELECT FROM organizations_elsewhere e WHERE e.organization_id = o.organization_id)";

/// The oldest rows, up to the first that is younger than $2, so that what is left has no gap.
const FORGET: &str = "
    WITH oldest AS (
        SELECT seq, at FROM audit WHERE organization_id = $1 ORDER BY seq LIMIT $3
    ), gone AS (
        DELETE FROM audit WHERE organization_id = $1 AND seq <= (
            SELECT max(seq) FROM oldest WHERE at < $2
                AND seq < coalesce((SELECT min(seq) FROM oldest WHERE at >= $2), 9223372036854775807))
        RETURNING entries
    ), counted AS (
        SELECT coalesce(sum(entries), 0)::bigint AS n FROM gone
    )
    UPDATE organizations SET audit_removed = audit_removed + n FROM counted WHERE organization_id = $1 AND n > 0
    RETURNING n";

/// Deletes the whole log of an organization that is deleted.
pub(super) const REMOVE: [&str; 2] = [
    "DELETE FROM audit WHERE organization_id = $1",
    "UPDATE organizations SET audit_removed = audit_seq - 1 WHERE organization_id = $1",
];

pub(super) async fn append(
    connection: &mut PgConnection,
    now: Timestamp,
    records: &[Record],
) -> Result<(), StoreError> {
    for (organization, entries, mut log) in audit::rows(records) {
        if !append_to(connection, now, organization, entries, &log).await? {
            if !organization.is_empty() {
                log = audit::entries_for_instance(records, organization);
            }
            admin::make_instance(connection, now).await?;
            append_to(connection, now, "", entries, &log).await?;
        }
    }
    Ok(())
}

/// Whether there is such a log.
async fn append_to(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    entries: i32,
    log: &str,
) -> Result<bool, sqlx::Error> {
    let append = sqlx::query(APPEND).bind(organization).bind(entries).bind(now.as_millis()).bind(log);
    Ok(append.execute(connection).await?.rows_affected() > 0)
}

pub(super) async fn read(
    pool: &Connections,
    organization: &str,
    filter: &AuditFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<AuditPage, StoreError> {
    let mut start = before;
    if let Some(until) = filter.until {
        let first = sqlx::query_scalar(FIRST_AT).bind(organization).bind(until.as_millis());
        let first: Option<i64> = first.fetch_optional(pool).await?;
        start = [start, first.map(i64::unsigned_abs)].into_iter().flatten().min();
    }
    let mut reading = Reading::new(organization, filter, start, limit);
    loop {
        let read = sqlx::query(READ).bind(organization).bind(reading.below()).bind(PAGE_ROWS);
        let found = read.fetch_all(pool).await?;
        let row = |row: &sqlx::postgres::PgRow| {
            let at = Timestamp::from_millis(row.try_get("at")?);
            Ok(AuditRow { seq: row.try_get("seq")?, at, log: row.try_get("log")? })
        };
        let found = found.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        if !reading.take(found, PAGE_ROWS)? {
            return Ok(reading.page());
        }
    }
}

/// Deletes up to `limit` rows of each log that are older; answers how many entries they had.
pub(super) async fn forget(pool: &Connections, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let organizations: Vec<String> = sqlx::query_scalar(OLD).bind(before.as_millis()).fetch_all(pool).await?;
    let mut forgotten = 0;
    for organization in organizations {
        let forget = sqlx::query_scalar(FORGET).bind(organization).bind(before.as_millis()).bind(i64::from(limit));
        forgotten += forget.fetch_optional(pool).await?.unwrap_or(0_i64).unsigned_abs();
    }
    Ok(forgotten)
}
