//! Properties that few operations have, and everything that is known of an operation: see [`crate::details`].

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use operations::{Access, Operation, OperationId, Status};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, PgExecutor, Row as _};

use super::{PostgresStore, list, rows};
use crate::details::{Row, concurrency, in_order, labels};
use crate::rows::damaged;
use crate::{Details, OperationDetail, StoreError};

/// Labels are JSON objects, and are taken apart for their index.
const INSERT: &str = "
    WITH new AS MATERIALIZED (
        SELECT seq, labels::jsonb AS labels, unique_key, schedule, trace
        FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
            AS n (seq, labels, unique_key, schedule, trace)
    ), detailed AS (
        INSERT INTO details (organization_id, seq, labels, unique_key, schedule, trace)
        SELECT $1, seq, labels, unique_key, schedule, trace FROM new
    ), labelled AS (
        INSERT INTO labels (organization_id, key, value, seq)
        SELECT $1, l.key, l.value, new.seq FROM new CROSS JOIN LATERAL jsonb_each_text(new.labels) AS l
    )
    INSERT INTO unique_keys (organization_id, unique_key, seq)
    SELECT $1, unique_key, seq FROM new WHERE unique_key IS NOT NULL
    ON CONFLICT (organization_id, unique_key) DO UPDATE SET seq = excluded.seq";

const TAKE_KEY: &str = "
    INSERT INTO unique_keys (organization_id, unique_key, seq) VALUES ($1, $2, $3)
    ON CONFLICT (organization_id, unique_key) DO UPDATE SET seq = excluded.seq";

/// The operations that have these keys and have not ended. Served by the primary keys of unique_keys and active.
const HOLDERS: &str = "
    SELECT u.unique_key, a.* FROM unnest($2::text[]) AS w (unique_key) CROSS JOIN LATERAL (
        SELECT unique_key, seq FROM unique_keys
        WHERE organization_id = $1 AND unique_key = w.unique_key OFFSET 0) AS u CROSS JOIN LATERAL (
        SELECT {columns}, '' AS output FROM active a WHERE organization_id = $1 AND seq = u.seq OFFSET 0) AS a";

/// The parts of a statement that delete the details of the operations in `gone`, except their unique keys, which are
/// answered as `keyed`. Served by the primary keys of details and labels.
pub(super) const FORGOTTEN: &str = "
    detailed AS (
        DELETE FROM details WHERE ctid = ANY (ARRAY(SELECT d.ctid FROM gone CROSS JOIN LATERAL (
            SELECT ctid FROM details WHERE organization_id = $1 AND seq = gone.seq OFFSET 0) AS d))
            AND organization_id IS NOT DISTINCT FROM $1
        RETURNING seq, labels, unique_key
    ), unlabelled AS (
        DELETE FROM labels WHERE ctid = ANY (ARRAY(
            SELECT l.ctid FROM detailed CROSS JOIN LATERAL jsonb_each_text(detailed.labels) AS e CROSS JOIN LATERAL (
                SELECT ctid FROM labels
                WHERE organization_id = $1 AND key = e.key AND value = e.value AND seq = detailed.seq OFFSET 0) AS l))
            AND organization_id IS NOT DISTINCT FROM $1
    )";

/// The unique keys of the operations, from [`FORGOTTEN`]: two arrays.
pub(super) const KEYED: &str = "(SELECT array_agg(seq) FROM detailed WHERE unique_key IS NOT NULL) AS keyed_seqs, \
    (SELECT array_agg(unique_key) FROM detailed WHERE unique_key IS NOT NULL) AS unique_keys";

/// Served by the primary key.
const FORGET_KEYS: &str = "
    DELETE FROM unique_keys WHERE ctid = ANY (ARRAY(
        SELECT u.ctid FROM unnest($2::bigint[], $3::text[]) AS w (seq, unique_key) CROSS JOIN LATERAL (
            SELECT ctid FROM unique_keys
            WHERE organization_id = $1 AND unique_key = w.unique_key AND seq = w.seq OFFSET 0) AS u))
        AND organization_id IS NOT DISTINCT FROM $1";

const FORGET: &str = "
    WITH gone AS (SELECT seq FROM unnest($2::bigint[]) AS g (seq)), {forgotten}
    SELECT {keyed}";

