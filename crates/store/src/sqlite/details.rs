//! The rare details of operations, and everything that is known of an operation: see [`crate::details`].

use std::time::Duration;

use async_trait::async_trait;
use operations::{Access, OperationId, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::{SqliteStore, read, single};
use crate::details::{Row, concurrency, in_order, labels};
use crate::rows::damaged;
use crate::{Details, OperationDetail, StoreError};

const INSERT: &str = "
    INSERT INTO details (organization_id, seq, labels, unique_key, schedule, trace) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const INSERT_LABEL: &str = "INSERT INTO labels (organization_id, key, value, seq) VALUES (?1, ?2, ?3, ?4)";

const TAKE_KEY: &str = "
    INSERT INTO unique_keys (organization_id, unique_key, seq) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seq = excluded.seq";

/// The operation that has a key and has not ended. Served by the primary key of unique_keys and active_by_seq.
const HOLDER: &str = "
    SELECT a.id FROM unique_keys u CROSS JOIN active a INDEXED BY active_by_seq
        ON a.organization_id = u.organization_id AND a.seq = u.seq
    WHERE u.organization_id = ?1 AND u.unique_key = ?2";

/// Those of removed operations. Labels are deleted by their whole key, which `details` has.
const FORGET: [&str; 3] = [
    "DELETE FROM unique_keys WHERE (organization_id, unique_key) IN (
        SELECT d.organization_id, d.unique_key FROM json_each(?2) j CROSS JOIN details d
            ON d.organization_id = ?1 AND d.seq = j.value
        WHERE d.unique_key IS NOT NULL)
        AND seq IN (SELECT value FROM json_each(?2))",
    "DELETE FROM labels WHERE (organization_id, key, value, seq) IN (
        SELECT d.organization_id, l.key, l.value, d.seq FROM json_each(?2) j CROSS JOIN details d
            ON d.organization_id = ?1 AND d.seq = j.value CROSS JOIN json_each(d.labels) l)",
    "DELETE FROM details WHERE organization_id = ?1 AND seq IN (SELECT value FROM json_each(?2))",
];

/// Writes the details of a new operation.
pub(super) fn insert(connection: &Connection, organization: &str, row: &Row<'_>) -> Result<(), StoreError> {
    let Row { seq, labels, of } = row;
    let (key, schedule, trace) = (&of.unique_key, &of.schedule, of.trace.map(|trace| trace.to_string()));
    connection.prepare_cached(INSERT)?.execute(params![organization, seq, labels, key, schedule, trace])?;
    let mut insert_label = connection.prepare_cached(INSERT_LABEL)?;
    for (key, value) in &of.labels {
        insert_label.execute(params![organization, key, value, seq])?;
    }
    match key {
        Some(key) => take_key(connection, organization, key, *seq),
        None => Ok(()),
    }
}

/// Notes which operation took a key that no other has.
pub(super) fn take_key(connection: &Connection, organization: &str, key: &str, seq: i64) -> Result<(), StoreError> {
    connection.prepare_cached(TAKE_KEY)?.execute(params![organization, key, seq])?;
    Ok(())
}

/// The operation that has a key and has not ended.
pub(super) fn holder(
    connection: &Connection,
    organization: &str,
    key: &str,
) -> Result<Option<OperationId>, StoreError> {
    let mut statement = connection.prepare_cached(HOLDER)?;
    let id: Option<[u8; 16]> = statement.query_row((organization, key), |row| row.get(0)).optional()?;
    Ok(id.map(OperationId::from_bytes))
}

/// The unique key of an operation.
pub(super) fn unique_key(connection: &Connection, organization: &str, seq: i64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT unique_key FROM details WHERE organization_id = ?1 AND seq = ?2";
    let key = connection.prepare_cached(sql)?.query_row((organization, seq), |row| row.get(0)).optional()?;
    Ok(key.flatten())
}

/// Forgets the details of removed operations. Served by the primary keys.
pub(super) fn forget(connection: &Connection, organization: &str, seqs: &[i64]) -> Result<(), StoreError> {
    let seqs = json!(seqs).to_string();
    for sql in FORGET {
        connection.prepare_cached(sql)?.execute((organization, &seqs))?;
    }
    Ok(())
}

/// Served by active_by_id and settled_by_id, the primary keys of details and leases, and events_by_operation.
pub(super) fn read(
    connection: &Connection,
    access: &Access,
    ids: &[OperationId],
    longest: usize,
) -> Result<Vec<Option<OperationDetail>>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    look_up(connection, access, &BY_ID, ids.iter().map(OperationId::as_bytes), longest, |_, detail| {
        found.push(detail)
    })?;
    Ok(in_order(ids, found))
}

/// The same by numbers.
pub(super) fn of_numbers(
    connection: &Connection,
    access: &Access,
    seqs: &[i64],
    longest: usize,
) -> Result<Vec<Option<OperationDetail>>, StoreError> {
    let mut found: Vec<Option<OperationDetail>> = vec![None; seqs.len()];
    look_up(connection, access, &BY_NUMBER, seqs, longest, |place, detail| found[place] = Some(detail))?;
    Ok(found)
}

