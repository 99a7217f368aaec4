//! Deleting an organization: see [`crate::deletion`].
//!
//! Everything belongs to one organization, and every statement names it. Places in the queue are locked before the
//! operations that have them, as claims do it; the organization's row, which creations wait for, comes last in a
//! part.

use std::sync::Arc;

use operations::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::connections::Connections;
use super::tx::Tx;
use super::{audit, changes, counters, pause, purge};
use super::{details, resources};
use crate::audit::Record;
use crate::evidence::REMOVAL_LASTS;
use crate::{AuditCall, Contents, StoreError};

/// Counts are base and deltas, in one snapshot.
const CONTENTS: &str = "
    WITH counted AS (
        SELECT pending, running, completed, failed FROM counters WHERE organization_id = $1 AND level = 20
        UNION ALL
        SELECT pending, running, completed, failed FROM counter_deltas WHERE organization_id = $1
            AND xid >= coalesce((SELECT folded_before FROM counter_folds WHERE organization_id = $1), '0')
    )
    SELECT o.deleted = 1 AS is_being_deleted,
        ((SELECT coalesce(sum(pending + running), 0) FROM counted)
            + (SELECT count(*) FROM inbox i WHERE i.organization_id = $1))::bigint AS unfinished,
        (SELECT coalesce(sum(completed + failed), 0) FROM counted)::bigint AS ended,
        (SELECT count(*) FROM tokens t WHERE t.organization_id = $1) AS tokens,
        (SELECT count(*) FROM evidence e WHERE e.organization_id = $1) AS evidence,
        (SELECT coalesce(sum(size), 0) FROM evidence e WHERE e.organization_id = $1)::bigint AS evidence_bytes
    FROM organizations o WHERE o.organization_id = $1 AND o.deleted < 2";

const KINDS: &str = "
    SELECT kind FROM counters WHERE level = 20 AND ($1::text IS NULL OR organization_id = $1)
    UNION
    SELECT kind FROM counter_deltas WHERE $1::text IS NULL OR organization_id = $1
    ORDER BY kind";

/// Pending operations with their places in the queue; {due} says which part of it, each with an index of its own.
/// Answers places and operations.
const REMOVE_PENDING: &str = "
    WITH queued AS (
        DELETE FROM queue WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT ctid FROM queue WHERE organization_id = $1 AND {due} LIMIT $2 FOR UPDATE))
        RETURNING seq
    ), gone AS (
        DELETE FROM active WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT a.ctid FROM queued CROSS JOIN LATERAL (
                SELECT ctid FROM active WHERE organization_id = $1 AND seq = queued.seq FOR UPDATE) AS a))
        RETURNING seq, kind, status, project_id, resource_type, resource_id
    ), {counted}
    SELECT (SELECT count(*) FROM queued), (SELECT count(*) FROM gone), {keyed}";

/// What is not in the queue runs.
const REMOVE_RUNNING: &str = "
    WITH gone AS (
        DELETE FROM active WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT ctid FROM active WHERE organization_id = $1 ORDER BY seq LIMIT $2 FOR UPDATE))
        RETURNING seq, kind, status, project_id, resource_type, resource_id
    ), let_go AS (
        DELETE FROM leases WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT l.ctid FROM gone CROSS JOIN LATERAL (
                SELECT ctid FROM leases WHERE organization_id = $1 AND seq = gone.seq FOR UPDATE) AS l))
    ), {counted}
    SELECT count(*), count(*), {keyed} FROM gone";

const REMOVE_SETTLED: &str = "
    WITH gone AS (
        DELETE FROM settled WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT ctid FROM settled WHERE organization_id = $1 ORDER BY seq LIMIT $2 FOR UPDATE))
        RETURNING seq, kind, status, project_id, resource_type, resource_id
    ), {counted}
    SELECT count(*), count(*), {keyed} FROM gone";

