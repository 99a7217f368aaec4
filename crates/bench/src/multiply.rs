//! Copies of settled operations, made in SQL: creating ten million with calls would take most of an hour.
//!
//! A copy has the number, the id, the times and the resource of its original, advanced by the same step, so that it
//! looks as if it had been created by calls. Indexes are dropped and created again, counters are recounted; `doctor`
//! then verifies that the result is a sound store.

use indicatif::ProgressBar;
use operations::page::LEVELS;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::data::{COLD, COLD_RESOURCE, HOT, ORGANIZATION};
use super::target::{self, Database, Target};

/// Settled rows that one statement copies.
const CHUNK: u64 = 1_000_000;

/// The columns of `settled`, as both engines have them, that a copy shares with its original.
const SAME: &str = "kind, status, resource_type, project_id, project_version_id, priority, attempts, max_attempts, \
    fence, timeout_ms, retain_for_ms, error_message, output, input, worker";

/// Copies the first `from` operations until there are `until`. Nothing else may use the store.
///
/// # Errors
/// Those of the database.
pub async fn settled(target: &Target, from: u64, until: u64, bar: &ProgressBar) -> anyhow::Result<()> {
    match &target.database {
        Database::Postgres(pool) => {
            let mut connection = pool.acquire().await?.detach();
            connection.execute("SET search_path = longrun; SET maintenance_work_mem = '512MB'").await?;
            let indexes = sqlx::query_as(POSTGRES.indexes).fetch_all(&mut connection).await?;
            let times = sqlx::query_as(TIMES).fetch_one(&mut connection).await?;
            for (statement, there) in POSTGRES.statements(indexes, times, from, until) {
                connection.execute(AssertSqlSafe(statement)).await?;
                bar.set_position(there);
            }
            connection.close().await?;
        }
        Database::Sqlite(path) => {
            let pool = target::sqlite(path).await?;
            let mut connection = pool.acquire().await?.detach();
            connection.execute("PRAGMA cache_size = -524288").await?;
            let indexes = sqlx::query_as(SQLITE.indexes).fetch_all(&mut connection).await?;
            let times = sqlx::query_as(TIMES).fetch_one(&mut connection).await?;
            for (statement, there) in SQLITE.statements(indexes, times, from, until) {
                connection.execute(AssertSqlSafe(statement)).await?;
                bar.set_position(there);
            }
            connection.close().await?;
        }
    }
    Ok(())
}

const TIMES: &str = "SELECT min(created_at), max(created_at) FROM settled";

/// The SQL in which the engines differ.
struct Dialect {
    /// Names and definitions of the secondary indexes of `settled`.
    indexes: &'static str,
    /// The id whose time is `{later}` milliseconds later: the first 48 bits of a UUID of version 7.
    later_id: &'static str,
    /// Text after the fifth character, as a number.
    cold_number: &'static str,
    /// Statements that delete counts.
    forget: &'static [&'static str],
    /// Counts the resources; `None` if the engine counts none.
    recount_resources: Option<&'static str>,
}

const POSTGRES: Dialect = Dialect {
    indexes: "SELECT indexname::text, indexdef FROM pg_indexes
        WHERE schemaname = 'longrun' AND tablename = 'settled' AND indexname <> 'settled_pkey'",
    later_id: "(lpad(to_hex(created_at + {later}), 12, '0') || substr(replace(id::text, '-', ''), 13))::uuid",
    cold_number: "substr(resource_id, 6)::bigint",
    forget: &["DELETE FROM counters", "DELETE FROM project_counters", "DELETE FROM counter_deltas"],
    recount_resources: None,
};

/// Counts the resource that has many operations, as a server does some time after the first read of it.
const COUNT_RESOURCE: [&str; 2] = [
    "INSERT INTO longrun.counted_resources (organization_id, resource_type, resource_id, is_counted)
     SELECT DISTINCT organization_id, resource_type, resource_id, true FROM longrun.settled
     WHERE organization_id = $1 AND resource_type <> '' AND resource_type = $2 AND resource_id = $3",
    "INSERT INTO longrun.resource_counters
         (organization_id, resource, level, bucket, kind, project_id, pending, running, completed, failed)
     SELECT organization_id, c.resource, level, seq >> level, kind, p.id,
         count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2),
         count(*) FILTER (WHERE status = 3), count(*) FILTER (WHERE status = 4)
     FROM longrun.counted_resources c JOIN (
             SELECT organization_id, resource_type, resource_id, seq, kind, project_id, status FROM longrun.settled
             UNION ALL
             SELECT organization_id, resource_type, resource_id, seq, kind, project_id, status FROM longrun.active) AS op
         USING (organization_id, resource_type, resource_id) CROSS JOIN (VALUES (12), (16), (20)) AS l (level)
         CROSS JOIN LATERAL (SELECT '' UNION SELECT op.project_id) AS p (id)
     WHERE organization_id = $1 AND resource_type = $2 AND resource_id = $3
     GROUP BY 1, 2, 3, 4, 5, 6",
];

