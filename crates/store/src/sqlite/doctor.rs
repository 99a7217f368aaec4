//! The invariant checker: recounts everything and compares, in one snapshot.

use super::statement::query;
use crate::doctor::{ALIKE, SHOWN, TOTALS};
use crate::{Finding, Report, StoreError};
use rusqlite::Connection;

/// Invariants whose queries are of this engine; see [`ALIKE`].
const CHECKS: &[(&str, &str)] = &[
    ("counters equal the rows that they count", COUNTERS),
    ("project counters equal the rows that they count", PROJECT_COUNTERS),
    (
        "no operation is both active and settled",
        "SELECT a.organization_id || ' #' || a.seq FROM active a JOIN settled s
             ON s.organization_id = a.organization_id AND s.id = a.id",
    ),
    ("the file is sound", "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'"),
];

const COUNTERS: &str = "
    WITH levels (level) AS (VALUES (12), (16), (20)), op (organization_id, seq, kind, status) AS (
        SELECT organization_id, seq, kind, status FROM active
        UNION ALL SELECT organization_id, seq, kind, status FROM settled
    ), counted (organization_id, level, bucket, kind, pending, running, completed, failed) AS (
        SELECT organization_id, level, seq >> level, kind,
            sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4)
        FROM op CROSS JOIN levels GROUP BY 1, 2, 3, 4
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' level ' || coalesce(c.level, r.level) || ' bucket '
        || coalesce(c.bucket, r.bucket) || ' ' || coalesce(c.kind, r.kind) || ': counters '
        || format('%d, %d, %d, %d', c.pending, c.running, c.completed, c.failed) || '; rows '
        || format('%d, %d, %d, %d', r.pending, r.running, r.completed, r.failed)
    FROM counters c FULL JOIN counted r USING (organization_id, level, bucket, kind)
    WHERE (coalesce(c.pending, 0), coalesce(c.running, 0), coalesce(c.completed, 0), coalesce(c.failed, 0))
        <> (coalesce(r.pending, 0), coalesce(r.running, 0), coalesce(r.completed, 0), coalesce(r.failed, 0))";

const PROJECT_COUNTERS: &str = "
    WITH levels (level) AS (VALUES (12), (16), (20)), op (organization_id, project_id, seq, kind, status) AS (
        SELECT organization_id, project_id, seq, kind, status FROM active WHERE project_id <> ''
        UNION ALL SELECT organization_id, project_id, seq, kind, status FROM settled WHERE project_id <> ''
    ), counted (organization_id, project_id, level, bucket, kind, pending, running, completed, failed) AS (
        SELECT organization_id, project_id, level, seq >> level, kind,
            sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4)
        FROM op CROSS JOIN levels GROUP BY 1, 2, 3, 4, 5
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' project ' || coalesce(c.project_id, r.project_id)
        || ' level ' || coalesce(c.level, r.level) || ' bucket ' || coalesce(c.bucket, r.bucket) || ' '
        || coalesce(c.kind, r.kind) || ': counters '
        || format('%d, %d, %d, %d', c.pending, c.running, c.completed, c.failed) || '; rows '
        || format('%d, %d, %d, %d', r.pending, r.running, r.completed, r.failed)
    FROM project_counters c FULL JOIN counted r USING (organization_id, project_id, level, bucket, kind)
    WHERE (coalesce(c.pending, 0), coalesce(c.running, 0), coalesce(c.completed, 0), coalesce(c.failed, 0))
        <> (coalesce(r.pending, 0), coalesce(r.running, 0), coalesce(r.completed, 0), coalesce(r.failed, 0))";

pub(super) fn examine(connection: &Connection) -> Result<Report, StoreError> {
    let totals = query(TOTALS).fetch_one(connection)?;
    let mut report = Report {
        organizations: totals.try_get::<i64>(0)?.unsigned_abs(),
        operations: totals.try_get::<i64>(1)?.unsigned_abs(),
        findings: Vec::new(),
    };
    for (invariant, sql) in CHECKS.iter().chain(ALIKE) {
        let sql = format!("SELECT * FROM ({sql}) LIMIT {SHOWN}");
        for row in query(sql).fetch_all(connection)? {
            report.findings.push(Finding { invariant, detail: row.try_get(0)? });
        }
    }
    Ok(report)
}