/// Writes the details of new operations.
pub(super) async fn insert(
    connection: &mut PgConnection,
    organization: &str,
    new: &[Row<'_>],
) -> Result<(), StoreError> {
    let seqs: Vec<i64> = new.iter().map(|row| row.seq).collect();
    let labels: Vec<&str> = new.iter().map(|row| row.labels.as_str()).collect();
    let keys: Vec<Option<&str>> = new.iter().map(|row| row.of.unique_key.as_deref()).collect();
    let schedules: Vec<Option<&str>> = new.iter().map(|row| row.of.schedule.as_deref()).collect();
    let traces: Vec<Option<String>> = new.iter().map(|row| row.of.trace.map(|trace| trace.to_string())).collect();
    let query = sqlx::query(INSERT).bind(organization).bind(seqs).bind(labels).bind(keys).bind(schedules).bind(traces);
    query.execute(connection).await?;
    Ok(())
}

/// Notes which operation took a key that no other has. Under the lock of the organization's row.
pub(super) async fn take_key(
    connection: &mut PgConnection,
    organization: &str,
    key: &str,
    seq: i64,
) -> Result<(), StoreError> {
    sqlx::query(TAKE_KEY).bind(organization).bind(key).bind(seq).execute(connection).await?;
    Ok(())
}

/// The operations that have keys and have not ended, by key. Under the lock of the organization's row, and by a
/// statement of its own, so that it sees the operations that earlier holders of the lock have created.
pub(super) async fn holders(
    connection: &mut PgConnection,
    organization: &str,
    keys: &[&str],
) -> Result<HashMap<String, Operation>, StoreError> {
    let sql = HOLDERS.replace("{columns}", rows::ACTIVE_COLUMNS);
    let query = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(keys);
    let found = query.fetch_all(connection).await?;
    found.iter().map(|row| Ok((row.try_get("unique_key")?, rows::operation(row)?))).collect()
}

/// Deletes the details of operations that are removed, and their unique keys. Under the lock of the organization's row.
pub(super) async fn forget(connection: &mut PgConnection, organization: &str, seqs: &[i64]) -> Result<(), StoreError> {
    let sql = FORGET.replace("{forgotten}", FORGOTTEN).replace("{keyed}", KEYED);
    let row = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(seqs).fetch_one(&mut *connection).await?;
    forget_keys(connection, organization, &row).await
}

/// Deletes the unique keys of operations that were removed, from a row with [`KEYED`]. Under the lock of the
/// organization's row.
pub(super) async fn forget_keys(
    connection: &mut PgConnection,
    organization: &str,
    removed: &PgRow,
) -> Result<(), StoreError> {
    let seqs: Option<Vec<i64>> = removed.try_get("keyed_seqs")?;
    let keys: Option<Vec<String>> = removed.try_get("unique_keys")?;
    if let (Some(seqs), Some(keys)) = (seqs, keys) {
        sqlx::query(FORGET_KEYS).bind(organization).bind(seqs).bind(keys).execute(connection).await?;
    }
    Ok(())
}

/// Served by active_by_id and settled_by_id, the primary keys of details and leases, and events_by_operation.
pub(super) async fn read(
    connection: impl PgExecutor<'_>,
    access: &Access,
    ids: &[OperationId],
    longest: usize,
) -> Result<Vec<Option<OperationDetail>>, StoreError> {
    let asked: Vec<_> = ids.iter().map(rows::uuid).collect();
    let found = look_up(connection, access, ("id", "uuid"), asked, longest).await?;
    let found: Result<Vec<OperationDetail>, StoreError> = found.iter().map(detail).collect();
    Ok(in_order(ids, found?))
}

/// The same by numbers, each at most once. Served by the primary keys of active and settled.
pub(super) async fn of_numbers(
    connection: impl PgExecutor<'_>,
    access: &Access,
    seqs: &[i64],
    longest: usize,
) -> Result<Vec<Option<OperationDetail>>, StoreError> {
    let found = look_up(connection, access, ("seq", "bigint"), seqs.to_vec(), longest).await?;
    let found = found.iter().map(|row| Ok((row.try_get("seq")?, detail(row)?)));
    let mut found: HashMap<i64, OperationDetail> = found.collect::<Result<_, StoreError>>()?;
    Ok(seqs.iter().map(|seq| found.remove(seq)).collect())
}

/// Rows with everything about the operations that are requested by a column of this type.
async fn look_up<A>(
    connection: impl PgExecutor<'_>,
    access: &Access,
    (key, key_type): (&str, &str),
    asked: A,
    longest: usize,
) -> Result<Vec<PgRow>, StoreError>
where
    A: for<'q> sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + 'static,
{
    let of = |table: &str, alias: &str, columns: &str, output: &str, more: &str| {
        format!(
            "SELECT {columns}, CASE WHEN octet_length({output}) <= $4 THEN {output} ELSE '' END AS output,
                 octet_length({output}) > $4 AS output_left_out,
                 CASE WHEN octet_length({alias}.input) <= $4 THEN {alias}.input ELSE '' END AS input,
                 octet_length({alias}.input) > $4 AS input_left_out, {alias}.priority, {alias}.attempts,
                 {alias}.max_attempts, {alias}.timeout_ms, {alias}.retain_for_ms,
                 {alias}.concurrency_key, {alias}.concurrency_limit::bigint AS concurrency_limit, {more}
             FROM {table} {alias} WHERE {alias}.{key} = w.{key} AND {alias}.organization_id = $1
                 AND ($3::text[] IS NULL OR {alias}.project_id = ANY ($3)) OFFSET 0"
        )
    };
    let active = of("active", "a", rows::ACTIVE_COLUMNS, "''", "a.due_at, a.cancel_requested, '' AS last_worker");
    let settled = of("settled", "s", rows::SETTLED_COLUMNS, "s.output", "NULL::bigint, false, s.worker");
    let sql = format!(
        "SELECT o.*, d.labels::text AS labels, d.unique_key, d.schedule, l.worker, p.message AS progress
         FROM unnest($2::{key_type}[]) AS w ({key})
         CROSS JOIN LATERAL (({active}) UNION ALL ({settled})) AS o
         LEFT JOIN LATERAL (
             SELECT labels, unique_key, schedule FROM details
             WHERE organization_id = $1 AND seq = o.seq OFFSET 0) AS d ON true
         LEFT JOIN LATERAL (
             SELECT worker FROM leases WHERE organization_id = $1 AND seq = o.seq OFFSET 0) AS l ON true
         LEFT JOIN LATERAL (
             SELECT message FROM events
             WHERE organization_id = $1 AND seq = o.seq AND kind = 4 AND attempt = o.attempts
             ORDER BY at DESC LIMIT 1) AS p ON true"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(&access.organization).bind(asked);
    let query = query.bind(list::projects(access)).bind(i32::try_from(longest).unwrap_or(i32::MAX));
    Ok(query.fetch_all(connection).await?)
}

fn detail(row: &PgRow) -> Result<OperationDetail, StoreError> {
    let small = |column: &'static str| u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| damaged(column));
    let duration = |column: &str| -> Result<Option<Duration>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(|millis| Duration::from_millis(millis.unsigned_abs())))
    };
    let operation = rows::operation(row)?;
    let worker: Option<String> = row.try_get("worker")?;
    Ok(OperationDetail {
        output_left_out: row.try_get("output_left_out")?,
        input: row.try_get("input")?,
        input_left_out: row.try_get("input_left_out")?,
        labels: labels(row.try_get::<Option<String>, _>("labels")?.as_deref())?,
        unique_key: row.try_get("unique_key")?,
        schedule: row.try_get("schedule")?,
        concurrency: concurrency(row.try_get("concurrency_key")?, row.try_get("concurrency_limit")?),
        priority: row.try_get("priority")?,
        attempts: small("attempts")?,
        max_attempts: small("max_attempts")?,
        run_after: rows::time(row, "due_at")?.filter(|_| operation.status == Status::Pending),
        timeout: duration("timeout_ms")?,
        retain_for: duration("retain_for_ms")?,
        worker: worker.map_or_else(|| row.try_get("last_worker"), Ok)?,
        cancel_requested: row.try_get("cancel_requested")?,
        progress: row.try_get::<Option<String>, _>("progress")?.map(rows::text_out).unwrap_or_default(),
        operation,
    })
}

#[async_trait]
impl Details for PostgresStore {
    async fn details(
        &self,
        access: &Access,
        ids: &[OperationId],
        longest: usize,
    ) -> Result<Vec<Option<OperationDetail>>, StoreError> {
        let mut found = self
            .on_standby(access, |pool| async move { read(&pool, access, ids, longest).await })
            .await
            .unwrap_or_else(|| vec![None; ids.len()]);
        // Operations that a standby lacks may have been created by another process a moment ago.
        let missing: Vec<usize> = (0..ids.len()).filter(|index| found[*index].is_none()).collect();
        if !missing.is_empty() {
            let ids: Vec<OperationId> = missing.iter().map(|index| ids[*index]).collect();
            let there = read(&self.pool, access, &ids, longest).await.map_err(StoreError::or_unavailable)?;
            for (index, detail) in missing.into_iter().zip(there) {
                found[index] = detail;
            }
        }
        Ok(found)
    }
}
