//! Statistics: see [`crate::statistics`].

use std::collections::HashMap;

use async_trait::async_trait;
use operations::{Access, OperationId, Step, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use super::statement::query;
use super::{SqliteStore, changes, rows, single};
use crate::StoreError;
use crate::batch::{Upkeep, Write};
use crate::changes::{Changes, Position};
use crate::rows::damaged;
use crate::statistics::{
    CountedPart, Counts, Past, Points, STATISTICS_CONSUMER, Statistics, StatisticsAnswer, StatisticsRequest, Subject,
    Tally, count,
};

/// What is written for statistics.
pub(crate) enum StatisticsWrite {
    /// Begin to count.
    Begin,
    /// The counts of a part of a change log; 0: the reader's offset is another one.
    Commit(CountedPart),
    /// Continue after the forgotten changes of a change log; 0: the reader's offset is another one.
    Skip(String, Position),
    /// Forget what is over, at most this many rows.
    Forget(u32),
}

/// Served by active_by_id and settled_by_id.
const SUBJECT: [&str; 2] = [
    "SELECT seq, kind, project_id, created_at, fence, NULL AS finished_at, NULL AS started_at
     FROM active INDEXED BY active_by_id WHERE organization_id = ?1 AND id = ?2",
    "SELECT seq, kind, project_id, created_at, fence, finished_at,
         CASE WHEN worker <> '' THEN started_at END AS started_at
     FROM settled INDEXED BY settled_by_id WHERE organization_id = ?1 AND id = ?2",
];

/// Served by events_by_operation. 7: an end that was retried.
const PAST: &str = "
    SELECT seq, kind, at, started_at FROM events INDEXED BY events_by_operation
    WHERE organization_id = ?1 AND seq = ?2 AND (started_at IS NOT NULL OR kind = 7)";

/// The offset of a reader that has read something is its mark; that of another one is where it began.
const MOVE: &str = "
    UPDATE change_marks SET id = ?4, seen = ?5
    WHERE reader = 'statistics' AND organization_id = ?1 AND id = ?2 AND seen = ?3";
const FIRST_MOVE: &str = "
    INSERT INTO change_marks (reader, organization_id, id, seen)
    SELECT reader, ?1, ?4, ?5 FROM change_readers WHERE reader = 'statistics' AND id = ?2 AND ?3 = 0
    ON CONFLICT DO NOTHING";

/// Numbers that were given before a position in the change log: all except those of the creations after it.
const BEFORE: &str = "(o.next_seq - 1 - (
    SELECT coalesce(sum(length(c.ids) / 16 - CASE WHEN c.id = ?2 THEN ?3 ELSE 0 END), 0)
    FROM changes c INDEXED BY changes_by_organization
    WHERE c.organization_id = o.organization_id AND c.id >= ?2 AND c.is_creation))";

const COUNT_CREATED: &str = "UPDATE statistics_origins SET created = created + ?2 WHERE organization_id = ?1";

/// Served by the primary key.
const STORED: &str = "
    SELECT created, started, completed, failed, waiting, running FROM statistics
    WHERE organization_id = ?1 AND step = ?2 AND project_id = ?3 AND start = ?4 AND kind = ?5";
const STORE: &str = "
    INSERT INTO statistics (organization_id, step, project_id, start, kind, created, started, completed, failed,
        waiting, running)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT DO UPDATE SET created = excluded.created, started = excluded.started,
        completed = excluded.completed, failed = excluded.failed, waiting = excluded.waiting, running = excluded.running";

/// Served by statistics_by_age.
const FORGET: &str = "
    DELETE FROM statistics WHERE (organization_id, step, project_id, start, kind) IN (
        SELECT organization_id, step, project_id, start, kind FROM statistics INDEXED BY statistics_by_age
        WHERE step = ?1 AND start < ?2 ORDER BY start LIMIT ?3 + 0)";

/// Since when an organization is counted, and the first change that is not. Served by changes_by_organization.
const STATE: &str = "
    SELECT coalesce(s.since, max(o.created_at, (SELECT since FROM statistics_origins WHERE organization_id = ''))) AS since,
        (SELECT c.at FROM changes c INDEXED BY changes_by_organization
            WHERE c.organization_id = o.organization_id AND c.id >= coalesce(m.id, r.id)
                AND (c.id > coalesce(m.id, r.id) OR length(c.ids) / 16 > coalesce(m.seen, 0))
            ORDER BY c.id LIMIT 1) AS uncounted
    FROM organizations o CROSS JOIN change_readers r
    LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.organization_id
    LEFT JOIN statistics_origins s ON s.organization_id = o.organization_id
    WHERE o.organization_id = ?1 AND r.reader = 'statistics'";