/// With their histories and counts.
const COUNTED: &str = "
    forgotten AS (
        DELETE FROM events WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT e.ctid FROM gone CROSS JOIN LATERAL (
                SELECT ctid FROM events WHERE organization_id = $1 AND seq = gone.seq OFFSET 0) AS e))
    ), {forgotten}, counted AS (
        INSERT INTO counter_deltas (organization_id, bucket, project_id, kind, pending, running, completed, failed)
        SELECT $1, seq >> 12, project_id, kind,
            -count(*) FILTER (WHERE status = 1), -count(*) FILTER (WHERE status = 2),
            -count(*) FILTER (WHERE status = 3), -count(*) FILTER (WHERE status = 4)
        FROM gone GROUP BY 2, 3, 4
    ), counted_by_resource AS (
        {of_resources}
    )";

const COUNTS: &str = "-count(*) FILTER (WHERE status = 1), -count(*) FILTER (WHERE status = 2), \
    -count(*) FILTER (WHERE status = 3), -count(*) FILTER (WHERE status = 4)";

/// The rest, one table after the other, by primary key, each with the order of its rows. Of [`EVIDENCE`] only some.
const TABLES: &[(&str, &str)] = &[
    ("schedules", "name"),
    ("inbox", "id"),
    ("changes", "xid, n"),
    ("idempotency_keys", "key"),
    (EVIDENCE, "digest"),
    ("bucket_times", "level, bucket"),
    ("views", "id"),
    ("statistics", "step, project_id, start, kind"),
];
const EVIDENCE: &str = "evidence";

/// Removals of evidence that others have begun. Whoever ends the deletion waits for them, unless the organization is in
/// another database, where its evidence stays.
const IS_REMOVING: &str = "
    SELECT EXISTS (SELECT FROM evidence WHERE organization_id = $1 AND state = 3 AND removing_since >= $2)
        AND NOT EXISTS (SELECT FROM organizations_elsewhere WHERE organization_id = $1)";

/// Tables with few rows, and rows that were written while the parts were removed.
const END: &[&str] = &[
    // First, since a transaction that fires one locks it before the organization's row.
    "schedules",
    "bulk_progress",
    "concurrency_slots",
    "concurrency_keys",
    "bucket_times",
    "organization_limits",
    "details",
    "labels",
    "unique_keys",
    "inbox",
    "changes",
    "idempotency_keys",
    "evidence",
    "evidence_totals",
    "tokens",
    "sessions",
    "pauses",
    "counters",
    "project_counters",
    "counter_deltas",
    // First, since a transaction that counts a resource holds this row meanwhile.
    "counted_resources",
    "resource_counters",
    "resource_deltas",
    "views",
    "waivers",
    "statistics",
    "statistics_origins",
];

pub(super) async fn contents(pool: &Connections, organization: &str) -> Result<Option<Contents>, StoreError> {
    let Some(row) = sqlx::query(CONTENTS).bind(organization).fetch_optional(pool).await? else { return Ok(None) };
    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    Ok(Some(Contents {
        is_being_deleted: row.try_get("is_being_deleted")?,
        unfinished: number("unfinished")?,
        ended: number("ended")?,
        tokens: number("tokens")?,
        evidence: number("evidence")?,
        evidence_bytes: number("evidence_bytes")?,
    }))
}

pub(super) async fn kinds(pool: &Connections, organization: Option<&str>) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(KINDS).bind(organization).fetch_all(pool).await?)
}

pub(super) async fn begin(
    pool: &Connections,
    now: Timestamp,
    organization: &str,
    unfinished_too: bool,
    call: Option<&Arc<AuditCall>>,
) -> Result<u64, StoreError> {
    let begin = async {
        let mut connection = pool.acquire().await?;
        let unfinished = begin_on(&mut connection, now, organization, unfinished_too, call).await?;
        connection.release();
        Ok(unfinished)
    };
    pool.within(begin).await
}

