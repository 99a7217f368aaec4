//! The invariant checker: recounts everything and compares, in one snapshot.

use super::statement::query;
use super::statistics;
use crate::doctor::{ALIKE, SHOWN, STATISTICS_ADD_UP, TOTALS};
use crate::{Finding, Report, StoreError};
use rusqlite::Connection;

/// Invariants whose queries are only for this engine; see [`ALIKE`].
const CHECKS: &[(&str, &str)] = &[
    ("counters equal the rows that they count", COUNTERS),
    ("project counters equal the rows that they count", PROJECT_COUNTERS),
    ("counters of resources equal the rows that they count", RESOURCE_COUNTERS),
    (
        "the index by label has the labels of the operations",
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
    ("the counts of concurrency keys equal their operations and the places that these hold", CONCURRENCY_KEYS),
    (
        "no more operations hold places of a concurrency key than may, and none waits for a free place",
        "SELECT k.organization_id || ' key ' || k.key || ': ' || k.held || ' of ' || k.most || ' places are held, '
             || coalesce(sum(a.waits), 0) || ' operations wait'
         FROM concurrency_keys k JOIN organizations o ON o.organization_id = k.organization_id AND o.deleted = 0
         LEFT JOIN active a ON a.organization_id = k.organization_id AND a.concurrency_key = k.key
         GROUP BY k.organization_id, k.key
         -- An operation that got its place when the limit was higher keeps it.
         HAVING k.held > max(k.most, coalesce(max(a.concurrency_limit), 0))
             OR k.held < k.most AND coalesce(sum(a.waits), 0) > 0",
    ),
];

/// Nothing starts in organizations that are being deleted, and their keys are removed as they come.
const CONCURRENCY_KEYS: &str = "
    WITH counted (organization_id, key, held, operations) AS (
        SELECT organization_id, concurrency_key, sum(waits = 0 AND (status = 2 OR due_at IS NULL)), count(*)
        FROM active WHERE concurrency_key IS NOT NULL GROUP BY 1, 2
    )
    SELECT coalesce(k.organization_id, c.organization_id) || ' key ' || coalesce(k.key, c.key) || ': '
        || format('%d held, %d operations; rows %d, %d', k.held, k.operations, c.held, c.operations)
    FROM concurrency_keys k FULL JOIN counted c USING (organization_id, key)
    JOIN organizations o ON o.organization_id = coalesce(k.organization_id, c.organization_id) AND o.deleted = 0
    WHERE (coalesce(k.held, 0), coalesce(k.operations, 0)) <> (coalesce(c.held, 0), coalesce(c.operations, 0))
    UNION ALL
    SELECT organization_id || ' #' || seq || ' waits, but has no key, or cannot be claimed' FROM active
    WHERE waits = 1 AND (concurrency_key IS NULL OR status <> 1 OR due_at IS NOT NULL)";

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

/// The counters of the resources that are counted.
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

/// The damage that SQLite itself finds in the file, and the names of the tables and indexes by the pages at which they
/// begin.
const DAMAGE: &str = "PRAGMA integrity_check";
const TREES: &str = "SELECT rootpage, type || ' ' || name FROM sqlite_schema WHERE rootpage > 0";
const IS_SOUND: &str = "the file is sound; if it is not, restore a backup";

pub(super) fn examine(connection: &Connection) -> Result<Report, StoreError> {
    let mut report = Report { organizations: 0, operations: 0, findings: Vec::new() };
    let damage = damage(connection);
    report.findings = unless_damaged(&mut report, IS_SOUND, damage)?.unwrap_or(report.findings);
    // Damaged parts cannot be counted, which is reported; the rest can be.
    if let Some(totals) = unless_damaged(&mut report, "everything can be counted", query(TOTALS).fetch_one(connection))?
    {
        report.organizations = totals.try_get::<i64>(0)?.unsigned_abs();
        report.operations = totals.try_get::<i64>(1)?.unsigned_abs();
    }
    for (invariant, sql) in CHECKS.iter().chain(ALIKE) {
        let sql = format!("SELECT * FROM ({sql}) LIMIT {SHOWN}");
        let found = query(sql).fetch_all(connection);
        for row in unless_damaged(&mut report, invariant, found)?.unwrap_or_default() {
            report.findings.push(Finding { invariant, detail: row.try_get(0)? });
        }
    }
    Ok(report)
}

/// The answer; `None` when it says that the file is damaged, which becomes a finding.
fn unless_damaged<T>(
    report: &mut Report,
    invariant: &'static str,
    answer: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_damage() => {
            report
                .findings
                .push(Finding { invariant, detail: "cannot be checked, since the file is damaged".to_owned() });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The damaged parts of the file, by the names of its tables and indexes.
fn damage(connection: &Connection) -> Result<Vec<Finding>, StoreError> {
    let mut trees = std::collections::BTreeMap::new();
    for row in query(TREES).fetch_all(connection)? {
        trees.insert(row.try_get::<i64>(0)?, row.try_get::<String>(1)?);
    }
    let mut findings = Vec::new();
    let mut statement = connection.prepare(DAMAGE)?;
    let mut rows = statement.query([])?;
    while findings.len() < SHOWN as usize {
        let found: String = match rows.next() {
            Ok(Some(row)) => row.get(0)?,
            Ok(None) => break,
            // In the end it fails because of the damage that it has reported already.
            Err(_) if !findings.is_empty() => break,
            Err(error) => return Err(error.into()),
        };
        // A finding may have several lines: a heading, and one for each page.
        for line in found.lines().filter(|line| *line != "ok" && !line.starts_with("***")) {
            let place = line.strip_prefix("Tree ").and_then(|rest| rest.split(' ').next()?.parse::<i64>().ok());
            let detail = match place.and_then(|place| trees.get(&place)) {
                Some(name) => format!("{name}: {line}"),
                None => line.to_owned(),
            };
            findings.push(Finding { invariant: IS_SOUND, detail });
        }
    }
    findings.truncate(SHOWN as usize);
    Ok(findings)
}