/// Served by the primary key; rows of several projects are sorted.
const READ: &str = "
    SELECT start, kind, created, started, completed, failed, waiting, running FROM statistics
    WHERE organization_id = ?1 AND step = ?2 AND project_id IN (SELECT value FROM json_each(?3))
        AND start >= ?4 AND start < ?5 AND (?6 IS NULL OR kind = ?6) AND kind IS NOT ?7
    ORDER BY start, kind";

/// Organizations whose numbers are not the sum of those before the statistics began, those counted, and those that the
/// change log still has.
pub(super) const DIFFER: &str = "
    SELECT organization_id || ': ' || numbers || ' numbers, ' || created_before || ' before, ' || created
        || ' counted, ' || uncounted || ' in the change log'
    FROM (
        SELECT o.organization_id, o.next_seq - 1 AS numbers, s.created_before, s.created, (
            SELECT coalesce(sum(length(c.ids) / 16 - CASE WHEN c.id = m.id THEN m.seen ELSE 0 END), 0) FROM changes c
            WHERE c.organization_id = o.organization_id AND c.id >= coalesce(m.id, r.id) AND c.is_creation) AS uncounted
        FROM organizations o JOIN statistics_origins s ON s.organization_id = o.organization_id
        JOIN change_readers r ON r.reader = 'statistics'
        LEFT JOIN change_marks m ON m.reader = r.reader AND m.organization_id = o.organization_id
        WHERE o.deleted = 0)
    WHERE created_before + created + uncounted <> numbers";

#[async_trait]
impl Statistics for SqliteStore {
    async fn begin_statistics(&self) -> Result<(), StoreError> {
        self.write_statistics(StatisticsWrite::Begin).await.map(drop)
    }

    async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError> {
        count(self, organization, from, limit).await
    }

    async fn statistics(
        &self,
        access: &Access,
        request: &StatisticsRequest,
        limit: u32,
    ) -> Result<StatisticsAnswer, StoreError> {
        let (access, request, now) = (access.clone(), request.clone(), self.clocks.now());
        self.readers.read(move |connection| read(connection, now, &access, &request, limit)).await
    }

    async fn forget_statistics(&self, limit: u32) -> Result<u64, StoreError> {
        self.write_statistics(StatisticsWrite::Forget(limit)).await
    }
}

impl SqliteStore {
    async fn write_statistics(&self, write: StatisticsWrite) -> Result<u64, StoreError> {
        self.writer.submit(Write::Upkeep, Upkeep::Statistics(write)).await
    }
}

#[async_trait]
impl Tally for SqliteStore {
    async fn part(&self, organization: &str, from: Position, limit: u32) -> Result<Changes, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| changes::read(connection, &organization, from, limit)).await
    }

    async fn subjects(
        &self,
        organization: &str,
        ids: Vec<OperationId>,
    ) -> Result<HashMap<OperationId, Subject>, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| subjects(connection, &organization, &ids)).await
    }

    async fn past(&self, organization: &str, numbers: Vec<i64>) -> Result<Vec<Past>, StoreError> {
        let organization = organization.to_owned();
        self.readers.read(move |connection| past(connection, &organization, &numbers)).await
    }

    async fn commit(&self, part: CountedPart) -> Result<bool, StoreError> {
        Ok(self.write_statistics(StatisticsWrite::Commit(part)).await? > 0)
    }

    async fn skip(&self, organization: &str, from: Position) -> Result<bool, StoreError> {
        Ok(self.write_statistics(StatisticsWrite::Skip(organization.to_owned(), from)).await? > 0)
    }
}