async fn begin_on(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    unfinished_too: bool,
    call: Option<&Arc<AuditCall>>,
) -> Result<u64, StoreError> {
    let mut transaction = Tx::begun(connection).await?;
    // Creations wait here, and are refused afterwards or counted now.
    let sql = "SELECT true FROM organizations WHERE organization_id = $1 AND deleted < 2 FOR UPDATE";
    if sqlx::query_scalar::<_, bool>(sql).bind(organization).fetch_optional(&mut *transaction).await?.is_none() {
        return Ok(0);
    }
    let counted = sqlx::query(CONTENTS).bind(organization).fetch_one(&mut *transaction).await?;
    let unfinished = counted.try_get::<i64, _>("unfinished")?.unsigned_abs();
    if unfinished > 0 && !unfinished_too {
        transaction.roll_back().await?;
        return Ok(unfinished);
    }
    let sql = "UPDATE organizations SET deleted = 1 WHERE organization_id = $1";
    sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    for sql in [
        "UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE organization_id = $1",
        "UPDATE sessions SET revoked_at = coalesce(revoked_at, $2) WHERE organization_id = $1",
        pause::PAUSE_WHOLE,
    ] {
        sqlx::query(sql).bind(organization).bind(now.as_millis()).execute(&mut *transaction).await?;
    }
    if let Some(call) = call {
        let record = Record { call: Arc::clone(call), made: Vec::new(), code: 0 };
        audit::append(&mut transaction, now, &[record]).await?;
    }
    transaction.commit().await?;
    Ok(unfinished)
}

async fn is_begun(connection: &mut PgConnection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT FROM organizations WHERE organization_id = $1 AND deleted = 1)";
    Ok(sqlx::query_scalar(sql).bind(organization).fetch_one(connection).await?)
}

pub(super) async fn part(pool: &Connections, organization: &str, limit: u32) -> Result<Option<u64>, StoreError> {
    let limit = i64::from(limit);
    let part = async {
        let mut connection = pool.acquire().await?;
        let removed = part_on(&mut connection, organization, limit).await?;
        connection.release();
        Ok::<_, StoreError>(removed)
    };
    match pool.within(part).await? {
        Some(0) => remove_counters(pool, organization, limit).await.map(Some),
        removed => Ok(removed),
    }
}

/// Answers how many rows it removed; `None` when the organization is not being deleted.
async fn part_on(connection: &mut PgConnection, organization: &str, limit: i64) -> Result<Option<u64>, StoreError> {
    let mut transaction = Tx::begun(connection).await?;
    // What an interrupted move left is not copied here again before this part has ended (see `moving`).
    let sql = "SELECT FROM organizations_elsewhere WHERE organization_id = $1 FOR SHARE";
    sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    if !is_begun(&mut transaction, organization).await? {
        transaction.roll_back().await?;
        return Ok(None);
    }
    // First: then no operation that ends lets another one into the queue.
    for (table, order) in [("concurrency_slots", "seq"), ("concurrency_keys", "key")] {
        if let Some(removed) = remove_from(&mut transaction, table, order, organization, limit).await? {
            transaction.commit().await?;
            return Ok(Some(removed));
        }
    }
    for sql in [
        REMOVE_PENDING.replace("{due}", "in_order"),
        REMOVE_PENDING.replace("{due}", "due_at IS NULL AND NOT in_order"),
        REMOVE_PENDING.replace("{due}", "due_at IS NOT NULL"),
        REMOVE_RUNNING.to_owned(),
        REMOVE_SETTLED.to_owned(),
    ] {
        let sql = sql
            .replace("{counted}", COUNTED)
            .replace("{of_resources}", &resources::deltas("gone", COUNTS))
            .replace("{forgotten}", details::FORGOTTEN)
            .replace("{keyed}", details::KEYED);
        let sql = AssertSqlSafe(sql);
        let row = sqlx::query(sql).bind(organization).bind(limit).fetch_one(&mut *transaction).await?;
        let (rows, operations): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if rows > 0 {
            purge::note_removed(&mut transaction, organization, operations).await?;
            details::forget_keys(&mut transaction, organization, &row).await?;
            transaction.commit().await?;
            return Ok(Some(rows.unsigned_abs()));
        }
    }
    for (table, order) in TABLES {
        if let Some(removed) = remove_from(&mut transaction, table, order, organization, limit).await? {
            transaction.commit().await?;
            return Ok(Some(removed));
        }
    }
    transaction.roll_back().await?;
    Ok(Some(0))
}

