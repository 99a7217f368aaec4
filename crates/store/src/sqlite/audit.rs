//! The audit log: see [`crate::audit`].

use operations::Timestamp;
use rusqlite::Connection;

use super::admin;
use super::statement::query;
use crate::audit::{self, AuditRow, PAGE_ROWS, Reading, Record};
use crate::{AuditFilter, AuditPage, StoreError};

/// Takes the next numbers of a log. A deleted organization has none; the log of the instance is that of the empty name.
const TAKE_NUMBERS: &str = "
    UPDATE organizations SET audit_seq = audit_seq + ?2
    WHERE organization_id = ?1 AND (deleted < 2 OR organization_id = '')
    RETURNING audit_seq - ?2";

const APPEND: &str = "INSERT INTO audit (organization_id, seq, entries, at, log) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Served by audit_by_seq.
const READ: &str = "
    SELECT seq, at, log FROM audit WHERE organization_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3 + 0";

/// The first row that is not before a time, regardless of later rows. Served by audit_by_time.
const FIRST_AT: &str = "
    SELECT seq FROM audit INDEXED BY audit_by_time WHERE organization_id = ?1 AND at >= ?2 ORDER BY at, seq LIMIT 1";

/// Organizations with something older than ?1. Served by audit_by_time.
const OLD: &str = "
    SELECT organization_id FROM organizations o WHERE EXISTS (
        SELECT 1 FROM audit a INDEXED BY audit_by_time WHERE a.organization_id = o.organization_id AND a.at < ?1)";

/// The oldest rows, up to the first that is younger than ?2, so that the remaining rows have no gap.
const FORGET: &str = "
    WITH oldest (id, seq, at) AS (
        SELECT rowid, seq, at FROM audit INDEXED BY audit_by_seq WHERE organization_id = ?1 ORDER BY seq LIMIT ?3 + 0)
    DELETE FROM audit WHERE rowid IN (
        SELECT id FROM oldest WHERE at < ?2
            AND seq < coalesce((SELECT min(seq) FROM oldest WHERE at >= ?2), 9223372036854775807))
    RETURNING entries";

const NOTE_REMOVED: &str = "UPDATE organizations SET audit_removed = audit_removed + ?2 WHERE organization_id = ?1";

/// Forgets the whole log of an organization that is deleted.
pub(super) const REMOVE: [&str; 2] = [
    "DELETE FROM audit WHERE organization_id = ?1",
    "UPDATE organizations SET audit_removed = audit_seq - 1 WHERE organization_id = ?1",
];

pub(super) fn append(connection: &Connection, now: Timestamp, records: &[Record]) -> Result<(), StoreError> {
    let take = |organization: &str, entries: i32| {
        query(TAKE_NUMBERS).bind(organization).bind(entries).fetch_optional(connection)
    };
    for (mut organization, entries, mut log) in audit::rows(records) {
        let mut taken = take(organization, entries)?;
        if taken.is_none() {
            if !organization.is_empty() {
                log = audit::entries_for_instance(records, organization);
                organization = "";
            }
            admin::make_instance(connection, now)?;
            taken = take(organization, entries)?;
        }
        let first: i64 = taken.ok_or_else(audit::damaged)?.try_get(0)?;
        let append = query(APPEND).bind(organization).bind(first).bind(entries);
        append.bind(now.as_millis()).bind(log).execute(connection)?;
    }
    Ok(())
}

pub(super) fn read(
    connection: &Connection,
    organization: &str,
    filter: &AuditFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<AuditPage, StoreError> {
    let mut start = before;
    if let Some(until) = filter.until {
        let first = query(FIRST_AT).bind(organization).bind(until.as_millis()).fetch_optional(connection)?;
        let first = first.map(|row| row.try_get::<i64>(0)).transpose()?.map(i64::unsigned_abs);
        start = [start, first].into_iter().flatten().min();
    }
    let mut reading = Reading::new(organization, filter, start, limit);
    loop {
        let found = query(READ).bind(organization).bind(reading.below()).bind(PAGE_ROWS).fetch_all(connection)?;
        let row = |row: &super::statement::Row| {
            let at = Timestamp::from_millis(row.try_get("at")?);
            Ok(AuditRow { seq: row.try_get("seq")?, at, log: row.try_get("log")? })
        };
        let found = found.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        if !reading.take(found, PAGE_ROWS)? {
            return Ok(reading.page());
        }
    }
}

/// Forgets up to `limit` rows of each log that are older; answers how many entries they had.
pub(super) fn forget(connection: &Connection, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for row in query(OLD).bind(before.as_millis()).fetch_all(connection)? {
        let organization: String = row.try_get(0)?;
        let removed = query(FORGET).bind(&organization).bind(before.as_millis()).bind(limit).fetch_all(connection)?;
        let mut entries = 0;
        for row in &removed {
            entries += row.try_get::<i64>(0)?;
        }
        query(NOTE_REMOVED).bind(&organization).bind(entries).execute(connection)?;
        forgotten += entries.unsigned_abs();
    }
    Ok(forgotten)
}
