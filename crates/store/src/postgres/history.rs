//! Histories: notes of what the rows of operations do not say, and how the two are read together.

use std::collections::HashMap;

use operations::{Access, OperationId, Projects, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::connections::Connections;
use super::rows;
use crate::StoreError;
use crate::history::{HistoryEvent, HistoryKind, MAX_NOTES, MAX_PROGRESS_NOTES, Note, assemble};

const APPEND: &str = "
    INSERT INTO events (organization_id, seq, at, kind, attempt, worker, started_at, message)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::smallint[], $5::int[], $6::text[], $7::bigint[], $8::text[])";

/// Deletes the notes beyond those that may be kept ($3) for the operations with these numbers ($2); progress goes
/// first, and within a sort the oldest. Where $4 is true it handles progress alone. Served by events_by_operation.
const TRIM: &str = "
    DELETE FROM events WHERE organization_id IS NOT DISTINCT FROM $1 AND ctid = ANY (ARRAY(
        SELECT place FROM (
            SELECT e.place, row_number() OVER (PARTITION BY g.seq ORDER BY e.kind = 4, e.at DESC, e.place DESC) AS nth
            FROM (SELECT DISTINCT seq FROM unnest($2::bigint[]) AS s (seq)) AS g CROSS JOIN LATERAL (
                SELECT ctid AS place, kind, at FROM events
                WHERE organization_id = $1 AND seq = g.seq AND (kind = 4 OR NOT $4) OFFSET 0) AS e) AS ranked
        WHERE nth > $3))";

/// Served by the primary key of leases.
const APPEND_PROGRESS: &str = "
    INSERT INTO events (organization_id, seq, at, kind, attempt, worker, started_at, message)
    SELECT $1, p.seq, $2, 4, p.attempt, l.worker, NULL, p.message
    FROM unnest($3::bigint[], $4::int[], $5::text[]) AS p (seq, attempt, message) CROSS JOIN LATERAL (
        SELECT worker FROM leases WHERE organization_id = $1 AND seq = p.seq OFFSET 0) AS l";

/// Appends notes, each of the operation with this number.
pub(super) async fn append(
    connection: &mut PgConnection,
    organization: &str,
    notes: Vec<(i64, Note)>,
) -> Result<(), StoreError> {
    if notes.is_empty() {
        return Ok(());
    }
    let (mut seqs, mut ats, mut kinds, mut attempts) = (vec![], vec![], vec![], vec![]);
    let (mut workers, mut started_ats, mut messages) = (vec![], vec![], vec![]);
    for (seq, note) in notes {
        seqs.push(seq);
        ats.push(note.at.as_millis());
        kinds.push(note.kind.number().map_or(0, i16::from));
        attempts.push(i32::try_from(note.attempt).unwrap_or(i32::MAX));
        workers.push(note.worker);
        started_ats.push(note.started_at.map(Timestamp::as_millis));
        messages.push(rows::text_in(note.message));
    }
    sqlx::query(APPEND)
        .bind(organization)
        .bind(&seqs)
        .bind(ats)
        .bind(kinds)
        .bind(attempts)
        .bind(workers)
        .bind(started_ats)
        .bind(messages)
        .execute(&mut *connection)
        .await?;
    trim(connection, organization, &seqs, MAX_NOTES, false).await
}

async fn trim(
    connection: &mut PgConnection,
    organization: &str,
    seqs: &[i64],
    most: u32,
    only_progress: bool,
) -> Result<(), StoreError> {
    let trim = sqlx::query(TRIM).bind(organization).bind(seqs).bind(i64::from(most)).bind(only_progress);
    trim.execute(connection).await?;
    Ok(())
}

/// Appends what workers report about their attempts, by the numbers of the operations: the attempt and the text.
pub(super) async fn append_progress(
    connection: &mut PgConnection,
    now: Timestamp,
    organization: &str,
    said: HashMap<i64, (i32, String)>,
) -> Result<(), StoreError> {
    if said.is_empty() {
        return Ok(());
    }
    let (mut seqs, mut attempts, mut messages) = (vec![], vec![], vec![]);
    for (seq, (attempt, message)) in said {
        seqs.push(seq);
        attempts.push(attempt);
        messages.push(rows::text_in(message));
    }
    sqlx::query(APPEND_PROGRESS)
        .bind(organization)
        .bind(now.as_millis())
        .bind(&seqs)
        .bind(attempts)
        .bind(messages)
        .execute(&mut *connection)
        .await?;
    trim(connection, organization, &seqs, MAX_PROGRESS_NOTES, true).await?;
    trim(connection, organization, &seqs, MAX_NOTES, false).await
}

/// Deletes the notes of an operation that is removed. Served by events_by_operation.
pub(super) async fn forget(connection: &mut PgConnection, organization: &str, seq: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM events WHERE organization_id = $1 AND seq = $2";
    sqlx::query(sql).bind(organization).bind(seq).execute(connection).await?;
    Ok(())
}

/// Served by active_by_id and settled_by_id, the primary key of leases, and events_by_operation.
pub(super) async fn read(
    pool: &Connections,
    access: &Access,
    id: OperationId,
) -> Result<Option<Vec<HistoryEvent>>, StoreError> {
    let (active, settled) = (rows::ACTIVE_COLUMNS, rows::SETTLED_COLUMNS);
    let projects: Option<Vec<String>> = match &access.projects {
        Projects::All => None,
        Projects::Only(projects) => Some(projects.iter().cloned().collect()),
    };
    let sql = format!(
        "SELECT {active}, '' AS output, a.attempts, coalesce((
                 SELECT l.worker FROM leases l WHERE l.organization_id = $1 AND l.seq = a.seq), '') AS worker
         FROM active a WHERE a.id = $2 AND a.organization_id = $1 AND ($3::text[] IS NULL OR a.project_id = ANY ($3))
         UNION ALL
         SELECT {settled}, '' AS output, s.attempts, s.worker
         FROM settled s WHERE s.id = $2 AND s.organization_id = $1 AND ($3::text[] IS NULL OR s.project_id = ANY ($3))"
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(&access.organization)
        .bind(rows::uuid(&id))
        .bind(projects)
        .fetch_optional(pool)
        .await?;
    let Some(row) = found else { return Ok(None) };
    let noted = sqlx::query(
        "SELECT at, kind, attempt, worker, started_at, message FROM events WHERE organization_id = $1 AND seq = $2",
    )
    .bind(&access.organization)
    .bind(row.try_get::<i64, _>("seq")?)
    .fetch_all(pool)
    .await?;
    let mut notes = Vec::with_capacity(noted.len());
    for note in &noted {
        // A kind from a later version is left out.
        let Some(kind) = HistoryKind::from_number(note.try_get::<i16, _>("kind")?.into()) else { continue };
        notes.push(Note {
            at: Timestamp::from_millis(note.try_get("at")?),
            kind,
            attempt: note.try_get::<i32, _>("attempt")?.unsigned_abs(),
            worker: note.try_get("worker")?,
            started_at: rows::time(note, "started_at")?,
            message: rows::text_out(note.try_get("message")?),
        });
    }
    let attempts = row.try_get::<i32, _>("attempts")?.unsigned_abs();
    let worker: String = row.try_get("worker")?;
    Ok(Some(assemble(&rows::operation(&row)?, attempts, &worker, notes)))
}
