//! The invariant checker: recounts everything and compares, in one snapshot.

use sqlx::{AssertSqlSafe, Connection as _, Row};

use super::connections::Connections;
use super::tx::Tx;
use crate::{Finding, Report, StoreError};

/// Findings shown per invariant; a damaged store may have millions.
const SHOWN: i64 = 20;

/// Invariants as queries: each answers one text column per violation.
const CHECKS: &[(&str, &str)] = &[
    ("counters equal the rows that they count", COUNTERS),
    ("project counters equal the rows that they count", PROJECT_COUNTERS),
    (
        "no operation is both active and settled",
        "SELECT a.organization_id || ' #' || a.seq FROM active a JOIN settled s
             ON s.organization_id = a.organization_id AND (s.id = a.id OR s.seq = a.seq)",
    ),
    (
        "an organization's numbers have no gap but for removed operations",
        "SELECT o.organization_id || ': ' || (o.next_seq - 1) || ' numbers, ' || o.removed || ' removed, ' || count(r.seq) || ' operations up to '
             || coalesce(max(r.seq), 0)
         FROM organizations o LEFT JOIN (
             SELECT organization_id, seq FROM active UNION SELECT organization_id, seq FROM settled) r
             USING (organization_id)
         GROUP BY o.organization_id
         HAVING count(r.seq) + o.removed <> o.next_seq - 1 OR coalesce(max(r.seq), 0) > o.next_seq - 1",
    ),
    (
        "what runs has a lease with its fencing token, and nothing else has one",
        "SELECT coalesce(a.organization_id, l.organization_id) || ' #' || coalesce(a.seq, l.seq)
         FROM (SELECT * FROM active WHERE status = 2) a FULL JOIN leases l
             ON l.organization_id = a.organization_id AND l.seq = a.seq AND l.fence = a.fence
         WHERE a.seq IS NULL OR l.seq IS NULL",
    ),
    (
        "what is pending is in line, and nothing else is",
        "SELECT coalesce(a.organization_id, q.organization_id) || ' #' || coalesce(a.seq, q.seq)
         FROM (SELECT * FROM active WHERE status = 1) a FULL JOIN queue q
             ON q.organization_id = a.organization_id AND q.seq = a.seq AND q.kind = a.kind AND q.priority = a.priority
         WHERE a.seq IS NULL OR q.seq IS NULL",
    ),
    (
        "what runs has started, and what ended has an end",
        "SELECT organization_id || ' #' || seq FROM active WHERE status = 2 AND started_at IS NULL
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled
         WHERE finished_at IS NULL OR (status = 3 AND started_at IS NULL) OR (status = 4 AND error_message = '')",
    ),
    (
        "what is in the inbox can become an operation",
        "SELECT organization_id || ' ' || id || ': ' || coalesce(refused, 'there is no such organization') FROM inbox i
         WHERE refused IS NOT NULL
            OR NOT EXISTS (SELECT FROM organizations o WHERE o.organization_id = i.organization_id AND o.deleted < 2)",
    ),
    (
        "histories are of operations that are there",
        "SELECT organization_id || ' #' || seq FROM events e
         WHERE NOT EXISTS (SELECT 1 FROM active a WHERE a.organization_id = e.organization_id AND a.seq = e.seq)
             AND NOT EXISTS (SELECT 1 FROM settled s WHERE s.organization_id = e.organization_id AND s.seq = e.seq)",
    ),
    (
        "only what runs was asked to stop, and what names its retention says when it is to be removed",
        "SELECT organization_id || ' #' || seq FROM active
         WHERE cancel_requested_at IS NOT NULL AND NOT (cancel_requested AND status = 2)
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled
         WHERE retain_for_ms IS NOT NULL AND purge_at IS DISTINCT FROM finished_at + retain_for_ms",
    ),
    (
        "attempts stay within their bounds",
        "SELECT organization_id || ' #' || seq FROM active WHERE attempts > max_attempts OR attempts > fence
         UNION ALL
         SELECT organization_id || ' #' || seq FROM settled WHERE attempts > max_attempts OR attempts > fence",
    ),
];