fn subjects(
    connection: &Connection,
    organization: &str,
    ids: &[OperationId],
) -> Result<HashMap<OperationId, Subject>, StoreError> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    let (mut active, mut settled) = (connection.prepare_cached(SUBJECT[0])?, connection.prepare_cached(SUBJECT[1])?);
    let mut found = HashMap::with_capacity(ids.len());
    for id in ids {
        for statement in [&mut active, &mut settled] {
            let subject = statement.query_row((organization, id.as_bytes()), |row| {
                Ok(Subject {
                    seq: row.get(0)?,
                    kind: row.get(1)?,
                    project_id: row.get(2)?,
                    created_at: Timestamp::from_millis(row.get(3)?),
                    fence: row.get(4)?,
                    end: time(row.get(5)?).map(|at| Ok::<_, rusqlite::Error>((at, time(row.get(6)?)))).transpose()?,
                })
            });
            if let Some(subject) = subject.optional()? {
                found.insert(*id, subject);
                break;
            }
        }
    }
    Ok(found)
}

fn past(connection: &Connection, organization: &str, numbers: &[i64]) -> Result<Vec<Past>, StoreError> {
    let mut past = Vec::new();
    for number in numbers {
        for row in query(PAST).bind(organization).bind(*number).fetch_all(connection)? {
            past.push(Past {
                seq: *number,
                kind: row.try_get("kind")?,
                at: rows::time(&row, "at")?.ok_or_else(|| damaged("at"))?,
                started_at: rows::time(&row, "started_at")?,
            });
        }
    }
    Ok(past)
}