const SQLITE: Dialect = Dialect {
    indexes: "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'settled' AND sql IS NOT NULL",
    later_id: "unhex(printf('%012x', created_at + {later}) || substr(hex(id), 13))",
    cold_number: "CAST(substr(resource_id, 6) AS INTEGER)",
    forget: &["DELETE FROM counters", "DELETE FROM project_counters", "DELETE FROM resource_counters"],
    recount_resources: Some(
        "WITH levels (level) AS (VALUES (12), (16), (20)), op (resource, seq, kind, project_id, status) AS (
             SELECT c.resource, a.seq, a.kind, a.project_id, a.status FROM counted_resources c CROSS JOIN active a
                 USING (organization_id, resource_type, resource_id) WHERE a.resource_type <> ''
             UNION ALL
             SELECT c.resource, s.seq, s.kind, s.project_id, s.status FROM counted_resources c CROSS JOIN settled s
                 USING (organization_id, resource_type, resource_id) WHERE s.resource_type <> ''
         )
         INSERT INTO resource_counters
         SELECT resource, level, seq >> level, kind, project_id,
             sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4)
         FROM op CROSS JOIN levels GROUP BY 1, 2, 3, 4, 5",
    ),
};

/// Counts the existing operations, at the given level.
fn recount(level: u32) -> [String; 2] {
    let rows = |columns: &str, condition: &str| {
        format!(
            "(SELECT organization_id, seq, kind, status{columns} FROM settled {condition}
              UNION ALL SELECT organization_id, seq, kind, status{columns} FROM active {condition}) AS op"
        )
    };
    let statuses: Vec<String> =
        (1..=4).map(|status| format!("sum(CASE status WHEN {status} THEN 1 ELSE 0 END)")).collect();
    let statuses = statuses.join(", ");
    [
        format!(
            "INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
             SELECT organization_id, {level}, seq >> {level}, kind, {statuses} FROM {}
             GROUP BY organization_id, seq >> {level}, kind",
            rows("", "")
        ),
        format!(
            "INSERT INTO project_counters
                 (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
             SELECT organization_id, project_id, {level}, seq >> {level}, kind, {statuses} FROM {}
             GROUP BY organization_id, project_id, seq >> {level}, kind",
            rows(", project_id", "WHERE project_id <> ''")
        ),
    ]
}

impl Dialect {
    /// The statements to be executed, each with the number of rows that there are afterwards. Only numbers and
    /// constants go into the text.
    fn statements(
        &self,
        indexes: Vec<(String, String)>,
        (first, last): (i64, i64),
        from: u64,
        until: u64,
    ) -> Vec<(String, u64)> {
        let mut statements: Vec<(String, u64)> =
            indexes.iter().map(|(name, _)| (format!("DROP INDEX {name}"), from)).collect();
        let (mut there, mut later) = (from, 0);
        while there < until {
            later += last - first + 1_000;
            let chunk = (until - there).min(from).min(CHUNK);
            let id = self.later_id.replace("{later}", &later.to_string());
            let number = self.cold_number;
            let moved = there / COLD_RESOURCE;
            let copy = format!(
                "INSERT INTO settled (organization_id, seq, id, resource_id, created_at, started_at, finished_at, {SAME})
                 SELECT organization_id, seq + {there}, {id},
                     CASE resource_id WHEN '{HOT}' THEN resource_id ELSE '{COLD}' || ({number} + {moved}) END,
                     created_at + {later}, started_at + {later}, finished_at + {later}, {SAME}
                 FROM settled WHERE organization_id = '{ORGANIZATION}' AND seq <= {chunk} ORDER BY seq"
            );
            let labels = [("details", "labels"), ("labels", "key, value")].map(|(table, columns)| {
                format!(
                    "INSERT INTO {table} (organization_id, seq, {columns})
                     SELECT organization_id, seq + {there}, {columns} FROM {table}
                     WHERE organization_id = '{ORGANIZATION}' AND seq <= {chunk}"
                )
            });
            there += chunk;
            statements.extend(labels.into_iter().chain([copy]).map(|statement| (statement, there)));
        }
        let rest = indexes.into_iter().map(|(_, definition)| definition);
        let rest = rest.chain(self.forget.iter().map(|statement| (*statement).to_owned()));
        let rest = rest.chain(LEVELS.into_iter().flat_map(recount));
        let rest = rest.chain(self.recount_resources.map(str::to_owned));
        let number =
            format!("UPDATE organizations SET next_seq = {} WHERE organization_id = '{ORGANIZATION}'", until + 1);
        statements.extend(rest.chain([number]).map(|statement| (statement, until)));
        statements
    }
}

/// Does what autovacuum would do within minutes: statistics, and the visibility map.
///
/// # Errors
/// Those of the database.
pub async fn tidy(target: &Target) -> anyhow::Result<()> {
    if let Database::Postgres(pool) = &target.database {
        for statement in COUNT_RESOURCE {
            sqlx::query(statement).bind(ORGANIZATION).bind("evidence").bind(HOT).execute(pool).await?;
        }
        for table in [
            "settled",
            "active",
            "counters",
            "project_counters",
            "resource_counters",
            "counter_deltas",
            "details",
            "labels",
        ] {
            sqlx::query(AssertSqlSafe(format!("VACUUM (ANALYZE) longrun.{table}"))).execute(pool).await?;
        }
        sqlx::query("CHECKPOINT").execute(pool).await?;
    }
    Ok(())
}
