//! The invariant checker: recounts everything and compares, in one snapshot.

use super::statement::query;
use super::statistics;
use crate::doctor::{ALIKE, SHOWN, STATISTICS_ADD_UP, TOTALS};
use crate::{Finding, Report, StoreError};
use rusqlite::Connection;

/// Invariants whose queries are of this engine; see [`ALIKE`].
const CHECKS: &[(&str, &str)] = &[
    ("counters equal the rows that they count", COUNTERS),
    ("project counters equal the rows that they count", PROJECT_COUNTERS),
    ("counters of resources equal the rows that they count", RESOURCE_COUNTERS),
    (
        "the index by label says what the operations do",
        "SELECT organization_id || ' #' || seq || ' ' || key || '=' || value FROM (
             SELECT organization_id, seq, key, value FROM labels EXCEPT
             SELECT d.organization_id, d.seq, l.key, l.value FROM details d CROSS JOIN json_each(d.labels) l)
         UNION ALL
         SELECT organization_id || ' #' || seq || ' lacks ' || key || '=' || value FROM (
             SELECT d.organization_id, d.seq, l.key, l.value FROM details d CROSS JOIN json_each(d.labels) l EXCEPT
             SELECT organization_id, seq, key, value FROM labels)",
    ),
    (
        "no operation is both active and settled",
        "SELECT a.organization_id || ' #' || a.seq FROM active a JOIN settled s
             ON s.organization_id = a.organization_id AND s.id = a.id",
    ),
    (STATISTICS_ADD_UP, statistics::DIFFER),
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

/// Of the resources that are counted.
const RESOURCE_COUNTERS: &str = "
    WITH levels (level) AS (VALUES (12), (16), (20)), op (resource, seq, kind, project_id, status) AS (
        SELECT c.resource, a.seq, a.kind, a.project_id, a.status FROM counted_resources c CROSS JOIN active a
            ON a.organization_id = c.organization_id AND a.resource_type = c.resource_type
                AND a.resource_id = c.resource_id AND a.resource_type <> ''
        UNION ALL
        SELECT c.resource, s.seq, s.kind, s.project_id, s.status FROM counted_resources c CROSS JOIN settled s
            ON s.organization_id = c.organization_id AND s.resource_type = c.resource_type
                AND s.resource_id = c.resource_id AND s.resource_type <> ''
    ), counted (resource, level, bucket, kind, project_id, pending, running, completed, failed) AS (
        SELECT resource, level, seq >> level, kind, project_id,
            sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4)
        FROM op CROSS JOIN levels GROUP BY 1, 2, 3, 4, 5
    ), difference (resource, found) AS (
        SELECT coalesce(c.resource, r.resource), ' level ' || coalesce(c.level, r.level) || ' bucket '
            || coalesce(c.bucket, r.bucket) || ' ' || coalesce(c.kind, r.kind) || ': counters '
            || format('%d, %d, %d, %d', c.pending, c.running, c.completed, c.failed) || '; rows '
            || format('%d, %d, %d, %d', r.pending, r.running, r.completed, r.failed)
        FROM resource_counters c FULL JOIN counted r USING (resource, level, bucket, kind, project_id)
        WHERE (coalesce(c.pending, 0), coalesce(c.running, 0), coalesce(c.completed, 0), coalesce(c.failed, 0))
            <> (coalesce(r.pending, 0), coalesce(r.running, 0), coalesce(r.completed, 0), coalesce(r.failed, 0))
    )
    SELECT coalesce(k.organization_id || ' resource ' || k.resource_type || ' ' || k.resource_id, 'no resource')
        || d.found
    FROM difference d LEFT JOIN counted_resources k USING (resource)";

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
