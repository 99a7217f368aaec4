//! The invariant checker: recounts everything and compares, in one snapshot.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row};

use super::connections::Connections;
use super::statistics;
use super::tx::Tx;
use crate::doctor::{ALIKE, SHOWN, STATISTICS_ADD_UP, TOTALS};
use crate::{Finding, Report, StoreError};

/// Invariants whose queries are specific to this engine; see [`ALIKE`].
const CHECKS: &[(&str, &str)] = &[
    ("counters equal the rows that they count", COUNTERS),
    ("project counters equal the rows that they count", PROJECT_COUNTERS),
    ("counters of resources equal the rows that they count", RESOURCE_COUNTERS),
    (STATISTICS_ADD_UP, statistics::DIFFER),
    (
        "the index by label has the labels of the operations",
        "SELECT organization_id || ' #' || seq || ' ' || key || '=' || value FROM (
             SELECT organization_id, seq, key, value FROM labels EXCEPT
             SELECT d.organization_id, d.seq, l.key, l.value
             FROM details d CROSS JOIN LATERAL jsonb_each_text(d.labels) l) AS superfluous
         UNION ALL
         SELECT organization_id || ' #' || seq || ' lacks ' || key || '=' || value FROM (
             SELECT d.organization_id, d.seq, l.key, l.value
             FROM details d CROSS JOIN LATERAL jsonb_each_text(d.labels) l EXCEPT
             SELECT organization_id, seq, key, value FROM labels) AS missing",
    ),
    (
        "no operation is both active and settled",
        // Two lookups for each of the few that are active: as one condition, it would compare all with all.
        "SELECT a.organization_id || ' #' || a.seq FROM active a
         WHERE EXISTS (SELECT FROM settled s WHERE s.organization_id = a.organization_id AND s.seq = a.seq)
             OR EXISTS (SELECT FROM settled s WHERE s.organization_id = a.organization_id AND s.id = a.id)",
    ),
    (
        "every pending operation is in the queue, and no other operation is",
        "SELECT coalesce(a.organization_id, q.organization_id) || ' #' || coalesce(a.seq, q.seq)
         FROM (SELECT * FROM active WHERE status = 1) a FULL JOIN queue q
             ON q.organization_id = a.organization_id AND q.seq = a.seq AND q.kind = a.kind AND q.priority = a.priority
         LEFT JOIN concurrency_slots c ON c.organization_id = a.organization_id AND c.seq = a.seq
         WHERE a.seq IS NULL OR (q.seq IS NULL) <> (c.state IS NOT DISTINCT FROM 0) AND NOT (
             -- While an organization is being deleted, places of concurrency keys are removed first.
             a.concurrency_key IS NOT NULL AND EXISTS (
                 SELECT FROM organizations o WHERE o.organization_id = a.organization_id AND o.deleted > 0))",
    ),
    ("the counts of concurrency keys equal their operations and the places that these hold", CONCURRENCY_KEYS),
    (
        "no more operations hold places of a concurrency key than may, and none waits for a free place",
        "SELECT k.organization_id || ' key ' || k.key || ': ' || k.held || ' of ' || k.most || ' places are held, '
             || count(*) FILTER (WHERE s.state = 0) || ' operations wait'
         FROM concurrency_keys k JOIN organizations o ON o.organization_id = k.organization_id AND o.deleted = 0
         LEFT JOIN concurrency_slots s ON s.organization_id = k.organization_id AND s.key = k.key
         LEFT JOIN active a ON a.organization_id = s.organization_id AND a.seq = s.seq
         GROUP BY k.organization_id, k.key, k.held, k.most
         -- An operation that got its place when the limit was higher keeps it.
         HAVING k.held > greatest(k.most, max(a.concurrency_limit))
             OR k.held < k.most AND count(*) FILTER (WHERE s.state = 0) > 0",
    ),
    (
        "every row of the inbox can become an operation",
        "SELECT organization_id || ' ' || id || ': ' || coalesce(refused, 'there is no such organization') FROM inbox i
         WHERE refused IS NOT NULL
            OR NOT EXISTS (SELECT FROM organizations o WHERE o.organization_id = i.organization_id AND o.deleted < 2)",
    ),
];