fn read(
    connection: &Connection,
    now: Timestamp,
    access: &Access,
    request: &StatisticsRequest,
    limit: u32,
) -> Result<StatisticsAnswer, StoreError> {
    let (mut available_since, mut complete_until) = (None, None);
    if let Some(row) = query(STATE).bind(&access.organization).fetch_optional(connection)? {
        available_since = rows::time(&row, "since")?;
        complete_until = Some(rows::time(&row, "uncounted")?.unwrap_or(now));
    }
    let mut points = Points::of(request, limit);
    let (kind, not_kind) = request.kinds();
    let projects = single::project_list(access).unwrap_or_else(|| r#"[""]"#.to_owned());
    let mut statement = connection.prepare_cached(READ)?;
    let (from, to) = (request.step.start(request.from).as_millis(), request.to.as_millis());
    let mut rows =
        statement.query((&access.organization, request.step.number(), projects, from, to, kind, not_kind))?;
    while let Some(row) = rows.next()? {
        let numbers = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let bytes = |column| Ok::<_, StoreError>(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?);
        let counts = Counts::stored(numbers, bytes(6)?, bytes(7)?)?;
        if !points.take(Timestamp::from_millis(row.get(0)?), row.get(1)?, &counts) {
            break;
        }
    }
    Ok(StatisticsAnswer { available_since, complete_until, points: points.points, is_cut: points.is_cut })
}

/// Answers how many rows it concerned.
pub(super) fn write(connection: &Connection, now: Timestamp, write: &StatisticsWrite) -> Result<u64, StoreError> {
    match write {
        StatisticsWrite::Begin => begin(connection, now),
        StatisticsWrite::Commit(part) => commit(connection, part),
        StatisticsWrite::Skip(organization, from) => skip(connection, now, organization, *from),
        StatisticsWrite::Forget(limit) => forget(connection, now, *limit),
    }
}

fn begin(connection: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    let is_new = query("SELECT count(*) FROM change_readers WHERE reader = ?1").bind(STATISTICS_CONSUMER);
    if is_new.fetch_one(connection)?.try_get::<i64>(0)? > 0 {
        return Ok(0);
    }
    let end = changes::end(connection)?.row.cast_signed();
    query("INSERT INTO change_readers (reader, id) VALUES (?1, ?2)")
        .bind(STATISTICS_CONSUMER)
        .bind(end)
        .execute(connection)?;
    query("DELETE FROM change_marks WHERE reader = ?1").bind(STATISTICS_CONSUMER).execute(connection)?;
    // Earlier counts stay, with a gap up to now.
    let anew = "UPDATE statistics_origins AS s SET since = ?1, created_before = o.next_seq - 1 - s.created
        FROM organizations o WHERE o.organization_id = s.organization_id";
    query(anew).bind(now.as_millis()).execute(connection)?;
    let origin =
        "INSERT INTO statistics_origins (organization_id, since, created_before, created) VALUES ('', ?1, 0, 0)
        ON CONFLICT DO UPDATE SET since = excluded.since";
    query(origin).bind(now.as_millis()).execute(connection)
}

/// Moves the reader, if its offset is `from`; answers whether it did.
fn advance(connection: &Connection, organization: &str, from: Position, next: Position) -> Result<bool, StoreError> {
    for sql in [MOVE, FIRST_MOVE] {
        let moved = query(sql)
            .bind(organization)
            .bind(from.row.cast_signed())
            .bind(from.seen)
            .bind(next.row.cast_signed())
            .bind(next.seen);
        if moved.execute(connection)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the organization exists, and is not being deleted.
fn is_there(connection: &Connection, organization: &str) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM organizations WHERE organization_id = ?1 AND deleted = 0";
    Ok(query(sql).bind(organization).fetch_one(connection)?.try_get::<i64>(0)? > 0)
}

fn commit(connection: &Connection, part: &CountedPart) -> Result<u64, StoreError> {
    let organization = part.organization.as_str();
    if !advance(connection, organization, part.from, part.next)? {
        return Ok(0);
    }
    if !is_there(connection, organization)? {
        return Ok(1);
    }
    let created = i64::try_from(part.created).unwrap_or(i64::MAX);
    if query(COUNT_CREATED).bind(organization).bind(created).execute(connection)? == 0 {
        let sql = format!(
            "INSERT INTO statistics_origins (organization_id, since, created_before, created)
             SELECT o.organization_id, max(o.created_at, (SELECT since FROM statistics_origins WHERE organization_id = '')),
                 {BEFORE}, ?4
             FROM organizations o WHERE o.organization_id = ?1"
        );
        let origin = query(sql).bind(organization).bind(part.from.row.cast_signed()).bind(part.from.seen);
        origin.bind(created).execute(connection)?;
    }
    let (mut stored, mut store) = (connection.prepare_cached(STORED)?, connection.prepare_cached(STORE)?);
    for (place, counts) in &part.counts {
        let (step, start) = (place.step.number(), place.start.as_millis());
        let key = (organization, step, &place.project_id, start, &place.kind);
        let before = stored.query_row(key, |row| {
            let numbers: [i64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok((numbers, row.get::<_, Vec<u8>>(4)?, row.get::<_, Vec<u8>>(5)?))
        });
        let mut sum = counts.clone();
        if let Some((numbers, waiting, running)) = before.optional()? {
            sum.add(&Counts::stored(numbers, &waiting, &running)?);
        }
        let [created, started, completed, failed] = sum.numbers();
        let (waiting, running) = (sum.waiting.to_bytes(), sum.running.to_bytes());
        store.execute((
            organization,
            step,
            &place.project_id,
            start,
            &place.kind,
            created,
            started,
            completed,
            failed,
            waiting,
            running,
        ))?;
    }
    Ok(1)
}

fn skip(connection: &Connection, now: Timestamp, organization: &str, from: Position) -> Result<u64, StoreError> {
    let floor = "SELECT id, entries FROM change_floors WHERE organization_id = ?1 AND (id, entries) > (?2, ?3)";
    let floor = query(floor).bind(organization).bind(from.row.cast_signed()).bind(from.seen);
    let next = match floor.fetch_optional(connection)? {
        Some(row) => Position {
            row: row.try_get::<i64>("id")?.unsigned_abs(),
            part: Position::SQLITE,
            seen: row.try_get("entries")?,
        },
        None => changes::end(connection)?,
    };
    if !advance(connection, organization, from, next)? {
        return Ok(0);
    }
    let sql = format!(
        "INSERT INTO statistics_origins (organization_id, since, created_before, created)
         SELECT o.organization_id, ?4, {BEFORE}, 0 FROM organizations o WHERE o.organization_id = ?1 AND o.deleted = 0
         ON CONFLICT DO UPDATE SET since = excluded.since, created_before = excluded.created_before - created"
    );
    let origin = query(sql).bind(organization).bind(next.row.cast_signed()).bind(next.seen);
    origin.bind(now.as_millis()).execute(connection)?;
    Ok(1)
}

fn forget(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for step in Step::ALL {
        let Some(kept) = step.kept() else { continue };
        let before = step.start(now.before(kept)).as_millis();
        forgotten += query(FORGET).bind(step.number()).bind(before).bind(limit).execute(connection)?;
    }
    Ok(forgotten)
}
