//! Histories: notes of what the rows of operations do not record, and how the two are read together.

use operations::{Access, OperationId, Timestamp};
use rusqlite::Connection;
use serde_json::json;

use super::statement::query;
use super::{rows, single};
use crate::StoreError;
use crate::history::{HistoryEvent, HistoryKind, MAX_NOTES, MAX_PROGRESS_NOTES, Note, assemble};

const APPEND: &str = "
    INSERT INTO events (organization_id, seq, at, kind, attempt, worker, started_at, message)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7 FROM json_each(?)";

/// Forgets the notes above the limit for the operations with these organizations and numbers; progress is removed
/// first, and within a sort the oldest. Served by events_by_operation.
const TRIM: &str = "
    DELETE FROM events WHERE rowid IN (
        SELECT id FROM (
            SELECT e.rowid AS id, row_number() OVER (PARTITION BY e.organization_id, e.seq ORDER BY e.kind = 4, e.rowid DESC) AS place
            FROM (SELECT DISTINCT value->>0 AS organization_id, value->>1 AS seq FROM json_each(?)) g
            CROSS JOIN events e INDEXED BY events_by_operation ON e.organization_id = g.organization_id AND e.seq = g.seq)
        WHERE place > ? + 0)";

/// The same for progress alone.
const TRIM_PROGRESS: &str = "
    DELETE FROM events WHERE rowid IN (
        SELECT id FROM (
            SELECT e.rowid AS id, row_number() OVER (PARTITION BY e.organization_id, e.seq ORDER BY e.rowid DESC) AS place
            FROM (SELECT DISTINCT value->>0 AS organization_id, value->>1 AS seq FROM json_each(?)) g
            CROSS JOIN events e INDEXED BY events_by_operation ON e.organization_id = g.organization_id AND e.seq = g.seq
            WHERE e.kind = 4)
        WHERE place > ? + 0)";

/// Served by the primary key of leases.
const APPEND_PROGRESS: &str = "
    INSERT INTO events (organization_id, seq, at, kind, attempt, worker, started_at, message)
    SELECT l.organization_id, l.seq, ?2, 4, j.value->>2, l.worker, NULL, j.value->>3
    FROM json_each(?1) j CROSS JOIN leases l ON l.organization_id = j.value->>0 AND l.seq = j.value->>1";

/// Appends notes, each of the operation with this organization and number.
pub(super) fn append(connection: &Connection, notes: Vec<(String, i64, Note)>) -> Result<(), StoreError> {
    if notes.is_empty() {
        return Ok(());
    }
    let notes: Vec<_> = notes
        .into_iter()
        .map(|(organization, seq, note)| {
            json!([
                organization,
                seq,
                note.at.as_millis(),
                note.kind.number(),
                note.attempt,
                note.worker,
                note.started_at.map(Timestamp::as_millis),
                note.message
            ])
        })
        .collect();
    let notes = serde_json::Value::Array(notes).to_string();
    query(APPEND).bind(&notes).execute(connection)?;
    query(TRIM).bind(&notes).bind(MAX_NOTES).execute(connection)?;
    Ok(())
}

/// Appends what workers say about their attempts, each as organization, number, attempt and text.
pub(super) fn append_progress(
    connection: &Connection,
    now: Timestamp,
    said: Vec<serde_json::Value>,
) -> Result<(), StoreError> {
    if said.is_empty() {
        return Ok(());
    }
    let said = serde_json::Value::Array(said).to_string();
    query(APPEND_PROGRESS).bind(&said).bind(now.as_millis()).execute(connection)?;
    for (trim, most) in [(TRIM_PROGRESS, MAX_PROGRESS_NOTES), (TRIM, MAX_NOTES)] {
        query(trim).bind(&said).bind(most).execute(connection)?;
    }
    Ok(())
}

/// Forgets the notes of operations that are removed. Served by events_by_operation.
pub(super) fn forget(connection: &Connection, organization: &str, seqs: &[i64]) -> Result<(), StoreError> {
    let sql = "DELETE FROM events WHERE organization_id = ?1 AND seq IN (SELECT value FROM json_each(?2))";
    query(sql).bind(organization).bind(json!(seqs).to_string()).execute(connection)?;
    Ok(())
}

/// Served by active_by_id and settled_by_id, the primary key of leases, and events_by_operation.
pub(super) fn read(
    connection: &Connection,
    access: &Access,
    id: OperationId,
) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let sql = format!(
        "SELECT {active}, '' AS output, a.attempts, coalesce((
                 SELECT l.worker FROM leases l WHERE l.organization_id = ?1 AND l.seq = a.seq), '') AS worker
         FROM active a INDEXED BY active_by_id WHERE a.organization_id = ?1 AND a.id = ?2
             AND (?3 IS NULL OR a.project_id IN (SELECT value FROM json_each(?3)))
         UNION ALL
         SELECT {settled}, '' AS output, s.attempts, s.worker
         FROM settled s INDEXED BY settled_by_id WHERE s.organization_id = ?1 AND s.id = ?2
             AND (?3 IS NULL OR s.project_id IN (SELECT value FROM json_each(?3)))"
    );
    let found = query(sql)
        .bind(&access.organization)
        .bind(id.as_bytes().as_slice())
        .bind(single::project_list(access))
        .fetch_optional(connection)?;
    let Some(row) = found else { return Ok(None) };
    let noted = query(
        "SELECT at, kind, attempt, worker, started_at, message FROM events INDEXED BY events_by_operation
         WHERE organization_id = ?1 AND seq = ?2 ORDER BY rowid",
    )
    .bind(&access.organization)
    .bind(row.try_get::<i64>("seq")?)
    .fetch_all(connection)?;
    let mut notes = Vec::with_capacity(noted.len());
    for note in &noted {
        // A kind that only a later version knows is left out.
        let Some(kind) = HistoryKind::from_number(note.try_get("kind")?) else { continue };
        notes.push(Note {
            at: Timestamp::from_millis(note.try_get("at")?),
            kind,
            attempt: note.try_get("attempt")?,
            worker: note.try_get("worker")?,
            started_at: rows::time(note, "started_at")?,
            message: note.try_get("message")?,
        });
    }
    let worker: String = row.try_get("worker")?;
    Ok(Some(assemble(&rows::operation(&row)?, row.try_get("attempts")?, &worker, notes)))
}