/// Nothing starts in organizations that are being deleted, and their keys are removed first.
const CONCURRENCY_KEYS: &str = "
    SELECT organization_id || ' key ' || key || ': ' || coalesce(k.held, 0) || ' held, ' || coalesce(k.operations, 0)
        || ' operations; rows ' || coalesce(c.held, 0) || ', ' || coalesce(c.operations, 0)
    FROM concurrency_keys k FULL JOIN (
        SELECT organization_id, key, count(*) FILTER (WHERE state = 1) AS held, count(*) AS operations
        FROM concurrency_slots GROUP BY 1, 2) AS c USING (organization_id, key)
    JOIN organizations o USING (organization_id)
    WHERE o.deleted = 0 AND (coalesce(k.held, 0), coalesce(k.operations, 0)) <> (coalesce(c.held, 0), coalesce(c.operations, 0))
    UNION ALL
    SELECT organization_id || ' #' || seq || ': the operation and its place disagree'
    FROM (SELECT * FROM active WHERE concurrency_key IS NOT NULL) AS a
    FULL JOIN concurrency_slots s USING (organization_id, seq)
    LEFT JOIN queue q USING (organization_id, seq)
    JOIN organizations o USING (organization_id)
    WHERE o.deleted = 0 AND (a.concurrency_key IS DISTINCT FROM s.key OR CASE s.state
        WHEN 0 THEN a.status <> 1
        WHEN 1 THEN NOT (a.status = 2 OR q.due_at IS NULL)
        ELSE a.status <> 1 OR q.due_at IS NULL END)";

const COUNTERS: &str = include_str!("sql/counters_differ.sql");

const PROJECT_COUNTERS: &str = include_str!("sql/project_counters_differ.sql");

const RESOURCE_COUNTERS: &str = include_str!("sql/resource_counters_differ.sql");

/// The tables that the checks read.
const TABLES: &str = "
    SELECT table_name::text, string_agg(
        CASE WHEN table_name = 'organizations' AND column_name = 'deleted' THEN '0::smallint AS deleted'
            ELSE quote_ident(column_name) END, ', ' ORDER BY ordinal_position)
    FROM information_schema.columns c WHERE table_schema = 'longrun' AND EXISTS (
        SELECT FROM information_schema.columns o WHERE o.table_schema = 'longrun' AND o.table_name = c.table_name
            AND o.column_name = 'organization_id')
    GROUP BY table_name";

pub(super) async fn examine(pool: &Connections) -> Result<Report, StoreError> {
    // Without a time limit: it may take as long as it needs.
    let mut connection = pool.connect().await?;
    let mut snapshot = begin(&mut connection).await?;
    let totals = sqlx::query(TOTALS).fetch_one(&mut *snapshot).await?;
    let report = Report {
        organizations: totals.try_get::<i64, _>(0)?.unsigned_abs(),
        operations: totals.try_get::<i64, _>(1)?.unsigned_abs(),
        findings: check(&mut snapshot).await?,
    };
    snapshot.commit().await?;
    connection.close().await?;
    Ok(report)
}

/// The same checks of one organization, as if there were no other, and as if it were in use.
pub(super) async fn examine_one(pool: &Connections, organization: &str) -> Result<Vec<Finding>, StoreError> {
    let mut connection = pool.connect().await?;
    let tables: Vec<(String, String)> = sqlx::query_as(TABLES).fetch_all(&mut connection).await?;
    let organization = organization.replace('\'', "''");
    for (table, columns) in tables {
        // In this session alone, where the views hide the tables.
        let sql = format!(
            "CREATE TEMPORARY VIEW {table} AS SELECT {columns} FROM longrun.{table} WHERE organization_id = '{organization}'"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    let mut snapshot = begin(&mut connection).await?;
    let findings = check(&mut snapshot).await?;
    snapshot.commit().await?;
    connection.close().await?;
    Ok(findings)
}

async fn begin(connection: &mut PgConnection) -> Result<Tx<'_>, StoreError> {
    let mut snapshot = Tx::snapshot(connection).await?;
    // Recounting a large store takes longer than any request may, and whole tables are read in their own order.
    for setting in ["statement_timeout = 0", "enable_seqscan = on", "plan_cache_mode = auto"] {
        sqlx::query(AssertSqlSafe(format!("SET LOCAL {setting}"))).execute(&mut *snapshot).await?;
    }
    Ok(snapshot)
}

async fn check(snapshot: &mut Tx<'_>) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for (invariant, sql) in CHECKS.iter().chain(ALIKE) {
        let sql = format!("SELECT * FROM ({sql}) AS found LIMIT {SHOWN}");
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut **snapshot).await? {
            findings.push(Finding { invariant, detail: row.try_get(0)? });
        }
    }
    Ok(findings)
}
