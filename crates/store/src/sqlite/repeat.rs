//! What is recorded of operations whose settlement or release was refused.

use operations::{Refusal, Status};
use rusqlite::Connection;
use serde_json::json;

use super::rows;
use super::statement::{Row, query};
use crate::StoreError;
use crate::repeat::{Found, Recorded, Refused, answer};

/// What a worker ended under a fencing token. Outputs are read only if they are as long as those that were sent, so
/// that no more is read than was sent. Served by settled_by_id.
const SETTLED: &str = "
    SELECT s.organization_id, s.id, s.kind, s.project_id, s.status, s.started_at, s.finished_at, s.attempts,
        s.max_attempts, s.fence, s.error_message, s.output
    FROM json_each(?1) j CROSS JOIN settled s
        ON s.organization_id = j.value->>0 AND s.id = unhex(j.value->>1, '-')
    WHERE s.fence = j.value->>2 AND s.worker <> '' AND (s.status = 4 OR octet_length(s.output) = j.value->>3)";

/// Operations that wait for another attempt, with the note that was written last: the clock may have been set back
/// since an earlier one. Served by active_by_id and events_by_operation.
const PENDING: &str = "
    SELECT a.organization_id, a.id, a.kind, a.project_id, a.status, a.started_at, a.due_at, a.attempts, a.max_attempts,
        a.fence, e.kind AS noted, e.message
    FROM json_each(?1) j CROSS JOIN active a
        ON a.organization_id = j.value->>0 AND a.id = unhex(j.value->>1, '-')
    CROSS JOIN events e ON e.rowid = (
        SELECT rowid FROM events INDEXED BY events_by_operation
        WHERE organization_id = a.organization_id AND seq = a.seq AND kind NOT IN (4, 5)
        ORDER BY rowid DESC LIMIT 1)
    WHERE a.fence = j.value->>2 AND a.status = 1";

/// Answers repeated events with what was recorded already.
pub(super) fn tell(
    connection: &Connection,
    refused: &[Refused<'_>],
    results: &mut [Result<Status, Refusal>],
) -> Result<(), StoreError> {
    let mut found = Found::new();
    let mut keep = |row: &Row, state, noted| {
        let recorded = Recorded { project_id: row.try_get("project_id")?, kind: row.try_get("kind")?, state, noted };
        found.insert((row.try_get("organization_id")?, rows::id(row)?), recorded);
        Ok::<_, StoreError>(())
    };
    let key = |refused: &Refused<'_>| {
        json!([refused.lease.organization, refused.lease.id.to_string(), refused.fence, refused.output().len()])
    };
    let all: Vec<_> = refused.iter().map(key).collect();
    if !all.is_empty() {
        let query = query(SETTLED).bind(serde_json::Value::Array(all).to_string());
        for row in query.fetch_all(connection)? {
            keep(&row, rows::settled_state(&row)?, None)?;
        }
    }
    let pending: Vec<_> = refused.iter().filter(|refused| refused.leaves_it_pending()).map(key).collect();
    if !pending.is_empty() {
        let query = query(PENDING).bind(serde_json::Value::Array(pending).to_string());
        for row in query.fetch_all(connection)? {
            let noted = (row.try_get("noted")?, row.try_get("message")?);
            keep(&row, rows::active_state(&row)?, Some(noted))?;
        }
    }
    answer(refused, &found, results);
    Ok(())
}
