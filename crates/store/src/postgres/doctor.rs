//! The invariant checker: recounts everything and compares, in one snapshot.

use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};

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
        "an organisation's numbers have no gap",
        "SELECT o.organization_id || ': ' || (o.next_seq - 1) || ' numbers, ' || count(r.seq) || ' operations, from '
             || coalesce(min(r.seq), 1) || ' to ' || coalesce(max(r.seq), 0)
         FROM organizations o LEFT JOIN (
             SELECT organization_id, seq FROM active UNION SELECT organization_id, seq FROM settled) r
             USING (organization_id)
         GROUP BY o.organization_id
         HAVING count(r.seq) <> o.next_seq - 1 OR coalesce(max(r.seq), 0) <> o.next_seq - 1",
    ),
    (
        "what runs has a lease with its fencing token, and nothing else has one",
        "SELECT coalesce(a.organization_id, l.organization_id) || ' #' || coalesce(a.seq, l.seq)
         FROM (SELECT * FROM active WHERE status = 2) a FULL JOIN leases l
             ON l.organization_id = a.organization_id AND l.seq = a.seq AND l.fence = a.fence
         WHERE a.seq IS NULL OR l.seq IS NULL",
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
            OR NOT EXISTS (SELECT FROM organizations o WHERE o.organization_id = i.organization_id)",
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
    ), counted (organization_id, level, bucket, kind, status, n) AS (
        SELECT organization_id, 1, seq >> 12, kind, status, count(*) FROM op GROUP BY 1, 3, 4, 5
        UNION ALL SELECT organization_id, 2, seq >> 20, kind, status, count(*) FROM op GROUP BY 1, 3, 4, 5
    ), held (organization_id, level, bucket, kind, status, n) AS (
        SELECT organization_id, level, bucket, kind, status, sum(n) FROM (
            SELECT organization_id, level, bucket, kind, status, n FROM counters
            UNION ALL
            SELECT d.organization_id, l.level, d.bucket >> l.shift, d.kind, d.status, d.n
            FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id),
                (VALUES (1, 0), (2, 8)) l (level, shift)
            WHERE d.xid >= coalesce(f.folded_before, '0')
        ) h (organization_id, level, bucket, kind, status, n) GROUP BY 1, 2, 3, 4, 5
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' level ' || coalesce(c.level, r.level) || ' bucket '
        || coalesce(c.bucket, r.bucket) || ' ' || coalesce(c.kind, r.kind) || ' status '
        || coalesce(c.status, r.status) || ': counter ' || coalesce(c.n, 0) || ', rows ' || coalesce(r.n, 0)
    FROM held c FULL JOIN counted r USING (organization_id, level, bucket, kind, status)
    WHERE coalesce(c.n, 0) <> coalesce(r.n, 0)";

const PROJECT_COUNTERS: &str = "
    WITH op (organization_id, project_id, seq, kind, status) AS (
        SELECT organization_id, project_id, seq, kind, status FROM active WHERE project_id <> ''
        UNION ALL SELECT organization_id, project_id, seq, kind, status FROM settled WHERE project_id <> ''
    ), counted (organization_id, project_id, level, bucket, kind, status, n) AS (
        SELECT organization_id, project_id, 1, seq >> 12, kind, status, count(*) FROM op GROUP BY 1, 2, 4, 5, 6
        UNION ALL
        SELECT organization_id, project_id, 2, seq >> 20, kind, status, count(*) FROM op GROUP BY 1, 2, 4, 5, 6
    ), held (organization_id, project_id, level, bucket, kind, status, n) AS (
        SELECT organization_id, project_id, level, bucket, kind, status, sum(n) FROM (
            SELECT organization_id, project_id, level, bucket, kind, status, n FROM project_counters
            UNION ALL
            SELECT d.organization_id, d.project_id, l.level, d.bucket >> l.shift, d.kind, d.status, d.n
            FROM counter_deltas d LEFT JOIN counter_folds f USING (organization_id),
                (VALUES (1, 0), (2, 8)) l (level, shift)
            WHERE d.xid >= coalesce(f.folded_before, '0') AND d.project_id <> ''
        ) h (organization_id, project_id, level, bucket, kind, status, n) GROUP BY 1, 2, 3, 4, 5, 6
    )
    SELECT coalesce(c.organization_id, r.organization_id) || ' project ' || coalesce(c.project_id, r.project_id)
        || ' level ' || coalesce(c.level, r.level) || ' bucket ' || coalesce(c.bucket, r.bucket) || ' '
        || coalesce(c.kind, r.kind) || ' status ' || coalesce(c.status, r.status) || ': counter '
        || coalesce(c.n, 0) || ', rows ' || coalesce(r.n, 0)
    FROM held c FULL JOIN counted r USING (organization_id, project_id, level, bucket, kind, status)
    WHERE coalesce(c.n, 0) <> coalesce(r.n, 0)";

pub(super) async fn examine(pool: &PgPool) -> Result<Report, StoreError> {
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    // Recounting many millions takes longer than a request's statement may.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *snapshot).await?;
    // Recounting a large store takes longer than any request may.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *snapshot).await?;
    let totals = sqlx::query(
        "SELECT (SELECT count(*) FROM organizations), (SELECT count(*) FROM active) + (SELECT count(*) FROM settled)",
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
    Ok(report)
}