const COUNTERS: &str = "
    WITH op (organization_id, seq, kind, status) AS (
        SELECT organization_id, seq, kind, status FROM active
        UNION ALL SELECT organization_id, seq, kind, status FROM settled
    ), rows (organization_id, level, bucket, kind, n) AS (
        SELECT organization_id, level, seq >> level, kind, array[
            count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
            count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)]
        FROM op, (VALUES (12), (16), (20)) l (level) GROUP BY 1, 2, 3, 4
    ), counted (organization_id, level, bucket, kind, n) AS (
        SELECT organization_id, level, bucket, kind, array[sum(pending), sum(running), sum(completed), sum(failed)]::bigint[]
        FROM (
            SELECT organization_id, level, bucket, kind, pending, running, completed, failed FROM counters
            UNION ALL
            SELECT d.organization_id, l.level, d.bucket >> (l.level - 12), d.kind, d.pending, d.running, d.completed, d.failed
            FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id), (VALUES (12), (16), (20)) l (level)
            WHERE d.xid >= coalesce(f.folded_before, '0')
        ) AS c GROUP BY 1, 2, 3, 4
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' level ' || coalesce(c.level, r.level) || ' bucket '
        || coalesce(c.bucket, r.bucket) || ' ' || coalesce(c.kind, r.kind) || ': counters '
        || coalesce(c.n, '{0,0,0,0}')::text || ', rows ' || coalesce(r.n, '{0,0,0,0}')::text
    FROM counted c FULL JOIN rows r USING (organization_id, level, bucket, kind)
    WHERE coalesce(c.n, '{0,0,0,0}') <> coalesce(r.n, '{0,0,0,0}')";

const PROJECT_COUNTERS: &str = "
    WITH op (organization_id, project_id, seq, kind, status) AS (
        SELECT organization_id, project_id, seq, kind, status FROM active WHERE project_id <> ''
        UNION ALL SELECT organization_id, project_id, seq, kind, status FROM settled WHERE project_id <> ''
    ), rows (organization_id, project_id, level, bucket, kind, n) AS (
        SELECT organization_id, project_id, level, seq >> level, kind, array[
            count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
            count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)]
        FROM op, (VALUES (12), (16), (20)) l (level) GROUP BY 1, 2, 3, 4, 5
    ), counted (organization_id, project_id, level, bucket, kind, n) AS (
        SELECT organization_id, project_id, level, bucket, kind,
            array[sum(pending), sum(running), sum(completed), sum(failed)]::bigint[]
        FROM (
            SELECT organization_id, project_id, level, bucket, kind, pending, running, completed, failed
            FROM project_counters
            UNION ALL
            SELECT d.organization_id, d.project_id, l.level, d.bucket >> (l.level - 12), d.kind,
                d.pending, d.running, d.completed, d.failed
            FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id), (VALUES (12), (16), (20)) l (level)
            WHERE d.xid >= coalesce(f.folded_before, '0') AND d.project_id <> ''
        ) AS c GROUP BY 1, 2, 3, 4, 5
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' project ' || coalesce(c.project_id, r.project_id)
        || ' level ' || coalesce(c.level, r.level) || ' bucket ' || coalesce(c.bucket, r.bucket) || ' '
        || coalesce(c.kind, r.kind) || ': counters ' || coalesce(c.n, '{0,0,0,0}')::text || ', rows '
        || coalesce(r.n, '{0,0,0,0}')::text
    FROM counted c FULL JOIN rows r USING (organization_id, project_id, level, bucket, kind)
    WHERE coalesce(c.n, '{0,0,0,0}') <> coalesce(r.n, '{0,0,0,0}')";

pub(super) async fn examine(pool: &Connections) -> Result<Report, StoreError> {
    // Without a limit: it takes as long as it takes.
    let mut connection = pool.connect().await?;
    let mut snapshot = Tx::snapshot(&mut connection).await?;
    // Recounting a large store takes longer than any request may, and whole tables are read in their own order.
    for setting in ["statement_timeout = 0", "enable_seqscan = on", "plan_cache_mode = auto"] {
        sqlx::query(AssertSqlSafe(format!("SET LOCAL {setting}"))).execute(&mut *snapshot).await?;
    }
    let totals = sqlx::query(
        "SELECT (SELECT count(*) FROM organizations WHERE deleted < 2), (SELECT count(*) FROM active) + (SELECT count(*) FROM settled)",
    )
    .fetch_one(&mut *snapshot)
    .await?;
    let mut report = Report {
        organizations: totals.try_get::<i64, _>(0)?.unsigned_abs(),
        operations: totals.try_get::<i64, _>(1)?.unsigned_abs(),
        findings: Vec::new(),
    };
    for (invariant, sql) in CHECKS {
        let sql = format!("SELECT * FROM ({sql}) AS found LIMIT {SHOWN}");
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *snapshot).await? {
            report.findings.push(Finding { invariant, detail: row.try_get(0)? });
        }
    }
    snapshot.commit().await?;
    connection.close().await?;
    Ok(report)
}