/// An index of active and one of settled, each with the condition that it serves.
type LookUp = [(&'static str, &'static str); 2];
const BY_ID: LookUp = [("active_by_id", "a.id = ?2"), ("settled_by_id", "s.id = ?2")];
const BY_NUMBER: LookUp = [("active_by_seq", "a.seq = ?2"), ("settled_by_status", "s.status IN (3, 4) AND s.seq = ?2")];

/// Looks up operations; reports for each one that exists its place in the request.
fn look_up(
    connection: &Connection,
    access: &Access,
    [(active_index, of_active), (settled_index, of_settled)]: &LookUp,
    asked: impl IntoIterator<Item = impl rusqlite::ToSql>,
    longest: usize,
    mut found: impl FnMut(usize, OperationDetail),
) -> Result<(), StoreError> {
    let (projects, longest) = (single::project_list(access), i64::try_from(longest).unwrap_or(i64::MAX));
    let sql = |o: &str, columns: &str, output: &str, more: &str, from: &str, condition: &str| {
        format!(
            "SELECT {columns}, iif(octet_length({output}) > ?4, '', {output}), octet_length({output}) > ?4,
                 iif(octet_length({o}.input) > ?4, '', {o}.input), octet_length({o}.input) > ?4,
                 {o}.priority, {o}.attempts, {o}.max_attempts, {o}.timeout_ms, {o}.retain_for_ms, {more},
                 d.labels, d.unique_key, d.schedule,
                 coalesce((SELECT e.message FROM events e INDEXED BY events_by_operation
                     WHERE e.organization_id = ?1 AND e.seq = {o}.seq AND e.kind = 4 AND e.attempt = {o}.attempts
                     ORDER BY e.rowid DESC LIMIT 1), ''), {o}.concurrency_key, {o}.concurrency_limit
             FROM {from} LEFT JOIN details d ON d.organization_id = ?1 AND d.seq = {o}.seq
             WHERE {o}.organization_id = ?1 AND {condition}
                 AND (?3 IS NULL OR {o}.project_id IN (SELECT value FROM json_each(?3)))"
        )
    };
    let worker = "coalesce((SELECT l.worker FROM leases l WHERE l.organization_id = ?1 AND l.seq = a.seq), '')";
    let more = format!("a.due_at, a.cancel_requested, {worker}");
    let from = format!("active a INDEXED BY {active_index}");
    let active = sql("a", read::ACTIVE_COLUMNS, "''", &more, &from, of_active);
    let from = format!("settled s INDEXED BY {settled_index}");
    let settled = sql("s", read::SETTLED_COLUMNS, "s.output", "NULL, 0, s.worker", &from, of_settled);
    let mut statements = [connection.prepare_cached(&active)?, connection.prepare_cached(&settled)?];
    for (place, key) in asked.into_iter().enumerate() {
        for statement in &mut statements {
            let mut rows = statement.query((&access.organization, &key, &projects, longest))?;
            if let Some(row) = rows.next()? {
                found(place, detail(row)?);
                break;
            }
        }
    }
    Ok(())
}

/// The operation comes first, with its output.
fn detail(row: &rusqlite::Row<'_>) -> Result<OperationDetail, StoreError> {
    let first = read::AFTER_OPERATION;
    let small = |place: usize, what| u32::try_from(row.get::<_, i64>(place)?).map_err(|_| damaged(what));
    let duration = |place: usize| -> Result<Option<Duration>, StoreError> {
        Ok(row.get::<_, Option<i64>>(place)?.map(|millis| Duration::from_millis(millis.unsigned_abs())))
    };
    let run_after = row.get::<_, Option<i64>>(first + 8)?.map(Timestamp::from_millis);
    let operation = read::operation(row)?;
    Ok(OperationDetail {
        run_after: run_after.filter(|_| operation.status == Status::Pending),
        operation,
        output_left_out: row.get(first)?,
        input: row.get(first + 1)?,
        input_left_out: row.get(first + 2)?,
        priority: row.get(first + 3)?,
        attempts: small(first + 4, "attempts")?,
        max_attempts: small(first + 5, "max_attempts")?,
        timeout: duration(first + 6)?,
        retain_for: duration(first + 7)?,
        cancel_requested: row.get(first + 9)?,
        worker: row.get(first + 10)?,
        labels: labels(row.get::<_, Option<String>>(first + 11)?.as_deref())?,
        unique_key: row.get(first + 12)?,
        schedule: row.get(first + 13)?,
        progress: row.get(first + 14)?,
        concurrency: concurrency(row.get(first + 15)?, row.get(first + 16)?),
    })
}

#[async_trait]
impl Details for SqliteStore {
    async fn details(
        &self,
        access: &Access,
        ids: &[OperationId],
        longest: usize,
    ) -> Result<Vec<Option<OperationDetail>>, StoreError> {
        let (access, ids) = (access.clone(), ids.to_vec());
        self.readers.read(move |connection| read(connection, &access, &ids, longest)).await
    }
}