/// Removes rows of a table; `None` when there are none.
async fn remove_from(
    connection: &mut PgConnection,
    table: &str,
    order: &str,
    organization: &str,
    limit: i64,
) -> Result<Option<u64>, StoreError> {
    let which = if table == EVIDENCE { "state <> 3" } else { "true" };
    let sql = format!(
        "DELETE FROM {table} WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
            SELECT ctid FROM {table} WHERE organization_id = $1 AND {which} ORDER BY {order} LIMIT $2 FOR UPDATE))"
    );
    let done = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(limit).execute(connection).await?;
    Ok(Some(done.rows_affected()).filter(|removed| *removed > 0))
}

/// Counters of removed operations, in parts: once folded they are zero, and say nothing.
async fn remove_counters(pool: &Connections, organization: &str, limit: i64) -> Result<u64, StoreError> {
    counters::fold(pool, organization).await?;
    for (table, order) in [
        ("resource_counters", "resource, project_id, level, bucket, kind"),
        ("project_counters", "project_id, level, bucket, kind"),
        ("counters", "level, bucket, kind"),
    ] {
        let sql = format!(
            "DELETE FROM {table} WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
                SELECT ctid FROM {table} WHERE organization_id = $1
                    AND pending = 0 AND running = 0 AND completed = 0 AND failed = 0
                ORDER BY {order} LIMIT $2 FOR UPDATE))"
        );
        let done = sqlx::query(AssertSqlSafe(sql)).bind(organization).bind(limit).execute(pool).await?;
        if done.rows_affected() > 0 {
            return Ok(done.rows_affected());
        }
    }
    Ok(0)
}

pub(super) async fn end(pool: &Connections, now: Timestamp, organization: &str) -> Result<bool, StoreError> {
    let end = async {
        let mut connection = pool.acquire().await?;
        let ending = end_on(&mut connection, now, organization).await?;
        connection.release();
        Ok::<_, StoreError>(ending)
    };
    match pool.within(end).await? {
        Ending::Ended => changes::begin_anew(pool, organization).await?,
        Ending::NotBegun => {}
        Ending::Removing => return Ok(false),
    }
    Ok(true)
}

enum Ending {
    Ended,
    /// There was nothing to end.
    NotBegun,
    /// Others remove evidence.
    Removing,
}

async fn end_on(connection: &mut PgConnection, now: Timestamp, organization: &str) -> Result<Ending, StoreError> {
    let mut transaction = Tx::begun(connection).await?;
    let sql = "SELECT true FROM organizations WHERE organization_id = $1 AND deleted = 1 FOR UPDATE";
    if sqlx::query_scalar::<_, bool>(sql).bind(organization).fetch_optional(&mut *transaction).await?.is_none() {
        transaction.roll_back().await?;
        return Ok(Ending::NotBegun);
    }
    let resumable = now.before(REMOVAL_LASTS).as_millis();
    if sqlx::query_scalar(IS_REMOVING).bind(organization).bind(resumable).fetch_one(&mut *transaction).await? {
        transaction.roll_back().await?;
        return Ok(Ending::Removing);
    }
    // One statement, one snapshot: an operation that moves between the tables is in one of them.
    let sql = "SELECT EXISTS (SELECT FROM active WHERE organization_id = $1)
        OR EXISTS (SELECT FROM settled WHERE organization_id = $1)";
    if sqlx::query_scalar(sql).bind(organization).fetch_one(&mut *transaction).await? {
        return Err(StoreError::Unavailable("the organization still has operations".to_owned()));
    }
    // A fold that another server carries out ends before, or finds nothing.
    let sql = "SELECT FROM counter_folds WHERE organization_id = $1 FOR UPDATE";
    sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    for table in END {
        let sql = AssertSqlSafe(format!("DELETE FROM {table} WHERE organization_id = $1"));
        sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    }
    for sql in audit::REMOVE {
        sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    }
    let sql = "DELETE FROM change_marks WHERE organization_id = $1";
    sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    let sql = "UPDATE organizations SET deleted = 2 WHERE organization_id = $1";
    sqlx::query(sql).bind(organization).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Ending::Ended)
}
